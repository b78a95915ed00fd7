//! The relay against librdkafka alone, and the delay from PostgreSQL to Kafka.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use db::types::Id;
use db::{Database, Tx};
use messaging::{
    Bus, BusError, ConsumerOptions, Consumers, DomainEvent, Event, Group, Handler, HandlerError, InProcess, Log,
    Published, Publisher, RefusedKey, Replay, Start, TopicSpec, TransactionalHandler, follow_log, relay_group,
};
use messaging_kafka::{Kafka, KafkaOptions, KafkaPublisher, TopicOptions};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::limit;
use crate::observe::Observer;
use crate::report::{Figures, at_most, line, rate, ratio};

pub(crate) const TOPIC: &str = "bench";
/// Topic of librdkafka alone.
const BARE: &str = "bare";
pub(crate) const PARTITIONS: i32 = 12;
/// Partitions of a topic with many.
const MANY: i32 = 1000;
const BACKLOG: usize = 1_000_000;
/// Events made in one unit of work while the backlog is made.
const UNIT: usize = 500;
/// Events a second, for latencies.
const PACE: f64 = 500.0;
/// Time at this pace before anything counts.
const WARM_UP: Duration = Duration::from_secs(5);

/// An event of some 300 bytes.
#[derive(Serialize, Deserialize)]
pub(crate) struct Sold {
    pub order: Uuid,
    text: String,
}

impl Sold {
    pub(crate) fn new() -> Self {
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
pub(crate) struct Stage {
    db: Database,
    log: Log,
    kafka: Kafka,
}

impl Stage {
    /// Opens the log of a database with one topic, with `prefix` before the name on Kafka, and creates the topic.
    ///
    /// # Panics
    /// If PostgreSQL or Kafka does not answer.
    pub(crate) async fn open(database_url: &str, servers: &str, prefix: &str, partitions: i32) -> Self {
        let log = Log::new();
        let options = db::Options::new(database_url);
        let db = Database::open(options, &contracts::MIGRATIONS, log.recorder()).await.expect("the database opens");
        log.open(&db, &[TopicSpec { name: TOPIC.into(), partitions }]).await.expect("the log opens");
        let options = KafkaOptions { bootstrap_servers: servers.into(), prefix: prefix.into(), ..Default::default() };
        let kafka = Kafka::new(options).expect("good options");
        let topics = [(TOPIC, partitions), (BARE, PARTITIONS)].map(|(topic, count)| (topic.to_owned(), count));
        kafka.ensure_topics(&topics, &TopicOptions::default()).await.expect("Kafka answers");
        Self { db, log, kafka }
    }

    pub(crate) fn follow(&self) -> CancellationToken {
        let stop = CancellationToken::new();
        tokio::spawn(follow_log(self.db.clone(), self.log.clone(), stop.clone()));
        stop
    }

    /// Starts a relay; `wrap` may put a publisher before Kafka's.
    pub(crate) async fn relay(&self, wrap: impl FnOnce(KafkaPublisher) -> Arc<dyn Publisher>) -> Consumers {
        let publisher = wrap(self.kafka.publisher(Duration::ZERO));
        let group = relay_group(publisher, vec![TOPIC], RefusedKey::Waits);
        let bus = Arc::new(InProcess::new(self.db.clone(), self.log.clone()));
        let (db, log) = (self.db.clone(), self.log.clone());
        Consumers::start(db, log, bus, vec![group], ConsumerOptions::relay()).await.expect("the relay starts")
    }

    /// Writes a backlog, in large units.
    pub(crate) async fn fill(&self, count: usize) {
        for written in (0..count).step_by(UNIT) {
            let events = UNIT.min(count - written);
            let unit = move |tx: &mut Tx<'_>| (0..events).try_for_each(|_| messaging::emit(tx, &Sold::new()).map(drop));
            self.db.write(unit).await.expect("events");
        }
    }

    /// Emits events at a pace, each in a separate unit. Calls `committed` for each event due in the window, with the
    /// event's id, the event's order, and the time of the unit.
    ///
    /// # Panics
    /// If a unit fails: the machine does not bear the pace.
    pub(crate) async fn emit_at(
        &self,
        pace: Pace,
        begun: Instant,
        committed: impl Fn(Id, Uuid, Duration) + Clone + Send + 'static,
    ) {
        let mut units = JoinSet::new();
        for n in 0..pace.events_in(pace.warm_up + pace.window) {
            let due = Duration::from_secs_f64(n as f64 / pace.per_second);
            tokio::time::sleep_until((begun + due).into()).await;
            let (db, committed) = (self.db.clone(), committed.clone());
            units.spawn(async move {
                let begun = Instant::now();
                let unit = move |tx: &mut Tx<'_>| -> db::Result<()> {
                    let sold = Sold::new();
                    let id = messaging::emit(tx, &sold)?;
                    if due >= pace.warm_up {
                        let committed = committed.clone();
                        tx.after_commit(move || committed(id, sold.order, begun.elapsed()));
                    }
                    Ok(())
                };
                db.write(unit).await
            });
            while let Some(done) = units.try_join_next() {
                done.expect("no panic").expect("an event");
            }
        }
        for done in units.join_all().await {
            done.expect("an event");
        }
    }
}

/// Events a second; only events of the window count.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub per_second: f64,
    pub warm_up: Duration,
    pub window: Duration,
}

impl Pace {
    /// Returns the number of events made in `time`.
    pub(crate) fn events_in(&self, time: Duration) -> u64 {
        (time.as_secs_f64() * self.per_second) as u64
    }
}

/// Measures the drain of a backlog and latencies. The database must be empty.
pub(crate) async fn run(database_url: &str, servers: &str, window: Duration, observer: &Arc<Observer>) {
    let stage = Stage::open(database_url, servers, &new_prefix(), PARTITIONS).await;
    let payload = serde_json::to_string(&Sold::new()).expect("JSON");
    let bare = limit::produced(servers, &stage.kafka.named(BARE), PARTITIONS, payload, BACKLOG).await;
    rate("librdkafka alone, the same records", bare);
    stage.fill(BACKLOG).await;
    let (watch, costs) = (Arc::<Watch>::default(), observer.begin());
    let (follower, relay) = (stage.follow(), stage.relay(|publisher| Arc::new(Timed(publisher, watch.clone()))).await);
    let drained = watch.published(BACKLOG as u64).await;
    let costs = costs.end();
    rate("relay, 1,000,000 in the log", drained);
    costs.print("relay, 1,000,000 in the log", BACKLOG as u64, "event");
    ratio("relay to librdkafka alone", drained / bare, 0.8);
    latency(&stage, &watch, "", window, observer).await;
    relay.stop().await;
    follower.cancel();
}

/// Measures latencies with a topic of 1,000 partitions. The database must be empty.
pub(crate) async fn many(database_url: &str, servers: &str, window: Duration, observer: &Arc<Observer>) {
    let stage = Stage::open(database_url, servers, &new_prefix(), MANY).await;
    let watch = Arc::<Watch>::default();
    let (follower, relay) = (stage.follow(), stage.relay(|publisher| Arc::new(Timed(publisher, watch.clone()))).await);
    latency(&stage, &watch, "1,000 partitions: ", window, observer).await;
    relay.stop().await;
    follower.cancel();
}

/// Returns a new prefix of names on Kafka, for one run.
pub(crate) fn new_prefix() -> String {
    format!("bench-{}-", Uuid::new_v4().simple())
}

/// Durations of units of work, and of the way of each event from the commit to Kafka and to the handler.
#[derive(Default)]
struct Watch {
    commits: Mutex<HashMap<Id, Instant>>,
    units: Mutex<Figures>,
    to_kafka: Mutex<Figures>,
    to_handled: Mutex<Figures>,
    publishing: Mutex<Option<(Instant, Instant)>>,
    published: AtomicU64,
    handled: AtomicU64,
}

impl Watch {
    fn committed(&self, event: Id, took: Duration) {
        self.units.lock().record(took);
        self.commits.lock().insert(event, Instant::now());
    }

    /// Records the arrival of events; events of the warm-up don't count.
    fn arrived(&self, ids: impl Iterator<Item = Id>, figures: &Mutex<Figures>) {
        let (commits, mut figures) = (self.commits.lock(), figures.lock());
        ids.filter_map(|id| commits.get(&id)).for_each(|at| figures.record(at.elapsed()));
    }

    /// Waits until so many events are on Kafka. Returns the events a second, from the first request to the last answer.
    async fn published(&self, count: u64) -> f64 {
        while self.published.load(Ordering::Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (first, last) = self.publishing.lock().expect("some are published");
        count as f64 / (last - first).as_secs_f64()
    }
}

/// Looks at the clock when Kafka has acknowledged.
struct Timed(KafkaPublisher, Arc<Watch>);

#[async_trait]
impl Publisher for Timed {
    async fn publish(&self, events: &[Event]) -> Result<Published, BusError> {
        let begun = Instant::now();
        let published = self.0.publish(events).await?;
        self.1.arrived(events.iter().map(|event| event.id), &self.1.to_kafka);
        self.1.publishing.lock().get_or_insert((begun, begun)).1 = Instant::now();
        self.1.published.fetch_add(events.len() as u64, Ordering::Relaxed);
        Ok(published)
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

/// Measures the time from the commit of an event's unit of work to Kafka, and from there to the handler.
async fn latency(stage: &Stage, watch: &Arc<Watch>, named: &str, window: Duration, observer: &Arc<Observer>) {
    let group = Group {
        name: "readers",
        topics: vec![TOPIC],
        replay: Replay::Once("a benchmark"),
        start: Start::Now,
        handler: Handler::Transactional(Arc::new(Reader(watch.clone()))),
    };
    let bus: Arc<dyn Bus> = Arc::new(stage.kafka.bus(stage.log.source()));
    let (db, log) = (stage.db.clone(), stage.log.clone());
    let readers = Consumers::start(db, log, bus, vec![group], ConsumerOptions::default()).await.expect("they start");
    let pace = Pace { per_second: PACE, warm_up: WARM_UP, window };
    let (begun, time) = (Instant::now(), WARM_UP + window);
    let costs = observer.between(begun + WARM_UP, begun + time);
    let noted = watch.clone();
    stage.emit_at(pace, begun, move |event, _, took| noted.committed(event, took)).await;
    while watch.handled.load(Ordering::Relaxed) < pace.events_in(time) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let report = |what: &str, figures: &Mutex<Figures>| {
        let mut figures = figures.lock();
        figures.took = window;
        line(&format!("{named}{what}"), &figures);
        (figures.percentile(50.0), figures.percentile(99.0))
    };
    report("the unit of work with one event", &watch.units);
    let (median, most) = report("commit to Kafka", &watch.to_kafka);
    let costs = costs.await.expect("no panic");
    costs.print(&format!("{named}500/s"), pace.events_in(costs.took), "event");
    at_most(&format!("{named}commit to Kafka: p50 in ms"), median, 1.0);
    at_most(&format!("{named}commit to Kafka: p99 in ms"), most, 5.0);
    let (median, most) = report("commit to handled, by Kafka", &watch.to_handled);
    at_most(&format!("{named}commit to handled: p50 in ms"), median, 3.0);
    at_most(&format!("{named}commit to handled: p99 in ms"), most, 20.0);
    readers.stop().await;
}
