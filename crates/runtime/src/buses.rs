//! Which bus each topic is on, and Kafka as this process finds it.

use std::sync::Arc;
use std::time::Duration;

use contracts::topics;
use db::Database;
use messaging::{Bus, ByTopic, Foreign, ForeignBus, Group, InProcess, Log, RefusedKey, Subscription, relay_group};
use messaging_kafka::{Cluster, Difference};
use program::settings::SettingError;
use tokio_util::sync::CancellationToken;

use crate::settings::{Backend, Settings};

/// The bus of each topic; clones share what is known of Kafka.
#[derive(Clone)]
pub struct Buses {
    on_kafka: Arc<[&'static str]>,
    /// When a topic is there, or others' are read there.
    cluster: Option<Cluster>,
    refused_key: RefusedKey,
}

impl Buses {
    /// By the settings; nothing is connected.
    ///
    /// # Errors
    /// A setting of Kafka that can't be used, when Kafka is needed, or one that needs Kafka.
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

    /// The topics that others write to Kafka.
    pub(crate) fn foreign(&self, db: &Database, log: &Log, subscriptions: Vec<Subscription>) -> Foreign {
        let kafka = self.cluster.as_ref().map(Cluster::kafka);
        let own = topics::ALL.into_iter().filter_map(|topic| Some(kafka?.named(topic))).collect();
        let bus = kafka.map(|kafka| Arc::new(kafka.foreign()) as Arc<dyn ForeignBus>);
        Foreign::new(db.clone(), log.clone(), bus, subscriptions, own)
    }

    /// The topics on Kafka.
    pub fn on_kafka(&self) -> &[&'static str] {
        &self.on_kafka
    }

    /// What groups read from.
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

    /// The group that copies to Kafka what is there; `None` when nothing is.
    pub(crate) fn relay(&self) -> Option<Group> {
        let cluster = self.cluster.as_ref()?;
        let publisher = Arc::new(cluster.kafka().publisher(Duration::ZERO));
        (!self.on_kafka.is_empty()).then(|| relay_group(publisher, self.on_kafka.to_vec(), self.refused_key))
    }

    /// Why Kafka is not to be reached, as long as it is needed and is not.
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

    /// Asks Kafka once if it answers within `patience`. Succeeds if nothing is there.
    ///
    /// # Errors
    /// The reason that its clients give.
    pub async fn check_kafka(&self, patience: Duration) -> Result<(), String> {
        match &self.cluster {
            Some(cluster) => cluster.check_within(patience).await,
            None => Ok(()),
        }
    }

    /// Asks Kafka once how its topics differ from the settings; or why it is not to be reached. `None` when nothing is
    /// there.
    pub async fn compare_topics(&self, log: &Log) -> Option<Result<Vec<Difference>, String>> {
        let cluster = self.cluster.as_ref()?;
        Some(cluster.compare(&wanted(&self.on_kafka, log)).await)
    }

    /// Has the topic made on Kafka, with as many partitions as the log has; or why that could not be done. Whether it is
    /// there by the settings.
    ///
    /// # Errors
    /// Why Kafka was not to be reached, or did not do it. A shop that runs tries it again.
    pub async fn ensure_topic(&self, topic: &str, log: &Log) -> Result<bool, String> {
        match self.cluster.as_ref().filter(|_| self.on_kafka.contains(&topic)) {
            Some(cluster) => cluster.ensure(&wanted(&[topic], log)).await.map(|_| true),
            None => Ok(false),
        }
    }

    /// Where Kafka is, when something is there.
    pub fn kafka_servers(&self) -> Option<&str> {
        self.cluster.as_ref().map(Cluster::servers)
    }

    /// Has the topics made on Kafka once it is there, and keeps an eye on whether it is, until `stop`.
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
