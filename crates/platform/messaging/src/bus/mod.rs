//! The bus: moves events from the log to consumer groups, and decides nothing.
//!
//! A backend is a [`Publisher`] for the relay and a [`Bus`] for the groups. The log itself is a backend:
//! [`InProcess`].

pub(crate) mod rate_limit;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use db::Database;
use db::types::Id;
use parking_lot::Mutex;
use tokio_util::task::AbortOnDropHandle;

use crate::event::Event;
use crate::log::Log;
use crate::log::rows;

/// Error of the bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The bus is temporarily unavailable; retry later.
    #[error("the bus is unavailable: {0}")]
    Unavailable(String),
    /// The bus permanently refuses one of these events; the bus may take other events.
    #[error("the bus refuses the event: {0}")]
    Refused(String),
}

impl From<db::Error> for BusError {
    fn from(error: db::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Source of events for consumer groups.
pub trait Bus: Send + Sync + 'static {
    /// Returns the subscriber of one member of `group`.
    fn subscribe(&self, group: &str) -> Arc<dyn Subscriber>;
}

/// Origin of a topic's positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// The log's.
    OfLog,
    /// Offsets of an external bus, with gaps: of the cluster with this source. `None` if the topic is missing or not
    /// known yet.
    OfBus(Option<Id>),
}

/// Reason for a bus that brings nothing, though its acknowledgements say that it holds more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// The bus says that it holds nothing more: it lost events.
    Lost,
    /// The bus holds more and has not brought it yet, or is away.
    Late,
    /// The client heard nothing, and another one takes its place.
    Deaf,
}

impl Silence {
    /// Returns the value of the label `reason` of the metric `bus_gaps_total`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Late => "late",
            Self::Deaf => "deaf",
        }
    }
}

/// Reads for one member of a group. Groups keep their positions; the positions of a subscriber are only hints.
#[async_trait]
pub trait Subscriber: Send + Sync + 'static {
    /// Waits for an event of the partition behind position `after`, and returns at most `max` events.
    ///
    /// - Events come in the order of their positions.
    /// - An event may be repeated, also an event at or before `after`; an event may be missing. The caller notices
    ///   both by positions.
    /// - An empty result means that the bus holds nothing behind `after` now; the log may hold more.
    /// - `after` is the group's handled position: events up to `after` need not come again. This hint only improves
    ///   speed.
    /// - Dropping the future loses nothing: the same `after` may be asked for again. A partition is asked for once at
    ///   a time.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]; the same call may be made again.
    async fn fetch(&self, topic: &str, partition: i32, after: i64, max: usize) -> Result<Vec<Event>, BusError>;

    /// Ends the handling of the partition by the member; drop events read ahead.
    fn release(&self, _topic: &str, _partition: i32) {}

    /// Notes that the member has dropped orphans among the fetched events. All events behind `after` are still to
    /// come, behind the orphans.
    fn dropped(&self, _topic: &str, _partition: i32, _after: i64) {}

    /// Returns the number of events behind `after`, if the bus knows better than the log.
    fn waiting(&self, _topic: &str, _partition: i32, _after: i64) -> Option<i64> {
        None
    }

    /// Tells why the bus brings nothing in a partition for some seconds, though the caller knows that it holds more. A client
    /// that is deaf is replaced.
    async fn silence(&self, _topic: &str, _partition: i32) -> Silence {
        Silence::Lost
    }

    /// Returns the origin of the topic's positions.
    fn numbers(&self, _topic: &str) -> Numbers {
        Numbers::OfLog
    }
}

/// What became of events that were handed to a bus.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// Numbers on the bus of the stored events, from the first event on.
    pub stored: Vec<i64>,
    /// Why the bus refuses the next event for its content. No event behind it is stored.
    pub refused: Option<String>,
}

/// Copies the log to an external bus.
#[async_trait]
pub trait Publisher: Send + Sync + 'static {
    /// Stores `events` of one partition of one topic, in ascending order of their positions, and returns once all are safe,
    /// or all before one that the bus refuses.
    ///
    /// - The events are stored in the given order, in the given partition, and never an event without all events
    ///   before it.
    /// - After an error an unknown number of events from the front is stored. The same events may be sent again: then
    ///   these events are stored twice, and readers notice repeats by positions.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]; the same events may be sent again.
    async fn publish(&self, events: &[Event]) -> Result<Published, BusError>;
}

/// The bus inside one process, or among processes with a common PostgreSQL: reads the event log.
#[derive(Clone)]
pub struct InProcess {
    db: Database,
    log: Log,
}

impl InProcess {
    /// Returns a bus that reads `log` in `db`.
    pub fn new(db: Database, log: Log) -> Self {
        Self { db, log }
    }
}

impl Bus for InProcess {
    fn subscribe(&self, _group: &str) -> Arc<dyn Subscriber> {
        Arc::new(Reader { db: self.db.clone(), log: self.log.clone(), ahead: Mutex::default() })
    }
}

/// Reads the log for one member of a group. For a member that lags behind, reads the next batch while the member
/// handles the last batch.
struct Reader {
    db: Database,
    log: Log,
    ahead: Mutex<HashMap<(Arc<str>, i32), Ahead>>,
}

/// A batch being read behind a position.
struct Ahead {
    after: i64,
    events: AbortOnDropHandle<db::Result<Vec<Event>>>,
}

impl Reader {
    /// Reads the events behind `after` and below `end`: a crash of the server may undo events behind `end`.
    async fn read(&self, topic: &str, partition: i32, after: i64, end: i64, max: usize) -> db::Result<Vec<Event>> {
        let ahead = self.ahead.lock().remove(&(topic.into(), partition)).filter(|ahead| ahead.after == after);
        let events = match ahead {
            Some(Ahead { events, .. }) => events.await.map_err(|error| db::Error::Panicked(error.to_string()))?,
            None => read_below(&self.db, &self.log, topic, partition, after, end, max).await,
        }?;
        if let Some(last) = events.last().filter(|last| events.len() >= max && last.position + 1 < end) {
            let (db, log, topic, after) = (self.db.clone(), self.log.clone(), last.topic.clone(), last.position);
            let read = {
                let topic = topic.clone();
                async move { read_below(&db, &log, &topic, partition, after, end, max).await }
            };
            let events = AbortOnDropHandle::new(tokio::spawn(read));
            self.ahead.lock().insert((topic, partition), Ahead { after, events });
        }
        Ok(events)
    }
}

async fn read_below(
    db: &Database,
    log: &Log,
    topic: &str,
    partition: i32,
    after: i64,
    end: i64,
    max: usize,
) -> db::Result<Vec<Event>> {
    let mut events = rows::read_batch(db, log, topic, partition, after, max).await?;
    events.retain(|event| event.position < end);
    Ok(events)
}

#[async_trait]
impl Subscriber for Reader {
    async fn fetch(&self, topic: &str, partition: i32, after: i64, max: usize) -> Result<Vec<Event>, BusError> {
        let no_partition = || BusError::Unavailable(format!("there is no partition {partition} of {topic}"));
        let mut end = self.log.end(topic, partition).ok_or_else(no_partition)?;
        loop {
            // the sender lives as long as the log that `self` holds
            let known = *end.wait_for(|end| *end > after + 1).await.map_err(|_| no_partition())?;
            if let Some(events) = self.log.recent(topic, partition, after, max) {
                return Ok(events);
            }
            let events = self.read(topic, partition, after, known, max).await?;
            if !events.is_empty() {
                return Ok(events);
            }
            // the log was cut: what lies behind `after` is gone, and the next event is not there yet
            end.changed().await.map_err(|_| no_partition())?;
        }
    }

    fn release(&self, topic: &str, partition: i32) {
        self.ahead.lock().remove(&(topic.into(), partition));
    }
}

/// Two buses as one: some topics are on the first bus, all other topics on the second.
pub struct ByTopic {
    topics: Arc<[&'static str]>,
    theirs: Arc<dyn Bus>,
    others: Arc<dyn Bus>,
}

impl ByTopic {
    /// Combines `theirs` for the `topics`, and `others` for all other topics.
    pub fn new(topics: Arc<[&'static str]>, theirs: Arc<dyn Bus>, others: Arc<dyn Bus>) -> Self {
        Self { topics, theirs, others }
    }
}

impl Bus for ByTopic {
    fn subscribe(&self, group: &str) -> Arc<dyn Subscriber> {
        let (theirs, others) = (self.theirs.subscribe(group), self.others.subscribe(group));
        Arc::new(SubscriberByTopic { topics: self.topics.clone(), theirs, others })
    }
}

struct SubscriberByTopic {
    topics: Arc<[&'static str]>,
    theirs: Arc<dyn Subscriber>,
    others: Arc<dyn Subscriber>,
}

impl SubscriberByTopic {
    fn of(&self, topic: &str) -> &dyn Subscriber {
        if self.topics.contains(&topic) { &*self.theirs } else { &*self.others }
    }
}

#[async_trait]
impl Subscriber for SubscriberByTopic {
    async fn fetch(&self, topic: &str, partition: i32, after: i64, max: usize) -> Result<Vec<Event>, BusError> {
        self.of(topic).fetch(topic, partition, after, max).await
    }

    fn release(&self, topic: &str, partition: i32) {
        self.of(topic).release(topic, partition);
    }

    fn dropped(&self, topic: &str, partition: i32, after: i64) {
        self.of(topic).dropped(topic, partition, after);
    }

    fn waiting(&self, topic: &str, partition: i32, after: i64) -> Option<i64> {
        self.of(topic).waiting(topic, partition, after)
    }

    async fn silence(&self, topic: &str, partition: i32) -> Silence {
        self.of(topic).silence(topic, partition).await
    }

    fn numbers(&self, topic: &str) -> Numbers {
        self.of(topic).numbers(topic)
    }
}
