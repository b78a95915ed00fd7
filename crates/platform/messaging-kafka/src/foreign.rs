//! Topics that other programs write.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use messaging::{Bus, BusError, ForeignBus, Subscriber};
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::time::sleep;

use crate::client::{Aside, Heard, Kafka, blocking};
use crate::subscriber::{KafkaBus, Reads};

/// Maximum time for an answer of the cluster.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause before a cluster is asked again that did not name itself.
const ASK_AGAIN: Duration = Duration::from_secs(1);

type Asker = Aside<BaseConsumer<Heard>>;

/// Reads topics of others by the names that they have there: only groups get the prefix of ours.
pub struct KafkaForeign {
    ours: Kafka,
    /// Without a prefix.
    theirs: Kafka,
    asker: Mutex<Option<Arc<Asker>>>,
}

impl KafkaForeign {
    pub(crate) fn new(ours: Kafka, theirs: Kafka) -> Self {
        Self { ours, theirs, asker: Mutex::default() }
    }

    fn asker(&self) -> Result<Arc<Asker>, BusError> {
        let mut asker = self.asker.lock();
        if let Some(asker) = &*asker {
            asker.poll(Duration::ZERO); // it may have to sign in anew, and nobody else polls it
            return Ok(asker.clone());
        }
        // a consumer must name a group; nothing is committed
        let ours = [("group.id", "peek"), ("enable.auto.commit", "false")];
        let new = Arc::new(Asker::new(self.theirs.client(&ours)?));
        *asker = Some(new.clone());
        Ok(new)
    }

    /// Has the next question go by another client.
    fn replace_asker(&self, of: &Arc<Asker>) {
        let mut asker = self.asker.lock();
        asker.take_if(|current| Arc::ptr_eq(current, of));
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
        let asker = self.asker()?;
        blocking(move || {
            let there = asker.fetch_metadata(None, PATIENCE).map_err(|error| asker.context().explain(&error))?;
            Ok(there.topics().iter().map(|topic| (topic.name().to_owned(), topic.partitions().len() as i32)).collect())
        })
        .await
    }

    async fn held(&self, topic: &str, partitions: i32) -> Result<Vec<Range<i64>>, BusError> {
        let (asker, topic) = (self.asker()?, topic.to_owned());
        blocking(move || {
            let held = |partition| {
                let (low, high) = asker
                    .fetch_watermarks(&topic, partition, PATIENCE)
                    .map_err(|error| asker.context().explain(&error))?;
                Ok(low..high)
            };
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
