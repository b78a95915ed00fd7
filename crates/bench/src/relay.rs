//! From PostgreSQL to Kafka: the relay against librdkafka alone, and how soon an event is there.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use db::types::Id;
use db::{Database, Tx};
use messaging::{
    Bus, BusError, ConsumerOptions, Consumers, DomainEvent, Event, Group, Handler, HandlerError, InProcess, Log,
    Publisher, Replay, Start, TopicSpec, TransactionalHandler, follow_log, relay_group,
};
use messaging_kafka::{Kafka, KafkaOptions, KafkaPublisher, TopicOptions};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::limit;
use crate::report::{Figures, at_most, line, ratio};

const TOPIC: &str = "bench";
/// Where librdkafka alone sends to.
const BARE: &str = "bare";
const PARTITIONS: i32 = 12;
const BACKLOG: usize = 1_000_000;
/// Events made in one unit of work while the backlog is made.
const UNIT: usize = 500;
/// Events a second, for latencies.
const PACE: usize = 500;

/// An event of some 300 bytes.
#[derive(Serialize, Deserialize)]
struct Sold {
    order: Uuid,
    text: String,
}

impl Sold {
    fn new() -> Self {
        Self { order: Uuid::now_v7(), text: "a product with a name, a price and a quantity; ".repeat(5) }
    }
}

impl DomainEvent for Sold {
    const TYPE: &'static str = "bench.sold";
    const VERSION: i16 = 1;
    const TOPIC: &'static str = TOPIC;
    fn key(&self) -> String {
        self.order.to_string()
    }
    fn aggregate_version(&self) -> i64 {
        1
    }
}

/// A database and a cluster, with a topic of their own.
struct Stage {
    db: Database,
    log: Log,
    kafka: Kafka,
    watch: Arc<Watch>,
}

impl Stage {
    async fn open(database_url: &str, servers: &str) -> Self {
        let log = Log::new();
        let options = db::Options::new(database_url);
        let db = Database::open(options, &contracts::MIGRATIONS, log.recorder()).await.expect("the database opens");
        log.open(&db, &[TopicSpec { name: TOPIC.into(), partitions: PARTITIONS, direct: false }])
            .await
            .expect("the log opens");
        let prefix = format!("bench-{}-", Uuid::new_v4().simple());
        let options = KafkaOptions { bootstrap_servers: servers.into(), prefix, ..KafkaOptions::default() };
        let kafka = Kafka::new(options).expect("good options");
        let topics = [TOPIC, BARE].map(|topic| (topic.to_owned(), PARTITIONS));
        kafka.ensure_topics(&topics, &TopicOptions::default()).await.expect("Kafka answers");
        Self { db, log, kafka, watch: Arc::default() }
    }

    fn follow(&self) -> CancellationToken {
        let stop = CancellationToken::new();
        tokio::spawn(follow_log(self.db.clone(), self.log.clone(), stop.clone()));
        stop
    }

    async fn relay(&self) -> Consumers {
        let publisher = Timed(self.kafka.publisher(Duration::ZERO), self.watch.clone());
        let group = relay_group(Arc::new(publisher), vec![TOPIC]);
        let bus = Arc::new(InProcess::new(self.db.clone(), self.log.clone()));
        let (db, log) = (self.db.clone(), self.log.clone());
        Consumers::start(db, log, bus, vec![group], ConsumerOptions::relay()).await.expect("the relay starts")
    }

    async fn relayed(&self) -> i64 {
        let rows =
            self.db.read(|conn| messaging::admin::consumers(conn, &Default::default())).await.expect("the positions");
        rows.iter().filter(|row| row.group == messaging::RELAY).map(|row| row.position + 1).sum()
    }
}

/// Measures all of it. The database must be empty.
pub(crate) async fn run(database_url: &str, servers: &str, seconds: u64) {
    let stage = Stage::open(database_url, servers).await;
    let payload = serde_json::to_string(&Sold::new()).expect("JSON");
    let bare = limit::produced(servers, &stage.kafka.named(BARE), PARTITIONS, payload, BACKLOG).await;
    println!("{:<44} {bare:>8.0}/s", "librdkafka alone, the same records");
    for _ in 0..BACKLOG / UNIT {
        let unit = |tx: &mut Tx<'_>| (0..UNIT).try_for_each(|_| messaging::emit(tx, &Sold::new()).map(drop));
        stage.db.write(unit).await.expect("events");
    }
    let begun = Instant::now();
    let (follower, relay) = (stage.follow(), stage.relay().await);
    while stage.relayed().await < BACKLOG as i64 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let drained = BACKLOG as f64 / begun.elapsed().as_secs_f64();
    println!("{:<44} {drained:>8.0}/s", "relay, 1,000,000 in the log");
    ratio("relay to librdkafka alone", drained / bare, 0.8);
    latency(&stage, seconds).await;
    relay.stop().await;
    follower.cancel();
}

/// How long units of work took, and how long after its commit each event was on Kafka, and was handled.
#[derive(Default)]
struct Watch {
    commits: Mutex<HashMap<Id, Instant>>,
    units: Mutex<Figures>,
    to_kafka: Mutex<Figures>,
    to_handled: Mutex<Figures>,
    handled: AtomicU64,
}

impl Watch {
    fn committed(&self, event: Id, took: Duration) {
        self.units.lock().record(took);
        self.commits.lock().insert(event, Instant::now());
    }

    /// Those made while all warms up don't count.
    fn arrived(&self, ids: impl Iterator<Item = Id>, figures: &Mutex<Figures>) {
        let (commits, mut figures) = (self.commits.lock(), figures.lock());
        ids.filter_map(|id| commits.get(&id)).for_each(|at| figures.record(at.elapsed()));
    }
}

/// Looks at the clock when Kafka has acknowledged.
struct Timed(KafkaPublisher, Arc<Watch>);

#[async_trait]
impl Publisher for Timed {
    async fn publish(&self, events: &[Event]) -> Result<Vec<i64>, BusError> {
        let offsets = self.0.publish(events).await?;
        self.1.arrived(events.iter().map(|event| event.id), &self.1.to_kafka);
        Ok(offsets)
    }
}

/// Looks at the clock when the group has committed.
struct Reader(Arc<Watch>);

impl TransactionalHandler for Reader {
    fn handle(&self, tx: &mut Tx<'_>, events: &[Event]) -> Result<(), HandlerError> {
        let (watch, ids) = (self.0.clone(), events.iter().map(|event| event.id).collect::<Vec<_>>());
        tx.after_commit(move || {
            watch.handled.fetch_add(ids.len() as u64, Ordering::Relaxed);
            watch.arrived(ids.into_iter(), &watch.to_handled);
        });
        Ok(())
    }
}

/// From the commit of an event's unit of work to being on Kafka, and to being handled from there.
async fn latency(stage: &Stage, seconds: u64) {
    let group = Group {
        name: "readers",
        topics: vec![TOPIC],
        replay: Replay::Once("a benchmark"),
        start: Start::Now,
        handler: Handler::Transactional(Arc::new(Reader(stage.watch.clone()))),
    };
    let bus: Arc<dyn Bus> = Arc::new(stage.kafka.bus(stage.log.source()));
    let (db, log) = (stage.db.clone(), stage.log.clone());
    let readers = Consumers::start(db, log, bus, vec![group], ConsumerOptions::default()).await.expect("they start");
    let all = seconds * PACE as u64;
    let warm_up = all / 4;
    let begun = Instant::now();
    for n in 0..all {
        tokio::time::sleep_until((begun + Duration::from_secs_f64(n as f64 / PACE as f64)).into()).await;
        let (db, watch) = (stage.db.clone(), stage.watch.clone());
        tokio::spawn(async move {
            let begun = Instant::now();
            let unit = move |tx: &mut Tx<'_>| -> db::Result<()> {
                let (watch, id) = (watch.clone(), messaging::emit(tx, &Sold::new())?);
                if n >= warm_up {
                    tx.after_commit(move || watch.committed(id, begun.elapsed()));
                }
                Ok(())
            };
            db.write(unit).await.expect("an event");
        });
    }
    while stage.watch.handled.load(Ordering::Relaxed) < all {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let report = |what: &str, figures: &Mutex<Figures>| {
        let mut figures = figures.lock();
        figures.took = begun.elapsed().mul_f64(0.75);
        line(what, &figures);
        (figures.percentile(50.0), figures.percentile(99.0))
    };
    report("the unit of work with one event", &stage.watch.units);
    let (median, most) = report("commit to Kafka", &stage.watch.to_kafka);
    at_most("commit to Kafka: p50 in ms", median, 1.0);
    at_most("commit to Kafka: p99 in ms", most, 5.0);
    let (median, most) = report("commit to handled, by Kafka", &stage.watch.to_handled);
    at_most("commit to handled: p50 in ms", median, 3.0);
    at_most("commit to handled: p99 in ms", most, 20.0);
    readers.stop().await;
}
