//! Delivery to Kafka, and the delivery's tasks.

pub(crate) mod acks;
pub(crate) mod dead_letters;
pub(crate) mod ledger;
pub(crate) mod offset_index;
pub(crate) mod quarantine;
mod relay;
pub(crate) mod retention;
pub(crate) mod retry;

use std::sync::Arc;
use std::time::Duration;

use db::Database;
use messaging::{ConsumerOptions, Consumers, InProcess, Log, begin_relaying, end_relaying, relay_group_by};
use messaging_kafka::{Backend, Cluster};
use program::settings::SettingError;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::delivery::acks::Waiting;
use crate::delivery::relay::Relay;
use crate::delivery::retry::Refusals;
use crate::ingest::capacity::Room;
use crate::settings::BusSettings;
use crate::topics::Topics;

/// Wait of a batch's records for more records.
const LINGER: Duration = Duration::from_micros(500);

/// Delivery to Kafka, if configured.
pub(crate) struct Delivery {
    cluster: Option<Cluster>,
    pub(crate) waiting: Arc<Waiting>,
    /// Rung when there are more topics.
    pub(crate) more: Notify,
}

/// Running tasks of the delivery.
pub(crate) struct Working {
    stop: CancellationToken,
    relay: Consumers,
    others: TaskTracker,
}

/// Resources of the delivery.
pub(crate) struct Means {
    pub db: Database,
    pub log: Log,
    pub topics: Arc<Topics>,
    pub refusals: Arc<Refusals>,
    pub room: Arc<Room>,
}

impl Delivery {
    /// Builds the delivery of the settings; connects to nothing.
    ///
    /// # Errors
    /// An unusable setting of Kafka, if events go to Kafka.
    pub(crate) fn new(settings: &BusSettings) -> Result<Self, SettingError> {
        let cluster = match settings.backend {
            Backend::Kafka => Some(Cluster::new(&settings.kafka)?),
            Backend::InProcess => None,
        };
        Ok(Self { cluster, waiting: Arc::default(), more: Notify::new() })
    }

    /// Returns true if events go to Kafka.
    pub(crate) fn is_there(&self) -> bool {
        self.cluster.is_some()
    }

    /// Returns the cluster for events, if configured.
    pub(crate) fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// Returns the error of Kafka, if events go to Kafka and Kafka is unavailable.
    pub(crate) fn away(&self) -> Option<String> {
        self.cluster.as_ref()?.away()
    }

    /// Returns a line for each client that hears nothing from Kafka, though Kafka is there.
    pub(crate) fn deaf(&self) -> Vec<String> {
        self.cluster.as_ref().map_or_else(Vec::new, Cluster::deaf)
    }

    /// Resumes the delivery of the log's events; returns `None` without a bus.
    ///
    /// # Errors
    /// Any error of the database.
    pub(crate) async fn start(self: &Arc<Self>, means: Means) -> db::Result<Option<Working>> {
        let (log, topics) = (means.log.clone(), means.log.topics());
        let Some(cluster) = self.cluster.clone() else {
            means.db.write(move |tx| end_relaying(tx, &names(&topics))).await?;
            return Ok(None);
        };
        means.db.write(move |tx| begin_relaying(tx, &log, &names(&topics))).await?;
        let Means { db, log, topics, refusals, room } = means;
        let relay = Relay {
            publisher: Arc::new(cluster.kafka().publisher(LINGER)),
            db: db.clone(),
            waiting: self.waiting.clone(),
            refusals: refusals.clone(),
            room: room.clone(),
            batches: Arc::default(),
        };
        let group = relay_group_by(Arc::new(relay), Vec::new());
        let bus = Arc::new(InProcess::new(db.clone(), log.clone()));
        let relay = Consumers::start(db.clone(), log.clone(), bus, vec![group], ConsumerOptions::relay()).await?;
        let (stop, others) = (CancellationToken::new(), TaskTracker::new());
        let (of_watch, of_topics, of_cluster) = (stop.clone(), topics.clone(), self.clone());
        others.spawn(async move {
            cluster.watch_by(&*of_topics, &of_cluster.more, of_watch).await;
        });
        let (of_measure, its_db) = (stop.clone(), db.clone());
        others.spawn(async move { room.measure(&its_db, &topics, &of_measure).await });
        let (of_resends, delivery) = (stop.clone(), self.clone());
        others.spawn(async move { refusals.resend(&db, &log, || delivery.away().is_some(), &of_resends).await });
        others.close();
        Ok(Some(Working { stop, relay, others }))
    }
}

impl Working {
    /// Finishes running deliveries; the rest stays in the log.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.relay.stop().await;
        self.others.wait().await;
    }
}

fn names(topics: &[Arc<str>]) -> Vec<&str> {
    topics.iter().map(|topic| &**topic).collect()
}
