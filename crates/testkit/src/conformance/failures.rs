//! Failing events, panicking handlers, unavailable sinks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};
use messaging::admin::{self, EventStatus};
use messaging::{ConsumerOptions, Event, Group, HandlerError, partition_of};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Bed, Complaints, PARTITIONS, Ticked, effecting, following_but, options, tick, until};

/// One key fails: the key's events are parked in order, other keys go on; a replay handles all in order.
pub async fn a_failing_key_is_parked_in_order_and_replayed_in_order(bed: Bed) {
    let complaints = Complaints::default();
    let broken = Arc::new(AtomicBool::new(true));
    let its = broken.clone();
    let group = following_but("picky", &complaints, move |ticked: &Ticked| match ticked.key == "key-3" {
        true if its.load(Ordering::SeqCst) => Err(HandlerError::Failed("key-3 is not liked".into())),
        _ => Ok(()),
    });
    let consumers = bed.host(vec![group]).await;
    bed.tick_all(8, 12, 8).await;
    bed.until_handled("picky", 7, 12).await;
    let parked = async || {
        let dead = bed.dead_letters("picky").await;
        let Some(id) = dead.first().map(|dead| dead.id) else { return 0 };
        let letter = bed.database.db.read(move |conn| admin::dead_letter(conn, id)).await.expect("a dead letter");
        letter.expect("a dead letter").1
    };
    until("the key's other events are parked", async || parked().await == 11).await;
    let dead = bed.dead_letters("picky").await;
    assert_eq!((dead.len(), dead[0].key.as_str(), dead[0].attempts), (1, "key-3", 3), "{}", bed.name);
    let views = bed.database.db.read(|conn| admin::events_of_key(conn, "key-3")).await.expect("the view");
    let statuses: Vec<_> = views.iter().map(|view| view.groups[0].status).collect();
    assert_eq!(statuses[0], EventStatus::Dead, "{}", bed.name);
    assert!(statuses[1..].iter().all(|status| *status == EventStatus::Parked), "{}: {statuses:?}", bed.name);

    broken.store(false, Ordering::SeqCst);
    bed.replay(dead[0].id).await;
    bed.until_handled("picky", 8, 12).await;
    until("nothing is blocked", async || bed.dead_letters("picky").await.is_empty()).await;
    let views = bed.database.db.read(|conn| admin::events_of_key(conn, "key-3")).await.expect("the view");
    assert!(views.iter().all(|view| view.groups[0].status == EventStatus::Handled), "{}: {views:?}", bed.name);
    bed.tick_all(8, 3, 8).await;
    bed.until_handled("picky", 8, 15).await;
    consumers.stop().await;
    complaints.assert_none();
}

/// A failing replay leaves the dead letter in place; a discard lets the parked events go on.
pub async fn a_discarded_dead_letter_frees_what_is_parked(bed: Bed) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let its = seen.clone();
    let group = effecting("strict", move |_, events: Vec<Event>| {
        let numbers: Vec<i64> = events.iter().map(|event| event.decode::<Ticked>().expect("a tick").number).collect();
        let fails = numbers.contains(&2);
        if !fails {
            its.lock().extend(numbers);
        }
        async move { if fails { Err(HandlerError::Failed("not this one".into())) } else { Ok(()) } }
    });
    let consumers = bed.host(vec![group]).await;
    bed.tick_all(1, 6, 1).await;
    until("there is a dead letter", async || bed.dead_letters("strict").await.len() == 1).await;
    let id = bed.dead_letters("strict").await[0].id;
    bed.replay(id).await;
    until("the replay failed", async || {
        bed.dead_letters("strict").await.first().is_some_and(|dead| dead.attempts == 4 && dead.status == "dead")
    })
    .await;
    assert!(bed.database.db.write(move |tx| admin::discard(tx, id)).await.expect("a discard"));
    bed.database.log.ask_groups();
    until("the rest is handled", async || seen.lock().last() == Some(&5)).await;
    assert_eq!(*seen.lock(), [0, 1, 3, 4, 5], "{}", bed.name);
    consumers.stop().await;
}

/// An unavailable sink pauses the partition: no event is lost or dead, and the order holds.
pub async fn a_sink_that_is_away_only_pauses(bed: Bed) {
    let complaints = Complaints::default();
    let tries = Arc::new(AtomicUsize::new(0));
    let its = tries.clone();
    let group = following_but("waiter", &complaints, move |_| match its.fetch_add(1, Ordering::SeqCst) {
        0..12 => Err(HandlerError::Unavailable("away".into())),
        _ => Ok(()),
    });
    let consumers = bed.host(vec![group]).await;
    bed.tick_all(4, 10, 8).await;
    bed.until_handled("waiter", 4, 10).await;
    assert!(bed.dead_letters("waiter").await.is_empty(), "{}", bed.name);
    consumers.stop().await;
    complaints.assert_none();
}

/// While the database fails for every event, however long, no event is a dead letter.
pub async fn a_database_that_fails_for_all_makes_no_dead_letter(bed: Bed) {
    let complaints = Complaints::default();
    let (is_away, tries) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let (its, its_tries) = (is_away.clone(), tries.clone());
    let group = following_but("patient", &complaints, move |_| {
        its_tries.fetch_add(1, Ordering::SeqCst);
        if its.load(Ordering::SeqCst) { Err(HandlerError::Unavailable("away".into())) } else { Ok(()) }
    });
    let consumers = bed.host_with(bed.bus.clone(), vec![group], impatient()).await;
    bed.tick_all(8, 3, 8).await;
    until("it is tried again and again", async || tries.load(Ordering::SeqCst) > 24).await;
    let log = &bed.database.log;
    until("the pause is known", async || {
        matches!(&log.paused(Duration::ZERO)[..], [line] if line.contains("group patient: ") && line.contains("away"))
    })
    .await;
    is_away.store(false, Ordering::SeqCst);
    bed.until_handled("patient", 8, 3).await;
    assert!(bed.dead_letters("patient").await.is_empty(), "{}", bed.name);
    until("no pause is left", async || log.paused(Duration::ZERO).is_empty()).await;
    consumers.stop().await;
    complaints.assert_none();
}

/// An event refused by the database again and again becomes a dead letter if other events of the group are handled.
pub async fn an_event_that_alone_keeps_failing_is_a_dead_letter(bed: Bed) {
    let complaints = Complaints::default();
    let group = following_but("hopeless", &complaints, |ticked: &Ticked| match ticked.key == "key-3" {
        true => Err(HandlerError::Unavailable("a number out of range".into())),
        false => Ok(()),
    });
    let consumers = bed.host_with(bed.bus.clone(), vec![group], impatient()).await;
    until("it is dead", async || {
        bed.tick_all(8, 1, 8).await;
        !bed.dead_letters("hopeless").await.is_empty()
    })
    .await;
    let dead = bed.dead_letters("hopeless").await;
    assert!(dead.len() == 1 && dead[0].key == "key-3" && dead[0].error.contains("out of range"), "{dead:?}");
    until("its partition goes on", async || bed.database.log.paused(Duration::ZERO).is_empty()).await;
    consumers.stop().await;
    complaints.assert_none();
}

/// Returns options by which a failing event counts as failed as soon as other events show an answering database.
fn impatient() -> ConsumerOptions {
    ConsumerOptions { fails_alone: Duration::ZERO, ..options() }
}

/// A locked table and a tool that cancels statements, on PostgreSQL: groups pause, and no event is a dead letter.
pub async fn locks_and_cancelled_statements_make_no_dead_letter(bed: Bed) {
    if !bed.database.db.is_shared() {
        return;
    }
    let complaints = Complaints::default();
    let consumers = bed.host(vec![following_but("cancelled", &complaints, |_| Ok(()))]).await;
    bed.tick_all(8, 1, 8).await;
    bed.until_handled("cancelled", 8, 1).await;
    let connect = || PgConnection::establish(&bed.database.url).expect("a connection");

    let mut locker = connect();
    locker.batch_execute("BEGIN; LOCK TABLE progress").expect("the lock");
    bed.tick_all(8, 1, 8).await;
    let is_paused = || bed.database.log.paused(Duration::ZERO).iter().any(|line| line.contains("group cancelled: "));
    until("the group pauses", async || is_paused()).await;
    locker.batch_execute("COMMIT").expect("the lock is let go");
    bed.until_handled("cancelled", 8, 2).await;

    let mut tool = connect();
    let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
                  WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active'";
    let over = AtomicBool::new(false);
    let ticking = async {
        for _ in 0..20 {
            bed.tick_all(8, 1, 8).await;
        }
        over.store(true, Ordering::SeqCst);
    };
    let cancelling = async {
        while !over.load(Ordering::SeqCst) {
            tokio::task::block_in_place(|| tool.batch_execute(cancel)).expect("the tool");
            tokio::task::yield_now().await;
        }
    };
    futures::join!(ticking, cancelling);
    bed.until_handled("cancelled", 8, 22).await;
    assert!(bed.dead_letters("cancelled").await.is_empty(), "{}", bed.name);
    consumers.stop().await;
    complaints.assert_none();
}

/// A handler panics on one event: this event becomes a dead letter, the remaining events are handled.
pub async fn a_panic_is_a_failure_of_its_event(bed: Bed) {
    let complaints = Complaints::default();
    let group = following_but("nervous", &complaints, |ticked: &Ticked| {
        assert!(ticked.key != "key-1", "a test panics on purpose");
        Ok(())
    });
    let consumers = bed.host(vec![group]).await;
    bed.tick_all(4, 5, 4).await;
    bed.until_handled("nervous", 3, 5).await;
    until("it is dead", async || bed.dead_letters("nervous").await.len() == 1).await;
    consumers.stop().await;
    complaints.assert_none();
}

/// An effect panics on one event: the partition goes on.
pub async fn a_panic_of_an_effect_is_a_failure_of_its_event(bed: Bed) {
    let handled = Arc::new(AtomicUsize::new(0));
    let its = handled.clone();
    let group = effecting("jumpy", move |_, events: Vec<Event>| {
        let handled = its.clone();
        async move {
            assert!(events.iter().all(|event| event.key != "key-1"), "a test panics on purpose");
            handled.fetch_add(events.len(), Ordering::SeqCst);
            Ok(())
        }
    });
    let consumers = bed.host(vec![group]).await;
    bed.tick_all(8, 5, 8).await;
    until("it is dead", async || bed.dead_letters("jumpy").await.len() == 1).await;
    until("the others are handled", async || handled.load(Ordering::SeqCst) >= 35).await;
    let dead = bed.dead_letters("jumpy").await;
    assert!(dead[0].error.contains("on purpose") && dead[0].key == "key-1", "{}: {dead:?}", bed.name);
    consumers.stop().await;
}

/// While a key is blocked, events go one by one; an unavailable sink then uses up no attempts.
pub async fn a_sink_that_is_away_beside_a_dead_letter_only_pauses(bed: Bed) {
    let complaints = Complaints::default();
    let (healthy, tries) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let (its_healthy, its_tries) = (healthy.clone(), tries.clone());
    let neighbour = neighbour_of("key-1");
    let group = following_but("stoic", &complaints, move |ticked: &Ticked| {
        if ticked.key == "key-1" {
            return Err(HandlerError::Failed("key-1 is not liked".into()));
        }
        match its_healthy.load(Ordering::SeqCst) || its_tries.fetch_add(1, Ordering::SeqCst) > 4 {
            true => Ok(()),
            false => Err(HandlerError::Unavailable("away".into())),
        }
    });
    let consumers = bed.host(vec![group.clone()]).await;
    bed.database.db.write(|tx| tick(tx, "key-1")).await.expect("a tick");
    until("it is dead", async || bed.dead_letters("stoic").await.len() == 1).await;
    consumers.stop().await;
    healthy.store(false, Ordering::SeqCst);
    for _ in 0..5 {
        let both = neighbour.clone();
        bed.database.db.write(move |tx| tick(tx, "key-1").and_then(|()| tick(tx, &both))).await.expect("ticks");
    }
    bed.until_numbered(11).await;
    let consumers = bed.host(vec![group]).await;
    bed.until_handled("stoic", 1, 5).await;
    assert!(tries.load(Ordering::SeqCst) > 4, "{}: the sink was away for longer than the tries", bed.name);
    assert_eq!(bed.dead_letters("stoic").await.len(), 1, "{}", bed.name);
    consumers.stop().await;
    complaints.assert_none();
}

/// Returns another key of the same partition.
fn neighbour_of(key: &str) -> String {
    let partition = partition_of(key, PARTITIONS);
    let mut keys = (0..).map(|n| format!("neighbour-{n}"));
    keys.find(|other| partition_of(other, PARTITIONS) == partition).expect("there are many keys")
}

/// A resumed event has all attempts of a new event.
pub async fn a_parked_event_has_its_tries_when_it_is_resumed(bed: Bed) {
    let complaints = Complaints::default();
    let (broken, stumbles) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let (its_broken, its_stumbles) = (broken.clone(), stumbles.clone());
    let group = following_but("lenient", &complaints, move |ticked: &Ticked| match ticked.number {
        0 if its_broken.load(Ordering::SeqCst) => Err(HandlerError::Failed("not yet".into())),
        2 if its_stumbles.fetch_add(1, Ordering::SeqCst) < 2 => Err(HandlerError::Failed("it stumbles".into())),
        _ => Ok(()),
    });
    let consumers = bed.host(vec![group]).await;
    bed.tick_all(1, 5, 1).await;
    until_parked(&bed, 4).await;
    broken.store(false, Ordering::SeqCst);
    bed.replay(bed.dead_letters("lenient").await[0].id).await;
    bed.until_handled("lenient", 1, 5).await;
    assert_eq!(stumbles.load(Ordering::SeqCst), 3, "{}", bed.name);
    until("nothing is dead", async || bed.dead_letters("lenient").await.is_empty()).await;
    consumers.stop().await;
    complaints.assert_none();
}

/// A member that lost its lease while a parked event failed does not try the event again: the next holder does.
pub async fn a_late_member_replays_nothing(bed: Bed) {
    let db = bed.database.db.clone();
    let (broken, tries) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(Vec::new())));
    let (its_broken, its_tries) = (broken.clone(), tries.clone());
    let group = effecting("latecomer", move |lease, events: Vec<Event>| {
        let number = events[0].decode::<Ticked>().expect("a tick").number;
        let is_broken = its_broken.load(Ordering::SeqCst);
        let stumbles = !is_broken && number == 1 && its_tries.lock().len() == 1;
        if !is_broken {
            its_tries.lock().push((number, lease.number));
        }
        let db = db.clone();
        async move {
            if stumbles {
                db.write(take_leases).await?;
            }
            match stumbles || is_broken && number == 0 {
                true => Err(HandlerError::Failed("not yet".into())),
                false => Ok(()),
            }
        }
    });
    let consumers = bed.host(vec![group]).await;
    bed.tick_all(1, 3, 1).await;
    until_parked(&bed, 2).await;
    broken.store(false, Ordering::SeqCst);
    bed.replay(bed.dead_letters("latecomer").await[0].id).await;
    until("all are replayed", async || matches!(tries.lock().last(), Some((2, _)))).await;
    let tries = tries.lock().clone();
    let [(0, first), (1, second), (1, third), (2, last)] = tries[..] else { panic!("{}: {tries:?}", bed.name) };
    assert!(first == second && second < third && third == last, "{}: {tries:?}", bed.name);
    consumers.stop().await;
}

/// As if another member had held all leases.
fn take_leases(tx: &mut db::Tx<'_>) -> db::Result<()> {
    Ok(tx.batch_execute("UPDATE group_lease SET number = number + 1, holder = NULL WHERE grp = 'latecomer'")?)
}

/// Waits until `count` events of the only key are parked.
async fn until_parked(bed: &Bed, count: usize) {
    until("the others wait behind it", async || {
        let views = bed.database.db.read(|conn| admin::events_of_key(conn, "key-0")).await.expect("the view");
        views.iter().filter(|view| view.groups[0].status == EventStatus::Parked).count() == count
    })
    .await;
}

/// PostgreSQL: a replay that a crash of the server has undone comes before the next one, also if the next one was about to
/// begin.
pub async fn a_replay_that_a_crash_has_undone_comes_first(bed: Bed) {
    if !bed.database.db.is_shared() {
        return;
    }
    let complaints = Complaints::default();
    let (broken, stumbled) = (Arc::new(AtomicBool::new(true)), AtomicBool::new(false));
    let (its_broken, url) = (broken.clone(), bed.database.url.clone());
    let group = following_but("undone", &complaints, move |ticked: &Ticked| match ticked.number {
        0 if its_broken.load(Ordering::SeqCst) => Err(HandlerError::Failed("not yet".into())),
        2 if !stumbled.swap(true, Ordering::SeqCst) => {
            undo_a_replay(&url);
            Err(HandlerError::Failed("it stumbles".into()))
        }
        _ => Ok(()),
    });
    let consumers = bed.host(vec![group]).await;
    bed.tick_all(1, 3, 1).await;
    until_parked(&bed, 2).await;
    let save = |tx: &mut db::Tx<'_>| -> db::Result<()> {
        Ok(tx.batch_execute("CREATE TABLE saved AS SELECT * FROM parked_event ORDER BY seq LIMIT 1")?)
    };
    bed.database.db.write(save).await.expect("a copy");
    broken.store(false, Ordering::SeqCst);
    bed.replay(bed.dead_letters("undone").await[0].id).await;
    bed.until_handled("undone", 1, 3).await;
    until("nothing is dead", async || bed.dead_letters("undone").await.is_empty()).await;
    consumers.stop().await;
    complaints.assert_none();
}

/// Undoes the replay of the saved event, as a crash of the server may do: in the background, behind the unit that runs and
/// before the next attempt is counted.
fn undo_a_replay(url: &str) {
    let connect = || PgConnection::establish(url).expect("a connection");
    let (mut crash, mut look) = (connect(), connect());
    std::thread::spawn(move || {
        let undo = "BEGIN; LOCK TABLE handling_attempt IN EXCLUSIVE MODE; INSERT INTO parked_event SELECT * FROM saved; \
                    UPDATE blocked_key SET parked = parked + 1; UPDATE progress SET last = 0; COMMIT";
        crash.batch_execute(undo).expect("it is undone");
    });
    let waits = "SELECT 1 / count(*) FROM pg_locks WHERE relation = 'handling_attempt'::regclass AND NOT granted \
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    while look.batch_execute(waits).is_err() {}
}

/// Builds an effect that ends the process: the test ends the process when `deadly` rings.
fn mortal(deadly: &Arc<Notify>, does: impl Fn(i64) -> Deed + Send + Sync + 'static) -> Group {
    let deadly = deadly.clone();
    effecting("mortal", move |_, events: Vec<Event>| {
        let mut deeds = events.iter().map(|event| does(event.decode::<Ticked>().expect("a tick").number));
        let worst = deeds.find(|deed| !matches!(deed, Deed::Handles)).unwrap_or(Deed::Handles);
        if let Deed::Kills = worst {
            deadly.notify_one();
        }
        async move {
            match worst {
                Deed::Handles => Ok(()),
                Deed::Fails => Err(HandlerError::Failed("not this one".into())),
                Deed::IsAway => Err(HandlerError::Unavailable("away".into())),
                Deed::Kills => std::future::pending().await,
            }
        }
    })
}

#[derive(Clone, Copy)]
enum Deed {
    Handles,
    Fails,
    IsAway,
    Kills,
}

/// Lives and dies until `holds`.
async fn die_until(bed: &Bed, group: impl Fn(&Arc<Notify>) -> Group, holds: impl AsyncFn() -> bool) {
    for _ in 0..10 {
        let deadly = Arc::new(Notify::new());
        let consumers = bed.host(vec![group(&deadly)]).await;
        tokio::select! {
            () = deadly.notified() => consumers.abort(),
            () = until("it comes to an end", async || holds().await) => return consumers.stop().await,
        }
    }
    panic!("{}: the event kills for ever", bed.name);
}

/// An event that ends the process each time becomes a dead letter, because attempts are counted first.
pub async fn an_event_that_kills_the_process_comes_to_an_end(bed: Bed) {
    bed.tick_all(1, 3, 1).await;
    let group = |deadly: &Arc<Notify>| mortal(deadly, |number| if number == 1 { Deed::Kills } else { Deed::Handles });
    die_until(&bed, group, async || bed.dead_letters("mortal").await.len() == 1).await;
    let dead = bed.dead_letters("mortal").await;
    assert!(dead[0].position == 1 && dead[0].error.contains("ended the process"), "{}: {dead:?}", bed.name);
}

/// An event ends the process after a pause by an unavailable sink: the count of attempts outlives the pause.
pub async fn an_event_that_kills_after_a_pause_comes_to_an_end(bed: Bed) {
    bed.tick_all(1, 3, 1).await;
    bed.until_numbered(3).await;
    let group = |deadly: &Arc<Notify>| {
        let begins = AtomicBool::new(true);
        mortal(deadly, move |number| match number {
            _ if begins.swap(false, Ordering::SeqCst) => Deed::IsAway,
            1 => Deed::Kills,
            _ => Deed::Handles,
        })
    };
    die_until(&bed, group, async || bed.dead_letters("mortal").await.len() == 1).await;
    assert_eq!(bed.dead_letters("mortal").await[0].position, 1, "{}", bed.name);
}

/// A dead letter that ends the process in a replay is dead again after a few lives.
pub async fn a_replay_that_kills_the_process_comes_to_an_end(bed: Bed) {
    bed.tick_all(1, 3, 1).await;
    let deadly = Arc::new(Notify::new());
    let consumers =
        bed.host(vec![mortal(&deadly, |number| if number == 1 { Deed::Fails } else { Deed::Handles })]).await;
    until("it is dead", async || bed.dead_letters("mortal").await.len() == 1).await;
    consumers.stop().await;
    bed.replay(bed.dead_letters("mortal").await[0].id).await;
    let group = |deadly: &Arc<Notify>| mortal(deadly, |number| if number == 1 { Deed::Kills } else { Deed::Handles });
    die_until(&bed, group, async || bed.dead_letters("mortal").await[0].status == "dead").await;
    let dead = bed.dead_letters("mortal").await;
    assert!(dead[0].error.contains("ended the process"), "{}: {dead:?}", bed.name);
}
