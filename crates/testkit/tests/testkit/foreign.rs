//! External topics: existing records are noticed and read from the start, on every database.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use db::Tx;
use db::types::{Id, Time};
use messaging::admin::{self, ResetTo};
use messaging::{
    Bus, BusError, ConsumerOptions, Consumers, Event, Foreign, ForeignBus, Group, Handler, HandlerError, Replay, Start,
    Subscriber, Subscription, TransactionalHandler,
};
use parking_lot::{Mutex, MutexGuard};
use testkit::TestDatabase;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const GROUP: &str = "reader";

/// A bus in memory: texts of records by topic and partition; an empty text is no event.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    cluster: String,
    topics: BTreeMap<String, Vec<Vec<String>>>,
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    fn set(&self, topic: &str, partitions: &[&[&str]]) {
        let partitions = partitions.iter().map(|records| records.iter().map(ToString::to_string).collect()).collect();
        self.state().topics.insert(topic.to_owned(), partitions);
    }

    fn records(&self, topic: &str, partition: i32, after: i64, max: usize) -> Vec<Event> {
        let state = self.state();
        let records = state.topics.get(topic).and_then(|partitions| partitions.get(partition as usize));
        let event = |(text, offset): (&String, i64)| match text.as_str() {
            "" => Event::skipped(topic.into(), partition, offset),
            text => Event {
                id: Id::new(),
                kind: "test.thing".into(),
                key: text.to_owned(),
                payload: "{}".into(),
                occurred_at: Time::now(),
                ..Event::skipped(topic.into(), partition, offset)
            },
        };
        let behind = records.into_iter().flatten().zip(0..).filter(|(_, offset)| *offset > after);
        behind.take(max).map(event).collect()
    }
}

#[async_trait]
impl ForeignBus for Memory {
    async fn cluster(&self) -> Result<String, BusError> {
        Ok(self.state().cluster.clone())
    }

    async fn topics(&self) -> Result<BTreeMap<String, i32>, BusError> {
        Ok(self.state().topics.iter().map(|(name, partitions)| (name.clone(), partitions.len() as i32)).collect())
    }

    async fn held(&self, topic: &str, _partitions: i32) -> Result<Vec<Range<i64>>, BusError> {
        Ok(self.state().topics[topic].iter().map(|records| 0..records.len() as i64).collect())
    }

    fn read(&self) -> Arc<dyn Bus> {
        Arc::new(self.clone())
    }
}

impl Bus for Memory {
    fn subscribe(&self, _group: &str) -> Arc<dyn Subscriber> {
        Arc::new(self.clone())
    }
}

#[async_trait]
impl Subscriber for Memory {
    async fn fetch(&self, topic: &str, partition: i32, after: i64, max: usize) -> Result<Vec<Event>, BusError> {
        let found = self.records(topic, partition, after, max);
        if found.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(found)
    }
}

/// Keeps the handled events: `topic/partition/position key`.
#[derive(Clone, Default)]
struct Keep(Arc<Mutex<Vec<String>>>);

impl TransactionalHandler for Keep {
    fn handle(&self, tx: &mut Tx<'_>, events: &[Event]) -> Result<(), HandlerError> {
        let line = |event: &Event| format!("{}/{}/{} {}", event.topic, event.partition, event.position, event.key);
        let (kept, lines) = (self.0.clone(), events.iter().map(line).collect::<Vec<_>>());
        tx.after_commit(move || kept.lock().extend(lines));
        Ok(())
    }
}

/// A process that reads the topics of `prefix`.
struct Process {
    consumers: Consumers,
    foreign: Foreign,
    stop: CancellationToken,
    keeping: JoinHandle<()>,
}

fn group(keep: &Keep) -> Group {
    let handler = Handler::Transactional(Arc::new(keep.clone()));
    Group { name: GROUP, topics: Vec::new(), replay: Replay::Resendable, start: Start::Floor, handler }
}

impl Process {
    async fn start(of: &TestDatabase, bus: &Memory, keep: &Keep) -> Self {
        let subscription = Subscription { group: GROUP, topics: vec!["named".into()], prefix: Some("a.".into()) };
        let bus = Arc::new(bus.clone());
        let foreign = Foreign::new(of.db.clone(), of.log.clone(), Some(bus), vec![subscription], vec!["a.own".into()]);
        let options = ConsumerOptions { lease: Duration::from_secs(1), ..ConsumerOptions::default() };
        let started = Consumers::start(of.db.clone(), of.log.clone(), foreign.bus(), vec![group(keep)], options).await;
        let stop = CancellationToken::new();
        let keeping = tokio::spawn(foreign.clone().keep(stop.clone()));
        Self { consumers: started.unwrap(), foreign, stop, keeping }
    }

    async fn stop(self) {
        self.consumers.stop().await;
        self.stop.cancel();
        self.keeping.await.unwrap();
    }
}

/// Waits until exactly the expected lines were handled, in any order across partitions; then forgets the lines.
async fn handled(keep: &Keep, expected: &[&str], when: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let mut lines = keep.0.lock().clone();
        lines.sort();
        if lines == expected {
            return keep.0.lock().clear();
        }
        assert!(Instant::now() < deadline && lines.len() <= expected.len(), "{when}: {lines:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_write_is_read_once_from_its_start_and_what_is_new_is_noticed() {
    for of in testkit::databases().await {
        let (bus, keep) = (Memory::default(), Keep::default());
        bus.set("a.one", &[&["x", "", "y"], &["z"]]);
        bus.set("b.other", &[&["not read"]]);
        bus.set("a.own", &[&["not read"]]);
        bus.set("__offsets", &[&["not read"]]);
        let process = Process::start(&of, &bus, &keep).await;
        handled(&keep, &["a.one/0/0 x", "a.one/0/2 y", "a.one/1/0 z"], "at first").await;
        // another partition, another topic, and the one that was named
        bus.set("a.one", &[&["x", "", "y"], &["z"], &["w"]]);
        bus.set("a.two", &[&["v"]]);
        bus.set("named", &[&["", "u"]]);
        handled(&keep, &["a.one/2/0 w", "a.two/0/0 v", "named/0/1 u"], "what is new").await;
        process.stop().await;
        bus.set("a.two", &[&["v", "v2"]]);
        let process = Process::start(&of, &bus, &keep).await;
        handled(&keep, &["a.two/0/1 v2"], "started again").await;
        process.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_anew_and_another_cluster_are_read_from_their_start() {
    for of in testkit::databases().await {
        let (bus, keep) = (Memory::default(), Keep::default());
        bus.set("named", &[&["x", "y", "z"]]);
        let process = Process::start(&of, &bus, &keep).await;
        handled(&keep, &["named/0/0 x", "named/0/1 y", "named/0/2 z"], "at first").await;
        bus.set("named", &[&["new"]]);
        handled(&keep, &["named/0/0 new"], "made anew").await;
        bus.state().cluster = "another".into();
        handled(&keep, &["named/0/0 new"], "on another cluster").await;
        process.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_how_far_a_group_is_and_set_it_back() {
    for of in testkit::databases().await {
        let (bus, keep) = (Memory::default(), Keep::default());
        bus.set("named", &[&["x", "y", "z"], &[]]);
        let process = Process::start(&of, &bus, &keep).await;
        handled(&keep, &["named/0/0 x", "named/0/1 y", "named/0/2 z"], "at first").await;
        let (foreign, reading) = (process.foreign.clone(), group(&keep));
        let lags = of.db.read(move |conn| foreign.lags(conn)).await.unwrap();
        let shown: Vec<_> = lags.iter().map(|lag| (lag.partition, lag.position, lag.end, lag.lag)).collect();
        assert_eq!(shown, [(0, 2, 2, 0), (1, -1, -1, 0)], "{}", of.name);
        let in_log = of.db.read(admin::consumers).await.unwrap();
        assert!(in_log.iter().all(|lag| lag.topic != "named"), "{in_log:?}");
        for (to, expected) in [
            (ResetTo::Position(1), &["named/0/1 y", "named/0/2 z"][..]),
            (ResetTo::Earliest, &["named/0/0 x", "named/0/1 y", "named/0/2 z"]),
        ] {
            let (foreign, reading) = (process.foreign.clone(), reading.clone());
            let reset = of.db.write(move |tx| foreign.reset(tx, std::slice::from_ref(&reading), GROUP, "named", to));
            reset.await.unwrap();
            of.log.ask_groups();
            handled(&keep, expected, "after a reset").await;
        }
        let foreign = process.foreign.clone();
        let to = ResetTo::Timestamp(Time::now());
        let by_time = of.db.write(move |tx| foreign.reset(tx, std::slice::from_ref(&reading), GROUP, "named", to));
        assert!(matches!(by_time.await, Err(admin::ResetError::NoTimestamp)));
        process.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_what_others_write() {
    for of in testkit::databases().await.into_iter().filter(|of| of.db.is_shared()) {
        let (bus, keep) = (Memory::default(), Keep::default());
        bus.set("named", &[&["x"], &["y"], &["z"], &["w"]]);
        let processes = [Process::start(&of, &bus, &keep).await, Process::start(&of, &bus, &keep).await];
        handled(&keep, &["named/0/0 x", "named/1/0 y", "named/2/0 z", "named/3/0 w"], "by both").await;
        bus.set("named", &[&["x", "1"], &["y", "1"], &["z", "1"], &["w", "1"]]);
        handled(&keep, &["named/0/1 1", "named/1/1 1", "named/2/1 1", "named/3/1 1"], "by both, later").await;
        for process in processes {
            process.stop().await;
        }
    }
}
