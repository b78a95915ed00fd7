//! The running proxy: log, topics, and the secret of receipts.

use std::fs;
use std::sync::Arc;

use db::Database;
use diesel_migrations::embed_migrations;
use messaging::Log;
use parking_lot::Mutex;
use program::kept_secret;
use program::process::{Failure, one_line};
use program::settings::{SettingError, readable_secrets, writable_folder};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::auth::admin::{Access, PASSWORD_FILE, Password};
use crate::auth::keys::Keys;
use crate::cluster::control;
use crate::cluster::peers::Peers;
use crate::delivery::retention::Housekeeping;
use crate::delivery::retry::Refusals;
use crate::delivery::{Delivery, Means, Working};
use crate::http::tls;
use crate::ingest::capacity::Room;
use crate::ingest::receipt::Receipts;
use crate::ingest::writer::Intake;
use crate::settings::Settings;
use crate::topics::Topics;

pub(crate) static MIGRATIONS: db::Migrations = db::Migrations {
    sqlite: embed_migrations!("../../../migrations/event-proxy/sqlite"),
    postgres: embed_migrations!("../../../migrations/event-proxy/postgres"),
};

/// File in `data_dir` with the secret of receipts.
const RECEIPT_SECRET: &str = "receipt-secret";

/// An open proxy; clones share the state.
#[derive(Clone)]
pub struct Proxy {
    pub settings: Arc<Settings>,
    pub db: Database,
    /// Database shared by proxies; by default the same as `db`.
    pub control: Database,
    pub log: Log,
    pub admin: Arc<Access>,
    pub keys: Arc<Keys>,
    /// Task that renews keys and ended sessions.
    renewing: AbortHandle,
    pub(crate) peers: Arc<Peers>,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) room: Arc<Room>,
    working: Arc<Mutex<Option<AtWork>>>,
    pub(crate) receipts: Arc<Receipts>,
    pub(crate) intake: Arc<Intake>,
    /// Cancelled at the stop, to end streams.
    pub(crate) stopping: CancellationToken,
}

impl Proxy {
    /// Opens the log in `data_dir`, created if absent, and starts the delivery to Kafka if configured.
    ///
    /// # Errors
    /// The unusable setting, or an unavailable server of the control database.
    pub async fn open(settings: Settings) -> Result<Self, Failure> {
        let Prepared { delivery, tls, peers } = Prepared::new(&settings)?;
        let folder = &settings.data_dir;
        let bad_folder = |error: &dyn std::fmt::Display| {
            SettingError::new("data_dir", one_line(&format!("{}: {error}", folder.display())))
        };
        fs::create_dir_all(folder).map_err(|error| bad_folder(&error))?;
        let secret = kept_secret(folder, RECEIPT_SECRET).map_err(|error| bad_folder(&error))?;
        let password = Password::open(&settings).map_err(|error| bad_folder(&error))?;
        let log = Log::new();
        let options = db::Options::new(format!("sqlite:{}", folder.join("log.db").display()));
        let db = Database::open(options, &MIGRATIONS, log.recorder()).await.map_err(|error| bad_folder(&error))?;
        // without a database of its own the control data are in the log's
        let bad_control = |error: db::Error| match &settings.control.database_url {
            Some(url) => {
                let named = SettingError::new(control::DATABASE_URL, one_line(&format!("{url}: {error}")));
                let may_pass = url.is_shared() && matches!(error, db::Error::Unavailable(_));
                if may_pass { Failure::Failed(named.to_string()) } else { named.into() }
            }
            None => bad_folder(&error).into(),
        };
        let (control, keys) = control::open(&settings.control, &db).await.map_err(bad_control)?;
        let admin = Arc::new(Access::open(password, &settings.http, &control).await.map_err(bad_control)?);
        let delivery = Arc::new(delivery);
        log.open(&db, &[]).await.map_err(|error| bad_folder(&error))?;
        let topics =
            Topics::open(&db, &control, &log, &settings.topics, delivery.clone()).await.map_err(bad_control)?;
        let begun = begin(&db, &log, &settings, topics.into(), &delivery).await.map_err(|error| bad_folder(&error))?;
        let Begun { topics, refusals, room, working } = begun;
        let housekeeping = Housekeeping::start(&db, &log, &topics, &room, settings.log_limit.keep);
        let receipts = Receipts::new(&settings.node.name, &secret);
        let intake = Intake::start(db.clone(), settings.ingest.memory.0, topics.clone());
        Ok(Self {
            settings: Arc::new(settings),
            db,
            control,
            log,
            renewing: keys.keep_renewing(admin.clone()).abort_handle(),
            admin,
            keys,
            peers: Arc::new(peers),
            tls: tls.map(Arc::new),
            delivery,
            topics,
            refusals,
            room,
            working: Arc::new(Mutex::new(Some(AtWork { housekeeping, delivery: working }))),
            receipts: Arc::new(receipts),
            intake: Arc::new(intake),
            stopping: CancellationToken::new(),
        })
    }

    /// Checks everything that the start refuses, files included. Connects to nothing, and leaves nothing on disk.
    ///
    /// # Errors
    /// The first unusable setting.
    pub fn check(settings: &Settings) -> Result<(), SettingError> {
        Prepared::new(settings).map(drop)
    }

    /// Finishes queued events and running deliveries; takes no events afterwards.
    pub async fn close(&self) {
        self.intake.finish().await;
        let working = self.working.lock().take();
        if let Some(AtWork { housekeeping, delivery }) = working {
            housekeeping.stop().await;
            if let Some(delivery) = delivery {
                delivery.stop().await;
            }
        }
        self.renewing.abort();
        self.control.close().await;
        self.db.close().await;
    }
}

/// Parts built from the settings and the named files.
struct Prepared {
    delivery: Delivery,
    tls: Option<rustls::ServerConfig>,
    peers: Peers,
}

impl Prepared {
    fn new(settings: &Settings) -> Result<Self, SettingError> {
        let delivery = Delivery::new(&settings.bus)?;
        let tls = tls::config(&settings.http.tls)?;
        let peers = Peers::new(&settings.node.name, &settings.node.peers)?;
        let password = if settings.admin.password.is_empty() { Some(PASSWORD_FILE) } else { None };
        writable_folder("data_dir", &settings.data_dir)?;
        if let Some(url) = &settings.control.database_url {
            url.check(control::DATABASE_URL)?;
        }
        let made: Vec<_> = password.into_iter().chain([RECEIPT_SECRET]).collect();
        readable_secrets(&settings.data_dir, &made)?;
        Ok(Self { delivery, tls, peers })
    }
}

/// Tasks that run until the proxy is closed.
struct AtWork {
    housekeeping: Housekeeping,
    delivery: Option<Working>,
}

/// Parts started on an open log.
struct Begun {
    topics: Arc<Topics>,
    refusals: Arc<Refusals>,
    room: Arc<Room>,
    working: Option<Working>,
}

async fn begin(
    db: &Database,
    log: &Log,
    settings: &Settings,
    topics: Arc<Topics>,
    delivery: &Arc<Delivery>,
) -> db::Result<Begun> {
    let refusals = Refusals::open(db, &settings.delivery).await?;
    let room = Room::open(db, &settings.log_limit, delivery.is_there()).await?;
    let (its_topics, its_refusals, its_room) = (topics.clone(), refusals.clone(), room.clone());
    let means = Means { db: db.clone(), log: log.clone(), topics: its_topics, refusals: its_refusals, room: its_room };
    let working = delivery.start(means).await?;
    Ok(Begun { topics, refusals, room, working })
}
