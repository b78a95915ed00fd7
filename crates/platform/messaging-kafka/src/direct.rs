//! Events that go straight to Kafka, without the log.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use db::types::Time;
use futures::future::try_join_all;
use messaging::{Bus, BusError, DirectBus, Event};
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::metadata::MetadataTopic;
use tokio::time::{sleep, timeout};

use crate::client::{Heard, Kafka, blocking};
use crate::health::{Health, Kept};
use crate::publisher::Sender;
use crate::subscriber::{KafkaBus, Reads};

/// How long Kafka may take to say how far it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// Before a cluster is asked again that did not say which it is.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long an event may take to be stored, with its turn in a queue that is full.
const STORED_WITHIN: Duration = Duration::from_secs(12);

/// See `docs/operating.md` for how these were chosen.
const PRODUCER: &[(&str, &str)] = &[
    ("acks", "all"),
    ("enable.idempotence", "true"),
    // A broker that does not know the producer takes any sequence number from it: with two requests on their way, the
    // second could be stored though the first was refused, and both be reported as such (KAFKA-15591).
    ("max.in.flight.requests.per.connection", "1"),
    ("message.timeout.ms", "10000"), // somebody waits for the answer
    ("linger.ms", "1"),
    ("compression.type", "lz4"),
    ("queue.buffering.max.messages", "50000"),
];

type Asker = Kept<BaseConsumer<Heard>>;

/// Takes events for topics that the log does not number.
pub struct KafkaDirect {
    kafka: Kafka,
    of_sender: Arc<Health>,
    sender: Mutex<Option<Arc<Sender>>>,
    of_asker: Arc<Health>,
    asker: Mutex<Option<Asker>>,
}

impl KafkaDirect {
    pub(crate) fn new(kafka: Kafka, name: &str) -> Self {
        let of_sender = kafka.clients.place(format!("producer of {name}"));
        let of_asker = kafka.clients.place(format!("reader of {name}"));
        Self { kafka, of_sender, sender: Mutex::default(), of_asker, asker: Mutex::default() }
    }

    fn sender(&self) -> Result<Arc<Sender>, BusError> {
        let mut sender = self.sender.lock();
        if let Some(sender) = sender.as_ref().filter(|sender| sender.works()) {
            return Ok(sender.clone());
        }
        let new = Arc::new(Sender::new(&self.kafka, &self.of_sender, PRODUCER)?);
        *sender = Some(new.clone());
        Ok(new)
    }

    /// All topics that are there under the prefix of ours, whoever made them, each with its number of partitions.
    pub(crate) async fn topics(&self) -> Result<BTreeMap<String, i32>, BusError> {
        let prefix = self.kafka.named("");
        self.ask(move |asker| {
            let there = asker.fetch_metadata(None, PATIENCE)?;
            let named = |topic: &MetadataTopic| {
                Some((topic.name().strip_prefix(&prefix)?.to_owned(), topic.partitions().len() as i32))
            };
            Ok(there.topics().iter().filter_map(named).collect())
        })
        .await
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&BaseConsumer<Heard>) -> KafkaResult<T> + Send + 'static,
    ) -> Result<T, BusError> {
        let asker = self.asker()?;
        let asked = asker.clone();
        let answer = blocking(move || question(&asked).map_err(|error| asked.context().explain(&error))).await;
        match &answer {
            Ok(_) => asker.heard(None),
            Err(error) => asker.failed(error),
        }
        answer
    }

    fn asker(&self) -> Result<Asker, BusError> {
        let mut asker = self.asker.lock();
        if let Some(asker) = asker.as_ref().filter(|asker| asker.works()) {
            asker.poll(Duration::ZERO); // it may have to sign in anew, and nobody else polls it
            return Ok(asker.clone());
        }
        let group = self.kafka.named("peek"); // a consumer must name one; nothing is committed
        let ours = [("group.id", group.as_str()), ("enable.auto.commit", "false")];
        let new: Asker = self.kafka.keep(&self.of_asker, &ours)?;
        *asker = Some(new.clone());
        Ok(new)
    }

    /// Has the next question go by another client.
    fn replace_asker(&self, of: &Asker) {
        let mut asker = self.asker.lock();
        asker.take_if(|current| current.is(of));
    }
}

#[async_trait]
impl DirectBus for KafkaDirect {
    async fn send(&self, event: &Event) -> Result<i64, BusError> {
        let (sender, topic) = (self.sender()?, self.kafka.named(&event.topic));
        let sent = timeout(STORED_WITHIN, sender.send(&topic, std::slice::from_ref(event))).await;
        let sent = sent.unwrap_or_else(|_| Err(sender.late()));
        sender.note(&topic, &sent);
        sent?.last().copied().ok_or_else(|| sender.late())
    }

    async fn held(&self, topic: &str, partitions: i32) -> Result<Vec<Range<i64>>, BusError> {
        let name = self.kafka.named(topic);
        self.ask(move |asker| {
            let held = |partition| asker.fetch_watermarks(&name, partition, PATIENCE).map(|(low, high)| low..high);
            (0..partitions).map(held).collect()
        })
        .await
    }

    async fn newest(
        &self,
        topic: &str,
        partitions: i32,
        before: Option<Time>,
        count: usize,
    ) -> Result<Vec<Vec<Event>>, BusError> {
        let of_partition = async |partition| {
            let records = self.kafka.newest_before(topic, partition, before, count as i64).await?;
            let placed = |(offset, event): (i64, Option<Event>)| match event {
                Some(event) => Event { position: offset, ..event },
                None => Event::skipped(topic.into(), partition, offset),
            };
            Ok(records.into_iter().map(placed).collect())
        };
        try_join_all((0..partitions).map(of_partition)).await
    }

    async fn cluster(&self) -> Result<String, BusError> {
        let until = Instant::now() + PATIENCE;
        loop {
            let (asker, left) = (self.asker()?, until.saturating_duration_since(Instant::now()));
            let its = asker.clone();
            if let Some(cluster) = blocking(move || Ok(its.client().fetch_cluster_id(left))).await? {
                asker.heard(None);
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

    fn read(&self) -> Arc<dyn Bus> {
        Arc::new(KafkaBus::new(self.kafka.clone(), Reads::Records))
    }
}
