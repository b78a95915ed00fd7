//! The promises of the bus: each function tries to break one promise on a [`Bed`].
//!
//! A new backend is added to [`beds`], and nowhere else.

pub mod epochs;
pub mod failures;
pub mod groups;
pub mod leases;
pub mod log;
pub mod partitions;
pub mod refused;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use db::{Database, Tx};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use messaging::{
    Bus, ConsumerOptions, Consumers, DomainEvent, EffectHandler, Event, Group, Handler, HandlerError, InProcess, Lease,
    RefusedKey, Replay, Start, TopicSpec, TransactionalHandler, emit, follow_log, relay_group,
};
use messaging_kafka::{Kafka, MockKafka};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{PgServer, TestDatabase, database_on, databases_with, kafka};

/// The topic of the suite.
pub const TICKS: &str = "ticks";
/// Number of partitions of the topic.
pub const PARTITIONS: i32 = 4;

/// A database, a log and a bus to try out.
pub struct Bed {
    /// Name for messages: `in-process over SQLite`.
    pub name: String,
    pub database: TestDatabase,
    pub bus: Arc<dyn Bus>,
    /// Relay, if the bus is not the log.
    relay: Option<Relay>,
    /// Cluster with partitions to be added along with the log's.
    grows: Option<Kafka>,
    _follower: DropGuard,
    /// A cluster inside the process.
    _mock: Option<MockKafka>,
}

struct Relay(Option<Consumers>);

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(Consumers::abort);
    }
}

/// Returns a fresh bed of each kind available on this machine.
pub async fn beds() -> Vec<Bed> {
    let mut beds = beds_on_the_log(PARTITIONS).await;
    if let Some(on_sqlite) = beds_on_the_log(PARTITIONS).await.into_iter().next() {
        // it can't give a topic more partitions later
        let mock = MockKafka::new(&[(TICKS, partitions::MOST)]);
        let cluster = mock.connect().expect("its options");
        let bed = on_sqlite.on_kafka("librdkafka's mock cluster", cluster, false, RefusedKey::Waits).await;
        beds.push(Bed { _mock: Some(mock), ..bed });
    }
    beds.extend(beds_on_kafka(RefusedKey::Waits).await);
    beds
}

/// Those whose bus is a Kafka cluster.
pub async fn beds_on_kafka(refused_key: RefusedKey) -> Vec<Bed> {
    let mut beds = Vec::new();
    for bed in beds_on_the_log(PARTITIONS).await {
        if let Some(cluster) = kafka(&[(TICKS, PARTITIONS)]).await {
            beds.push(bed.on_kafka("Kafka", cluster, true, refused_key).await);
        }
    }
    beds
}

/// Returns beds with the log as the bus, with this many partitions.
pub async fn beds_on_the_log(partitions: i32) -> Vec<Bed> {
    let mut beds = Vec::new();
    for database in databases_with(&[ticks(partitions)]).await {
        beds.push(bed_on_the_log(database).await);
    }
    beds
}

/// Returns a bed with the log of the test's server as the bus.
pub async fn bed_on(server: &PgServer) -> Bed {
    bed_on_the_log(database_on(server, &[ticks(PARTITIONS)]).await).await
}

fn ticks(partitions: i32) -> TopicSpec {
    TopicSpec { name: TICKS.into(), partitions }
}

async fn bed_on_the_log(database: TestDatabase) -> Bed {
    make_tables(&database.db).await;
    let stop = CancellationToken::new();
    tokio::spawn(follow_log(database.db.clone(), database.log.clone(), stop.clone()));
    let bus = Arc::new(InProcess::new(database.db.clone(), database.log.clone()));
    let name = format!("in-process over {}", database.name);
    Bed { name, database, bus, relay: None, grows: None, _follower: stop.drop_guard(), _mock: None }
}

/// Makes the tables of the suite.
///
/// # Panics
/// On an error of the database.
pub async fn make_tables(db: &Database) {
    db.write(|tx| -> db::Result<()> {
        tx.batch_execute(
            "CREATE TABLE tick (key TEXT PRIMARY KEY NOT NULL, next BIGINT NOT NULL);
             CREATE TABLE progress (grp TEXT NOT NULL, key TEXT NOT NULL, last BIGINT NOT NULL, PRIMARY KEY (grp, key))",
        )?;
        Ok(())
    })
    .await
    .expect("the suite's tables");
}

diesel::table! { tick (key) { key -> Text, next -> BigInt } }
diesel::table! { progress (grp, key) { grp -> Text, key -> Text, last -> BigInt } }

/// The suite's event: event `number` of the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticked {
    pub key: String,
    pub number: i64,
}

impl DomainEvent for Ticked {
    const TYPE: &'static str = "test.ticked";
    const VERSION: i16 = 1;
    const TOPIC: &'static str = TICKS;
    fn key(&self) -> String {
        self.key.clone()
    }
    fn aggregate_version(&self) -> i64 {
        self.number
    }
}

/// Emits the key's next number, in the transaction of the count.
///
/// # Errors
/// Any error of the database.
pub fn tick(tx: &mut Tx<'_>, key: &str) -> db::Result<()> {
    db::on_each!(&mut **tx, |conn| diesel::insert_into(tick::table)
        .values((tick::key.eq(key), tick::next.eq(0)))
        .on_conflict_do_nothing()
        .execute(conn))?;
    let next: i64 = diesel::update(tick::table.find(key))
        .set(tick::next.eq(tick::next + 1))
        .returning(tick::next)
        .get_result(&mut **tx)?;
    emit(tx, &Ticked { key: key.into(), number: next - 1 })?;
    Ok(())
}

impl Bed {
    /// Returns this bed with a cluster as the bus, and a relay to the cluster.
    async fn on_kafka(self, name: &str, cluster: Kafka, makes_partitions: bool, refused_key: RefusedKey) -> Self {
        let (db, log) = (self.database.db.clone(), self.database.log.clone());
        let relay = relay_group(Arc::new(cluster.publisher(Duration::ZERO)), vec![TICKS], refused_key);
        let relay = Consumers::start(db, log.clone(), self.bus.clone(), vec![relay], options()).await;
        Self {
            name: format!("{name} over {}", self.database.name),
            bus: Arc::new(cluster.bus(log.source()).with_orphans_of(log.clone())),
            relay: Some(Relay(Some(relay.expect("the relay starts")))),
            grows: makes_partitions.then_some(cluster),
            ..self
        }
    }

    /// `count` ticks of each of `keys` keys, a unit each, `at_once` at a time.
    pub async fn tick_all(&self, keys: usize, count: usize, at_once: usize) {
        let units = (0..keys * count).map(|n| format!("key-{}", n % keys));
        let db = &self.database.db;
        futures::StreamExt::for_each_concurrent(futures::stream::iter(units), at_once, |key| async move {
            loop {
                let key = key.clone();
                match db.write(move |tx| tick(tx, &key)).await {
                    Err(db::Error::Unavailable(_)) => {} // nothing was done: whoever keeps every connection busy is slow
                    ticked => return ticked.expect("a tick"),
                }
            }
        })
        .await;
    }

    /// Hosts the groups with a short lease.
    pub async fn host(&self, groups: Vec<Group>) -> Consumers {
        self.host_on(self.bus.clone(), groups).await
    }

    /// Hosts the groups on another bus.
    pub async fn host_on(&self, bus: Arc<dyn Bus>, groups: Vec<Group>) -> Consumers {
        self.host_with(bus, groups, options()).await
    }

    /// Hosts the groups with options of the test's own.
    pub async fn host_with(&self, bus: Arc<dyn Bus>, groups: Vec<Group>, options: ConsumerOptions) -> Consumers {
        let (db, log) = (self.database.db.clone(), self.database.log.clone());
        Consumers::start(db, log, bus, groups, options).await.expect("the groups start")
    }

    /// Returns the last number of `group` for each key, by key.
    pub async fn progress(&self, group: &'static str) -> Vec<(String, i64)> {
        let read = move |conn: &mut db::Conn| -> db::Result<Vec<(String, i64)>> {
            Ok(progress::table
                .filter(progress::grp.eq(group))
                .order(progress::key)
                .select((progress::key, progress::last))
                .load(conn)?)
        };
        self.database.db.read(read).await.expect("the progress")
    }

    /// Waits until `group` has all `count` numbers of each of `keys` keys.
    pub async fn until_handled(&self, group: &'static str, keys: usize, count: usize) {
        let all = |progress: Vec<(String, i64)>| {
            progress.len() == keys && progress.iter().all(|(_, last)| *last == count as i64 - 1)
        };
        until(&format!("{}: {group} has handled all", self.name), async || all(self.progress(group).await)).await;
    }

    /// Waits until this process knows of `count` events in the log.
    pub async fn until_numbered(&self, count: usize) {
        let log = &self.database.log;
        let end = |n| *log.end(TICKS, n).expect("a partition").borrow();
        until(&format!("{}: all is numbered", self.name), async || {
            (0..log.partitions(TICKS)).map(end).sum::<i64>() == count as i64
        })
        .await;
    }

    /// Returns true if the bus is not the log itself.
    pub fn is_relayed(&self) -> bool {
        self.relay.is_some()
    }

    /// Waits until `count` events are in the log and, where the bus is not the log, on the bus.
    pub async fn until_relayed(&self, count: usize) {
        self.until_numbered(count).await;
        until(&format!("{}: all is relayed", self.name), async || {
            let rows = self.database.db.read(messaging::admin::consumers).await.expect("the lag");
            rows.iter().filter(|row| row.group == messaging::RELAY).all(|row| row.lag == 0)
        })
        .await;
    }

    /// Requests the replay of a dead letter.
    pub async fn replay(&self, id: db::types::Id) {
        let asked = self.database.db.write(move |tx| messaging::admin::request_replay(tx, id)).await;
        assert!(asked.expect("a request"), "{}: it is dead", self.name);
        self.database.log.ask_groups();
    }

    /// Returns the dead letters of the group, with their keys.
    pub async fn dead_letters(&self, group: &'static str) -> Vec<messaging::admin::DeadLetter> {
        let query = messaging::admin::DeadLetterQuery { group: Some(group.into()), ..Default::default() };
        let read = move |conn: &mut db::Conn| messaging::admin::dead_letters(conn, &query, 100);
        self.database.db.read(read).await.expect("the dead letters")
    }
}

/// Returns options with a short lease, so that a dead member is soon replaced.
pub fn options() -> ConsumerOptions {
    ConsumerOptions {
        lease: Duration::from_millis(800),
        attempts: 3,
        batch: 50,
        drain: Duration::from_secs(5),
        ..ConsumerOptions::default()
    }
}

/// Waits until `holds`, and fails after a minute.
///
/// # Panics
/// If `holds` stays false.
pub async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < deadline, "waited in vain until: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Errors found by handlers of the suite.
#[derive(Clone, Default)]
pub struct Complaints(Arc<Mutex<Vec<String>>>);

impl Complaints {
    /// Adds a complaint.
    pub fn add(&self, complaint: String) {
        self.0.lock().push(complaint);
    }

    /// # Panics
    /// If there are complaints.
    pub fn assert_none(&self) {
        let complaints = self.0.lock();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

type Fault = Box<dyn Fn(&Ticked) -> Result<(), HandlerError> + Send + Sync>;

/// Keeps the last number of each key in the database, and complains about a number out of sequence.
pub struct Follow {
    group: &'static str,
    complaints: Complaints,
    /// Returns the error of a failing event.
    fault: Fault,
}

impl TransactionalHandler for Follow {
    fn handle(&self, tx: &mut Tx<'_>, events: &[Event]) -> Result<(), HandlerError> {
        for event in events {
            let ticked: Ticked = event.decode()?;
            (self.fault)(&ticked)?;
            let last = follow(tx, self.group, &ticked)?;
            if !last {
                self.complaints.add(format!("{}: {ticked:?} is not the next", self.group));
            }
        }
        Ok(())
    }
}

/// Returns true if `ticked` was the next event of the key.
fn follow(tx: &mut Tx<'_>, group: &str, ticked: &Ticked) -> db::Result<bool> {
    let row = (progress::grp.eq(group), progress::key.eq(&ticked.key), progress::last.eq(ticked.number));
    let done = if ticked.number == 0 {
        db::on_each!(&mut **tx, |conn| diesel::insert_into(progress::table)
            .values(row)
            .on_conflict_do_nothing()
            .execute(conn))?
    } else {
        diesel::update(progress::table.find((group, &ticked.key)))
            .filter(progress::last.eq(ticked.number - 1))
            .set(progress::last.eq(ticked.number))
            .execute(&mut **tx)?
    };
    Ok(done == 1)
}

fn forget_progress(tx: &mut Tx<'_>) -> db::Result<()> {
    diesel::delete(progress::table).execute(&mut **tx)?;
    Ok(())
}

/// Returns a rebuildable group that follows all ticks.
pub fn following(group: &'static str, complaints: &Complaints) -> Group {
    following_but(group, complaints, |_| Ok(()))
}

/// Returns a group that follows all ticks, except for ticks with an error from `fault`.
pub fn following_but(
    group: &'static str,
    complaints: &Complaints,
    fault: impl Fn(&Ticked) -> Result<(), HandlerError> + Send + Sync + 'static,
) -> Group {
    let handler = Follow { group, complaints: complaints.clone(), fault: Box::new(fault) };
    Group {
        name: group,
        topics: vec![TICKS],
        replay: Replay::Rebuildable(forget_progress),
        start: Start::Floor,
        handler: Handler::Transactional(Arc::new(handler)),
    }
}

/// An effect: calls the function with the events.
pub struct Effect<F>(pub F);

#[async_trait]
impl<F, R> EffectHandler for Effect<F>
where
    F: Fn(Lease, Vec<Event>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), HandlerError>> + Send,
{
    async fn handle(&self, lease: &Lease, events: &[Event]) -> Result<(), HandlerError> {
        (self.0)(lease.clone(), events.to_vec()).await
    }
}

/// Returns a group with an effect outside of the database.
pub fn effecting<F, R>(group: &'static str, effect: F) -> Group
where
    F: Fn(Lease, Vec<Event>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), HandlerError>> + Send + 'static,
{
    Group {
        name: group,
        topics: vec![TICKS],
        replay: Replay::Once("the effect would be there twice"),
        start: Start::Floor,
        handler: Handler::Effect(Arc::new(Effect(effect))),
    }
}
