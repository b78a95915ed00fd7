//! External topics on Kafka.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use messaging::{Bus, BusError, ForeignBus, Subscriber};
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use tokio::time::sleep;

use crate::connection::{Heard, Kafka, blocking};
use crate::consumer::{KafkaBus, Reads};
use crate::health::{Health, Kept};

/// Maximum time for an answer of the cluster.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause before a cluster is asked again that did not name itself.
const ASK_AGAIN: Duration = Duration::from_secs(1);

type Asker = Kept<BaseConsumer<Heard>>;

/// Reads external topics by their own names: only consumer groups get the prefix.
pub struct KafkaForeign {
    ours: Kafka,
    /// Cluster without a prefix.
    theirs: Kafka,
    health: Arc<Health>,
    asker: Mutex<Option<Asker>>,
}

impl KafkaForeign {
    pub(crate) fn new(ours: Kafka, theirs: Kafka) -> Self {
        let health = theirs.clients.place("reader of external topics".into());
        Self { ours, theirs, health, asker: Mutex::default() }
    }

    fn asker(&self) -> Result<Asker, BusError> {
        let mut asker = self.asker.lock();
        if let Some(asker) = asker.as_ref().filter(|asker| asker.works()) {
            asker.poll(Duration::ZERO); // it may have to sign in anew, and nobody else polls it
            return Ok(asker.clone());
        }
        // a consumer must name a group; nothing is committed
        let ours = [("group.id", "peek"), ("enable.auto.commit", "false")];
        let new: Asker = self.theirs.keep(&self.health, &ours)?;
        *asker = Some(new.clone());
        Ok(new)
    }

    /// Has the next question go by another client.
    fn replace_asker(&self, of: &Asker) {
        let mut asker = self.asker.lock();
        asker.take_if(|current| current.is(of));
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&BaseConsumer<Heard>) -> KafkaResult<T> + Send + 'static,
    ) -> Result<T, BusError> {
        let asker = self.asker()?;
        let asked = asker.clone();
        let answer = blocking(move || question(&asked).map_err(|error| asked.context().explain(&error))).await;
        match &answer {
            Ok(_) => asker.heard(None),
            Err(error) => asker.failed(error),
        }
        answer
    }
}

#[async_trait]
impl ForeignBus for KafkaForeign {
    async fn cluster(&self) -> Result<String, BusError> {
        let until = Instant::now() + PATIENCE;
        loop {
            let (asker, left) = (self.asker()?, until.saturating_duration_since(Instant::now()));
            let its = asker.clone();
            if let Some(cluster) = blocking(move || Ok(its.client().fetch_cluster_id(left))).await? {
                asker.heard(None);
                return Ok(cluster);
            }
            if Instant::now() >= until {
                return Err(BusError::Unavailable("kafka: the cluster does not say which it is".into()));
            }
            // A broker that is starting may answer without it, and then the client asks again in five minutes only.
            self.replace_asker(&asker);
            sleep(ASK_AGAIN).await;
        }
    }

    async fn topics(&self) -> Result<BTreeMap<String, i32>, BusError> {
        self.ask(|asker| {
            let there = asker.fetch_metadata(None, PATIENCE)?;
            Ok(there.topics().iter().map(|topic| (topic.name().to_owned(), topic.partitions().len() as i32)).collect())
        })
        .await
    }

    async fn held(&self, topic: &str, partitions: i32) -> Result<Vec<Range<i64>>, BusError> {
        let topic = topic.to_owned();
        self.ask(move |asker| {
            let held = |partition| asker.fetch_watermarks(&topic, partition, PATIENCE).map(|(low, high)| low..high);
            (0..partitions).map(held).collect()
        })
        .await
    }

    fn read(&self) -> Arc<dyn Bus> {
        let bus = KafkaBus::new(self.theirs.clone(), Reads::Others);
        Arc::new(Reading { ours: self.ours.clone(), bus })
    }
}

struct Reading {
    ours: Kafka,
    bus: KafkaBus,
}

impl Bus for Reading {
    fn subscribe(&self, group: &str) -> Arc<dyn Subscriber> {
        self.bus.subscribe(&self.ours.named(group))
    }
}
