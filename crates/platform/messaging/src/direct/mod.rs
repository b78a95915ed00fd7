//! Direct topics: their events change no state, so they may go straight to a bus that is elsewhere, without the
//! database.
//!
//! The bus numbers them then, and its numbers mean nothing on another bus. So time is divided into epochs, which are
//! rows in the database: in one all events go the same way. A position is the epoch's number and the number within it,
//! so that positions rise from epoch to epoch. What was taken in an epoch is handled before anything of the next one.
//!
//! A process takes events only while it has seen, a moment ago, that the epoch is open; where a closed one ends is looked
//! up once that moment is over for everybody. So nothing that was taken lies behind the end.

mod epochs;
mod giving_up;
mod keeping;
mod listing;
mod reading;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use db::types::{Id, Time};
use db::{Database, Tx};
use parking_lot::{Mutex, MutexGuard};
use telemetry::TraceContext;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::bus::{Bus, BusError};
use crate::event::{self, DomainEvent, Event};
use crate::log::Log;
use crate::partition::partition_of;

pub use epochs::{Ends, Epoch};
pub(crate) use epochs::{load, waiting};
pub use giving_up::{GiveUpError, Lost};

/// How often a process looks which epoch it is, and how far the groups are.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// At rest it looks less and less often. Whoever emits looks by itself.
const LONGEST_LOOK: Duration = Duration::from_secs(4);
/// How long what it saw is good.
const GOOD_FOR: Duration = Duration::from_secs(3);
/// After an epoch was closed, before anybody asks where it ends: longer than what somebody saw of it is good.
const GRACE: Duration = Duration::from_secs(5);

/// Maximum time for a bus to say where its topics end, where somebody waits for the answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// What a closed epoch ends with on the bus, so that a reader knows that nothing more is to come.
const CLOSED: &str = "bus.epoch.closed";
/// The kind of what stands for a record that nobody handles, so that a group moves past it.
pub(crate) const SKIPPED: &str = "";

impl Event {
    /// What stands for a record that is no event, where every record counts.
    pub fn skipped(topic: Arc<str>, partition: i32, position: i64) -> Self {
        Self {
            id: Id(uuid::Uuid::nil()),
            source: Id(uuid::Uuid::nil()),
            epoch: event::FIRST_EPOCH,
            topic,
            partition,
            position,
            key: String::new(),
            kind: SKIPPED.into(),
            version: 0,
            aggregate_version: 0,
            occurred_at: Time::now(),
            traceparent: None,
            payload: String::new(),
        }
    }

    /// Whether it stands for a record that is no event.
    pub fn is_skipped(&self) -> bool {
        self.kind == SKIPPED
    }
}

/// A bus that is elsewhere and takes events without the log.
#[async_trait]
pub trait DirectBus: Send + Sync + 'static {
    /// Stores the event in the partition that it has, and returns its offset once it is safe. Its position counts for
    /// nothing.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]; the event may be stored all the same.
    async fn send(&self, event: &Event) -> Result<i64, BusError>;

    /// Of each of the topic's partitions the offsets of what it holds: from the first to that which comes next.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]
    async fn held(&self, topic: &str, partitions: i32) -> Result<Vec<Range<i64>>, BusError>;

    /// Of each of the topic's partitions the newest `count` records that are older than `before`, in their order, those
    /// of others too. Positions are offsets.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]
    async fn newest(
        &self,
        topic: &str,
        partitions: i32,
        before: Option<Time>,
        count: usize,
    ) -> Result<Vec<Vec<Event>>, BusError>;

    /// What tells this cluster from any other.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]
    async fn cluster(&self) -> Result<String, BusError>;

    /// Reads all records of a topic, those of others too. Positions are offsets.
    fn read(&self) -> Arc<dyn Bus>;
}

/// Why an event was not taken.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    #[error(transparent)]
    Database(#[from] db::Error),
    /// Nothing was taken; the same may be asked again.
    #[error("{0}")]
    Unavailable(String),
    /// More wait than are let wait. Nothing was taken.
    #[error("{0} events wait already")]
    Busy(i64),
    /// It may have been taken or not.
    #[error("{0}")]
    Unknown(String),
}

/// A topic, and whether its events go straight to the bus by the settings of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectTopic {
    pub name: &'static str,
    pub direct: bool,
    /// Events that may wait for a group; when there are more, none is taken.
    pub max_waiting: i64,
}

/// The direct topics of a process; clones share what is known of them.
#[derive(Clone)]
pub struct Direct {
    shared: Arc<Shared>,
}

struct Shared {
    db: Database,
    log: Log,
    bus: Option<Arc<dyn DirectBus>>,
    topics: Vec<DirectTopic>,
    known: Mutex<BTreeMap<&'static str, Known>>,
    /// Held by whoever has an epoch begin.
    beginning: tokio::sync::Mutex<()>,
    /// Rung when there is a new epoch, or an end is known.
    changed: watch::Sender<()>,
    /// The database's clock less that of this process, in microseconds.
    clock: AtomicI64,
}

/// What was last seen of a topic.
#[derive(Clone, Default)]
struct Known {
    epochs: Arc<[Epoch]>,
    ends: Ends,
    /// Group, partition, position.
    positions: Vec<(String, i32, i64)>,
    /// Events that the group that is furthest behind has still to handle.
    waiting: i64,
    /// When, by both clocks: one stands still while the machine is suspended, the other may be set.
    looked: Option<(Instant, SystemTime)>,
    /// When each closed epoch was first seen to be closed, by its number.
    closed: BTreeMap<i64, Instant>,
    /// Why the bus can't be used, as it was last seen.
    away: Option<String>,
    /// The cluster that answered last.
    cluster: Option<String>,
    /// The bus has shown less than was handled already.
    shrunk: bool,
}

impl Known {
    fn open_epoch(&self) -> Option<&Epoch> {
        self.epochs.last().filter(|last| last.is_open())
    }

    fn is_good(&self) -> bool {
        let is_young = |looked: SystemTime| looked.elapsed().is_ok_and(|age| age < GOOD_FOR);
        self.looked.is_some_and(|(looked, by_wall)| looked.elapsed() < GOOD_FOR && is_young(by_wall))
    }

    /// Nothing was taken in it so far, and the bus can say from where on it lies there.
    fn is_to_begin(&self) -> bool {
        let is_new = self.open_epoch().is_some_and(|open| open.direct && open.lacks_begins());
        is_new && self.away.is_none() && !epochs::any_lacks_ends(&self.epochs, true)
    }

    fn count_waiting(&mut self) {
        let mut by_group = BTreeMap::<&str, i64>::new();
        for (group, partition, position) in &self.positions {
            *by_group.entry(group).or_default() += waiting(&self.epochs, &self.ends, *partition, *position);
        }
        self.waiting = by_group.into_values().max().unwrap_or_default();
    }

    /// The first closed epoch of this kind whose end is to be looked for, for nobody can take anything in it any more.
    fn to_be_ended(&self, direct: bool, grace: Duration) -> Option<&Epoch> {
        let is_over = |epoch: &Epoch| self.closed.get(&epoch.number).is_some_and(|seen| seen.elapsed() >= grace);
        self.epochs.iter().find(|epoch| epoch.direct == direct && epoch.lacks_ends() && is_over(epoch))
    }
}

impl Direct {
    /// Over an open database and log. `bus` must be there when a topic goes to it, or when something waits there.
    pub fn new(db: Database, log: Log, bus: Option<Arc<dyn DirectBus>>, topics: Vec<DirectTopic>) -> Self {
        let (known, beginning, changed, clock) = Default::default();
        Self { shared: Arc::new(Shared { db, log, bus, topics, known, beginning, changed, clock }) }
    }

    /// A bus that reads these topics wherever they are or were; `log` reads the log.
    pub fn bus(&self, log: Arc<dyn Bus>) -> Arc<dyn Bus> {
        Arc::new(reading::DirectReading { direct: self.clone(), log })
    }

    /// The time by the database's clock, without asking it.
    pub fn now(&self) -> Time {
        let ahead = self.shared.clock.load(Ordering::Relaxed);
        Time::from_micros(Time::now().micros() + ahead).unwrap_or_else(Time::now)
    }

    /// Takes an event: once this returns, it is on the bus or in the log.
    ///
    /// # Errors
    /// As [`EmitError`] says.
    pub async fn emit<E: DomainEvent>(&self, event: E) -> Result<(), EmitError> {
        let (number, source) = self.open_epoch(E::TOPIC).await?;
        match source {
            Some(source) => self.send(source, &event).await?,
            None => drop(self.shared.db.write(move |tx| event::emit(tx, &event)).await?),
        }
        self.look_if_old(E::TOPIC).await.map_err(|error| EmitError::Unknown(error.to_string()))?;
        if self.of(E::TOPIC, |known| known.open_epoch().is_some_and(|open| open.number == number)) {
            Ok(())
        } else {
            Err(EmitError::Unknown("the topic moved to another bus meanwhile".into()))
        }
    }

    /// The epoch in which events are taken now, if this process may: its number, and its source if it goes straight to
    /// the bus.
    async fn open_epoch(&self, topic: &str) -> Result<(i64, Option<Id>), EmitError> {
        let by_settings = self.shared.topics.iter().find(|known| known.name == topic);
        let by_settings = by_settings.ok_or_else(|| db::Error::Defect(format!("{topic} is not a direct topic")))?;
        self.look_if_old(topic).await?;
        if self.of(topic, Known::is_to_begin) {
            let _turn = self.shared.beginning.lock().await;
            if self.of(topic, Known::is_to_begin) {
                self.begin_on_bus().await?;
            }
        }
        let unavailable = |why: &str| Err(EmitError::Unavailable(why.to_owned()));
        self.of(topic, |known| match known.open_epoch() {
            None => unavailable("the topic is being drained; a shop that starts opens it again"),
            Some(open) if open.direct != by_settings.direct => {
                unavailable("another process has put the topic on another bus")
            }
            Some(open) if open.direct && known.away.is_some() => unavailable(known.away.as_deref().unwrap_or_default()),
            Some(open) if open.lacks_begins() => unavailable("where the last epoch on the bus ended is not known yet"),
            Some(_) if known.waiting > by_settings.max_waiting => Err(EmitError::Busy(known.waiting)),
            Some(open) => Ok((open.number, open.direct.then_some(open.source))),
        })
    }

    async fn look_if_old(&self, topic: &str) -> db::Result<()> {
        if self.of(topic, Known::is_good) { Ok(()) } else { self.look().await }
    }

    async fn send<E: DomainEvent>(&self, source: Id, event: &E) -> Result<(), EmitError> {
        let Some(bus) = &self.shared.bus else {
            return Err(EmitError::Unavailable("no bus is set".into()));
        };
        let key = event.key();
        let record = Event {
            id: Id::new(),
            source,
            epoch: event::FIRST_EPOCH,
            topic: E::TOPIC.into(),
            partition: partition_of(&key, self.shared.log.partitions(E::TOPIC)),
            position: event::UNNUMBERED,
            key,
            kind: E::TYPE.into(),
            version: E::VERSION,
            aggregate_version: event.aggregate_version(),
            occurred_at: self.now(),
            traceparent: TraceContext::current().map(|trace| trace.to_string()),
            payload: event::payload(event)?,
        };
        let unknown = |(BusError::Unavailable(why) | BusError::Refused(why))| EmitError::Unknown(why);
        bus.send(&record).await.map(drop).map_err(unknown)
    }

    /// Has the topics go where the settings of this process say. Whatever went another way is handled first.
    ///
    /// # Errors
    /// The database's.
    pub fn settle(&self, tx: &mut Tx<'_>) -> db::Result<()> {
        self.shared.topics.iter().try_for_each(|topic| epochs::settle(tx, topic.name, topic.direct))
    }

    /// From now on nobody takes events for these topics, until a process [`settle`](Self::settle)s them again.
    ///
    /// # Errors
    /// The database's.
    pub async fn close(&self) -> db::Result<()> {
        let topics: Vec<_> = self.shared.topics.iter().map(|topic| topic.name).collect();
        self.shared.db.write(move |tx| topics.iter().try_for_each(|topic| epochs::close_last(tx, topic))).await?;
        self.look().await
    }

    /// Looks now how far everything is, and returns where each topic ends on the bus.
    ///
    /// # Errors
    /// The database's.
    pub async fn refresh(&self) -> db::Result<BTreeMap<&'static str, Ends>> {
        self.look().await?;
        self.look_at_bus().await;
        Ok(self.known_ends())
    }

    /// Returns where each topic ends on the bus. A bus that was away when [`keep`](Self::keep) last asked is not asked
    /// again, and a slow one is not waited for: the ends are those that were last seen.
    ///
    /// # Errors
    /// The database's.
    pub async fn ends(&self) -> db::Result<BTreeMap<&'static str, Ends>> {
        self.look().await?;
        if self.away().is_none() {
            // a late answer changes nothing here
            let _ = timeout(ANSWERS_WITHIN, self.look_at_bus()).await;
        }
        Ok(self.known_ends())
    }

    fn known_ends(&self) -> BTreeMap<&'static str, Ends> {
        self.locked().iter().map(|(topic, known)| (*topic, known.ends.clone())).collect()
    }

    /// The epoch in which a topic's events are taken now, by what was last seen.
    pub fn epoch(&self, topic: &str) -> Option<Epoch> {
        self.of(topic, |known| known.open_epoch().cloned())
    }

    /// Events of these topics that a group has still to handle.
    pub fn waiting(&self) -> i64 {
        self.locked().values().map(|known| known.waiting).sum()
    }

    /// Whether something of these topics is on a bus that is elsewhere and not handled by every group.
    ///
    /// # Errors
    /// The database's.
    pub fn is_waited_for(conn: &mut db::Conn, topics: &[&str]) -> db::Result<bool> {
        for topic in topics {
            let (epochs, positions) = (epochs::load(conn, topic)?, epochs::positions(conn, topic)?);
            if epochs.iter().any(|epoch| epoch.direct && !epoch.is_handled(&positions)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether every group has come to the end of every epoch that was closed, those that were never begun apart.
    pub fn is_drained(&self) -> bool {
        self.locked().values().all(|known| {
            let mut closed = known.epochs.iter().filter(|epoch| !epoch.is_open());
            closed.all(|epoch| epoch.is_handled(&known.positions))
        })
    }

    /// Why the bus can't be used for these topics, as long as it is needed.
    pub fn away(&self) -> Option<String> {
        self.locked().values().find_map(|known| known.away.clone())
    }

    /// Reads the epochs and the positions of the groups from the database. The bus is not asked.
    ///
    /// # Errors
    /// The database's.
    pub async fn look(&self) -> db::Result<()> {
        let (began, by_wall) = (Instant::now(), SystemTime::now());
        let names: Vec<&'static str> = self.shared.topics.iter().map(|topic| topic.name).collect();
        let (ahead, read) = self
            .shared
            .db
            .read(move |conn| -> db::Result<_> {
                let mut read = Vec::with_capacity(names.len());
                for topic in names.iter().copied() {
                    let ends = epochs::log_ends(conn, topic)?;
                    read.push((topic, epochs::load(conn, topic)?, ends, epochs::positions(conn, topic)?));
                }
                let asked = Time::now();
                Ok((db::now(conn)?.micros() - asked.micros(), read))
            })
            .await?;
        self.shared.clock.store(ahead, Ordering::Relaxed);
        let mut known = self.locked();
        for (topic, epochs, log_ends, positions) in read {
            let known = known.entry(topic).or_default();
            if known.looked.is_some_and(|(looked, _)| looked > began) {
                continue; // somebody else looked later
            }
            if *known.epochs != *epochs {
                known.epochs = epochs.into();
                self.shared.changed.send_replace(());
            }
            (known.ends.log, known.positions, known.looked) = (log_ends, positions, Some((began, by_wall)));
            for epoch in known.epochs.iter().filter(|epoch| !epoch.is_open()) {
                known.closed.entry(epoch.number).or_insert_with(Instant::now);
            }
            known.count_waiting();
        }
        Ok(())
    }

    fn of<T>(&self, topic: &str, look: impl FnOnce(&Known) -> T) -> T {
        match self.locked().get(topic) {
            Some(known) => look(known),
            None => look(&Known::default()),
        }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<&'static str, Known>> {
        self.shared.known.lock()
    }
}
