//! External topics on Kafka.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use messaging::{Bus, BusError, DirectBus, ForeignBus, Subscriber};

use crate::client::Kafka;
use crate::direct::KafkaDirect;
use crate::subscriber::{KafkaBus, Reads};

/// Reads external topics by their own names: only consumer groups get the prefix.
pub struct KafkaForeign {
    ours: Kafka,
    /// Cluster without a prefix.
    theirs: Kafka,
    asker: KafkaDirect,
}

impl KafkaForeign {
    pub(crate) fn new(ours: Kafka, theirs: Kafka) -> Self {
        Self { ours, asker: theirs.direct(), theirs }
    }
}

#[async_trait]
impl ForeignBus for KafkaForeign {
    async fn cluster(&self) -> Result<String, BusError> {
        self.asker.cluster().await
    }

    async fn topics(&self) -> Result<BTreeMap<String, i32>, BusError> {
        self.asker.topics().await
    }

    async fn held(&self, topic: &str, partitions: i32) -> Result<Vec<Range<i64>>, BusError> {
        self.asker.held(topic, partitions).await
    }

    fn read(&self) -> Arc<dyn Bus> {
        let bus = KafkaBus::new(self.theirs.clone(), Reads::RecordsOfOthers);
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
