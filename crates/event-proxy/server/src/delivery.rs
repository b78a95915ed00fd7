//! Brings what the log holds to Kafka, and tells those who wait for it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use db::Database;
use db::types::Id;
use messaging::{
    BusError, ConsumerOptions, Consumers, Event, InProcess, Log, Publisher, begin_relaying, end_relaying, relay_group,
};
use messaging_kafka::{Backend, Cluster, KafkaPublisher};
use program::settings::SettingError;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::settings::BusSettings;

/// Where Kafka has an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
}

/// The way to Kafka, as far as the settings have one.
pub struct Delivery {
    cluster: Option<Cluster>,
    waiting: Arc<Waiting>,
    /// Rung when there are more topics.
    pub(crate) more: Arc<Notify>,
}

/// What works on it.
pub struct Working {
    stop: CancellationToken,
    relay: Option<Consumers>,
    watch: Option<JoinHandle<()>>,
}

impl Delivery {
    /// By the settings; nothing is connected.
    ///
    /// # Errors
    /// A setting of Kafka that can't be used, when events go there.
    pub fn new(settings: &BusSettings) -> Result<Self, SettingError> {
        let cluster = match settings.backend {
            Backend::Kafka => Some(Cluster::new(&settings.kafka)?),
            Backend::InProcess => None,
        };
        Ok(Self { cluster, waiting: Arc::default(), more: Arc::default() })
    }

    /// Whether events go to Kafka.
    pub fn is_there(&self) -> bool {
        self.cluster.is_some()
    }

    /// Why Kafka is not to be reached, when events go there.
    pub fn away(&self) -> Option<String> {
        self.cluster.as_ref()?.away()
    }

    /// To be told when Kafka has the events, from now on.
    pub fn wait_for(&self, ids: impl IntoIterator<Item = Id>) -> Wait {
        Wait { told: self.waiting.enter(ids), waiting: self.waiting.clone() }
    }

    /// Begins where it was, with what the log holds.
    ///
    /// # Errors
    /// The database's.
    pub async fn start(&self, db: &Database, log: &Log) -> db::Result<Working> {
        let (stop, topics) = (CancellationToken::new(), log.topics());
        let Some(cluster) = self.cluster.clone() else {
            db.write(move |tx| end_relaying(tx, &names(&topics))).await?;
            return Ok(Working { stop, relay: None, watch: None });
        };
        let its_log = log.clone();
        db.write(move |tx| begin_relaying(tx, &its_log, &names(&topics))).await?;
        let publisher = Telling { publisher: cluster.kafka().publisher(), waiting: self.waiting.clone() };
        let group = relay_group(Arc::new(publisher), db.clone(), log.clone(), Vec::new());
        let bus = Arc::new(InProcess::new(db.clone(), log.clone()));
        let relay = Consumers::start(db.clone(), log.clone(), bus, vec![group], ConsumerOptions::relay()).await?;
        let (more, its_log, its_stop) = (self.more.clone(), log.clone(), stop.clone());
        let watch = async move { cluster.watch(|| with_partitions(&its_log), &more, its_stop).await };
        Ok(Working { stop, relay: Some(relay), watch: Some(tokio::spawn(watch)) })
    }
}

impl Working {
    /// Finishes what is on its way; the rest stays in the log.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Some(relay) = self.relay {
            relay.stop().await;
        }
        if let Some(Err(error)) = match self.watch {
            Some(watch) => Some(watch.await),
            None => None,
        } {
            tracing::error!(%error, "nobody looked after Kafka any more");
        }
    }
}

fn names(topics: &[Arc<str>]) -> Vec<&str> {
    topics.iter().map(|topic| &**topic).collect()
}

fn with_partitions(log: &Log) -> Vec<(String, i32)> {
    log.topics().iter().map(|topic| (topic.to_string(), log.partitions(topic))).collect()
}

/// For events to be on Kafka; who waits may be gone before.
pub struct Wait {
    told: HashMap<Id, oneshot::Receiver<Place>>,
    waiting: Arc<Waiting>,
}

impl Wait {
    /// Where Kafka has the events, as far as it has them by `deadline`.
    pub async fn until(mut self, deadline: Instant, ids: impl IntoIterator<Item = Id>) -> HashMap<Id, Place> {
        let mut places = HashMap::new();
        for id in ids {
            if let Some(told) = self.told.get_mut(&id)
                && let Ok(Ok(place)) = timeout_at(deadline, told).await
            {
                places.insert(id, place);
            }
        }
        places
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.waiting.leave(self.told.keys());
    }
}

/// Who waits for which event.
#[derive(Default)]
struct Waiting {
    count: AtomicUsize,
    by_event: Mutex<HashMap<Id, oneshot::Sender<Place>>>,
}

impl Waiting {
    fn enter(&self, ids: impl IntoIterator<Item = Id>) -> HashMap<Id, oneshot::Receiver<Place>> {
        let mut by_event = self.by_event.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entered = HashMap::new();
        for id in ids {
            // who posts the same event meanwhile is not the one that it is taken from
            if let Entry::Vacant(vacant) = by_event.entry(id) {
                let (told, receiver) = oneshot::channel();
                vacant.insert(told);
                entered.insert(id, receiver);
            }
        }
        self.count.store(by_event.len(), Ordering::Release);
        entered
    }

    fn leave<'i>(&self, ids: impl IntoIterator<Item = &'i Id>) {
        let mut by_event = self.by_event.lock().unwrap_or_else(PoisonError::into_inner);
        ids.into_iter().for_each(|id| drop(by_event.remove(id)));
        self.count.store(by_event.len(), Ordering::Release);
    }

    fn tell(&self, events: &[Event], offsets: &[i64]) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut by_event = self.by_event.lock().unwrap_or_else(PoisonError::into_inner);
        for (event, offset) in events.iter().zip(offsets) {
            if let Some(waits) = by_event.remove(&event.id) {
                let place = Place { topic: event.topic.clone(), partition: event.partition, offset: *offset };
                drop(waits.send(place)); // who waited may be gone
            }
        }
        self.count.store(by_event.len(), Ordering::Release);
    }
}

/// Tells those who wait what Kafka has.
struct Telling {
    publisher: KafkaPublisher,
    waiting: Arc<Waiting>,
}

#[async_trait]
impl Publisher for Telling {
    async fn publish(&self, events: &[Event]) -> Result<Vec<i64>, BusError> {
        let offsets = self.publisher.publish(events).await?;
        self.waiting.tell(events, &offsets);
        Ok(offsets)
    }

    async fn last_event(&self, topic: &str, partition: i32, source: Id) -> Result<Option<Event>, BusError> {
        self.publisher.last_event(topic, partition, source).await
    }
}
