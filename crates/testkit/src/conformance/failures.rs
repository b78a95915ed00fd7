//! Events that fail, handlers that panic, sinks that are away.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use messaging::admin::{self, EventStatus};
use messaging::{Event, HandlerError};

use super::{Bed, Complaints, Ticked, effecting, following_but, until};

/// One key fails: its events are parked in order, others go on; after replay all are handled in order.
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
    let id = dead[0].id;
    assert!(bed.database.db.write(move |tx| admin::request_replay(tx, id)).await.expect("a request"));
    bed.database.log.ask_groups();
    bed.until_handled("picky", 8, 12).await;
    until("nothing is blocked", async || bed.dead_letters("picky").await.is_empty()).await;
    let views = bed.database.db.read(|conn| admin::events_of_key(conn, "key-3")).await.expect("the view");
    assert!(views.iter().all(|view| view.groups[0].status == EventStatus::Handled), "{}: {views:?}", bed.name);
    bed.tick_all(8, 3, 8).await;
    bed.until_handled("picky", 8, 15).await;
    consumers.stop().await;
    complaints.assert_none();
}

/// A replay that fails again leaves the dead letter where it was, and a discard lets the parked events go on.
pub async fn a_discarded_dead_letter_frees_what_is_parked(bed: Bed) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let its = seen.clone();
    let group = effecting("strict", move |_, events: Vec<Event>| {
        let numbers: Vec<i64> = events.iter().map(|event| event.decode::<Ticked>().expect("a tick").number).collect();
        let fails = numbers.contains(&2);
        if !fails {
            its.lock().expect("no panic").extend(numbers);
        }
        async move { if fails { Err(HandlerError::Failed("not this one".into())) } else { Ok(()) } }
    });
    let consumers = bed.host(vec![group]).await;
    bed.tick_all(1, 6, 1).await;
    until("there is a dead letter", async || bed.dead_letters("strict").await.len() == 1).await;
    let id = bed.dead_letters("strict").await[0].id;
    bed.database.db.write(move |tx| admin::request_replay(tx, id)).await.expect("a request");
    bed.database.log.ask_groups();
    until("the replay failed", async || {
        bed.dead_letters("strict").await.first().is_some_and(|dead| dead.attempts == 4 && dead.status == "dead")
    })
    .await;
    assert!(bed.database.db.write(move |tx| admin::discard(tx, id)).await.expect("a discard"));
    bed.database.log.ask_groups();
    until("the rest is handled", async || seen.lock().expect("no panic").last() == Some(&5)).await;
    assert_eq!(*seen.lock().expect("no panic"), [0, 1, 3, 4, 5], "{}", bed.name);
    consumers.stop().await;
}

/// A sink that is away pauses the partition: nothing is lost, nothing is dead, and the order holds.
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

/// A handler that panics on one event: that event is a dead letter, the others are handled.
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

/// An event that ends the process each time it is handled becomes a dead letter, for attempts are counted first.
pub async fn an_event_that_kills_the_process_comes_to_an_end(bed: Bed) {
    let handled = Arc::new(AtomicUsize::new(0));
    for _ in 0..10 {
        let deadly = Arc::new(tokio::sync::Notify::new());
        let (its, counted) = (deadly.clone(), handled.clone());
        let group = effecting("mortal", move |_, events: Vec<Event>| {
            let kills = events.iter().any(|event| event.decode::<Ticked>().expect("a tick").number == 1);
            if kills {
                its.notify_one();
            } else {
                counted.fetch_add(events.len(), Ordering::SeqCst);
            }
            async move {
                if kills {
                    std::future::pending::<()>().await;
                }
                Ok(())
            }
        });
        let consumers = bed.host(vec![group]).await;
        if handled.load(Ordering::SeqCst) == 0 {
            bed.tick_all(1, 3, 1).await;
        }
        let dead = until("it is dead", async || bed.dead_letters("mortal").await.len() == 1);
        tokio::select! {
            () = deadly.notified() => consumers.abort(),
            () = dead => {
                consumers.stop().await;
                assert_eq!(handled.load(Ordering::SeqCst), 1, "{}: the third is parked", bed.name);
                return;
            }
        }
    }
    panic!("{}: the event kills for ever", bed.name);
}
