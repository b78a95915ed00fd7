//! From PostgreSQL to Kafka: sequencer and relay against librdkafka alone, and how soon an event is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use db::{Database, Tx};
use messaging::{
    Bus, ConsumerOptions, Consumers, DomainEvent, Event, Group, Handler, HandlerError, InProcess, Log, Replay, Start,
    TopicSpec, TransactionalHandler, relay_group, run_sequencer,
};
use messaging_kafka::{Kafka, KafkaOptions, TopicOptions};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Delays;
use crate::report::ratio;

const TOPIC: &str = "bench";
/// Where librdkafka alone sends to.
const BARE: &str = "bare";
const PARTITIONS: i32 = 12;
const BACKLOG: usize = 100_000;
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
}

impl Stage {
    async fn open(database_url: &str, servers: &str) -> Self {
        let log = Log::new();
        let options = db::Options::new(database_url);
        let db = Database::open(options, &contracts::MIGRATIONS, log.recorder()).await.expect("the database opens");
        log.open(&db, &[TopicSpec { name: TOPIC, partitions: PARTITIONS, direct: false }])
            .await
            .expect("the log opens");
        let prefix = format!("bench-{}-", Uuid::new_v4().simple());
        let options = KafkaOptions { bootstrap_servers: servers.into(), prefix, ..KafkaOptions::default() };
        let kafka = Kafka::new(options).expect("good options");
        let topics = [TOPIC, BARE].map(|topic| (topic.to_owned(), PARTITIONS));
        kafka.ensure_topics(&topics, &TopicOptions::default()).await.expect("Kafka answers");
        Self { db, log, kafka }
    }

    fn sequence(&self) -> CancellationToken {
        let stop = CancellationToken::new();
        tokio::spawn(run_sequencer(self.db.clone(), self.log.clone(), stop.clone()));
        stop
    }

    async fn relay(&self) -> Consumers {
        let group = relay_group(Arc::new(self.kafka.publisher()), self.db.clone(), self.log.clone(), vec![TOPIC]);
        let bus = Arc::new(InProcess::new(self.db.clone(), self.log.clone()));
        let (db, log) = (self.db.clone(), self.log.clone());
        Consumers::start(db, log, bus, vec![group], ConsumerOptions::relay()).await.expect("the relay starts")
    }

    async fn relayed(&self) -> i64 {
        let rows = self.db.read(messaging::admin::partitions).await.expect("the partitions");
        rows.iter().filter(|row| row.topic == TOPIC).map(|row| row.relayed + 1).sum()
    }
}

/// Measures all of it. The database must be empty.
pub async fn run(database_url: &str, servers: &str, seconds: u64) {
    let stage = Stage::open(database_url, servers).await;
    let bare = bare(servers, &stage).await;
    println!("{:<44} {bare:>8.0}/s", "librdkafka alone, the same records");
    for _ in 0..BACKLOG / UNIT {
        let unit = |tx: &mut Tx<'_>| (0..UNIT).try_for_each(|_| messaging::emit(tx, &Sold::new()).map(drop));
        stage.db.write(unit).await.expect("events");
    }
    let begun = Instant::now();
    let (sequencer, relay) = (stage.sequence(), stage.relay().await);
    while stage.relayed().await < BACKLOG as i64 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let drained = BACKLOG as f64 / begun.elapsed().as_secs_f64();
    println!("{:<44} {drained:>8.0}/s", "sequencer and relay, 100,000 in the outbox");
    ratio("sequencer and relay, in thousands a second", drained / 1000.0, 68.0);
    ratio("sequencer and relay to librdkafka alone", drained / bare, 0.2);
    latency(&stage, seconds).await;
    relay.stop().await;
    sequencer.cancel();
}

/// The same number of records of the same size, sent as fast as librdkafka takes them.
async fn bare(servers: &str, stage: &Stage) -> f64 {
    let topic = stage.kafka.named(BARE);
    let servers = servers.to_owned();
    let send = move || {
        let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .create()
            .expect("a producer");
        let payload = serde_json::to_string(&Sold::new()).expect("JSON");
        let headers = (0..9).fold(OwnedHeaders::new(), |headers, _| {
            headers.insert(Header { key: "ce_something", value: Some("a value of some length") })
        });
        let begun = Instant::now();
        for n in 0..BACKLOG {
            let key = n.to_string();
            let partition = n as i32 % PARTITIONS;
            let mut record = BaseRecord::to(&topic).partition(partition).key(&key).payload(&payload);
            record = record.headers(headers.clone());
            while let Err((_, refused)) = producer.send(record) {
                record = refused;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        producer.flush(Duration::from_secs(60)).expect("all is sent");
        BACKLOG as f64 / begun.elapsed().as_secs_f64()
    };
    tokio::task::spawn_blocking(send).await.expect("no panic")
}

/// Counts what it handles.
struct Count(Arc<AtomicU64>);

impl TransactionalHandler for Count {
    fn handle(&self, _: &mut Tx<'_>, events: &[Event]) -> Result<(), HandlerError> {
        self.0.fetch_add(events.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// From an event's place in its unit of work, before the commit, to being on Kafka, and to being handled from there.
async fn latency(stage: &Stage, seconds: u64) {
    let handled = Arc::new(AtomicU64::new(0));
    let group = Group {
        name: "readers",
        topics: vec![TOPIC],
        replay: Replay::Once("a benchmark"),
        start: Start::Now,
        handler: Handler::Transactional(Arc::new(Count(handled.clone()))),
    };
    let bus: Arc<dyn Bus> = Arc::new(stage.kafka.bus(stage.log.source()));
    let (db, log) = (stage.db.clone(), stage.log.clone());
    let readers = Consumers::start(db, log, bus, vec![group], ConsumerOptions::default()).await.expect("they start");
    let all = seconds * PACE as u64;
    let warm_up = all / 4;
    let mut before = Vec::new();
    let begun = Instant::now();
    for n in 0..all {
        tokio::time::sleep_until((begun + Duration::from_secs_f64(n as f64 / PACE as f64)).into()).await;
        if n == warm_up {
            before = vec![Delays::of("relay"), Delays::of("readers")];
        }
        let db = stage.db.clone();
        tokio::spawn(async move {
            db.write(|tx: &mut Tx<'_>| messaging::emit(tx, &Sold::new()).map(drop)).await.expect("an event");
        });
    }
    while handled.load(Ordering::Relaxed) < all {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for (group, what, before, median, most) in [
        ("relay", "commit to Kafka", &before[0], 0.0025, 0.005),
        ("readers", "commit to handled, by Kafka", &before[1], 0.01, 0.05),
    ] {
        let delays = Delays::of(group).since(before);
        println!("{:<44} {delays}", format!("{what}: batches within"));
        ratio(&format!("{what}: share within {} ms", median * 1000.0), delays.share_within(median), 0.5);
        ratio(&format!("{what}: share within {} ms", most * 1000.0), delays.share_within(most), 0.99);
    }
    readers.stop().await;
}
