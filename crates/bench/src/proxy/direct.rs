//! librdkafka alone, with the events of the load.

use std::sync::Arc;
use std::time::{Duration, Instant};

use messaging_kafka::{Kafka, KafkaOptions, TopicOptions};
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use uuid::Uuid;

use super::bodies::event;
use crate::limit;
use crate::report::Figures;

/// Partitions of a topic: the proxy's default.
const PARTITIONS: i32 = 3;
const COUNT: usize = 500_000;

/// Producer for a new topic.
pub(super) struct Direct {
    servers: String,
    topic: String,
}

impl Direct {
    /// # Panics
    /// If Kafka does not answer.
    pub(super) async fn open(servers: &str) -> Self {
        let topic = format!("bench-{}", Uuid::new_v4().simple());
        let kafka = Kafka::new(KafkaOptions { bootstrap_servers: servers.into(), ..KafkaOptions::default() });
        let topics = [(topic.clone(), PARTITIONS)];
        kafka.expect("good options").ensure_topics(&topics, &TopicOptions::default()).await.expect("Kafka answers");
        Self { servers: servers.into(), topic }
    }

    /// Events a second.
    pub(super) async fn as_fast_as_it_goes(&self) -> f64 {
        limit::produced(&self.servers, &self.topic, PARTITIONS, event(0), COUNT).await
    }

    /// Measures the latency of each event from the due time to Kafka's answer.
    pub(super) async fn paced(&self, per_second: f64, time: Duration) -> Figures {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.servers)
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .set("linger.ms", "0")
            .create()
            .expect("a producer");
        let figures = Arc::new(Mutex::new(Figures::new()));
        let (begun, mut sent) = (Instant::now(), Vec::new());
        for n in 0..(per_second * time.as_secs_f64()) as usize {
            let due = begun + Duration::from_secs_f64(n as f64 / per_second);
            tokio::time::sleep_until(due.into()).await;
            let (producer, topic, figures) = (producer.clone(), self.topic.clone(), figures.clone());
            sent.push(tokio::spawn(async move {
                let (key, payload) = (n.to_string(), event(n));
                let record = FutureRecord::to(&topic).key(&key).payload(&payload);
                producer.send(record, Duration::from_secs(5)).await.expect("Kafka takes it");
                figures.lock().record(due.elapsed());
            }));
        }
        for one in sent {
            one.await.expect("no panic");
        }
        let mut figures = std::mem::take(&mut *figures.lock());
        figures.took = begun.elapsed();
        figures
    }
}
