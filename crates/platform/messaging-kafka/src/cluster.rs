//! A cluster by a program's settings, and the cluster's state in the program.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use messaging::BusError;
use parking_lot::Mutex;
use program::Secret;
use program::process::one_line;
use program::settings::{SettingError, expect, positive};
use serde::Deserialize;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::connection::{BadProperty, Kafka, KafkaOptions};
use crate::topics::{Difference, TopicOptions};

/// Interval of checks for Kafka.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Number of checks for each check of the topics.
const ENSURE_EVERY: u32 = 12;
/// First and longest pause while Kafka is unavailable.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(10);

/// Kind of bus.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// The database itself.
    #[default]
    InProcess,
    /// A Kafka cluster.
    Kafka,
}

impl Backend {
    /// Returns the name used in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProcess => "in-process",
            Self::Kafka => "kafka",
        }
    }
}

/// The section `bus.kafka` of a program's settings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaSettings {
    /// `host:port,…`; must be set when a topic is on Kafka.
    pub bootstrap_servers: Option<String>,
    /// Begins the names of topics and groups there.
    pub prefix: String,
    /// Copies of each record, when a topic is made; the brokers decide unless set.
    pub replication: Option<NonZeroU16>,
    /// Number of in-sync replicas that must have a record before Kafka acknowledges it.
    pub min_insync_replicas: Option<NonZeroU16>,
    /// Retention of records.
    #[serde(with = "humantime_serde")]
    pub retention: Option<Duration>,
    /// Region of an Amazon MSK cluster that accepts the program's AWS credentials.
    pub aws_iam_region: Option<String>,
    /// Properties of librdkafka.
    pub properties: BTreeMap<String, Secret>,
}

impl KafkaSettings {
    /// # Errors
    /// The first invalid setting.
    pub fn check(&self) -> Result<(), SettingError> {
        let replication = self.replication.map_or(0, NonZeroU16::get);
        let reason = format!("expected 1 to {}, got {replication}", i16::MAX);
        expect("bus.kafka.replication", i16::try_from(replication).is_ok(), &reason)?;
        let min = self.min_insync_replicas.map_or(0, NonZeroU16::get);
        let reason = format!("expected no more than replication, which is {replication}, got {min}");
        expect("bus.kafka.min_insync_replicas", replication == 0 || min <= replication, &reason)?;
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let reason = format!("expected letters, digits, dots, dashes and underscores, got {:?}", self.prefix);
        expect("bus.kafka.prefix", self.prefix.chars().all(known), &reason)?;
        self.retention.map_or(Ok(()), |retention| positive("bus.kafka.retention", retention))
    }
}

/// A cluster; clones share the state.
#[derive(Clone)]
pub struct Cluster {
    kafka: Kafka,
    servers: Arc<str>,
    options: TopicOptions,
    found: Arc<Mutex<Found>>,
    differences: Arc<Mutex<Vec<Difference>>>,
}

/// Outcome of the last check.
enum Found {
    NotAsked,
    There,
    Away(String),
}

impl Cluster {
    /// Builds a cluster from checked settings; connects to nothing.
    ///
    /// # Errors
    /// An unusable setting.
    pub fn new(settings: &KafkaSettings) -> Result<Self, SettingError> {
        let servers = settings.bootstrap_servers.clone().unwrap_or_default();
        let exposed = |(name, value): (&String, &Secret)| (name.clone(), value.expose().to_owned());
        let options = KafkaOptions {
            bootstrap_servers: servers.clone(),
            prefix: settings.prefix.clone(),
            properties: settings.properties.iter().map(exposed).collect(),
            aws_iam_region: settings.aws_iam_region.clone(),
        };
        let kafka = Kafka::new(options).map_err(|bad| named(bad, settings))?;
        let options = TopicOptions {
            // check() holds it under the limit
            replication: settings.replication.map(|copies| copies.get() as i16),
            min_insync_replicas: settings.min_insync_replicas.map(NonZeroU16::get),
            retention: settings.retention,
        };
        let found = Arc::new(Mutex::new(Found::NotAsked));
        Ok(Self { kafka, servers: servers.into(), options, found, differences: Arc::default() })
    }

    /// Returns the source of clients.
    pub fn kafka(&self) -> &Kafka {
        &self.kafka
    }

    /// `host:port,…`
    pub fn servers(&self) -> &str {
        &self.servers
    }

    /// Returns the error of the last check, if the check failed.
    pub fn away(&self) -> Option<String> {
        match &*self.found.lock() {
            Found::There => None,
            Found::NotAsked => Some(format!("{}: not asked yet", self.servers)),
            Found::Away(reason) => Some(format!("{}: {reason}", self.servers)),
        }
    }

    /// Topics that differ from the settings, by the last look.
    pub fn differences(&self) -> Vec<Difference> {
        self.differences.lock().clone()
    }

    /// Keeps the differences of all topics, and logs new ones.
    pub fn note_differences(&self, found: Vec<Difference>) {
        let mut known = self.differences.lock();
        for difference in found.iter().filter(|difference| !known.contains(difference)) {
            tracing::warn!(topic = difference.topic, "on Kafka {difference}");
        }
        *known = found;
    }

    /// Returns a line for each client that hears nothing, though Kafka is there.
    pub fn deaf(&self) -> Vec<String> {
        if self.away().is_some() { Vec::new() } else { self.kafka.silent_clients() }
    }

    /// Returns once a broker answers, or fails after `patience`.
    ///
    /// # Errors
    /// The reason given by the clients.
    pub async fn check_within(&self, patience: Duration) -> Result<(), String> {
        self.kafka.check_within(patience).await.map_err(reason)
    }

    /// Returns the differences between topics (name, partitions) and the settings.
    ///
    /// # Errors
    /// Why the cluster is not to be reached.
    pub async fn compare(&self, topics: &[(String, i32)]) -> Result<Vec<Difference>, String> {
        self.kafka.compare_topics(topics, &self.options).await.map_err(reason)
    }

    /// Returns the options of new topics in the settings.
    pub fn topic_options(&self) -> &TopicOptions {
        &self.options
    }

    /// Creates missing topics (name, partitions), and returns the differences between existing topics and the
    /// settings.
    ///
    /// # Errors
    /// The error of the cluster.
    pub async fn ensure(&self, topics: &[(String, i32)]) -> Result<Vec<Difference>, String> {
        self.kafka.ensure_topics(topics, &self.options).await.map_err(reason)
    }

    /// Creates the `topics` (name, partitions) once the cluster is available, and monitors the cluster, until `stop`.
    pub async fn watch(&self, topics: impl Fn() -> Vec<(String, i32)> + Sync, stop: CancellationToken) {
        self.watch_by(&Wanted(topics), &Notify::new(), stop).await;
    }

    /// Keeps an eye on whether the cluster is there, and has `topics` seen to when there are `more`; until `stop`.
    pub async fn watch_by(&self, topics: &impl SeeToTopics, more: &Notify, stop: CancellationToken) {
        let (mut failures, mut looks, mut is_due) = (1, 0_u32, true);
        while !stop.is_cancelled() {
            looks = looks.wrapping_add(1);
            // after a failure again, for it may come back as another cluster; now and then for a topic that was deleted
            let sees_to = failures > 0 || is_due || looks.is_multiple_of(ENSURE_EVERY);
            let looked = if sees_to { topics.see_to(self).await } else { self.kafka.check().await.map_err(reason) };
            (failures, is_due) = (if looked.is_ok() { 0 } else { failures + 1 }, false);
            self.note(looked);
            // a topic that cannot be made says nothing of the brokers
            let is_there = failures == 0 || sees_to && self.kafka.check().await.is_ok();
            let is_deaf = self.kafka.see_to_clients(is_there).await;
            let pause = match failures {
                0 if is_deaf => FIRST,
                0 => LOOK_EVERY,
                _ => (FIRST * 2_u32.pow(failures.min(8))).min(LONGEST),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = more.notified() => is_due = true,
                () = sleep(pause) => {}
            }
        }
    }

    /// Logs the beginning and the end of an outage, and nothing in between.
    fn note(&self, looked: Result<(), String>) {
        let mut found = self.found.lock();
        let servers = &*self.servers;
        match (&*found, &looked) {
            (Found::There, Ok(())) | (Found::Away(_), Err(_)) => {}
            (_, Ok(())) => tracing::info!(servers, "Kafka is there"),
            (_, Err(reason)) => tracing::warn!(servers, reason, "Kafka is away; events wait in the log"),
        }
        *found = looked.map_or_else(Found::Away, |()| Found::There);
    }
}

/// Sees to the topics of a cluster.
#[async_trait]
pub trait SeeToTopics: Sync {
    /// Called once the cluster is there, when there are more topics, and now and then.
    ///
    /// # Errors
    /// The error of the cluster.
    async fn see_to(&self, cluster: &Cluster) -> Result<(), String>;
}

/// Wanted topics.
struct Wanted<F>(F);

#[async_trait]
impl<F: Fn() -> Vec<(String, i32)> + Sync> SeeToTopics for Wanted<F> {
    async fn see_to(&self, cluster: &Cluster) -> Result<(), String> {
        cluster.note_differences(cluster.ensure(&(self.0)()).await?);
        Ok(())
    }
}

fn reason(error: BusError) -> String {
    let (BusError::Unavailable(reason) | BusError::Refused(reason)) = error;
    one_line(reason.strip_prefix("kafka: ").unwrap_or(&reason))
}

/// Returns the error under the property's name as a setting, and without the value, which may be secret.
fn named(bad: BadProperty, settings: &KafkaSettings) -> SettingError {
    let value = settings.properties.get(&bad.name).map(|value| value.expose().to_owned()).unwrap_or_default();
    let reason = if value.is_empty() { bad.reason } else { bad.reason.replace(&value, "…") };
    let key = match &*bad.name {
        "bootstrap.servers" => "bus.kafka.bootstrap_servers".into(),
        "aws_iam_region" => "bus.kafka.aws_iam_region".into(),
        "properties" => "bus.kafka.properties".into(),
        name => format!("bus.kafka.properties.{name}"),
    };
    SettingError::new(key, one_line(&reason))
}
