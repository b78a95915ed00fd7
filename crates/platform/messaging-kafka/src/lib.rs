//! Kafka as a bus: the only crate that names rdkafka.
//!
//! Records are CloudEvents in binary mode: any Kafka client reads them. A record is in the partition that the log gave
//! its event, with the event's position as `ce_sequence`. Offsets mean nothing, but for topics that other programs write.

mod auth;
mod browse;
mod cluster;
mod codec;
mod connection;
mod consumer;
mod dedup;
mod door;
mod external;
mod health;
mod mock;
mod producer;
mod topics;

pub use cluster::{Backend, Cluster, KafkaSettings, SeeToTopics};
pub use connection::{BadProperty, Kafka, KafkaOptions};
pub use consumer::KafkaBus;
pub use door::{Door, Way};
pub use external::KafkaForeign;
pub use mock::{MockKafka, Refusal};
pub use producer::KafkaPublisher;
pub use topics::{Difference, TopicOptions};
