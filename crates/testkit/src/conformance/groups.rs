//! Consumer groups: assignment, joins, leaves, deaths, freezes, resets.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use diesel::connection::SimpleConnection;
use messaging::admin::{self, ResetError, ResetTo};
use messaging::{Bus, BusError, ConsumerOptions, Consumers, Event, Group, HandlerError, Silence, Start, Subscriber};
use parking_lot::{Condvar, Mutex};
use tokio::time::sleep;

use super::{Bed, Complaints, PARTITIONS, TICKS, Ticked, effecting, following, following_but, options, tick, until};

/// Each group gets each event, in the order of the event's key.
pub async fn every_group_gets_all_in_the_order_of_each_key(bed: Bed) {
    let complaints = Complaints::default();
    let consumers = bed.host(vec![following("one", &complaints), following("two", &complaints)]).await;
    bed.tick_all(20, 40, 16).await;
    bed.until_handled("one", 20, 40).await;
    bed.until_handled("two", 20, 40).await;
    consumers.stop().await;
    complaints.assert_none();
}

/// The members of a group share the partitions: each event goes to one member, and each member gets some.
pub async fn members_of_a_group_share(bed: Bed) {
    let seen: [Arc<AtomicUsize>; 2] = Default::default();
    let member = |n: usize| {
        let seen = seen[n].clone();
        effecting("sharers", move |_, events: Vec<Event>| {
            seen.fetch_add(events.len(), Ordering::Relaxed);
            async { Ok(()) }
        })
    };
    let first = bed.host(vec![member(0)]).await;
    let second = bed.host(vec![member(1)]).await;
    let counts = || [seen[0].load(Ordering::Relaxed), seen[1].load(Ordering::Relaxed)];
    let mut sent = 0;
    while counts().contains(&0) {
        bed.tick_all(20, 1, 20).await;
        sent += 20;
        until("all is handled", async || counts().iter().sum::<usize>() >= sent).await;
    }
    assert_eq!(counts().iter().sum::<usize>(), sent, "{}: no event goes to both", bed.name);
    first.stop().await;
    second.stop().await;
}

/// Members join, leave and die while events come; each event counts once, in order.
pub async fn members_that_join_leave_and_die_lose_and_repeat_nothing(bed: Bed) {
    let complaints = Complaints::default();
    let group = || following("crowd", &complaints);
    let stays = bed.host(vec![group()]).await;
    for round in 0..3 {
        let leaves = bed.host(vec![group()]).await;
        let dies = bed.host(vec![group()]).await;
        bed.tick_all(12, 20, 12).await;
        if round % 2 == 0 {
            leaves.stop().await;
            dies.abort();
        } else {
            dies.abort();
            bed.tick_all(12, 5, 12).await;
            leaves.stop().await;
        }
    }
    bed.until_handled("crowd", 12, 65).await;
    stays.stop().await;
    complaints.assert_none();
}

/// A process is killed again and again at any point: each event counts once, in order.
pub async fn a_crash_at_any_point_repeats_no_effect(bed: Bed) {
    let complaints = Complaints::default();
    for round in 0..6 {
        let consumers = bed.host(vec![following("victim", &complaints)]).await;
        bed.tick_all(8, 10, 8).await;
        // the kill comes when some of it is handled, and some is not
        let enough = round * 80 + 20;
        until("some is handled", async || {
            bed.progress("victim").await.iter().map(|(_, last)| last + 1).sum::<i64>() >= enough
        })
        .await;
        consumers.abort();
    }
    let consumers = bed.host(vec![following("victim", &complaints)]).await;
    bed.until_handled("victim", 8, 60).await;
    assert!(bed.dead_letters("victim").await.is_empty(), "{}", bed.name);
    consumers.stop().await;
    complaints.assert_none();
}

/// Blocks the waiting thread, as SIGSTOP blocks a process.
#[derive(Default)]
struct Ice {
    frozen: AtomicBool,
    thawed: Mutex<bool>,
    thaw: Condvar,
}

/// A member freezes in the middle of an effect, for longer than the lease: another member takes over. The late write
/// of the first member changes nothing.
pub async fn a_frozen_member_changes_nothing_once_thawed(bed: Bed) {
    let ice = Arc::new(Ice::default());
    let (db, log, bus) = (bed.database.db.clone(), bed.database.log.clone(), bed.bus.clone());
    let its_ice = ice.clone();
    let freezing = effecting("sleepers", move |_, _| {
        its_ice.frozen.store(true, Ordering::SeqCst);
        its_ice.thaw.wait_while(&mut its_ice.thawed.lock(), |thawed| !*thawed);
        async { Ok(()) }
    });
    // a thread and runtime of its own: nothing of this member goes on while its handler holds the thread
    let member = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let consumers = Consumers::start(db, log, bus, vec![freezing], options()).await.expect("it starts");
            tokio::time::sleep(Duration::from_secs(3600)).await;
            consumers.stop().await;
        });
    });
    bed.database.db.write(|tx| tick(tx, "cold")).await.expect("a tick");
    until("the member is frozen", async || ice.frozen.load(Ordering::SeqCst)).await;
    let numbers = Arc::new(Mutex::new(HashMap::<String, Vec<i64>>::new()));
    let seen = numbers.clone();
    let second = effecting("sleepers", move |_, events: Vec<Event>| {
        for event in events {
            let ticked: Ticked = event.decode().expect("a tick");
            seen.lock().entry(ticked.key).or_default().push(ticked.number);
        }
        async { Ok(()) }
    });
    let consumers = bed.host(vec![second]).await;
    until("the other took over", async || numbers.lock().contains_key("cold")).await;
    *ice.thawed.lock() = true;
    ice.thaw.notify_all();
    for _ in 0..5 {
        bed.database.db.write(|tx| tick(tx, "cold")).await.expect("a tick");
    }
    until("both together have all six", async || {
        let rows = bed.database.db.read(admin::consumers).await.expect("the lag");
        rows.iter().filter(|row| row.group == "sleepers").map(|row| row.position + 1).sum::<i64>() == 6
    })
    .await;
    assert!(bed.dead_letters("sleepers").await.is_empty(), "{}", bed.name);
    consumers.stop().await;
    // the frozen member's thread sleeps until the process ends
    drop(member);
}

/// A reset of a running group builds the projection anew, with the same result; a group with forbidden replay
/// refuses.
pub async fn a_reset_rebuilds_while_members_run(bed: Bed) {
    let complaints = Complaints::default();
    let groups = vec![following("rebuilt", &complaints), effecting("once", |_, _| async { Ok(()) })];
    let consumers = bed.host(groups.clone()).await;
    bed.tick_all(10, 30, 16).await;
    bed.until_handled("rebuilt", 10, 30).await;
    let (db, its_groups) = (&bed.database.db, groups.clone());
    db.write(move |tx| admin::reset(tx, &its_groups, "rebuilt", TICKS, ResetTo::Earliest)).await.expect("a reset");
    bed.database.log.ask_groups();
    bed.tick_all(10, 5, 16).await;
    bed.until_handled("rebuilt", 10, 35).await;
    let refused = db.write(move |tx| admin::reset(tx, &groups, "once", TICKS, ResetTo::Earliest)).await;
    assert!(matches!(refused, Err(ResetError::MustNotRepeat(_))), "{}: {refused:?}", bed.name);
    consumers.stop().await;
    complaints.assert_none();
}

/// A bus with unreliable subscribers.
struct Spoilt<F>(Arc<dyn Bus>, F);

impl<S: Subscriber, F: Fn(Arc<dyn Subscriber>) -> S + Send + Sync + 'static> Bus for Spoilt<F> {
    fn subscribe(&self, group: &str) -> Arc<dyn Subscriber> {
        Arc::new((self.1)(self.0.subscribe(group)))
    }
}

/// Leaves every third event out, and brings every fifth twice.
struct Leaky(Arc<dyn Subscriber>);

#[async_trait]
impl Subscriber for Leaky {
    async fn fetch(&self, topic: &str, partition: i32, after: i64, max: usize) -> Result<Vec<Event>, BusError> {
        let events = self.0.fetch(topic, partition, after, max).await?;
        let kept = events.iter().filter(|event| event.position % 3 != 1);
        let leaky: Vec<Event> = kept
            .flat_map(|event| std::iter::repeat_n(event.clone(), 1 + usize::from(event.position % 5 == 0)))
            .collect();
        // all of it would have been left out: then at least the last
        Ok(if leaky.is_empty() { events.into_iter().rev().take(1).collect() } else { leaky })
    }
}

/// Gaps of the bus are read from the log and raise the alarm; repeated events are skipped.
pub async fn a_gap_is_repaired_from_the_log_and_raises_the_alarm(bed: Bed) {
    let complaints = Complaints::default();
    let consumers =
        bed.host_on(Arc::new(Spoilt(bed.bus.clone(), Leaky)), vec![following("patient", &complaints)]).await;
    bed.tick_all(10, 30, 16).await;
    bed.until_handled("patient", 10, 30).await;
    assert!(consumers.alarms() > 0, "{}", bed.name);
    consumers.stop().await;
    complaints.assert_none();
}

/// Brings nothing but the newest event.
struct Hasty(Arc<dyn Subscriber>);

#[async_trait]
impl Subscriber for Hasty {
    async fn fetch(&self, topic: &str, partition: i32, after: i64, _max: usize) -> Result<Vec<Event>, BusError> {
        let mut events = self.0.fetch(topic, partition, after, usize::MAX >> 1).await?;
        Ok(events.pop().into_iter().collect())
    }
}

/// A gap larger than a batch is filled a batch at a time.
pub async fn a_gap_larger_than_a_batch_is_repaired(bed: Bed) {
    let complaints = Complaints::default();
    bed.tick_all(2, 180, 32).await;
    let consumers =
        bed.host_on(Arc::new(Spoilt(bed.bus.clone(), Hasty)), vec![following("diligent", &complaints)]).await;
    bed.until_handled("diligent", 2, 180).await;
    assert!(consumers.alarms() > 0, "{}", bed.name);
    consumers.stop().await;
    complaints.assert_none();
}

/// Brings nothing, for this reason.
struct Mute(Silence);

#[async_trait]
impl Subscriber for Mute {
    async fn fetch(&self, _: &str, _: i32, _: i64, _: usize) -> Result<Vec<Event>, BusError> {
        sleep(Duration::from_millis(10)).await;
        Ok(Vec::new())
    }

    async fn silence(&self, _: &str, _: i32) -> Silence {
        self.0
    }
}

/// Acknowledged events that the bus does not bring are read from the log. Only lost ones raise the alarm.
pub async fn a_bus_that_is_late_raises_no_alarm(bed: Bed) {
    if !bed.is_relayed() {
        return;
    }
    let complaints = Complaints::default();
    let options = ConsumerOptions { overdue: Duration::from_millis(400), ..options() };
    bed.tick_all(10, 3, 16).await;
    for (group, silence) in [("late", Silence::Late), ("deaf", Silence::Deaf), ("lost", Silence::Lost)] {
        let mute = Arc::new(Spoilt(bed.bus.clone(), move |_| Mute(silence)));
        let consumers = bed.host_with(mute, vec![following(group, &complaints)], options.clone()).await;
        bed.until_handled(group, 10, 3).await;
        assert_eq!(consumers.alarms() > 0, silence == Silence::Lost, "{}: {silence:?}", bed.name);
        consumers.stop().await;
    }
    complaints.assert_none();
}

/// Collects the numbers of `key`.
fn collecting(group: &'static str, key: &'static str) -> (Group, Arc<Mutex<Vec<i64>>>) {
    let numbers = Arc::new(Mutex::new(Vec::new()));
    let its = numbers.clone();
    let group = effecting(group, move |_, events: Vec<Event>| {
        let ticked = events.iter().map(|event| event.decode::<Ticked>().expect("a tick"));
        its.lock().extend(ticked.filter(|ticked| ticked.key == key).map(|ticked| ticked.number));
        async { Ok(()) }
    });
    (group, numbers)
}

/// A group that starts from now gets all later events, including events emitted in the group's absence and all events
/// of an added partition.
pub async fn a_group_that_starts_now_misses_nothing_from_then_on(bed: Bed) {
    bed.tick_all(1, 5, 1).await;
    bed.until_numbered(5).await;
    let (mut group, numbers) = collecting("newcomer", "key-0");
    group.start = Start::Now;
    let seen = |count: i64| {
        let numbers = numbers.clone();
        async move {
            until("the new ones are handled", async || numbers.lock().len() as i64 >= count).await;
            assert!(numbers.lock().iter().copied().eq(5..5 + count));
        }
    };
    let consumers = bed.host(vec![group.clone()]).await;
    bed.tick_all(1, 3, 1).await;
    seen(3).await;
    consumers.stop().await;
    bed.tick_all(1, 3, 1).await;
    let consumers = bed.host(vec![group.clone()]).await;
    seen(6).await;
    consumers.stop().await;
    let gained = format!(
        "INSERT INTO topic_partition (topic, partition, next, epoch)
         SELECT topic, {PARTITIONS}, 7, epoch FROM topic_partition WHERE topic = '{TICKS}' AND partition = 0"
    );
    let gain = move |tx: &mut db::Tx<'_>| -> db::Result<()> { Ok(tx.batch_execute(&gained)?) };
    bed.database.db.write(gain).await.expect("one more partition");
    bed.host(vec![group]).await.stop().await;
    let rows = bed.database.db.read(admin::consumers).await.expect("the lag");
    let row = rows.iter().find(|row| row.partition == PARTITIONS).expect("the partition gained");
    assert_eq!((row.position, row.lag), (-1, 7), "{}", bed.name);
}

/// A reset forgets dead letters and parked events: all of these events come again.
pub async fn a_reset_brings_back_what_is_dead_and_parked(bed: Bed) {
    let complaints = Complaints::default();
    let broken = Arc::new(AtomicBool::new(true));
    let its = broken.clone();
    let group = following_but("mended", &complaints, move |ticked: &Ticked| match ticked.key == "key-1" {
        true if its.load(Ordering::SeqCst) => Err(HandlerError::Failed("not yet".into())),
        _ => Ok(()),
    });
    let groups = vec![group];
    let consumers = bed.host(groups.clone()).await;
    bed.tick_all(3, 8, 4).await;
    bed.until_handled("mended", 2, 8).await;
    until("it is dead", async || bed.dead_letters("mended").await.len() == 1).await;
    broken.store(false, Ordering::SeqCst);
    let reset = move |tx: &mut db::Tx<'_>| admin::reset(tx, &groups, "mended", TICKS, ResetTo::Earliest);
    bed.database.db.write(reset).await.expect("a reset");
    bed.database.log.ask_groups();
    bed.until_handled("mended", 3, 8).await;
    assert!(bed.dead_letters("mended").await.is_empty(), "{}", bed.name);
    consumers.stop().await;
    complaints.assert_none();
}
