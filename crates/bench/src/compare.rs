//! A program that brings events from PostgreSQL to Kafka, as a process: how soon after its commit an event can be read
//! from Kafka, and how fast a backlog gets there. The load, the table and the reader are the same for each program.
//!
//! The program reads the database, the brokers and the topic from the environment, and ends at SIGTERM.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use crate::observe::{Fresh, Observer, Postgres};
use crate::proxy::Broker;
use crate::relay::{PARTITIONS, Pace, Stage, TOPIC, new_prefix};
use crate::report::{Figures, line, rate, spread};

const DATABASE_URL: &str = "RELAY_DATABASE_URL";
const KAFKA: &str = "RELAY_KAFKA";
/// Environment variables with the prefix of topic names, and with the full name of the one topic.
const PREFIX: &str = "RELAY_PREFIX";
const KAFKA_TOPIC: &str = "RELAY_TOPIC";
const BACKLOG: usize = 100_000;
/// Time at the pace of the measurement before anything counts: a JVM compiles itself meanwhile.
const WARM_UP: Duration = Duration::from_secs(15);
/// Time for a program to start, and for its last event to arrive.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Any database of the server, postgres://…; each run creates a new database.
    #[arg(long)]
    database_url: String,
    /// The folder of a broker started by scripts/kafka.
    #[arg(long)]
    broker: PathBuf,
    /// Name of the program in the report.
    #[arg(long, default_value = "ours")]
    name: String,
    /// The program and its arguments; the relay of the shop unless given.
    #[arg(long, num_args = 1.., allow_hyphen_values = true)]
    program: Vec<String>,
    /// Seconds at a pace.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Events a second meanwhile.
    #[arg(long, default_value_t = 500)]
    pace: u32,
    /// Measures everything so many times, and prints the spread of each value.
    #[arg(long, default_value_t = 1)]
    runs: usize,
}

pub(crate) async fn run(options: Options) {
    for _ in 0..options.runs {
        measure(&options).await;
    }
    spread(options.runs);
}

async fn measure(options: &Options) {
    let (database, servers) = (Fresh::create(&options.database_url), Broker::of(&options.broker).servers);
    let observer = Observer::new().with_postgres(Postgres::of(&database.url)).with_broker(Some(&options.broker));
    let (observer, prefix) = (Arc::new(observer), new_prefix());
    let stage = Stage::open(&database.url, &servers, &prefix, PARTITIONS).await;
    let follower = stage.follow(); // ends are raised as in a shop
    let topic = format!("{prefix}{TOPIC}");
    let reader = Reader::start(&servers, &topic);
    let program = Program {
        words: options.program.clone(),
        variables: [(DATABASE_URL, &database.url), (KAFKA, &servers), (PREFIX, &prefix), (KAFKA_TOPIC, &topic)]
            .map(|(name, value)| (name, value.clone())),
    };

    let running = program.start(&observer);
    until("the program relays", || async {
        stage.fill(1).await;
        reader.count() > 0
    })
    .await;
    latency(options, &stage, &reader, &observer).await;
    running.stop().await;

    let known = reader.count();
    stage.fill(BACKLOG).await;
    let (window, begun) = (observer.begin(), Instant::now());
    let running = program.start(&observer);
    until("the backlog is on Kafka", || async { reader.count() >= known + BACKLOG }).await;
    let costs = window.end();
    let (first, last) = reader.span(known);
    let what = format!("{}: backlog of {BACKLOG}", options.name);
    rate(&what, BACKLOG as f64 / (last - first).as_secs_f64());
    println!("{:<44} {:>8.2} s from the start to the first", "", (first - begun).as_secs_f64());
    costs.print(&what, BACKLOG as u64, "event");
    running.stop().await;
    reader.stop();
    follower.cancel();
}

async fn latency(options: &Options, stage: &Stage, reader: &Reader, observer: &Arc<Observer>) {
    let window = Duration::from_secs(options.seconds);
    let pace = Pace { per_second: options.pace.into(), warm_up: WARM_UP, window };
    let begun = Instant::now();
    let costs = observer.between(begun + WARM_UP, begun + WARM_UP + window);
    let commits = Arc::<Mutex<HashMap<Uuid, Instant>>>::default();
    let noted = commits.clone();
    let committed = move |_, order, _| {
        noted.lock().insert(order, Instant::now());
    };
    stage.emit_at(pace, begun, committed).await;
    let commits = std::mem::take(&mut *commits.lock());
    until("each event is on Kafka", || async { reader.has_all(commits.keys()) }).await;
    let mut figures = Figures::new();
    figures.took = window;
    commits.iter().for_each(|(order, at)| figures.record(reader.at(order).saturating_duration_since(*at)));
    let what = format!("{}: commit to Kafka", options.name);
    line(&what, &figures);
    let costs = costs.await.expect("no panic");
    costs.print(&what, pace.events_in(costs.took), "event");
}

/// Waits until something is so.
///
/// # Panics
/// If the wait exceeds [`PATIENCE`].
async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The measured program.
struct Program {
    words: Vec<String>,
    variables: [(&'static str, String); 4],
}

impl Program {
    fn start(&self, observer: &Observer) -> Running {
        let own = || std::env::current_exe().expect("this program").display().to_string();
        let words = if self.words.is_empty() { vec![own(), "relay".into()] } else { self.words.clone() };
        let mut command = Command::new(&words[0]);
        let process = command.args(&words[1..]).envs(self.variables.clone()).spawn();
        let process = process.unwrap_or_else(|error| panic!("{}: {error}", words[0]));
        observer.set_process("relay", process.id());
        Running(process)
    }
}

struct Running(Child);

impl Running {
    /// Asks the program to end, and waits.
    async fn stop(mut self) {
        let asked = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().expect("kill");
        assert!(asked.success(), "the program ended by itself");
        let begun = Instant::now();
        while self.0.try_wait().expect("a child").is_none() && begun.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // it has ended unless something failed
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the relay until SIGTERM, for [`Program`].
pub(crate) async fn relay() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let mut end = signal(SignalKind::terminate()).expect("a signal handler");
    let stage = Stage::open(&variable(DATABASE_URL), &variable(KAFKA), &variable(PREFIX), PARTITIONS).await;
    let (follower, relay) = (stage.follow(), stage.relay(|publisher| Arc::new(publisher)).await);
    end.recv().await;
    relay.stop().await;
    follower.cancel();
}

/// Notes when each order was first read from Kafka.
struct Reader {
    seen: Arc<Mutex<Seen>>,
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    at: HashMap<Uuid, Instant>,
    /// Arrival times, in order.
    times: Vec<Instant>,
}

impl Reader {
    fn start(servers: &str, topic: &str) -> Self {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("group.id", topic)
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "100")
            .create()
            .expect("a consumer");
        let mut partitions = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            partitions.add_partition_offset(topic, partition, Offset::Beginning).expect("a good offset");
        }
        consumer.assign(&partitions).expect("partitions");
        let (seen, stopped) = (Arc::<Mutex<Seen>>::default(), Arc::new(AtomicBool::new(false)));
        let (noted, ends) = (seen.clone(), stopped.clone());
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let Some(record) = consumer.poll(Duration::from_millis(100)) else { continue };
                let record = record.expect("a record");
                let Some(order) = record.payload().and_then(order) else { continue };
                let (now, mut seen) = (Instant::now(), noted.lock());
                if let Entry::Vacant(new) = seen.at.entry(order) {
                    new.insert(now);
                    seen.times.push(now);
                }
            }
        });
        Self { seen, stopped, thread }
    }

    fn count(&self) -> usize {
        self.seen.lock().times.len()
    }

    fn has_all<'a>(&self, mut orders: impl Iterator<Item = &'a Uuid>) -> bool {
        let seen = self.seen.lock();
        orders.all(|order| seen.at.contains_key(order))
    }

    fn at(&self, order: &Uuid) -> Instant {
        self.seen.lock().at[order]
    }

    /// Returns the times of the first order after so many, and of the last.
    fn span(&self, known: usize) -> (Instant, Instant) {
        let seen = self.seen.lock();
        (seen.times[known], seen.times[seen.times.len() - 1])
    }

    fn stop(self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic");
    }
}

/// Finds the order in an event as plain JSON, as a JSON string, or unwrapped.
fn order(payload: &[u8]) -> Option<Uuid> {
    const NAME: &[u8] = b"order";
    let begin = payload.windows(NAME.len()).position(|window| window == NAME)? + NAME.len();
    let rest = &payload[begin..];
    let id = rest.iter().position(u8::is_ascii_hexdigit)?;
    Uuid::try_parse_ascii(rest.get(id..id + 36)?).ok()
}
