//! A cluster inside the process: librdkafka's own, which speaks the protocol and keeps records in memory.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::client::{BadProperty, Kafka, KafkaOptions};

/// A cluster that lives as long as this. It makes no topics when asked to: name them at the start.
pub struct MockKafka {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl MockKafka {
    /// Three brokers with these topics (name, partitions).
    ///
    /// # Panics
    /// When librdkafka makes none.
    pub fn new(topics: &[(&str, i32)]) -> Self {
        let cluster = MockCluster::new(3).expect("a mock cluster");
        for (name, partitions) in topics {
            cluster.create_topic(name, *partitions, 3).expect("a topic of the mock cluster");
        }
        Self { cluster }
    }

    /// To reach it by.
    ///
    /// # Errors
    /// None: it has no properties.
    pub fn connect(&self) -> Result<Kafka, BadProperty> {
        Kafka::new(KafkaOptions { bootstrap_servers: self.cluster.bootstrap_servers(), ..KafkaOptions::default() })
    }
}
