//! Kafka as a bus: the only crate that names rdkafka.
//!
//! Records are CloudEvents in binary mode: any Kafka client reads them. A record is in the log's partition of the
//! event, with the event's position as `ce_sequence`. Offsets mean nothing, except for topics that the log does not
//! number.

mod client;
mod cluster;
mod codec;
mod direct;
mod foreign;
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
pub use direct::KafkaDirect;
pub use foreign::KafkaForeign;
pub use mock::{MockKafka, Refusal};
pub use publisher::KafkaPublisher;
pub use subscriber::KafkaBus;
pub use topics::{Difference, TopicOptions};
