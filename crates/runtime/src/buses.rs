//! Which bus each topic is on, and Kafka as this process finds it.

use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contracts::topics;
use db::Database;
use messaging::{Bus, BusError, ByTopic, Direct, DirectBus, DirectTopic, Group, InProcess, Log, relay_group};
use messaging_kafka::{BadProperty, Difference, Kafka, KafkaOptions, TopicOptions};
use program::Secret;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::settings::{Backend, BusSettings, KafkaSettings, Settings};
use program::process::one_line;
use program::settings::SettingError;

/// Between two looks whether Kafka is there.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Looks, of which one sees to the topics as well.
const ENSURE_EVERY: u32 = 12;
/// The first and the longest pause while it is away.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(10);

/// The bus of each topic; clones share what is known of Kafka.
#[derive(Clone)]
pub struct Buses {
    on_kafka: Arc<[&'static str]>,
    /// When a topic is there.
    cluster: Option<Cluster>,
}

/// Kafka, as the settings have it.
#[derive(Clone)]
struct Cluster {
    kafka: Kafka,
    servers: Arc<str>,
    options: TopicOptions,
    found: Arc<Mutex<Found>>,
}

/// What the last look at Kafka came to.
enum Found {
    NotAsked,
    There,
    Away(String),
}

impl Buses {
    /// By the settings; nothing is connected. `waits_there` when there is something to read on Kafka though no topic
    /// may be there.
    ///
    /// # Errors
    /// A setting of Kafka that can't be used, when Kafka is needed.
    pub(crate) fn new(settings: &BusSettings, waits_there: bool) -> Result<Self, SettingError> {
        let is_there = |topic: &&'static str| settings.of(topic) == Backend::Kafka;
        let on_kafka: Arc<[&'static str]> = topics::ALL.into_iter().filter(is_there).collect();
        if waits_there && settings.kafka.bootstrap_servers.is_none() {
            let reason = "must still be set: requests for coupons wait on Kafka (shop drain, with the settings as they \
                          were, has them handled before the topic moves)";
            return Err(SettingError { key: "bus.kafka.bootstrap_servers".into(), reason: reason.into() });
        }
        let cluster = if on_kafka.is_empty() && !waits_there { None } else { Some(Cluster::new(&settings.kafka)?) };
        Ok(Self { on_kafka, cluster })
    }

    /// The topics whose events need not go through the log.
    pub(crate) fn direct(&self, db: &Database, log: &Log, settings: &Settings) -> Direct {
        let topic = |name| DirectTopic {
            name,
            direct: self.on_kafka.contains(&name),
            max_waiting: settings.coupon.max_waiting_requests.get().into(),
        };
        let bus = self.cluster.as_ref().map(|cluster| Arc::new(cluster.kafka.direct()) as Arc<dyn DirectBus>);
        Direct::new(db.clone(), log.clone(), bus, topics::DIRECT.into_iter().map(topic).collect())
    }

    /// The topics that the relay copies to Kafka.
    fn relayed(&self) -> Vec<&'static str> {
        self.on_kafka.iter().copied().filter(|topic| !topics::DIRECT.contains(topic)).collect()
    }

    /// The topics on Kafka.
    pub fn on_kafka(&self) -> &[&'static str] {
        &self.on_kafka
    }

    /// What groups read from.
    pub(crate) fn of_consumers(&self, db: &Database, log: &Log, direct: &Direct) -> Arc<dyn Bus> {
        let in_process: Arc<dyn Bus> = Arc::new(InProcess::new(db.clone(), log.clone()));
        let direct = direct.bus(in_process.clone());
        let sequenced = match &self.cluster {
            Some(cluster) => {
                let kafka = Arc::new(cluster.kafka.bus(log.source()));
                Arc::new(ByTopic::new(self.relayed().into(), kafka, in_process))
            }
            None => in_process,
        };
        Arc::new(ByTopic::new(topics::DIRECT.into(), direct, sequenced))
    }

    /// The group that copies to Kafka what is there; `None` when nothing is.
    pub(crate) fn relay(&self, db: &Database, log: &Log) -> Option<Group> {
        let cluster = self.cluster.as_ref()?;
        let topics = self.relayed();
        let publisher = Arc::new(cluster.kafka.publisher());
        (!topics.is_empty()).then(|| relay_group(publisher, db.clone(), log.clone(), topics))
    }

    /// Why Kafka is not to be reached, as long as it is needed and is not.
    pub fn kafka_is_away(&self) -> Option<String> {
        let cluster = self.cluster.as_ref()?;
        match &*cluster.found.lock().unwrap_or_else(PoisonError::into_inner) {
            Found::There => None,
            Found::NotAsked => Some(format!("{}: not asked yet", cluster.servers)),
            Found::Away(reason) => Some(format!("{}: {reason}", cluster.servers)),
        }
    }

    /// Asks Kafka once how its topics differ from the settings; or why it is not to be reached. `None` when nothing is
    /// there.
    pub async fn compare_topics(&self, log: &Log) -> Option<Result<Vec<Difference>, String>> {
        let cluster = self.cluster.as_ref()?;
        let topics = wanted(&self.on_kafka, log);
        Some(cluster.kafka.compare_topics(&topics, &cluster.options).await.map_err(reason))
    }

    /// Has the topic made on Kafka, with as many partitions as the log has; or why that could not be done. Whether it is
    /// there by the settings.
    ///
    /// # Errors
    /// Why Kafka was not to be reached, or did not do it. A shop that runs tries it again.
    pub async fn ensure_topic(&self, topic: &str, log: &Log) -> Result<bool, String> {
        match self.cluster.as_ref().filter(|_| self.on_kafka.contains(&topic)) {
            Some(cluster) => cluster.ensure(&[topic], log).await.map(|_| true),
            None => Ok(false),
        }
    }

    /// Where Kafka is, when something is there.
    pub fn kafka_servers(&self) -> Option<&str> {
        self.cluster.as_ref().map(|cluster| &*cluster.servers)
    }

    /// Has the topics made on Kafka once it is there, and keeps an eye on whether it is, until `stop`.
    pub(crate) async fn watch(self, log: Log, stop: CancellationToken) {
        let Some(cluster) = &self.cluster else { return };
        let (mut failures, mut looks) = (1, 0_u32);
        while !stop.is_cancelled() {
            looks = looks.wrapping_add(1);
            // after a failure again, for it may come back as another cluster; now and then for a topic that was deleted
            let looked = if failures > 0 {
                cluster.ensure_and_tell(&self.on_kafka, &log).await
            } else if looks.is_multiple_of(ENSURE_EVERY) {
                cluster.ensure(&self.on_kafka, &log).await.map(drop)
            } else {
                cluster.look().await
            };
            failures = if looked.is_ok() { 0 } else { failures + 1 };
            cluster.note(looked);
            let pause = if failures == 0 { LOOK_EVERY } else { (FIRST * 2_u32.pow(failures.min(8))).min(LONGEST) };
            tokio::select! { () = stop.cancelled() => {}, () = sleep(pause) => {} }
        }
    }
}

/// Topics with their partitions.
fn wanted(topics: &[&str], log: &Log) -> Vec<(String, i32)> {
    topics.iter().map(|topic| ((*topic).to_owned(), log.partitions(topic))).collect()
}

impl Cluster {
    fn new(settings: &KafkaSettings) -> Result<Self, SettingError> {
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
        Ok(Self { kafka, servers: servers.into(), options, found: Arc::new(Mutex::new(Found::NotAsked)) })
    }

    async fn look(&self) -> Result<(), String> {
        self.kafka.check().await.map_err(reason)
    }

    async fn ensure(&self, topics: &[&str], log: &Log) -> Result<Vec<Difference>, String> {
        self.kafka.ensure_topics(&wanted(topics, log), &self.options).await.map_err(reason)
    }

    async fn ensure_and_tell(&self, topics: &[&str], log: &Log) -> Result<(), String> {
        let differences = self.ensure(topics, log).await?;
        differences.iter().for_each(|difference| tracing::warn!("on Kafka {difference}"));
        Ok(())
    }

    /// Says so when Kafka goes and when it comes, and nothing in between.
    fn note(&self, looked: Result<(), String>) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let servers = &*self.servers;
        match (&*found, &looked) {
            (Found::There, Ok(())) | (Found::Away(_), Err(_)) => {}
            (_, Ok(())) => tracing::info!(servers, "Kafka is there"),
            (_, Err(reason)) => tracing::warn!(servers, reason, "Kafka is away; events wait in the log"),
        }
        *found = looked.map_or_else(Found::Away, |()| Found::There);
    }
}

fn reason(error: BusError) -> String {
    let BusError::Unavailable(reason) = error;
    one_line(reason.strip_prefix("kafka: ").unwrap_or(&reason))
}

/// Under the name that the property has as a setting, and without its value, which may be secret.
fn named(bad: BadProperty, settings: &KafkaSettings) -> SettingError {
    let value = settings.properties.get(&bad.name).map(|value| value.expose().to_owned()).unwrap_or_default();
    let reason = if value.is_empty() { bad.reason } else { bad.reason.replace(&value, "…") };
    let key = match &*bad.name {
        "bootstrap.servers" => "bus.kafka.bootstrap_servers".into(),
        "aws_iam_region" => "bus.kafka.aws_iam_region".into(),
        "properties" => "bus.kafka.properties".into(),
        name => format!("bus.kafka.properties.{name}"),
    };
    SettingError { key, reason: one_line(&reason) }
}
