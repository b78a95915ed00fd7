//! An open shop: settings, database, and consumer groups.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use consumers::coupon_issuer::IssuerWake;
use consumers::notification::Hub;
use consumers::{Parts, groups, subscriptions};
use contracts::topics;
use db::{Conn, Database, Tx};
use messaging::admin::{self, ConsumerLag};
use messaging::{Foreign, Group, Log, TopicSpec};
use program::{Secret, kept_secret};
use tokio::time::timeout;

use crate::buses::Buses;
use crate::error::OpenError;
use crate::fixed;
use crate::settings::Settings;
use program::process::one_line;
use program::settings::SettingError;

/// Deletes a chunk of old data in a short unit; returns `true` if there may be more.
pub type Purge = Arc<dyn Fn(&mut Tx<'_>) -> db::Result<bool> + Send + Sync>;

/// File with the token secret in `data_dir`.
pub(crate) const TOKEN_SECRET: &str = "token-secret";
/// Rows for each unit, so that the writer stays available.
const CHUNK: i64 = 500;
/// Maximum wait for the database's answer to a health check.
const PATIENCE: Duration = Duration::from_secs(2);

/// Duration after which a pause of a partition shows in readiness.
const LONG_PAUSE: Duration = Duration::from_secs(60);

/// A handle; clones share the shop.
#[derive(Clone)]
pub struct Shop {
    pub settings: Arc<Settings>,
    pub db: Database,
    pub log: Log,
    /// All consumer groups, hosted or not, for the rules of resets.
    pub groups: Arc<[Group]>,
    /// Wakes notification streams.
    pub hub: Hub,
    /// Wakes requests waiting for a coupon.
    pub issuer_wake: IssuerWake,
    pub buses: Buses,
    /// Reads external topics from Kafka.
    pub foreign: Foreign,
    pub(crate) purges: Vec<(&'static str, Purge)>,
}

impl Shop {
    /// Opens the database, migrates the schema, and creates missing topics in the log. Does not contact Kafka.
    ///
    /// # Errors
    /// [`OpenError::Setting`] names the wrong setting.
    pub async fn open(settings: Settings) -> Result<Self, OpenError> {
        settings.check_start()?;
        fixed::set(&settings)?;
        let (db, log) = open_database(&settings).await?;
        let buses = Buses::new(&settings)?;
        fixed::check(&db).await?;
        fixed::settle_search_form(&db).await?;
        let (hub, issuer_wake) = (Hub::new(), IssuerWake::default());
        let of_consumers = settings.of_consumers();
        let foreign = buses.foreign(&db, &log, subscriptions(&of_consumers));
        let parts = Parts {
            db: db.clone(),
            data_dir: settings.data_dir.clone(),
            hub: hub.clone(),
            issuer_wake: issuer_wake.clone(),
        };
        let groups = groups(&of_consumers, &parts)?.into();
        let settings = Arc::new(settings);
        Ok(Self { settings, db, log, groups, hub, issuer_wake, buses, foreign, purges: purges() })
    }

    /// Returns the token secret: `auth.token_secret`, or the secret kept in `data_dir`, created if absent.
    ///
    /// # Errors
    /// If the folder or the file can't be made or read.
    pub fn token_secret(&self) -> Result<Secret, SettingError> {
        if !self.settings.auth.token_secret.is_empty() {
            return Ok(self.settings.auth.token_secret.clone());
        }
        let folder = &self.settings.data_dir;
        let secret = fs::create_dir_all(folder).and_then(|()| kept_secret(folder, TOKEN_SECRET));
        secret
            .map_err(|error| SettingError { key: "data_dir".into(), reason: format!("{}: {error}", folder.display()) })
    }

    /// Registers `purge` for periodic runs while the shop is hosted; each round ends when `purge` returns `false`.
    pub fn with_purge(
        mut self,
        what: &'static str,
        purge: impl Fn(&mut Tx<'_>) -> db::Result<bool> + Send + Sync + 'static,
    ) -> Self {
        self.purges.push((what, Arc::new(purge)));
        self
    }

    /// Checks that the database answers and takes writes: without the database the shop takes no requests.
    ///
    /// # Errors
    /// The error of the database, or of a silent database.
    pub async fn check_database(&self) -> db::Result<()> {
        if let Some(fault) = self.db.storage_fault() {
            return Err(db::Error::Unavailable(fault.to_string()));
        }
        let looked = timeout(PATIENCE, self.db.read(fixed::look)).await;
        looked.unwrap_or_else(|_| Err(db::Error::Unavailable("the database does not answer".into())))
    }

    /// Returns the lag of every group in every partition.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn lags(&self) -> db::Result<Vec<ConsumerLag>> {
        let foreign = self.foreign.clone();
        let read = move |conn: &mut Conn| -> db::Result<_> {
            let mut lags = admin::consumers(conn)?;
            lags.extend(foreign.lags(conn)?);
            Ok(lags)
        };
        self.db.read(read).await
    }

    /// Returns failures of a shop that still works: an item for each, for operators.
    pub fn degraded(&self) -> Vec<String> {
        let kafka = self.buses.kafka_is_away().map(|away| format!("kafka: {away}"));
        let differences = self.buses.differences().into_iter().map(|difference| format!("kafka: {difference}"));
        let deaf = self.buses.deaf().into_iter().map(|client| format!("kafka: {client}"));
        kafka.into_iter().chain(deaf).chain(differences).chain(self.log.paused(LONG_PAUSE)).collect()
    }

    /// Finishes queued work, and takes no new work.
    pub async fn close(&self) {
        self.db.close().await;
    }
}

/// The setting of the database's place.
const DATABASE: &str = "database.url";

async fn open_database(settings: &Settings) -> Result<(Database, Log), OpenError> {
    let url = settings.database_url();
    let mut options = db::Options::new(url.expose());
    options.pool_size = settings.database.pool_size.get();
    options.setting = Some(DATABASE);
    let log = Log::new();
    let db = Database::open(options, &contracts::MIGRATIONS, log.recorder()).await.map_err(|error| {
        let reason = one_line(&format!("{url}: {error}"));
        let named = SettingError { key: DATABASE.into(), reason };
        // a file that cannot be opened stays where it is
        let may_pass = url.is_shared() && matches!(error, db::Error::Unavailable(_));
        if may_pass { OpenError::Away(named) } else { named.into() }
    })?;
    // check() holds them under a thousand
    let partitions = settings.events.partitions.get() as i32;
    let spec = |name: &'static str| TopicSpec { name: name.into(), partitions };
    let specs: Vec<_> = topics::ALL.into_iter().map(spec).collect();
    log.open(&db, &specs).await?;
    Ok((db, log))
}

fn purges() -> Vec<(&'static str, Purge)> {
    vec![
        ("sessions", Arc::new(|tx: &mut Tx<'_>| Ok(member::purge_sessions(tx, CHUNK)? as i64 >= CHUNK))),
        ("analytics", Arc::new(|tx: &mut Tx<'_>| Ok(consumers::analytics::purge(tx)? > 0))),
    ]
}
