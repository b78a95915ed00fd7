//! Kafka as a bus: the only crate that names rdkafka.
//!
//! Records are CloudEvents in binary mode: any Kafka client reads them. A record is in the partition that the log gave
//! its event, with the event's position as `ce_sequence`. Offsets mean nothing, but for topics that other programs write.

mod client;
mod cluster;
mod codec;
mod door;
mod foreign;
mod health;
mod mock;
mod peek;
mod publisher;
mod repeats;
mod sign_in;
mod subscriber;
mod tokens;
mod topics;

pub use client::{BadProperty, Kafka, KafkaOptions};
pub use cluster::{Backend, Cluster, KafkaSettings, SeeToTopics};
pub use door::{Door, Way};
pub use foreign::KafkaForeign;
pub use mock::{MockKafka, Refusal};
pub use publisher::KafkaPublisher;
pub use subscriber::KafkaBus;
pub use topics::{Difference, TopicOptions};
