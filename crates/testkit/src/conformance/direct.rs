//! What is promised of topics whose events may go straight to the bus.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use db::types::Time;
use messaging::admin::{EventQuery, StoredEvent};
use messaging::{
    Bus, BusError, Consumers, Direct, DirectBus, DirectTopic, EmitError, Event, GiveUpError, InProcess, Subscriber,
    TopicSpec, follow_log,
};
use messaging_kafka::MockKafka;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{PARTITIONS, TICKS, Ticked, effecting, make_tables, options, until};
use crate::{TestDatabase, databases_with, kafka};

const GROUP: &str = "direct";
const KEYS: usize = 5;

/// A database, and a bus that takes events without its log.
pub struct DirectBed {
    /// For messages.
    pub name: String,
    pub database: TestDatabase,
    pub bus: Arc<dyn DirectBus>,
    _follower: DropGuard,
    _mock: Option<MockKafka>,
}

/// A fresh bed of each kind that is to be had here.
pub async fn direct_beds() -> Vec<DirectBed> {
    let topics = [(TICKS, PARTITIONS)];
    let mut beds = Vec::new();
    let mock = MockKafka::new(&topics);
    let bus = Arc::new(mock.connect().expect("its options").direct());
    let on_mock = beds_on("librdkafka's mock cluster", bus).await.into_iter().next();
    beds.extend(on_mock.map(|bed| DirectBed { _mock: Some(mock), ..bed }));
    if let Some(cluster) = kafka(&topics).await {
        beds.extend(beds_on("Kafka", Arc::new(cluster.direct())).await);
    }
    beds
}

/// On each kind of database, with a bus in memory that does as it is told.
pub async fn beds_in_memory() -> Vec<(DirectBed, MemoryBus)> {
    let mut beds = Vec::new();
    for bed in beds_on("memory", Arc::new(MemoryBus::default())).await {
        let bus = MemoryBus::default();
        beds.push((DirectBed { bus: Arc::new(bus.clone()), ..bed }, bus));
    }
    beds
}

async fn beds_on(name: &str, bus: Arc<dyn DirectBus>) -> Vec<DirectBed> {
    let topics = [TopicSpec { name: TICKS.into(), partitions: PARTITIONS, direct: true }];
    let mut beds = Vec::new();
    for database in databases_with(&topics).await {
        make_tables(&database.db).await;
        let stop = CancellationToken::new();
        tokio::spawn(follow_log(database.db.clone(), database.log.clone(), stop.clone()));
        let name = format!("{name} beside {}", database.name);
        beds.push(DirectBed { name, database, bus: bus.clone(), _follower: stop.drop_guard(), _mock: None });
    }
    beds
}

/// What one process knows of the topic.
struct Process {
    direct: Direct,
    _stop: DropGuard,
}

impl Process {
    /// Waits until it has seen that this is another cluster than the one that events wait on.
    async fn is_told_of(&self, cluster: &str) {
        until("it is told", async || {
            self.direct.refresh().await.expect("it looks");
            self.direct.away().is_some_and(|away| away.contains(cluster))
        })
        .await;
    }
}

/// Key and number of all that was handled, in that order.
type Seen = Arc<Mutex<Vec<(String, i64)>>>;

impl DirectBed {
    /// A process by whose settings events go straight to the bus, or through the log.
    fn process(&self, direct: bool) -> Process {
        self.process_with(direct, 1_000_000)
    }

    fn process_with(&self, direct: bool, max_waiting: i64) -> Process {
        let topic = DirectTopic { name: TICKS, direct, max_waiting };
        let (db, log) = (self.database.db.clone(), self.database.log.clone());
        let (direct, stop) = (Direct::new(db, log, Some(self.bus.clone()), vec![topic]), CancellationToken::new());
        tokio::spawn(direct.clone().keep(stop.clone()));
        Process { direct, _stop: stop.drop_guard() }
    }

    /// The same, which moves the topic.
    async fn started(&self, direct: bool) -> Process {
        let process = self.process(direct);
        let of = process.direct.clone();
        self.database.db.write(move |tx| of.settle(tx)).await.expect("the topic moves");
        process.direct.refresh().await.expect("it looks");
        process
    }

    async fn host(&self, process: &Process, seen: &Seen) -> Consumers {
        let seen = seen.clone();
        let group = effecting(GROUP, move |_, events| {
            let ticks = events.iter().map(|event| event.decode::<Ticked>().expect("a tick"));
            seen.lock().extend(ticks.map(|tick| (tick.key, tick.number)));
            async { Ok(()) }
        });
        let (db, log) = (self.database.db.clone(), self.database.log.clone());
        let bus = process.direct.bus(Arc::new(InProcess::new(db.clone(), log.clone())));
        Consumers::start(db, log, bus, vec![group], options()).await.expect("the group starts")
    }
}

fn tick(key: &str, number: i64) -> Ticked {
    Ticked { key: key.into(), number }
}

/// Asks until it is taken; how often it may have been taken besides.
async fn taken(direct: &Direct, key: &str, number: i64) -> usize {
    let mut unknown = 0;
    loop {
        match direct.emit(tick(key, number)).await {
            Ok(()) => return unknown,
            Err(EmitError::Unknown(_)) => unknown += 1,
            Err(EmitError::Unavailable(_) | EmitError::Busy(_) | EmitError::Database(_)) => {}
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// The first time that each number of each key was handled is in the order of the numbers, and all are there. How
/// often something was handled again.
fn in_order(seen: &Seen, counts: &BTreeMap<String, i64>, name: &str) -> usize {
    let seen = seen.lock();
    let mut next = BTreeMap::<&str, i64>::new();
    let mut again = 0;
    for (key, number) in seen.iter() {
        let next = next.entry(key).or_default();
        assert!(*number <= *next, "{name}: {key} {number} came before {next}");
        again += usize::from(*number < *next);
        *next = (*next).max(*number + 1);
    }
    for (key, count) in counts {
        assert_eq!(next.get(&**key), Some(count), "{name}: {key}");
    }
    again
}

/// The topic moves to and fro under load: all that was taken is handled, in the order of each key.
///
/// # Panics
/// When it does not hold.
pub async fn moving_loses_nothing_and_keeps_the_order(bed: DirectBed) {
    let seen = Seen::default();
    let first = bed.started(false).await;
    let consumers = bed.host(&first, &seen).await;
    let current = Arc::new(tokio::sync::RwLock::new(first.direct.clone()));
    let stop = CancellationToken::new();
    // on SQLite there is one process, which takes nothing any more when the next one starts
    let is_shared = bed.database.db.is_shared();
    let tickers: Vec<JoinHandle<(i64, usize)>> = (0..KEYS)
        .map(|n| {
            let (current, stop) = (current.clone(), stop.clone());
            tokio::spawn(async move {
                let (mut number, mut unknown) = (0, 0);
                while !stop.is_cancelled() {
                    let guard = current.read().await;
                    let direct = guard.clone();
                    let _held = (!is_shared).then_some(guard);
                    unknown += match tokio::time::timeout(Duration::from_secs(2), taken(&direct, &key(n), number)).await
                    {
                        Ok(unknown) => unknown,
                        Err(_) => {
                            unknown += 1;
                            continue; // by the process that is there now
                        }
                    };
                    number += 1;
                    sleep(Duration::from_millis(5)).await;
                }
                (number, unknown)
            })
        })
        .collect();
    let mut processes = vec![first];
    for direct in [true, false, true, false, true] {
        let before = seen.lock().len();
        let mut current = current.write().await;
        let process = bed.started(direct).await;
        *current = process.direct.clone();
        drop(current);
        processes.push(process);
        until(&format!("{}: some are handled on the other side", bed.name), async || seen.lock().len() > before + 50)
            .await;
    }
    stop.cancel();
    let (mut counts, mut unknown) = (BTreeMap::new(), 0);
    for (n, ticker) in tickers.into_iter().enumerate() {
        let (count, of_key) = ticker.await.expect("no panic");
        counts.insert(key(n), count);
        unknown += of_key;
    }
    let last = processes.last().expect("some");
    until(&format!("{}: all is handled", bed.name), async || {
        last.direct.refresh().await.expect("it looks");
        last.direct.waiting() == 0
    })
    .await;
    assert!(in_order(&seen, &counts, &bed.name) <= unknown, "{}: only what nobody knew of is there twice", bed.name);
    consumers.stop().await;
}

fn key(n: usize) -> String {
    format!("key-{n}")
}

/// A drained topic takes nothing; what it had taken is handled, and a process that starts opens it again.
///
/// # Panics
/// When it does not hold.
pub async fn a_drained_topic_ends_and_is_opened_again(bed: DirectBed) {
    let seen = Seen::default();
    let process = bed.started(true).await;
    let mut unknown = 0;
    for number in 0..20 {
        unknown += taken(&process.direct, "a", number).await;
    }
    // nobody handles them yet, and already nothing more is taken
    process.direct.close().await.expect("it is closed");
    let refused = process.direct.emit(tick("a", 20)).await;
    assert!(matches!(refused, Err(EmitError::Unavailable(_))), "{}: {refused:?}", bed.name);
    let consumers = bed.host(&process, &seen).await;
    until(&format!("{}: it is drained", bed.name), async || {
        process.direct.refresh().await.expect("it looks");
        process.direct.is_drained()
    })
    .await;
    in_order(&seen, &[("a".to_owned(), 20)].into(), &bed.name);
    let next = bed.started(true).await;
    unknown += taken(&next.direct, "a", 20).await;
    until(&format!("{}: the new one is handled", bed.name), async || {
        next.direct.refresh().await.expect("it looks");
        next.direct.waiting() == 0
    })
    .await;
    assert!(in_order(&seen, &[("a".to_owned(), 21)].into(), &bed.name) <= unknown, "{}", bed.name);
    consumers.stop().await;
}

/// Whoever has other settings than the process that moved the topic takes nothing.
///
/// # Panics
/// When it does not hold.
pub async fn a_process_with_other_settings_takes_nothing(bed: DirectBed) {
    let _moved = bed.started(true).await;
    let other = bed.process(false);
    let refused = other.direct.emit(tick("a", 0)).await;
    assert!(matches!(refused, Err(EmitError::Unavailable(_))), "{}: {refused:?}", bed.name);
}

/// When too many wait, no more are taken, until some are handled.
///
/// # Panics
/// When it does not hold.
pub async fn too_many_that_wait_are_refused(bed: DirectBed) {
    let seen = Seen::default();
    bed.host(&bed.process(true), &seen).await.stop().await; // known, and away
    let _moved = bed.started(true).await;
    let process = bed.process_with(true, 10);
    process.direct.refresh().await.expect("it looks");
    let mut number = 0;
    let waiting = loop {
        match process.direct.emit(tick("a", number)).await {
            Ok(()) => number += 1,
            Err(EmitError::Busy(waiting)) => break waiting,
            Err(error) => panic!("{}: {error}", bed.name),
        }
        sleep(Duration::from_millis(20)).await;
    };
    assert!(waiting > 10 && waiting <= number, "{}: {waiting} of {number}", bed.name);
    let consumers = bed.host(&process, &seen).await;
    taken(&process.direct, "a", number).await;
    consumers.stop().await;
}

/// An event that reaches the bus when its epoch has long ended was not taken, and is not handled.
///
/// # Panics
/// When it does not hold.
pub async fn a_frozen_sender_takes_nothing_once_thawed(bed: DirectBed, bus: MemoryBus) {
    if !bed.database.db.is_shared() {
        return; // one process, which nobody takes over from
    }
    let seen = Seen::default();
    let frozen = bed.started(true).await;
    let consumers = bed.host(&frozen, &seen).await;
    let thaw = bus.freeze();
    let late = {
        let direct = frozen.direct.clone();
        tokio::spawn(async move { direct.emit(tick("late", 0)).await })
    };
    until("the event is on its way", async || bus.waits()).await;
    let next = bed.started(false).await;
    taken(&next.direct, "a", 0).await;
    until("the new epoch is read", async || !seen.lock().is_empty()).await;
    thaw.add_permits(1);
    let answer = late.await.expect("no panic");
    assert!(matches!(answer, Err(EmitError::Unknown(_))), "{}: {answer:?}", bed.name);
    taken(&next.direct, "a", 1).await;
    until("the next one is handled", async || seen.lock().len() > 1).await;
    assert_eq!(*seen.lock(), [("a".into(), 0), ("a".into(), 1)]);
    consumers.stop().await;
}

/// A topic that was deleted on the bus begins again in a new epoch.
///
/// # Panics
/// When it does not hold.
pub async fn a_deleted_topic_begins_again(bed: DirectBed, bus: MemoryBus) {
    let seen = Seen::default();
    let process = bed.started(true).await;
    let consumers = bed.host(&process, &seen).await;
    for number in 0..10 {
        taken(&process.direct, "a", number).await;
    }
    until("all are handled", async || seen.lock().len() == 10).await;
    until("it is seen that they are", async || {
        process.direct.refresh().await.expect("it looks");
        process.direct.waiting() == 0
    })
    .await;
    bus.delete();
    until("a new epoch has begun", async || {
        process.direct.refresh().await.expect("it looks");
        process.direct.is_drained() && process.direct.epoch(TICKS).is_some_and(|epoch| epoch.number == 1)
    })
    .await;
    taken(&process.direct, "a", 10).await;
    until("the new one is handled", async || seen.lock().len() == 11).await;
    in_order(&seen, &[("a".to_owned(), 11)].into(), &bed.name);
    consumers.stop().await;
}

/// On another cluster nothing is taken or read as long as something may wait on the former.
///
/// # Panics
/// When it does not hold.
pub async fn another_cluster_is_not_mistaken(bed: DirectBed, bus: MemoryBus) {
    let seen = Seen::default();
    let process = bed.started(true).await;
    taken(&process.direct, "a", 0).await;
    bus.be("another");
    process.is_told_of("another").await;
    let refused = process.direct.emit(tick("a", 1)).await;
    assert!(matches!(refused, Err(EmitError::Unavailable(_))), "{}: {refused:?}", bed.name);
    let consumers = bed.host(&process, &seen).await;
    let (asked, read) = bus.asked();
    until("it was asked again and again", async || bus.asked().0 > asked + 2).await;
    assert_eq!(bus.asked().1, read, "{}: nobody moves past what the other one holds", bed.name);
    bus.be(MemoryBus::CLUSTER);
    taken(&process.direct, "a", 1).await;
    until("both are handled", async || seen.lock().len() == 2).await;
    consumers.stop().await;
}

/// While the bus is away, the ends of its topics are told as they were last seen: nobody waits for its answer.
///
/// # Panics
/// When it does not hold.
pub async fn a_bus_that_is_away_is_not_asked_where_it_ends(bed: DirectBed, bus: MemoryBus) {
    const TIMES: usize = 100;
    let process = bed.started(true).await;
    taken(&process.direct, "a", 0).await;
    let ends = async || process.direct.ends().await.expect("the ends");
    let there = format!("{:?}", ends().await);
    bus.be("another");
    process.is_told_of("another").await;
    let (asked, _) = bus.asked();
    for _ in 0..TIMES {
        assert_eq!(format!("{:?}", ends().await), there, "{}", bed.name);
    }
    let more = bus.asked().0 - asked;
    assert!(more < TIMES, "{}: it was asked {more} times, and not by the one who looks after it alone", bed.name);
}

/// What waits on a cluster that is lost can be given up, and not what waits on one that answers; then all goes on.
///
/// # Panics
/// When it does not hold.
pub async fn what_a_lost_cluster_holds_is_given_up(bed: DirectBed, bus: MemoryBus) {
    let seen = Seen::default();
    let process = bed.started(true).await;
    let consumers = bed.host(&process, &seen).await;
    taken(&process.direct, "a", 0).await;
    until("it is handled", async || seen.lock().len() == 1).await;
    consumers.stop().await;
    taken(&process.direct, "a", 1).await;
    let refused = process.direct.give_up(TICKS).await;
    assert!(matches!(refused, Err(GiveUpError::Answers(..))), "{}: {refused:?}", bed.name);
    bus.delete();
    bus.be("another");
    process.is_told_of("another").await;
    let (known, lost) = (process.direct.lost(TICKS).await, process.direct.give_up(TICKS).await.expect("it is lost"));
    assert_eq!(known.expect("the same"), lost, "{}", bed.name);
    let told: Vec<_> = lost.iter().map(|lost| (lost.epoch, lost.cluster.as_deref(), lost.events)).collect();
    assert_eq!(told, [(0, Some(MemoryBus::CLUSTER), None)], "{}: it was open", bed.name);
    taken(&process.direct, "a", 2).await;
    let consumers = bed.host(&process, &seen).await;
    until("the next is handled", async || seen.lock().len() == 2).await;
    assert_eq!(*seen.lock(), [("a".into(), 0), ("a".into(), 2)]);
    consumers.stop().await;

    // one whose end is known tells how many they are
    for number in 3..6 {
        taken(&process.direct, "a", number).await;
    }
    process.direct.close().await.expect("it is closed");
    let lost = async || process.direct.lost(TICKS).await;
    until("its end is known", async || {
        matches!(lost().await, Err(GiveUpError::Answers(..))) && {
            bus.be("a third");
            let is_known = lost().await.is_ok_and(|lost| lost.iter().all(|lost| lost.events == Some(3)));
            bus.be("another");
            is_known
        }
    })
    .await;
    bus.be("a third");
    assert_eq!(process.direct.give_up(TICKS).await.expect("it is lost")[0].events, Some(3), "{}", bed.name);
    process.direct.refresh().await.expect("it looks");
    assert!(process.direct.is_drained() && process.direct.epoch(TICKS).is_none(), "{}: closed as before", bed.name);
}

/// What the bus holds is listed and found as what is in the log is, the newest first.
///
/// # Panics
/// When it does not hold.
pub async fn what_is_on_the_bus_is_listed(bed: DirectBed) {
    let process = bed.started(true).await;
    for number in 0..12 {
        taken(&process.direct, &format!("key-{}", number % 3), number).await;
    }
    let query = EventQuery { topic: Some(TICKS.into()), ..EventQuery::default() };
    let all = process.direct.events(&query, 100).await.expect("a list");
    let numbers = |list: &[StoredEvent]| -> Vec<i64> {
        list.iter().map(|stored| stored.event.decode::<Ticked>().expect("a tick").number).collect()
    };
    assert_eq!(numbers(&all), (0..12).rev().collect::<Vec<_>>(), "{}", bed.name);
    let after = EventQuery { after: Some(all[4].event.id), ..query.clone() };
    let page = process.direct.events(&after, 3).await.expect("a page");
    assert_eq!(numbers(&page), [6, 5, 4], "{}", bed.name);
    let of_key = EventQuery { key: Some("key-1".into()), ..query.clone() };
    assert_eq!(numbers(&process.direct.events(&of_key, 100).await.expect("a key")), [10, 7, 4, 1], "{}", bed.name);
    let found = process.direct.event(all[7].event.id).await.expect("a look");
    assert_eq!(found.as_ref(), Some(&all[7].event), "{}", bed.name);
    assert_eq!(process.direct.event(db::types::Id::new()).await.expect("a look"), None, "{}", bed.name);
    // those of the next epoch are behind them
    process.direct.close().await.expect("it is closed");
    let next = bed.started(true).await;
    taken(&next.direct, "key-0", 12).await;
    let both = next.direct.events(&query, 100).await.expect("a list");
    assert_eq!(numbers(&both), (0..13).rev().collect::<Vec<_>>(), "{}", bed.name);
    assert!(both[0].event.position > both.iter().skip(1).map(|stored| stored.event.position).max().unwrap_or(0));
}

/// A bus in memory.
#[derive(Clone, Default)]
pub struct MemoryBus(Arc<Memory>);

#[derive(Default)]
struct Memory {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    partitions: BTreeMap<i32, Vec<Event>>,
    cluster: Option<String>,
    frozen: Option<Arc<Semaphore>>,
    waiting: bool,
    /// How often it was asked which cluster it is, and for events.
    asked: (usize, usize),
}

impl MemoryBus {
    const CLUSTER: &str = "memory";

    fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.0.state.lock()
    }

    /// The next event waits for a permit.
    fn freeze(&self) -> Arc<Semaphore> {
        let thaw = Arc::new(Semaphore::new(0));
        self.state().frozen = Some(thaw.clone());
        thaw
    }

    fn waits(&self) -> bool {
        self.state().waiting
    }

    fn asked(&self) -> (usize, usize) {
        self.state().asked
    }

    fn delete(&self) {
        self.state().partitions.clear();
    }

    fn be(&self, cluster: &str) {
        self.state().cluster = Some(cluster.into());
    }
}

#[async_trait]
impl DirectBus for MemoryBus {
    async fn send(&self, event: &Event) -> Result<i64, BusError> {
        let frozen = self.state().frozen.take();
        if let Some(frozen) = frozen {
            self.state().waiting = true;
            let permit = frozen.acquire().await;
            permit.map_err(|error| BusError::Unavailable(error.to_string()))?.forget();
        }
        let mut state = self.state();
        let partition = state.partitions.entry(event.partition).or_default();
        partition.push(event.clone());
        self.0.changed.notify_waiters();
        Ok(partition.len() as i64 - 1)
    }

    async fn held(&self, _topic: &str, partitions: i32) -> Result<Vec<Range<i64>>, BusError> {
        let state = self.state();
        Ok((0..partitions).map(|n| 0..state.partitions.get(&n).map_or(0, Vec::len) as i64).collect())
    }

    async fn newest(
        &self,
        _topic: &str,
        partitions: i32,
        _before: Option<Time>,
        count: usize,
    ) -> Result<Vec<Vec<Event>>, BusError> {
        let state = self.state();
        let newest = |n| {
            let all = state.partitions.get(&n).into_iter().flatten().zip(0..);
            let mut all: Vec<_> = all.map(|(event, offset)| Event { position: offset, ..event.clone() }).collect();
            all.split_off(all.len().saturating_sub(count))
        };
        Ok((0..partitions).map(newest).collect())
    }

    async fn cluster(&self) -> Result<String, BusError> {
        let mut state = self.state();
        state.asked.0 += 1;
        Ok(state.cluster.clone().unwrap_or_else(|| Self::CLUSTER.into()))
    }

    fn read(&self) -> Arc<dyn Bus> {
        Arc::new(self.clone())
    }
}

impl Bus for MemoryBus {
    fn subscribe(&self, _group: &str) -> Arc<dyn Subscriber> {
        Arc::new(self.clone())
    }
}

#[async_trait]
impl Subscriber for MemoryBus {
    async fn fetch(&self, _topic: &str, partition: i32, after: i64, max: usize) -> Result<Vec<Event>, BusError> {
        self.state().asked.1 += 1;
        let changed = self.0.changed.notified();
        let found = || -> Vec<Event> {
            let state = self.state();
            let events = state.partitions.get(&partition).into_iter().flatten().zip(0..);
            let behind = events.filter(|(_, offset)| *offset > after).take(max);
            behind.map(|(event, offset)| Event { position: offset, ..event.clone() }).collect()
        };
        let events = found();
        if !events.is_empty() {
            return Ok(events);
        }
        drop(tokio::time::timeout(Duration::from_millis(200), changed).await);
        Ok(found())
    }
}
