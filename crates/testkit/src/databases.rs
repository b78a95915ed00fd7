//! Fresh databases, one of each kind, for a test that must hold on all of them.

use std::any::Any;
use std::sync::Arc;

use contracts::topics;
use db::Database;
use messaging::{Log, TopicSpec};
use messaging_kafka::{Kafka, KafkaOptions};

use crate::kafka::kafka_place;
use crate::{PgServer, left_out, postgres};

/// Partitions of each topic in tests: enough that keys fall apart.
pub(crate) const PARTITIONS: i32 = 4;

const SERVERS: &str = "SHOP__BUS__KAFKA__BOOTSTRAP_SERVERS";
const PREFIX: &str = "SHOP__BUS__KAFKA__PREFIX";

/// Where a fresh and empty database is; it goes with this.
#[derive(Clone)]
pub struct Place {
    /// `SQLite` or `PostgreSQL`, for messages; with Kafka `SQLite and Kafka`.
    pub name: &'static str,
    /// For the setting `database.url`.
    pub url: String,
    /// What to set besides, as in the environment: nothing, or all that puts the topics on Kafka.
    pub bus: Vec<(&'static str, String)>,
    /// The folder or the database itself.
    _keep: Arc<dyn Any + Send + Sync>,
}

impl Place {
    /// The cluster with the topics; `None` if they are in the database.
    pub fn kafka(&self) -> Option<Kafka> {
        let set = |name| self.bus.iter().find(|(set, _)| *set == name).map(|(_, value)| value.clone());
        let (bootstrap_servers, prefix) = (set(SERVERS)?, set(PREFIX)?);
        let options = KafkaOptions { bootstrap_servers, prefix, ..KafkaOptions::default() };
        Some(Kafka::new(options).expect("good options"))
    }
}

/// A migrated database of one test, with the shop's topics in its log.
pub struct TestDatabase {
    /// `SQLite` or `PostgreSQL`, for messages.
    pub name: &'static str,
    /// For the setting `database.url`, once `db` is gone or where several may have it open.
    pub url: String,
    pub db: Database,
    pub log: Log,
    /// Last, so that the database is let go before it is dropped.
    _place: Place,
}

/// A place for a database of each kind, with nothing in it: SQLite always, PostgreSQL when it is to be had.
pub async fn places() -> Vec<Place> {
    let mut places = vec![sqlite()];
    places.extend(postgres(false).await);
    places
}

/// As [`places`], with each bus: what is set here and nothing else makes a shop another one.
pub async fn combinations() -> Vec<Place> {
    let mut combinations = places().await;
    if kafka_place().is_some() {
        for place in places().await {
            combinations.extend(on_kafka(place));
        }
    }
    combinations
}

/// The same database with the topics on Kafka, under names of their own; `None` when there is no Kafka.
pub fn on_kafka(place: Place) -> Option<Place> {
    let (servers, prefix) = kafka_place()?;
    let name = if place.name == "SQLite" { "SQLite and Kafka" } else { "PostgreSQL and Kafka" };
    let bus = vec![("SHOP__BUS__BACKEND", "kafka".to_owned()), (SERVERS, servers), (PREFIX, prefix)];
    Some(Place { name, bus, ..place })
}

/// The cluster of a [place on Kafka](on_kafka).
///
/// # Panics
/// When the place is not on Kafka.
pub fn cluster_of(place: &Place) -> Kafka {
    let setting = |name: &str| place.bus.iter().find(|(known, _)| *known == name).expect("a place on Kafka").1.clone();
    let bootstrap_servers = setting("SHOP__BUS__KAFKA__BOOTSTRAP_SERVERS");
    let prefix = setting("SHOP__BUS__KAFKA__PREFIX");
    Kafka::new(KafkaOptions { bootstrap_servers, prefix, ..KafkaOptions::default() }).expect("good options")
}

/// A migrated database of each kind, with the shop's topics: SQLite always, PostgreSQL when it is to be had.
///
/// Nothing runs on them: start consumers as the test needs them.
pub async fn databases() -> Vec<TestDatabase> {
    databases_with(&shop_topics()).await
}

/// As [`databases`], with these topics.
pub async fn databases_with(topics: &[TopicSpec]) -> Vec<TestDatabase> {
    let mut databases = vec![open(sqlite(), topics).await];
    if let Some(place) = postgres(true).await {
        databases.push(open(place, topics).await);
    }
    databases
}

/// As [`databases_with`], on a server of the test's own.
pub async fn database_on(server: &PgServer, topics: &[TopicSpec]) -> TestDatabase {
    open(Place { name: "PostgreSQL", url: server.url(), bus: Vec::new(), _keep: Arc::new(()) }, topics).await
}

fn shop_topics() -> Vec<TopicSpec> {
    topics::ALL.iter().map(|name| TopicSpec { name: (*name).into(), partitions: PARTITIONS }).collect()
}

fn sqlite() -> Place {
    let folder = tempfile::Builder::new().prefix("jangteo-test-").tempdir().expect("a temporary folder");
    let url = format!("sqlite:{}", folder.path().join("shop.db").display());
    Place { name: "SQLite", url, bus: Vec::new(), _keep: Arc::new(folder) }
}

async fn postgres(migrated: bool) -> Option<Place> {
    let server = blocking(postgres::server).await.map_err(|reason| left_out("PostgreSQL", reason)).ok()?;
    let template = if migrated { server.template(migrate).await } else { None };
    let database = blocking(move || server.create(template)).await;
    Some(Place { name: "PostgreSQL", url: database.url(), bus: Vec::new(), _keep: Arc::new(database) })
}

async fn migrate(url: String) {
    let log = Log::new();
    let db = Database::open(db::Options::new(url), &contracts::MIGRATIONS, log.recorder()).await;
    db.expect("the migrations run").close().await;
}

async fn open(place: Place, topics: &[TopicSpec]) -> TestDatabase {
    let log = Log::new();
    let options = db::Options::new(place.url.clone());
    let db = Database::open(options, &contracts::MIGRATIONS, log.recorder()).await;
    let db = db.unwrap_or_else(|e| panic!("{} at {}: {e}", place.name, place.url));
    log.open(&db, topics).await.unwrap_or_else(|e| panic!("the log on {}: {e}", place.name));
    TestDatabase { name: place.name, url: place.url.clone(), db, log, _place: place }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}
