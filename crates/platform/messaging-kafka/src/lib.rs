//! Kafka as a bus: the only crate that names rdkafka.
//!
//! Records are CloudEvents in binary mode: any Kafka client reads them. A record is in the partition that the log gave
//! its event, with the event's position as `ce_sequence`; offsets mean nothing here.

mod client;
mod codec;
#[cfg(feature = "mock")]
mod mock;
mod peek;
mod publisher;
mod subscriber;
mod topics;

pub use client::{BadProperty, Kafka, KafkaOptions};
#[cfg(feature = "mock")]
pub use mock::{MockKafka, Refusal};
pub use publisher::KafkaPublisher;
pub use subscriber::KafkaBus;
pub use topics::{Difference, TopicOptions};
