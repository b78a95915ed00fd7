//! Kafka for tests: the cluster of `KAFKA_BOOTSTRAP_SERVERS`.

use messaging_kafka::{Kafka, KafkaOptions, TopicOptions};
use uuid::Uuid;

use crate::left_out;

/// Returns an isolated part of the cluster for one test: topics under a new prefix. `None` without a cluster.
///
/// # Panics
/// If a cluster is named and does not answer, or must be there and is not named.
pub async fn kafka(topics: &[(&str, i32)]) -> Option<Kafka> {
    kafka_with(topics, []).await
}

/// Returns [`kafka`] with properties of librdkafka.
///
/// # Panics
/// As [`kafka`].
pub async fn kafka_with<const N: usize>(topics: &[(&str, i32)], properties: [(&str, &str); N]) -> Option<Kafka> {
    let (bootstrap_servers, prefix) = kafka_place()?;
    let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let options = KafkaOptions { bootstrap_servers, prefix, properties, ..KafkaOptions::default() };
    let kafka = Kafka::new(options).expect("good properties");
    let topics: Vec<_> = topics.iter().map(|(name, partitions)| ((*name).to_owned(), *partitions)).collect();
    let made = kafka.ensure_topics(&topics, &TopicOptions::default()).await;
    made.unwrap_or_else(|error| panic!("the cluster of KAFKA_BOOTSTRAP_SERVERS: {error}"));
    Some(kafka)
}

/// Returns the servers and a topic prefix for one test. `None` without a cluster.
///
/// # Panics
/// If a cluster is required and not named.
pub fn kafka_place() -> Option<(String, String)> {
    let servers = std::env::var("KAFKA_BOOTSTRAP_SERVERS").ok().filter(|servers| !servers.is_empty());
    if servers.is_none() {
        left_out("Kafka", "KAFKA_BOOTSTRAP_SERVERS is not set");
    }
    Some((servers?, format!("jangteo-test-{}-", Uuid::new_v4().simple())))
}
