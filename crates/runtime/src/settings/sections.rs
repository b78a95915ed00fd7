//! The settings, section by section, with their defaults.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use contracts::{Currency, ShopZone};
use messaging::RefusedKey;
pub use messaging_kafka::{Backend, KafkaSettings};
use program::settings::{Address, Bytes, DatabaseUrl, LogSettings, SettingError, TelemetrySettings, expect};
use program::{Secret, defaults};
use rest::server::LimitSettings;
use serde::Deserialize;

/// All settings of the shop.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Folder of embedded mode: the SQLite file, exports, the secret of tokens.
    pub data_dir: PathBuf,
    pub http: HttpSettings,
    pub database: DatabaseSettings,
    pub bus: BusSettings,
    pub host: HostSettings,
    pub events: EventsSettings,
    pub admin: AdminSettings,
    pub auth: AuthSettings,
    pub shop: ShopSettings,
    pub currency: CurrencySettings,
    pub order: OrderSettings,
    pub rate_limit: RateLimitSettings,
    pub export: consumers::data_platform::ExportSettings,
    pub notification: consumers::notification::NotificationSettings,
    pub incident: consumers::incident::IncidentSettings,
    pub event_proxy: EventProxySettings,
    pub worker: WorkerSettings,
    pub telemetry: TelemetrySettings,
    pub log: LogSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: "data".into(),
            http: HttpSettings::default(),
            database: DatabaseSettings::default(),
            bus: BusSettings::default(),
            host: HostSettings::default(),
            events: EventsSettings::default(),
            admin: AdminSettings::default(),
            auth: AuthSettings::default(),
            shop: ShopSettings::default(),
            currency: CurrencySettings::default(),
            order: OrderSettings::default(),
            rate_limit: RateLimitSettings::default(),
            export: Default::default(),
            notification: Default::default(),
            incident: Default::default(),
            event_proxy: EventProxySettings::default(),
            worker: WorkerSettings::default(),
            telemetry: TelemetrySettings::default(),
            log: LogSettings::default(),
        }
    }
}

impl Settings {
    /// `database.url`, or the SQLite file in `data_dir`.
    pub fn database_url(&self) -> DatabaseUrl {
        self.database.url.clone().unwrap_or_else(|| {
            let embedded = format!("sqlite:{}", self.data_dir.join("shop.db").display());
            embedded.parse().expect("sqlite: and a path")
        })
    }

    /// Returns the settings of the consumers.
    pub(crate) fn of_consumers(&self) -> consumers::Settings {
        consumers::Settings {
            export: self.export.clone(),
            notification: self.notification.clone(),
            incident: self.incident.clone(),
        }
    }

    /// Returns the name of a set setting that needs external topics on Kafka.
    pub(crate) fn reading_others(&self) -> Option<&'static str> {
        let is_set = |setting: &Option<String>| setting.as_ref().is_some_and(|value| !value.is_empty());
        match () {
            () if !self.export.proxy_topics.is_empty() => Some("export.proxy_topics"),
            () if is_set(&self.export.proxy_prefix) => Some("export.proxy_prefix"),
            () if is_set(&self.incident.topic) => Some("incident.topic"),
            () => None,
        }
    }
}

/// Returns a literal of at least 1.
const fn some(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("defaults are not 0")
}

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The REST API.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    pub address: Address,
    /// Number of HTTP workers; by default the number of cores.
    pub workers: Option<NonZeroUsize>,
    /// Maximum size of a request's body.
    pub body_limit: Bytes,
    /// Web pages of these origins may call the API; `*` is all.
    pub cors_origins: Vec<String>,
    /// Takes a client's address from `x-forwarded-for`; use this only behind a proxy with this header.
    pub trust_forwarded: bool,
    /// Maximum notification streams of one member; further streams are answered 429.
    pub streams_per_member: NonZeroUsize,
    /// Notification streams of all members; more are answered 503.
    pub max_streams: NonZeroUsize,
    /// Maximum wait of a stop for running requests.
    #[serde(with = "humantime_serde")]
    pub shutdown_timeout: Duration,
    pub limits: LimitSettings,
}
defaults!(HttpSettings {
    address: "127.0.0.1:8080".parse().expect("an address"),
    workers: None,
    body_limit: Bytes(64 * 1024),
    cors_origins: Vec::new(),
    trust_forwarded: false,
    streams_per_member: NonZeroUsize::new(10).expect("not 0"),
    max_streams: NonZeroUsize::new(2_000).expect("not 0"),
    shutdown_timeout: Duration::from_secs(30),
    limits: LimitSettings::default(),
});

/// Database of the shop.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseSettings {
    /// `sqlite:<data_dir>/shop.db` unless set.
    pub url: Option<DatabaseUrl>,
    /// Connections at the most: of PostgreSQL, or of SQLite's readers.
    pub pool_size: NonZeroU32,
}
defaults!(DatabaseSettings { url: None, pool_size: some(10) });

/// Bus of each topic.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusSettings {
    pub backend: Backend,
    /// Buses of topics with another bus than `backend`.
    pub topics: BTreeMap<String, Backend>,
    /// Later events of the key of an event that Kafka refused.
    pub refused_key: RefusedKey,
    pub kafka: KafkaSettings,
}

impl BusSettings {
    /// Returns the bus of `topic`.
    pub fn of(&self, topic: &str) -> Backend {
        self.topics.get(topic).copied().unwrap_or(self.backend)
    }
}

/// Background work that `shop` runs beside the API.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostSettings {
    /// True to host all consumer groups.
    pub consumers: bool,
    /// The relay, for topics on Kafka.
    pub relay: bool,
}
defaults!(HostSettings { consumers: true, relay: true });

/// The event log.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventsSettings {
    /// Partitions of each topic at creation.
    pub partitions: NonZeroU32,
    /// Retention of events handled by every group.
    #[serde(with = "humantime_serde")]
    pub retention: Duration,
}
defaults!(EventsSettings { partitions: some(4), retention: 7 * DAY });

/// The first admin.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSettings {
    pub email: String,
    /// Made and printed once unless set.
    pub password: Secret,
}
defaults!(AdminSettings { email: "admin@shop.local".into(), password: Secret::default() });

/// Tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSettings {
    /// Made and kept in `data_dir` unless set.
    pub token_secret: Secret,
    /// Lifetime of an access token.
    #[serde(with = "humantime_serde")]
    pub access_ttl: Duration,
    /// Lifetime of a session without a refresh.
    #[serde(with = "humantime_serde")]
    pub refresh_ttl: Duration,
}
defaults!(AuthSettings { token_secret: Secret::default(), access_ttl: 15 * MINUTE, refresh_ttl: 30 * DAY });

/// Where the shop is.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShopSettings {
    /// IANA. Figures, export files and mails have its days.
    pub time_zone: String,
}
defaults!(ShopSettings { time_zone: "UTC".into() });

impl ShopSettings {
    /// The time zone of the settings.
    ///
    /// # Errors
    /// `shop.time_zone`
    pub fn zone(&self) -> Result<ShopZone, SettingError> {
        let name = &self.time_zone;
        let reason = format!("expected a time zone of IANA like Asia/Seoul, got {name:?}");
        ShopZone::named(name).ok_or_else(|| SettingError::new("shop.time_zone", reason))
    }
}

/// The currency of the shop.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CurrencySettings {
    /// ISO 4217.
    pub code: String,
    /// Digits after the point; by default the digits of ISO 4217.
    pub decimals: Option<u32>,
}
defaults!(CurrencySettings { code: "KRW".into(), decimals: None });

impl CurrencySettings {
    /// Returns the currency of the settings.
    ///
    /// # Errors
    /// `currency.code`, `currency.decimals`
    pub fn currency(&self) -> Result<Currency, SettingError> {
        let code = &self.code;
        let exponent = iso_currency::Currency::from_code(code).and_then(iso_currency::Currency::exponent);
        let reason = format!("expected a currency of ISO 4217 like KRW, got {code:?}");
        let exponent = exponent.ok_or_else(|| SettingError::new("currency.code", reason))?;
        let decimals = self.decimals.unwrap_or(exponent.into());
        let reason = format!("expected 0 to {}, got {decimals}", Currency::MAX_DECIMALS);
        expect("currency.decimals", decimals <= Currency::MAX_DECIMALS, &reason)?;
        Ok(Currency { code: code.clone(), decimals })
    }
}

/// Orders.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrderSettings {
    /// Time for payment; an unpaid order then gives the stock back.
    #[serde(with = "humantime_serde")]
    pub expires_after: Duration,
    /// Unpaid orders of a member; more are answered 409.
    pub max_unpaid: NonZeroU32,
    /// Units of all products in the unpaid orders of a member.
    pub max_unpaid_units: NonZeroU32,
}
defaults!(OrderSettings { expires_after: 15 * MINUTE, max_unpaid: some(20), max_unpaid_units: some(10_000) });

impl OrderSettings {
    /// Returns the limit of one member's unpaid orders.
    pub fn unpaid(&self) -> checkout::UnpaidLimit {
        checkout::UnpaidLimit { orders: self.max_unpaid.get() as usize, units: self.max_unpaid_units.get().into() }
    }
}

/// Rate limits of requests; further requests are answered 429.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimitSettings {
    pub enabled: bool,
    /// Limit for one member.
    pub member_per_second: NonZeroU32,
    /// Limit for one address, across all members.
    pub address_per_second: NonZeroU32,
    /// Limit for one address of passwords checked or hashed.
    pub sign_ins_per_minute: NonZeroU32,
    /// Refreshes of the tokens of one session.
    pub refreshes_per_minute: NonZeroU32,
}
defaults!(RateLimitSettings {
    enabled: true,
    member_per_second: some(50),
    address_per_second: some(200),
    sign_ins_per_minute: some(60),
    refreshes_per_minute: some(60),
});

/// The event proxy for reports of failures.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventProxySettings {
    /// URLs of proxies; the client uses the first that answers. Nothing is reported by default.
    pub url: Vec<String>,
    pub api_key: Secret,
    /// Certificates (PEM) trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Reports logged errors, too.
    pub errors: bool,
}

/// A worker binary.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerSettings {
    pub http: WorkerHttpSettings,
    /// Maximum events handled a second; unlimited by default.
    pub events_per_second: Option<NonZeroU32>,
}

/// Health and metrics of a worker binary.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerHttpSettings {
    /// Off unless set.
    pub address: Option<Address>,
}
