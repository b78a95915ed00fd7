//! Publishes a partition's events in order; never an event without all events before it.

use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use messaging::{BusError, Event, Publisher};
use parking_lot::Mutex;
use rdkafka::client::OAuthToken;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::client::{Aside, Heard, Kafka};
use crate::codec;

/// Maximum time until the acknowledgement of a batch. Then another producer sends the batch again, without harm.
const PATIENCE: Duration = Duration::from_secs(20);
/// Idle time of a partition after which brokers may forget the producer.
const LONG_IDLE: Duration = Duration::from_secs(600);

/// Properties of the producer: see `docs/operating.md` for the choice of values.
const PRODUCER: &[(&str, &str)] = &[
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("enable.gapless.guarantee", "true"),
    ("message.timeout.ms", "0"), // a record is given up with its producer, and never alone
    ("compression.type", "lz4"),
    ("queue.buffering.max.kbytes", "131072"),
    ("topic.metadata.refresh.interval.ms", "60000"),
];

/// Publishes to a cluster; a failed producer is replaced.
pub struct KafkaPublisher {
    kafka: Kafka,
    /// `linger.ms`
    linger: String,
    current: Mutex<Option<Arc<Live>>>,
}

/// A producer, and the time of the last send to each partition.
struct Live {
    sender: Sender,
    sent: Mutex<HashMap<(Arc<str>, i32), Instant>>,
}

/// A producer.
pub(crate) struct Sender(Aside<ThreadedProducer<Reports>>);

/// Events on their way together.
#[derive(Default)]
pub(crate) struct Batch {
    left: AtomicUsize,
    /// Acknowledged offsets, in the order of the events: delivery reports of a partition come in order.
    offsets: Mutex<Vec<i64>>,
    error: OnceLock<KafkaError>,
    done: Notify,
}

pub(crate) struct Reports(Heard);

impl From<Heard> for Reports {
    fn from(heard: Heard) -> Self {
        Self(heard)
    }
}

impl ClientContext for Reports {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = Heard::ENABLE_REFRESH_OAUTH_TOKEN;

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.0.generate_oauth_token(config)
    }

    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, report: &DeliveryResult<'_>, batch: Arc<Batch>) {
        match report {
            Ok(record) => batch.offsets.lock().push(record.offset()),
            Err((error, _)) => drop(batch.error.set(error.clone())), // the first
        }
        if batch.left.fetch_sub(1, Ordering::AcqRel) == 1 || report.is_err() {
            batch.done.notify_one();
        }
    }
}

impl KafkaPublisher {
    pub(crate) fn new(kafka: Kafka, linger: Duration) -> Self {
        Self { kafka, linger: (linger.as_secs_f64() * 1000.0).to_string(), current: Mutex::new(None) }
    }

    fn live(&self) -> Result<Arc<Live>, BusError> {
        let mut current = self.current.lock();
        if let Some(live) = &*current {
            return Ok(live.clone());
        }
        let ours = [PRODUCER, &[("linger.ms", &self.linger)]].concat();
        let live = Arc::new(Live { sender: Sender::new(&self.kafka, &ours)?, sent: Mutex::default() });
        *current = Some(live.clone());
        Ok(live)
    }

    /// Makes the next batch use another producer.
    fn give_up(&self, failed: &Arc<Live>) {
        let mut current = self.current.lock();
        if current.as_ref().is_some_and(|live| Arc::ptr_eq(live, failed)) {
            *current = None;
        }
    }
}

#[async_trait]
impl Publisher for KafkaPublisher {
    async fn publish(&self, events: &[Event]) -> Result<Vec<i64>, BusError> {
        let Some(first) = events.first() else { return Ok(Vec::new()) };
        let (live, topic) = (self.live()?, self.kafka.named(&first.topic));
        // A broker that does not know the producer takes any sequence number from it: were the first batch refused,
        // the second could be stored, and both be reported as such (KAFKA-15591). So the first goes alone.
        let alone = if live.is_known(first) { 0 } else { 1 };
        let (alone, rest) = events.split_at(alone);
        let mut offsets = Vec::with_capacity(events.len());
        for part in [alone, rest].into_iter().filter(|part| !part.is_empty()) {
            let sent = timeout(PATIENCE, live.sender.send(&topic, part)).await;
            match sent.unwrap_or_else(|_| Err(live.sender.late())) {
                Ok(stored) => offsets.extend(stored),
                Err(error) => {
                    self.give_up(&live);
                    return Err(error);
                }
            }
        }
        live.sent_to(first);
        Ok(offsets)
    }
}

impl Live {
    fn is_known(&self, event: &Event) -> bool {
        let sent = self.sent.lock();
        sent.get(&(event.topic.clone(), event.partition)).is_some_and(|at| at.elapsed() < LONG_IDLE)
    }

    fn sent_to(&self, event: &Event) {
        let mut sent = self.sent.lock();
        sent.insert((event.topic.clone(), event.partition), Instant::now());
    }
}

impl Sender {
    pub(crate) fn new(kafka: &Kafka, ours: &[(&str, &str)]) -> Result<Self, BusError> {
        Ok(Self(Aside::new(kafka.client(ours)?)))
    }

    /// Returns false after an error that another producer may not have.
    pub(crate) fn works(&self) -> bool {
        self.0.client().fatal_error().is_none()
    }

    /// Returns the error for events without an acknowledgement in time.
    pub(crate) fn late(&self) -> BusError {
        self.0.context().0.explain(&KafkaError::MessageProduction(RDKafkaErrorCode::OperationTimedOut))
    }

    /// Returns once all are acknowledged by all in-sync replicas: the offset of each.
    pub(crate) async fn send(&self, topic: &str, events: &[Event]) -> Result<Vec<i64>, BusError> {
        let batch = Arc::new(Batch { left: AtomicUsize::new(events.len()), ..Batch::default() });
        for event in events {
            let mut record = BaseRecord::with_opaque_to(topic, batch.clone())
                .partition(event.partition)
                .key(&event.key)
                .payload(&event.payload)
                .timestamp(event.occurred_at.micros() / 1000)
                .headers(codec::headers(event));
            while let Err((error, refused)) = self.0.send(record) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(self.0.context().0.explain(&error));
                }
                record = refused;
                sleep(Duration::from_millis(1)).await;
            }
        }
        loop {
            batch.done.notified().await;
            if let Some(error) = batch.error.get() {
                return Err(self.0.context().0.explain(error));
            }
            if batch.left.load(Ordering::Acquire) == 0 {
                return Ok(std::mem::take(&mut *batch.offsets.lock()));
            }
        }
    }
}
