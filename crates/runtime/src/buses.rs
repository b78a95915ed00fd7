//! Bus of each topic, and the state of Kafka in this process.

use std::sync::Arc;
use std::time::Duration;

use contracts::topics;
use db::Database;
use messaging::{Bus, ByTopic, Foreign, ForeignBus, Group, InProcess, Log, RefusedKey, Subscription, relay_group};
use messaging_kafka::{Cluster, Difference};
use program::settings::SettingError;
use tokio_util::sync::CancellationToken;

use crate::settings::{Backend, Settings};

/// The bus of each topic; clones share the state of Kafka.
#[derive(Clone)]
pub struct Buses {
    on_kafka: Arc<[&'static str]>,
    /// Cluster, if a topic or an external topic is on Kafka.
    cluster: Option<Cluster>,
    refused_key: RefusedKey,
}

impl Buses {
    /// Builds the delivery of the settings; connects to nothing.
    ///
    /// # Errors
    /// An unusable setting of Kafka, if Kafka is needed, or a setting that needs Kafka.
    pub(crate) fn new(settings: &Settings) -> Result<Self, SettingError> {
        let foreign = settings.reading_others();
        let settings = &settings.bus;
        let is_there = |topic: &&'static str| settings.of(topic) == Backend::Kafka;
        let on_kafka: Arc<[&'static str]> = topics::ALL.into_iter().filter(is_there).collect();
        if let Some(setting) = foreign.filter(|_| settings.kafka.bootstrap_servers.is_none()) {
            return Err(SettingError::new(setting, "needs bus.kafka.bootstrap_servers: its topics are on Kafka"));
        }
        let is_needed = !on_kafka.is_empty() || foreign.is_some();
        let cluster = if is_needed { Some(Cluster::new(&settings.kafka)?) } else { None };
        Ok(Self { on_kafka, cluster, refused_key: settings.refused_key })
    }

    /// Returns the external topics on Kafka.
    pub(crate) fn foreign(&self, db: &Database, log: &Log, subscriptions: Vec<Subscription>) -> Foreign {
        let kafka = self.cluster.as_ref().map(Cluster::kafka);
        let own = topics::ALL.into_iter().filter_map(|topic| Some(kafka?.named(topic))).collect();
        let bus = kafka.map(|kafka| Arc::new(kafka.foreign()) as Arc<dyn ForeignBus>);
        Foreign::new(db.clone(), log.clone(), bus, subscriptions, own)
    }

    /// Returns the topics on Kafka.
    pub fn on_kafka(&self) -> &[&'static str] {
        &self.on_kafka
    }

    /// Returns the bus of consumer groups.
    pub(crate) fn of_consumers(&self, db: &Database, log: &Log, foreign: &Foreign) -> Arc<dyn Bus> {
        let in_process: Arc<dyn Bus> = Arc::new(InProcess::new(db.clone(), log.clone()));
        let ours = match &self.cluster {
            Some(cluster) => {
                let kafka = Arc::new(cluster.kafka().bus(log.source()).with_orphans_of(log.clone()));
                Arc::new(ByTopic::new(self.on_kafka.clone(), kafka, in_process))
            }
            None => in_process,
        };
        Arc::new(ByTopic::new(topics::ALL.into(), ours, foreign.bus()))
    }

    /// Returns the relay's group; `None` if no topic is on Kafka.
    pub(crate) fn relay(&self) -> Option<Group> {
        let cluster = self.cluster.as_ref()?;
        let publisher = Arc::new(cluster.kafka().publisher(Duration::ZERO));
        (!self.on_kafka.is_empty()).then(|| relay_group(publisher, self.on_kafka.to_vec(), self.refused_key))
    }

    /// Returns the error if Kafka is needed and unavailable.
    pub fn kafka_is_away(&self) -> Option<String> {
        self.cluster.as_ref()?.away()
    }

    /// Topics on Kafka that differ from the settings, by the last look.
    pub fn differences(&self) -> Vec<Difference> {
        self.cluster.as_ref().map(Cluster::differences).unwrap_or_default()
    }

    /// Returns a line for each group, or other client, that hears nothing from Kafka, though Kafka is there.
    pub fn deaf(&self) -> Vec<String> {
        self.cluster.as_ref().map_or_else(Vec::new, Cluster::deaf)
    }

    /// Checks once that Kafka answers within `patience`. Succeeds if no topic is on Kafka.
    ///
    /// # Errors
    /// The error of Kafka's clients.
    pub async fn check_kafka(&self, patience: Duration) -> Result<(), String> {
        match &self.cluster {
            Some(cluster) => cluster.check_within(patience).await,
            None => Ok(()),
        }
    }

    /// Compares Kafka's topics with the settings once. Returns an error if Kafka is unavailable, and `None` if no
    /// topic is on Kafka.
    pub async fn compare_topics(&self, log: &Log) -> Option<Result<Vec<Difference>, String>> {
        let cluster = self.cluster.as_ref()?;
        Some(cluster.compare(&wanted(&self.on_kafka, log)).await)
    }

    /// Creates the topic on Kafka, with as many partitions as in the log. Returns true if the topic is on Kafka by
    /// the settings.
    ///
    /// # Errors
    /// The error of Kafka. A running shop retries.
    pub async fn ensure_topic(&self, topic: &str, log: &Log) -> Result<bool, String> {
        match self.cluster.as_ref().filter(|_| self.on_kafka.contains(&topic)) {
            Some(cluster) => {
                let differs = cluster.ensure(&wanted(&[topic], log)).await?;
                let fewer = differs.iter().find(|differs| differs.what == "partitions");
                fewer.map_or(Ok(true), |fewer| Err(fewer.to_string()))
            }
            None => Ok(false),
        }
    }

    /// Returns Kafka's servers, if a topic is on Kafka.
    pub fn kafka_servers(&self) -> Option<&str> {
        self.cluster.as_ref().map(Cluster::servers)
    }

    /// Creates the topics once Kafka is available, and monitors Kafka, until `stop`.
    pub(crate) async fn watch(self, log: Log, stop: CancellationToken) {
        if let Some(cluster) = &self.cluster {
            cluster.watch(|| wanted(&self.on_kafka, &log), stop).await;
        }
    }
}

/// Topics with their partitions.
fn wanted(topics: &[&str], log: &Log) -> Vec<(String, i32)> {
    topics.iter().map(|topic| ((*topic).to_owned(), log.partitions(topic))).collect()
}
