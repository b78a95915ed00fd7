//! Fresh databases, one of each kind, for tests of all databases.

use std::any::Any;
use std::sync::Arc;

use contracts::topics;
use db::Database;
use messaging::{Log, TopicSpec};
use messaging_kafka::{Kafka, KafkaOptions};

use crate::kafka::kafka_place;
use crate::{PgServer, left_out, postgres};

/// Partitions of each topic in tests: enough to separate keys.
pub(crate) const PARTITIONS: i32 = 4;

const SERVERS: &str = "SHOP__BUS__KAFKA__BOOTSTRAP_SERVERS";
const PREFIX: &str = "SHOP__BUS__KAFKA__PREFIX";

/// Address of a fresh and empty database; the database is dropped with this value.
#[derive(Clone)]
pub struct Place {
    /// `SQLite` or `PostgreSQL`, for messages; with Kafka `SQLite and Kafka`.
    pub name: &'static str,
    /// Value of the setting `database.url`.
    pub url: String,
    /// Additional settings, as in the environment: none, or the settings of a Kafka bus.
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

/// A migrated database of one test, with the shop's topics in the log.
pub struct TestDatabase {
    /// `SQLite` or `PostgreSQL`, for messages.
    pub name: &'static str,
    /// Value of the setting `database.url`, for use after `db` is dropped or by several processes.
    pub url: String,
    pub db: Database,
    pub log: Log,
    /// Last field, so that the database is closed before the drop.
    _place: Place,
}

/// Returns an empty database of each kind: SQLite always, PostgreSQL if available.
pub async fn places() -> Vec<Place> {
    let mut places = vec![sqlite()];
    places.extend(postgres(false).await);
    places
}

/// Returns [`places`] with each bus: the settings of a combination fully describe a kind of shop.
pub async fn combinations() -> Vec<Place> {
    let mut combinations = places().await;
    if kafka_place().is_some() {
        for place in places().await {
            combinations.extend(on_kafka(place));
        }
    }
    combinations
}

/// Returns the same database with the topics on Kafka, under new names; `None` without Kafka.
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

/// Returns a migrated database of each kind, with the shop's topics: SQLite always, PostgreSQL if available.
///
/// No consumers run: start consumers as the test needs them.
pub async fn databases() -> Vec<TestDatabase> {
    databases_with(&shop_topics()).await
}

/// Returns [`databases`] with these topics.
pub async fn databases_with(topics: &[TopicSpec]) -> Vec<TestDatabase> {
    let mut databases = vec![open(sqlite(), topics).await];
    if let Some(place) = postgres(true).await {
        databases.push(open(place, topics).await);
    }
    databases
}

/// Returns a database like [`databases_with`], on the test's server.
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
