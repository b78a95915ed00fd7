//! The settings of the proxy, section by section, with their defaults.

use std::ffi::OsString;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use messaging_kafka::{Backend, KafkaSettings};
use program::settings::{
    Address, Bytes, DatabaseUrl, LogSettings, SettingError, Sources, TelemetrySettings, expect, good_password, observe,
    positive, renamed,
};
use program::{Secret, defaults};
use rest::server::LimitSettings;
use rest::threads;
use serde::Deserialize;
use serde_json::{Map, Value};
use telemetry::Process;

use crate::cluster::peers;
use crate::http::loopback_guard::is_of_this_machine;
use crate::ingest::event::is_name;

/// Sources of the settings.
pub const SOURCES: Sources = Sources { prefix: "EVENT_PROXY", file: "config/event-proxy.toml" };
/// Maximum number of partitions of a topic; more are never useful for one proxy.
pub const MAX_PARTITIONS: u32 = 100;

/// All settings of the proxy.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Folder of the log and of all other files of the proxy.
    pub data_dir: PathBuf,
    pub http: HttpSettings,
    pub ingest: IngestSettings,
    pub bus: BusSettings,
    pub delivery: DeliverySettings,
    pub log_limit: LogLimitSettings,
    pub node: NodeSettings,
    pub topics: TopicSettings,
    pub control: ControlSettings,
    pub keys: KeySettings,
    pub admin: AdminSettings,
    pub telemetry: TelemetrySettings,
    pub log: LogSettings,
}
defaults!(Settings {
    data_dir: "data/event-proxy".into(),
    http: HttpSettings::default(),
    ingest: IngestSettings::default(),
    bus: BusSettings::default(),
    delivery: DeliverySettings::default(),
    log_limit: LogLimitSettings::default(),
    node: NodeSettings::default(),
    topics: TopicSettings::default(),
    control: ControlSettings::default(),
    keys: KeySettings::default(),
    admin: AdminSettings::default(),
    telemetry: TelemetrySettings::default(),
    log: LogSettings::default(),
});

/// The REST API.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    pub address: Address,
    /// Number of HTTP workers; by default the number of cores.
    pub workers: Option<NonZeroUsize>,
    /// Takes a client's address from `X-Forwarded-For`; use this only behind a proxy with this header.
    pub trust_forwarded: bool,
    /// Maximum wait of a stop for running requests.
    #[serde(with = "humantime_serde")]
    pub shutdown_timeout: Duration,
    pub limits: LimitSettings,
    pub tls: TlsSettings,
}
defaults!(HttpSettings {
    address: "127.0.0.1:8090".parse().expect("an address"),
    workers: None,
    trust_forwarded: false,
    shutdown_timeout: Duration::from_secs(30),
    limits: LimitSettings::default(),
    tls: TlsSettings::default(),
});

/// PEM files; TLS is off without these files.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSettings {
    /// The server's certificate, and then the chain to a trusted root.
    pub certificate: Option<PathBuf>,
    /// The private key of the first.
    pub key: Option<PathBuf>,
}

impl TlsSettings {
    /// Returns true if TLS is served.
    pub fn is_on(&self) -> bool {
        self.certificate.is_some()
    }
}

/// Limits of accepted events.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestSettings {
    /// Maximum size of an unpacked body; NDJSON has no limit.
    pub max_body: Bytes,
    /// Maximum size of one stored event.
    pub max_event: Bytes,
    /// Maximum memory of events on the way to the disk; each event counts 512 bytes more than the payload.
    pub memory: Bytes,
}
defaults!(IngestSettings { max_body: Bytes(8 << 20), max_event: Bytes(900 << 10), memory: Bytes(32 << 20) });

/// Bus of the events.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusSettings {
    pub backend: Backend,
    pub kafka: KafkaSettings,
}

/// Delivery of events to Kafka.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeliverySettings {
    /// Maximum wait of an answer for Kafka (`?ack=kafka`).
    #[serde(with = "humantime_serde")]
    pub ack_timeout: Duration,
    /// Maximum number of resends of a refused event, before the event is dead.
    pub max_resends: u32,
    /// Pause before the first resend; doubled with each further resend.
    #[serde(with = "humantime_serde")]
    pub resend_after: Duration,
    /// Maximum pause between resends.
    #[serde(with = "humantime_serde")]
    pub longest_pause: Duration,
}
defaults!(DeliverySettings {
    ack_timeout: Duration::from_secs(10),
    max_resends: 5,
    resend_after: Duration::from_secs(1),
    longest_pause: Duration::from_secs(300),
});

/// Limits of the log.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogLimitSettings {
    /// Maximum size of undelivered events. Above this limit the proxy answers 429.
    pub max_bytes: Bytes,
    /// Maximum age of an undelivered event. Above this limit the proxy accepts no events.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// Retention of delivered events, for receipts and own ids.
    #[serde(with = "humantime_serde")]
    pub keep: Duration,
}
defaults!(LogLimitSettings {
    max_bytes: Bytes(10 << 30),
    max_age: Duration::from_secs(7 * 24 * 3600),
    keep: Duration::from_secs(24 * 3600),
});

/// This proxy among its peers.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeSettings {
    /// Prefix of the receipts, so that peers recognise the proxy of a receipt.
    pub name: String,
    /// URLs of the peers, for questions about their receipts.
    pub peers: Vec<String>,
}
defaults!(NodeSettings { name: "proxy".into(), peers: Vec::new() });

/// Topics of events.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopicSettings {
    /// Makes a topic for the first event of a service and type.
    pub auto_create: bool,
    /// The name, of `{service}` and `{type}`.
    pub template: String,
    /// Services that may post events; empty: all.
    pub services: Vec<String>,
    /// Types of events that may be posted; empty: all.
    pub types: Vec<String>,
    /// Partitions of a topic at creation.
    pub partitions: NonZeroU32,
    /// Maximum number of topics.
    pub max: NonZeroU32,
    /// Of one service, so that it leaves others some; half of `max` unless set.
    pub max_per_service: Option<NonZeroU32>,
    /// Rules for some topics; the first match counts.
    pub rules: Vec<TopicRule>,
}

/// Settings of some topics.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicRule {
    /// A name, or a prefix followed by `*`.
    pub topics: String,
    pub partitions: Option<NonZeroU32>,
    /// Copies of each record.
    pub replication: Option<NonZeroU16>,
    /// Retention of records on Kafka.
    #[serde(default, with = "humantime_serde")]
    pub retention: Option<Duration>,
}

impl TopicSettings {
    /// Checks that two services never share a topic, because API keys separate services by topics.
    fn check_template(&self) -> Result<(), SettingError> {
        let template = &self.template;
        let literals = template.replace("{type}", "{service}");
        let mut literals: Vec<&str> = literals.split("{service}").collect();
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let is_template = literals.iter().all(|text| text.chars().all(known)) && template.contains("{service}");
        let reason = format!("expected a name with {{service}} and {{type}}, got {template:?}");
        expect("topics.template", is_template, &reason)?;
        literals.pop();
        let are_apart = literals.iter().skip(1).all(|between| between.contains('.'));
        let reason = format!("expected a dot, which no name has, between {{service}} and {{type}}, got {template:?}");
        expect("topics.template", are_apart, &reason)
    }

    /// Returns true if a service may post events of a type.
    pub fn allows(&self, service: &str, kind: &str) -> bool {
        let fits = |allowed: &[String], name| allowed.is_empty() || allowed.iter().any(|allowed| allowed == name);
        fits(&self.services, service) && fits(&self.types, kind)
    }

    /// Maximum number of topics of one service.
    pub fn share(&self) -> usize {
        self.max_per_service.map_or(self.max.get().div_ceil(2), NonZeroU32::get) as usize
    }

    /// Returns true if events of the service go to this topic.
    pub fn is_of(&self, service: &str, topic: &str) -> bool {
        let template = self.template.replace("{service}", service);
        let Some((before, after)) = template.split_once("{type}") else { return template == topic };
        topic.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).is_some_and(is_name)
    }

    /// Returns the rule for a topic, if any.
    pub fn rule(&self, topic: &str) -> Option<&TopicRule> {
        let fits = |rule: &&TopicRule| match rule.topics.strip_suffix('*') {
            Some(beginning) => topic.starts_with(beginning),
            None => topic == rule.topics,
        };
        self.rules.iter().find(fits)
    }
}

defaults!(TopicSettings {
    auto_create: true,
    template: "{service}.{type}".into(),
    services: Vec::new(),
    types: Vec::new(),
    partitions: NonZeroU32::new(3).expect("not 0"),
    max: NonZeroU32::new(500).expect("not 0"),
    max_per_service: None,
    rules: Vec::new(),
});

/// Database shared by proxies.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ControlSettings {
    /// The proxy's own unless set.
    pub database_url: Option<DatabaseUrl>,
}

/// API keys.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeySettings {
    /// By default true if the proxy listens on an address other than loopback.
    pub required: Option<bool>,
}

/// Access to pages and changes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSettings {
    /// Made and printed once unless set.
    pub password: Secret,
}

impl Settings {
    /// Returns the settings of this process: of `file`, or of the usual file if present, and of the environment.
    ///
    /// # Errors
    /// The first unknown or bad setting; with the key `--config` for a bad file.
    pub fn load(file: Option<&Path>) -> Result<Self, SettingError> {
        Self::from(SOURCES.file(file), std::env::vars_os())
    }

    /// Returns the settings of `file` and of the given variables, with defaults for the rest.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from(
        file: Option<PathBuf>,
        variables: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
    ) -> Result<Self, SettingError> {
        let settings: Self = SOURCES.read(file, variables, |tree| {
            for list in ["services", "types"] {
                listed(tree, "topics", list);
            }
            if let Some(Value::Object(kafka)) = tree.get_mut("bus").and_then(|bus| bus.get_mut("kafka")) {
                renamed(kafka, "properties", |name| name.replace('_', "."));
            }
        })?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), SettingError> {
        expect("data_dir", !self.data_dir.as_os_str().is_empty(), "expected a folder")?;
        expect("ingest.max_body", self.ingest.max_body.0 > 0, "expected more than 0")?;
        let (memory, body) = (self.ingest.memory.0, self.ingest.max_body.0);
        self.http.limits.check(body)?;
        threads::check(self.http.workers)?;
        expect("ingest.memory", memory >= body, "expected no less than ingest.max_body")?;
        let most = messaging::MAX_PAYLOAD_BYTES;
        let reason = format!("expected 1 to {most} bytes");
        expect("ingest.max_event", (1..=most).contains(&self.ingest.max_event.0), &reason)?;
        let reason = format!("expected letters, digits, _ and -, got {:?}", self.node.name);
        expect("node.name", is_name(&self.node.name), &reason)?;
        let ruled = self.topics.rules.iter().filter_map(|rule| rule.partitions);
        for (key, partitions) in
            [("topics.partitions", self.topics.partitions)].into_iter().chain(ruled.map(|it| ("topics.rules", it)))
        {
            let reason = format!("expected 1 to {MAX_PARTITIONS} partitions, got {partitions}");
            expect(key, partitions.get() <= MAX_PARTITIONS, &reason)?;
        }
        for (key, names) in [("topics.services", &self.topics.services), ("topics.types", &self.topics.types)] {
            let bad = names.iter().find(|name| !is_name(name));
            let reason = format!("expected letters, digits, _ and -, got {:?}", bad.map_or("", String::as_str));
            expect(key, bad.is_none(), &reason)?;
        }
        let ruled = self.topics.rules.iter().filter_map(|rule| rule.retention);
        ruled.into_iter().try_for_each(|retention| positive("topics.rules", retention))?;
        self.topics.check_template()?;
        self.check_access()?;
        self.bus.kafka.check()?;
        positive("delivery.ack_timeout", self.delivery.ack_timeout)?;
        positive("delivery.resend_after", self.delivery.resend_after)?;
        positive("delivery.longest_pause", self.delivery.longest_pause)?;
        expect("log_limit.max_bytes", self.log_limit.max_bytes.0 > 0, "expected more than 0")?;
        positive("log_limit.max_age", self.log_limit.max_age)?;
        positive("log_limit.keep", self.log_limit.keep)?;
        positive("http.shutdown_timeout", self.http.shutdown_timeout)?;
        self.telemetry.check()?;
        self.log.check()
    }

    fn check_access(&self) -> Result<(), SettingError> {
        self.node.peers.iter().try_for_each(|url| peers::parse(url).map(drop))?;
        let reason = format!("false is for a loopback address only, and http.address is {}", self.http.address);
        expect("keys.required", self.keys_required() || self.is_on_loopback(), &reason)?;
        good_password("admin.password", &self.admin.password)
    }

    /// Returns true if posting events requires an API key.
    pub fn keys_required(&self) -> bool {
        self.keys.required.unwrap_or(!self.is_on_loopback())
    }

    fn is_on_loopback(&self) -> bool {
        let address = self.http.address.as_str();
        is_of_this_machine(address.rsplit_once(':').map_or(address, |(host, _)| host))
    }

    /// Sets up logs, metrics and traces for this process; keep the guard until the end.
    ///
    /// # Errors
    /// The unusable setting.
    pub fn observe(&self) -> Result<telemetry::Guard, SettingError> {
        observe(Process { name: "event-proxy", data_dir: &self.data_dir }, &self.log, &self.telemetry)
    }
}

/// Splits a list that came as one text, out of the environment: `a,b`.
fn listed(tree: &mut Map<String, Value>, section: &str, name: &str) {
    let value = tree.get_mut(section).and_then(|section| section.get_mut(name));
    if let Some(value @ Value::String(_)) = value {
        let text = value.as_str().unwrap_or_default();
        *value = text.split(',').map(|item| Value::from(item.trim())).collect();
    }
}
