//! Publishes a partition's events in order; never an event without all events before it.

use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use messaging::{BusError, Event, Published, Publisher};
use parking_lot::Mutex;
use rdkafka::client::OAuthToken;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::codec;
use crate::connection::{Heard, Kafka};
use crate::health::{Health, Kept};

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

/// An event that a topic may refuse is sent by a producer of its own, with nothing behind it: a refusal ends no other
/// producer, and needs no state of the broker. The broker alone limits the size.
const LONE_PRODUCER: &[(&str, &str)] = &[
    ("acks", "all"),
    ("message.timeout.ms", "0"),
    ("message.max.bytes", "1000000000"),
    ("compression.type", "lz4"),
    ("topic.metadata.refresh.interval.ms", "60000"),
];

/// Bytes of a record beside key, payload and headers, with its share of the batch.
const AROUND_A_RECORD: usize = 100;

/// Publishes to a cluster; a failed producer is replaced.
pub struct KafkaPublisher {
    kafka: Kafka,
    /// `linger.ms`
    linger: String,
    health: Arc<Health>,
    current: Mutex<Option<Arc<Live>>>,
    health_of_lone: Arc<Health>,
    lone: Mutex<Option<Arc<Sender>>>,
    /// Largest batch in bytes of topics that have refused one. If the topic takes more since, events that might be over
    /// the limit are only sent alone.
    limits: Mutex<HashMap<Arc<str>, usize>>,
}

/// A producer, and the time of the last send to each partition.
struct Live {
    sender: Sender,
    sent: Mutex<HashMap<(Arc<str>, i32), Instant>>,
}

/// A producer.
struct Sender(Kept<ThreadedProducer<Reports>>);

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
        let linger = (linger.as_secs_f64() * 1000.0).to_string();
        let [health, health_of_lone] =
            ["producer", "producer of large events"].map(|name| kafka.clients.place(name.into()));
        let (current, lone, limits) = Default::default();
        Self { kafka, linger, health, current, health_of_lone, lone, limits }
    }

    fn live(&self) -> Result<Arc<Live>, BusError> {
        let mut current = self.current.lock();
        if let Some(live) = current.as_ref().filter(|live| live.sender.works()) {
            return Ok(live.clone());
        }
        let ours = [PRODUCER, &[("linger.ms", &self.linger)]].concat();
        let live = Arc::new(Live { sender: Sender::new(&self.kafka, &self.health, &ours)?, sent: Mutex::default() });
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
    async fn publish(&self, events: &[Event]) -> Result<Published, BusError> {
        let Some(first) = events.first() else { return Ok(Published::default()) };
        let topic = self.kafka.named(&first.topic);
        let mut limit = self.limits.lock().get(&first.topic).copied();
        let mut stored = Vec::with_capacity(events.len());
        // up to this event each goes alone: one of them was refused, and its size does not tell which
        let mut doubtful = 0;
        while stored.len() < events.len() {
            let rest = &events[stored.len()..];
            let together = if stored.len() < doubtful { 0 } else { fitting(rest, limit) };
            if together == 0 {
                match self.send_alone(&topic, &rest[..1]).await {
                    Ok(offsets) => stored.extend(offsets),
                    Err(BusError::Refused(why)) => return Ok(Published { stored, refused: Some(why) }),
                    Err(error) => return Err(error),
                }
                continue;
            }
            match self.send_together(&topic, &rest[..together]).await {
                Ok(offsets) => stored.extend(offsets),
                Err(BusError::Refused(_)) => {
                    // not every user may ask for it
                    if let Ok(found) = self.kafka.largest_batch(&first.topic).await {
                        limit = Some(found);
                        self.limits.lock().insert(first.topic.clone(), found);
                    }
                    if fitting(&rest[..together], limit) == together {
                        doubtful = stored.len() + together;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Published { stored, refused: None })
    }
}

/// Number of events from the front that fit into one batch; 0 if the first one does not.
fn fitting(events: &[Event], limit: Option<usize>) -> usize {
    let Some(limit) = limit else { return events.len() };
    let mut size = 0;
    let fits = |event: &&Event| {
        size += codec::size(event) + AROUND_A_RECORD;
        size <= limit
    };
    events.iter().take_while(fits).count()
}

impl KafkaPublisher {
    async fn send_alone(&self, topic: &str, one: &[Event]) -> Result<Vec<i64>, BusError> {
        let sender = {
            let mut lone = self.lone.lock();
            match lone.as_ref().filter(|sender| sender.works()) {
                Some(sender) => sender.clone(),
                None => lone.insert(Arc::new(Sender::new(&self.kafka, &self.health_of_lone, LONE_PRODUCER)?)).clone(),
            }
        };
        let sent = timeout(PATIENCE, sender.send(topic, one)).await.unwrap_or_else(|_| Err(sender.late()));
        sender.note(topic, &sent);
        if matches!(sent, Err(BusError::Unavailable(_))) {
            self.lone.lock().take_if(|lone| Arc::ptr_eq(lone, &sender));
        }
        sent
    }

    async fn send_together(&self, topic: &str, events: &[Event]) -> Result<Vec<i64>, BusError> {
        let Some(first) = events.first() else { return Ok(Vec::new()) };
        let live = self.live()?;
        // A broker that does not know the producer takes any sequence number from it: were the first batch refused,
        // the second could be stored, and both be reported as such (KAFKA-15591). So the first goes alone.
        let alone = if live.is_known(first) { 0 } else { 1 };
        let (alone, rest) = events.split_at(alone);
        let mut offsets = Vec::with_capacity(events.len());
        for part in [alone, rest].into_iter().filter(|part| !part.is_empty()) {
            let sent = timeout(PATIENCE, live.sender.send(topic, part)).await;
            let sent = sent.unwrap_or_else(|_| Err(live.sender.late()));
            live.sender.note(topic, &sent);
            match sent {
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
    fn new(kafka: &Kafka, health: &Arc<Health>, ours: &[(&str, &str)]) -> Result<Self, BusError> {
        Ok(Self(kafka.keep(health, ours)?))
    }

    /// Returns false after an error that another producer may not have.
    fn works(&self) -> bool {
        self.0.works()
    }

    /// Notes whether the brokers answered; a refusal is an answer.
    fn note(&self, topic: &str, sent: &Result<Vec<i64>, BusError>) {
        match sent {
            Ok(_) | Err(BusError::Refused(_)) => self.0.heard(Some(topic)),
            Err(error) => self.0.failed(error),
        }
    }

    /// Returns the error for events without an acknowledgement in time.
    fn late(&self) -> BusError {
        self.0.context().0.explain(&KafkaError::MessageProduction(RDKafkaErrorCode::OperationTimedOut))
    }

    /// Returns once all are acknowledged by all in-sync replicas: the offset of each.
    async fn send(&self, topic: &str, events: &[Event]) -> Result<Vec<i64>, BusError> {
        let batch = Arc::new(Batch { left: AtomicUsize::new(events.len()), ..Batch::default() });
        let mut queued = 0;
        'events: for event in events {
            let mut record = BaseRecord::with_opaque_to(topic, batch.clone())
                .partition(event.partition)
                .key(&event.key)
                .payload(&event.payload)
                .headers(codec::headers(event));
            while let Err((error, refused)) = self.0.send(record) {
                match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::QueueFull) => {
                        record = refused;
                        sleep(Duration::from_millis(1)).await;
                    }
                    // the report of a record before this one has the reason
                    Some(RDKafkaErrorCode::Fatal) if queued > 0 => break 'events,
                    _ => return Err(self.0.context().0.explain(&error)),
                }
            }
            queued += 1;
        }
        let unsent = events.len() - queued;
        batch.left.fetch_sub(unsent, Ordering::AcqRel);
        loop {
            if let Some(error) = batch.error.get() {
                return Err(self.0.context().0.explain(error));
            }
            if batch.left.load(Ordering::Acquire) == 0 {
                return if unsent == 0 { Ok(std::mem::take(&mut *batch.offsets.lock())) } else { Err(self.late()) };
            }
            batch.done.notified().await;
        }
    }
}
