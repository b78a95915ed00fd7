//! Reads for the members of groups.
//!
//! Leases in the database decide about partitions, so members assign partitions by hand and join no Kafka group.
//! Offsets are still committed: the offsets show a group's progress to Kafka's tools, and tell the next member where
//! to begin reading.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use db::types::Id;
use futures::FutureExt;
use messaging::{Bus, BusError, Event, Log, Silence, Subscriber};
use parking_lot::Mutex;
use rdkafka::consumer::stream_consumer::StreamPartitionQueue;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};
use telemetry::metrics;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::codec;
use crate::connection::{Heard, Kafka, away, blocking};
use crate::dedup::Repeats;
use crate::health::{Health, Kept};

const PATIENCE: Duration = Duration::from_secs(10);
/// Wait at the end of a partition before an empty result.
const AT_END: Duration = Duration::from_secs(3);
/// Before the end of a partition, until a record must come.
const BEFORE_END: Duration = Duration::from_secs(10);
/// Time in which a broker must say where a silent partition ends.
const ASKED: Duration = Duration::from_secs(3);
/// Time without a record in a partition that holds more, after which the client is replaced.
const STUCK: Duration = Duration::from_secs(8);

/// Records; fewer are read sooner than a seek is done.
const WORTH_A_SEEK: i64 = 1000;

/// See `docs/operating.md` for how these were chosen.
const CONSUMER: &[(&str, &str)] = &[
    ("enable.auto.commit", "true"),
    ("enable.auto.offset.store", "false"), // only what the group has handled
    ("enable.partition.eof", "true"),
    ("auto.offset.reset", "earliest"), // what was deleted is read from the log
    ("fetch.queue.backoff.ms", "5"),   // librdkafka's second makes whoever catches up sleep
    ("fetch.wait.max.ms", "100"),
    ("queued.min.messages", "2000"),
    ("queued.max.messages.kbytes", "4096"),
];

/// Content read from a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Events of this log, by the log's positions.
    Log(Id),
    /// All records of a topic that others write. Their positions are their offsets, and a repeat of an event is skipped as
    /// far as that is noticed.
    Others,
}

/// The events of topics on a cluster.
pub struct KafkaBus {
    kafka: Kafka,
    reads: Reads,
    log: Option<Log>,
}

impl KafkaBus {
    pub(crate) fn new(kafka: Kafka, reads: Reads) -> Self {
        Self { kafka, reads, log: None }
    }

    /// Also hands out events at or before a group's position, if `log` has lost them: the group counts them.
    #[must_use]
    pub fn with_orphans_of(self, log: Log) -> Self {
        Self { log: Some(log), ..self }
    }
}

impl Bus for KafkaBus {
    fn subscribe(&self, group: &str) -> Arc<dyn Subscriber> {
        let of = match self.reads {
            Reads::Log(_) => "",
            Reads::Others => " (external topics)",
        };
        Arc::new(KafkaSubscriber {
            health: self.kafka.clients.place(format!("group {group}{of}")),
            kafka: self.kafka.clone(),
            reads: self.reads,
            log: self.log.clone(),
            group: self.kafka.named(group),
            client: Mutex::default(),
            readers: Mutex::default(),
        })
    }
}

/// A partition, and the topic's name on Kafka.
#[derive(Clone)]
struct Part {
    topic: Arc<str>,
    name: String,
    partition: i32,
    reads: Reads,
    log: Option<Log>,
    met: Arc<Met>,
}

impl Part {
    /// Returns the log being read; `None` if positions are offsets.
    fn source(&self) -> Option<Id> {
        match self.reads {
            Reads::Log(source) => Some(source),
            Reads::Others => None,
        }
    }

    /// Returns true if the caller is to see the event: also an orphan at or before what the group has handled.
    fn is_wanted(&self, event: &Event, after: i64) -> bool {
        event.position > after || self.log.as_ref().is_some_and(|log| log.lacks(event))
    }
}

/// Reader of a partition, as long as the member handles the partition. `Met` outlives the reader.
type Reading = Arc<tokio::sync::Mutex<(Option<Reader>, Arc<Met>)>>;

/// Records met in a partition.
#[derive(Default)]
struct Met {
    /// True after the first log line about records that are no events.
    strangers: AtomicBool,
    /// Events, if other programs may repeat events.
    events: Mutex<Repeats>,
    /// The last client was deaf, and no record came since.
    was_deaf: AtomicBool,
}

struct KafkaSubscriber {
    kafka: Kafka,
    reads: Reads,
    log: Option<Log>,
    group: String,
    health: Arc<Health>,
    /// While there are readers.
    client: Mutex<Option<Arc<Client>>>,
    readers: Mutex<HashMap<(Arc<str>, i32), Reading>>,
}

#[async_trait]
impl Subscriber for KafkaSubscriber {
    async fn fetch(&self, topic: &str, partition: i32, after: i64, max: usize) -> Result<Vec<Event>, BusError> {
        let reading = {
            let mut readers = self.readers.lock();
            readers.entry((topic.into(), partition)).or_default().clone()
        };
        let mut reading = reading.lock().await;
        let (reader, met) = &mut *reading;
        if !reader.as_ref().is_some_and(|reader| reader.goes_on(after)) {
            let was_deaf = reader.take().is_some_and(|reader| !reader.client.works());
            met.was_deaf.fetch_or(was_deaf, Ordering::Relaxed);
            // the reader has let the partition go before another takes it
            let client = self.client()?;
            let (name, reads, log, met) = (self.kafka.named(topic), self.reads, self.log.clone(), met.clone());
            let part = Part { topic: topic.into(), name, partition, reads, log, met };
            let opened = Reader::open(client.clone(), part, after).await;
            *reader = Some(opened.inspect_err(|error| client.consumer.failed(error))?);
        }
        let Some(open) = reader.as_mut() else { return Ok(Vec::new()) };
        let fetched = open.fetch(after, max).await;
        if let Err(error) = &fetched {
            open.client.consumer.failed(error);
            *reader = None;
        }
        fetched
    }

    fn release(&self, topic: &str, partition: i32) {
        let mut readers = self.readers.lock();
        readers.remove(&(topic.into(), partition));
        if readers.is_empty() {
            *self.client.lock() = None;
            self.health.idle();
        }
    }

    async fn silence(&self, topic: &str, partition: i32) -> Silence {
        let reading = self.readers.lock().get(&(topic.into(), partition)).cloned();
        let Some(reading) = reading else { return Silence::Late };
        let mut reading = reading.lock().await;
        let (reader, met) = &mut *reading;
        let Some(reader) = reader else { return Silence::Late };
        match reader.holds_more().await {
            Some(false) => Silence::Lost,
            _ if met.was_deaf.load(Ordering::Relaxed) || !reader.client.works() => Silence::Deaf,
            _ => Silence::Late,
        }
    }

    fn dropped(&self, topic: &str, partition: i32, after: i64) {
        let reading = self.readers.lock().get(&(topic.into(), partition)).cloned();
        // nobody else holds it, for a partition is asked for once at a time
        if let Some(mut reading) = reading.as_ref().and_then(|reading| reading.try_lock().ok())
            && let Some(reader) = &mut reading.0
        {
            (reader.from, reader.returned) = (after + 1, None);
        }
    }
}

impl KafkaSubscriber {
    /// The client of this member, or a new one if it is deaf or had a fatal error.
    fn client(&self) -> Result<Arc<Client>, BusError> {
        let mut known = self.client.lock();
        if let Some(client) = known.as_ref().filter(|client| client.works()) {
            return Ok(client.clone());
        }
        let client = Client::new(&self.kafka, &self.health, &self.group)?;
        *known = Some(client.clone());
        Ok(client)
    }
}

/// A client with a queue for each partition. A task polls the rest.
struct Client {
    consumer: Kept<StreamConsumer<Heard>>,
    polling: JoinHandle<()>,
}

impl Client {
    fn new(kafka: &Kafka, health: &Arc<Health>, group: &str) -> Result<Arc<Self>, BusError> {
        let ours: Vec<_> = CONSUMER.iter().copied().chain([("group.id", group)]).collect();
        let consumer: Kept<StreamConsumer<Heard>> = kafka.keep(health, &ours)?;
        let polled = consumer.clone();
        let polling = tokio::spawn(async move {
            loop {
                match polled.recv().await {
                    Err(KafkaError::MessageConsumptionFatal(code)) => {
                        tracing::error!(%code, "a Kafka client met a fatal error; another takes its place");
                        return;
                    }
                    Err(error) => tracing::debug!(%error, "a Kafka client"),
                    Ok(_) => {} // of a partition that was let go
                }
            }
        });
        Ok(Arc::new(Self { consumer, polling }))
    }

    fn works(&self) -> bool {
        self.consumer.works() && !self.polling.is_finished()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.polling.abort();
    }
}

/// Reads one partition from a position on.
struct Reader {
    /// Declared before the client, because the client must be the last owner of the consumer.
    queue: StreamPartitionQueue<Heard>,
    client: Arc<Client>,
    part: Part,
    /// Read, and not asked for yet.
    ahead: VecDeque<Read>,
    /// Asked for last, and not known to be handled yet.
    returned: Option<(i64, i64)>,
    /// Position from which all events are still to come. The position falls where the log gave positions a second
    /// time.
    from: i64,
    /// True if the reader began at the start of the partition, and the distance to `after` is still unknown.
    from_the_start: bool,
    progress: Progress,
    /// The partition holds more than the reader has read, and the reader has been at this offset since then.
    stuck: Option<(i64, Instant)>,
}

/// How far a reader has read.
struct Progress {
    /// Offset of the next record.
    next: i64,
    /// True at the end of the partition; librdkafka reports the end only once.
    at_end: bool,
}

struct Read {
    event: Event,
    offset: i64,
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Ok(partition) = list(&self.part, Offset::Invalid)
            && let Err(error) = self.client.consumer.incremental_unassign(&partition)
        {
            tracing::debug!(%error, topic = &*self.part.topic, partition = self.part.partition, "not unassigned");
        }
    }
}

impl Reader {
    async fn open(client: Arc<Client>, part: Part, after: i64) -> Result<Self, BusError> {
        let (of, at) = (client.clone(), part.clone());
        let (next, from_the_start) = blocking(move || of.begin(&at, after)).await?;
        client.consumer.heard(Some(&part.name));
        let queue = client
            .consumer
            .split_partition_queue(&part.name, part.partition)
            .ok_or_else(|| BusError::Unavailable(format!("kafka: no queue for {}/{}", part.name, part.partition)))?;
        let partition = list(&part, Offset::Offset(next))?;
        client.consumer.incremental_assign(&partition).map_err(|error| away(&error))?;
        let (ahead, progress) = (VecDeque::new(), Progress { next, at_end: false });
        let from = after + 1;
        Ok(Self { client, part, queue, ahead, returned: None, from, from_the_start, progress, stuck: None })
    }

    /// Returns true if this reader still delivers the events behind `after`.
    fn goes_on(&self, after: i64) -> bool {
        self.client.works() && after + 1 >= self.from
    }

    async fn fetch(&mut self, after: i64, max: usize) -> Result<Vec<Event>, BusError> {
        self.note_handled(after);
        self.from = self.from.max(after + 1);
        while self.ahead.front().is_some_and(|read| !self.part.is_wanted(&read.event, after)) {
            self.ahead.pop_front();
        }
        if self.ahead.is_empty() && !self.wait(after).await? {
            return Ok(Vec::new());
        }
        while self.ahead.len() < max
            && let Some(record) = self.queue.recv().now_or_never()
        {
            if let Some(read) = understood(record, &self.part, &mut self.progress)?
                .filter(|read| self.part.is_wanted(&read.event, after))
            {
                self.ahead.push_back(read);
            }
        }
        let most = self.batch(max);
        let mut events = Vec::with_capacity(most);
        while events.len() < most
            && let Some(read) = self.ahead.pop_front()
        {
            if self.returned.is_none_or(|(position, _)| position < read.event.position) {
                self.returned = Some((read.event.position, read.offset));
            }
            events.push(read.event);
        }
        if let Some(last) = events.last() {
            self.from = self.from.max(last.position + 1);
        }
        Ok(events)
    }

    /// Returns the number of records in the next batch. Leaves out skipped records behind the last event: the caller
    /// would move only up to the event, and come back for the rest.
    fn batch(&self, max: usize) -> usize {
        let most = self.ahead.len().min(max);
        let is_event = |read: &Read| !read.event.is_skipped();
        self.ahead.range(..most).rposition(is_event).map_or(most, |last| last + 1)
    }

    /// Waits for a record behind `after`; false if none comes for some time.
    async fn wait(&mut self, after: i64) -> Result<bool, BusError> {
        loop {
            let patience = if self.progress.at_end { AT_END } else { BEFORE_END };
            let Ok(record) = timeout(patience, self.queue.recv()).await else { return Ok(false) };
            let has_answered = matches!(record, Ok(_) | Err(KafkaError::PartitionEOF(_)));
            let read = understood(record, &self.part, &mut self.progress)?;
            if has_answered {
                self.client.consumer.heard(Some(&self.part.name));
                self.part.met.was_deaf.store(false, Ordering::Relaxed);
            }
            let Some(read) = read else { continue };
            if self.part.is_wanted(&read.event, after) {
                self.ahead.push_back(read);
                return Ok(true);
            }
            if std::mem::take(&mut self.from_the_start) {
                self.skip(after - read.event.position, read.offset).await?;
            }
        }
    }

    /// Returns true if Kafka holds records that were not read, and `None` if Kafka does not answer. A client that answers and
    /// brings no record for some time is replaced.
    async fn holds_more(&mut self) -> Option<bool> {
        let (client, part) = (self.client.clone(), self.part.clone());
        if !client.works() || client.consumer.is_silent() {
            return None;
        }
        let asked = client.clone();
        let ends =
            move || asked.consumer.fetch_watermarks(&part.name, part.partition, ASKED).map_err(|error| away(&error));
        let (_, end) = blocking(ends).await.inspect_err(|error| client.consumer.failed(error)).ok()?;
        let Progress { next, at_end } = self.progress;
        if end <= next {
            return at_end.then_some(false);
        }
        match self.stuck {
            Some((offset, since)) if offset == next && since.elapsed() >= STUCK => {
                let (name, partition) = (&self.part.name, self.part.partition);
                let why = format!("kafka: {name}/{partition} ends at {end}, and nothing comes behind {next}");
                client.consumer.stuck(&BusError::Unavailable(why));
            }
            Some((offset, _)) if offset == next => {}
            _ => self.stuck = Some((next, Instant::now())),
        }
        Some(true)
    }

    /// Skips `positions` behind `offset`. Every position is there at least once, so that they are at least as many
    /// records; where some are there twice, it skips too few, which does no harm. Behind an orphan that came late, or
    /// events that were set aside, it may skip too many: those are read from the log.
    async fn skip(&mut self, positions: i64, offset: i64) -> Result<(), BusError> {
        if positions < WORTH_A_SEEK {
            return Ok(());
        }
        self.progress = Progress { next: offset + positions, at_end: false };
        let (client, part) = (self.client.clone(), self.part.clone());
        let seek = move || {
            let to = Offset::Offset(offset + positions);
            client.consumer.seek(&part.name, part.partition, to, PATIENCE).map_err(|error| away(&error))
        };
        blocking(seek).await
    }

    /// Commits the group's offset to Kafka, once the handling is known.
    fn note_handled(&mut self, after: i64) {
        let Some((position, offset)) = self.returned.filter(|(position, _)| *position == after) else { return };
        self.returned = None;
        let stored = list(&self.part, Offset::Offset(offset + 1)).and_then(|partition| {
            if let Some(mut element) = partition.find_partition(&self.part.name, self.part.partition)
                && let Some(source) = self.part.source()
            {
                element.set_metadata(hint(source, position + 1));
            }
            self.client.consumer.store_offsets(&partition).map_err(|error| away(&error))
        });
        if let Err(error) = stored {
            tracing::debug!(%error, "an offset was not stored");
        }
    }
}

/// Returns the event of a record; `None` for a record that is no event of the log.
fn understood(
    record: Result<BorrowedMessage<'_>, KafkaError>,
    part: &Part,
    progress: &mut Progress,
) -> Result<Option<Read>, BusError> {
    progress.at_end = matches!(record, Err(KafkaError::PartitionEOF(_)));
    let record = match record {
        Ok(record) => record,
        Err(KafkaError::PartitionEOF(_)) => return Ok(None),
        Err(error) if passes(&error) => return Ok(None),
        Err(error) => return Err(away(&error)),
    };
    let offset = record.offset();
    progress.next = offset + 1;
    let skipped = || Read { event: Event::skipped(part.topic.clone(), part.partition, offset), offset };
    let decoded = codec::decode(&record, &part.topic);
    let decoded = decoded.inspect_err(|why| part.met.tell_stranger(part, offset, why));
    Ok(match (part.reads, decoded) {
        (Reads::Log(source), Ok(event)) => (event.source == source).then_some(Read { event, offset }),
        (Reads::Log(_), Err(_)) => None,
        (Reads::Others, Err(_)) => Some(skipped()),
        (Reads::Others, Ok(event)) if part.met.is_repeat(event.id, offset) => Some(skipped()),
        (Reads::Others, Ok(event)) => Some(Read { event: Event { position: offset, ..event }, offset }),
    })
}

impl Met {
    /// Warns only about the first foreign record: another program may write to the topic very fast.
    fn tell_stranger(&self, part: &Part, offset: i64, why: &str) {
        let (topic, partition) = (&*part.topic, part.partition);
        metrics::BUS_SKIPPED.of([topic.to_owned().into()]).increment(1);
        if self.strangers.swap(true, Ordering::Relaxed) {
            tracing::debug!(topic, partition, offset, why, "a record on Kafka is no event of ours");
        } else {
            tracing::warn!(topic, partition, offset, why, "records on Kafka are no events of ours; they are skipped");
        }
    }

    fn is_repeat(&self, id: Id, offset: i64) -> bool {
        self.events.lock().is_repeat(id, offset)
    }
}

/// Returns true for errors after which librdkafka goes on by itself.
fn passes(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::OperationTimedOut
        )
    )
}

impl Client {
    /// Returns the offset to begin at without missing events behind `after`: the committed offset with a fitting
    /// hint, or the start (`true`).
    fn begin(&self, part: &Part, after: i64) -> Result<(i64, bool), BusError> {
        let explain = |error: KafkaError| self.consumer.context().explain(&error);
        let ends = || self.consumer.fetch_watermarks(&part.name, part.partition, PATIENCE);
        let (low, high) = match ends() {
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownPartition) => {
                // the topic may have gained it: librdkafka looks every five minutes
                self.consumer.fetch_metadata(Some(&part.name), PATIENCE).map_err(explain)?;
                ends()
            }
            found => found,
        }
        .map_err(explain)?;
        let Some(source) = part.source() else {
            // of others' topics a group is to have what is still there when it begins
            if after >= 0 && low > after + 1 {
                let (topic, partition, lost) = (&*part.topic, part.partition, low - after - 1);
                tracing::error!(topic, partition, lost, "ALARM: Kafka deleted records before they were handled");
            }
            return Ok((low.max(after + 1), false));
        };
        let committed = self.consumer.committed_offsets(list(part, Offset::Invalid)?, PATIENCE).map_err(explain)?;
        if let Some(element) = committed.find_partition(&part.name, part.partition)
            && let Offset::Offset(offset) = element.offset()
            && (low..=high).contains(&offset)
            && hinted(element.metadata(), source).is_some_and(|position| position <= after + 1)
        {
            return Ok((offset, false));
        }
        Ok((low, true))
    }
}

/// Returns the metadata committed with an offset: the log, and the earliest possible position there.
fn hint(source: Id, position: i64) -> String {
    format!("{source} {position}")
}

fn hinted(metadata: &str, source: Id) -> Option<i64> {
    metadata.strip_prefix(&format!("{source} "))?.parse().ok()
}

fn list(part: &Part, offset: Offset) -> Result<TopicPartitionList, BusError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&part.name, part.partition, offset).map_err(|error| away(&error))?;
    Ok(list)
}
