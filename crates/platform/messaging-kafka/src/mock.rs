//! A cluster inside the process: librdkafka's mock cluster, with the real protocol and records in memory.

use std::net::SocketAddr;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::connection::{BadProperty, Kafka, KafkaOptions};

const BROKERS: i32 = 3;

/// A mock cluster; stops when dropped. The cluster creates no topics on request: name all topics at the start.
pub struct MockKafka {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl MockKafka {
    /// Starts three brokers with these topics (name, partitions).
    ///
    /// # Panics
    /// If librdkafka makes no cluster.
    pub fn new(topics: &[(&str, i32)]) -> Self {
        let cluster = MockCluster::new(BROKERS).expect("a mock cluster");
        for (name, partitions) in topics {
            cluster.create_topic(name, *partitions, 3).expect("a topic of the mock cluster");
        }
        Self { cluster }
    }

    /// Returns the cluster for clients.
    ///
    /// # Errors
    /// None, because no properties are set.
    pub fn connect(&self) -> Result<Kafka, BadProperty> {
        self.connect_with([])
    }

    /// Returns the cluster for clients, with properties of librdkafka.
    ///
    /// # Errors
    /// The first unusable property.
    pub fn connect_with<const N: usize>(&self, properties: [(&str, &str); N]) -> Result<Kafka, BadProperty> {
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let bootstrap_servers = self.cluster.bootstrap_servers();
        Kafka::new(KafkaOptions { bootstrap_servers, properties, ..KafkaOptions::default() })
    }

    /// The address of a broker.
    ///
    /// # Panics
    /// If librdkafka gives none.
    pub fn broker(&self) -> SocketAddr {
        let servers = self.cluster.bootstrap_servers();
        servers.split(',').next().and_then(|first| first.parse().ok()).expect("an address of the mock cluster")
    }

    /// Makes all brokers answer so late.
    ///
    /// # Panics
    /// If librdkafka does not do it.
    pub fn set_round_trip(&self, time: Duration) {
        for broker in 1..=BROKERS {
            self.cluster.broker_round_trip_time(broker, time).expect("a broker of the mock cluster");
        }
    }

    /// Stores a record without headers, like a program without knowledge of events.
    ///
    /// # Panics
    /// If the record is not stored.
    pub fn store(&self, topic: &str, partition: i32, value: &str) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.cluster.bootstrap_servers());
        let producer: BaseProducer = config.create().expect("a producer");
        let record = BaseRecord::<(), str>::to(topic).partition(partition).payload(value);
        producer.send(record).map_err(|(error, _)| error).expect("room in the queue");
        producer.flush(Duration::from_secs(30)).expect("it is stored");
    }

    /// Makes the brokers answer the next produce requests with these errors.
    pub fn refuse(&self, refusals: &[Refusal]) {
        let errors: Vec<_> = refusals.iter().map(|refusal| refusal.code()).collect();
        self.cluster.request_errors(RDKafkaApiKey::Produce, &errors);
    }

    /// Has the brokers refuse to give records for a long time, or give them again. All other requests are answered.
    pub fn set_gives_records(&self, gives: bool) {
        let refusals: &[_] =
            if gives { &[] } else { &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE; 10_000] };
        self.cluster.clear_request_errors(RDKafkaApiKey::Fetch);
        self.cluster.request_errors(RDKafkaApiKey::Fetch, refusals);
    }

    /// Stops all brokers, or starts all brokers again.
    ///
    /// # Panics
    /// If librdkafka fails.
    pub fn set_up(&self, up: bool) {
        for broker in 1..=BROKERS {
            let set = if up { self.cluster.broker_up(broker) } else { self.cluster.broker_down(broker) };
            set.expect("a broker of the mock cluster");
        }
    }
}

/// Refusal of records by a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Temporary: too few replicas are in sync.
    ForNow,
    /// Permanent: the broker refuses the same records each time.
    ForGood,
}

impl Refusal {
    fn code(self) -> RDKafkaRespErr {
        match self {
            Self::ForNow => RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            Self::ForGood => RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        }
    }
}
