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
mod reading;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use db::types::{Id, Time};
use db::{Database, Tx};
use telemetry::TraceContext;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, BusError};
use crate::event::{self, DomainEvent, Event};
use crate::log::Log;
use crate::partition::partition_of;

pub use epochs::{Ends, Epoch};
pub(crate) use epochs::{load, waiting};

/// How often a process looks which epoch it is, and how far the groups are.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long what it saw is good.
const GOOD_FOR: Duration = Duration::from_secs(3);
/// After an epoch was closed, before anybody asks where it ends: longer than what somebody saw of it is good.
const GRACE: Duration = Duration::from_secs(5);

/// What a closed epoch ends with on the bus, so that a reader knows that nothing more is to come.
const CLOSED: &str = "bus.epoch.closed";
/// What stands for a record that nobody handles, so that a group moves past it.
pub(crate) const SKIPPED: &str = "";

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
    looked: Option<Instant>,
    /// Why the bus can't be used, as it was last seen.
    away: Option<String>,
    /// The bus has shown less than was handled already.
    shrunk: bool,
}

impl Known {
    fn open_epoch(&self) -> Option<&Epoch> {
        self.epochs.last().filter(|last| last.is_open())
    }

    fn is_good(&self) -> bool {
        self.looked.is_some_and(|looked| looked.elapsed() < GOOD_FOR)
    }

    /// Nothing was taken in it so far, and it is not known from where on the bus it will be.
    fn is_to_begin(&self) -> bool {
        self.open_epoch().is_some_and(|open| open.direct && open.lacks_begins())
    }

    /// Positions were read before the ends were asked for, so that the ends of the same topic can't be behind them.
    fn shows_less_than_handled(&self) -> bool {
        let Some(open) = self.open_epoch().filter(|open| open.direct) else { return false };
        self.positions.iter().any(|(_, partition, position)| {
            self.ends.bus.get(partition).is_some_and(|offset| open.base() + offset <= *position)
        })
    }

    /// For the group for which most are waiting.
    fn waiting(&self) -> i64 {
        let mut by_group = BTreeMap::<&str, i64>::new();
        for (group, partition, position) in &self.positions {
            *by_group.entry(group).or_default() += waiting(&self.epochs, &self.ends, *partition, *position);
        }
        by_group.into_values().max().unwrap_or_default()
    }
}

impl Direct {
    /// Over an open database and log. `bus` must be there when a topic goes to it, or when something waits there.
    pub fn new(db: Database, log: Log, bus: Option<Arc<dyn DirectBus>>, topics: Vec<DirectTopic>) -> Self {
        let (known, beginning, changed, clock) = Default::default();
        Self { shared: Arc::new(Shared { db, log, bus, topics, known, beginning, changed, clock }) }
    }

    /// A bus that reads these topics wherever they are or were, and all else from `others`, which knows the log.
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
        let (epoch, max_waiting) = self.open_epoch(E::TOPIC).await?;
        let waiting = self.known(E::TOPIC).waiting();
        if waiting > max_waiting {
            return Err(EmitError::Busy(waiting));
        }
        if epoch.direct {
            self.send(&epoch, &event).await?;
        } else {
            self.shared.db.write(move |tx| event::emit(tx, &event)).await?;
        }
        if !self.known(E::TOPIC).is_good() {
            self.look().await?;
        }
        match self.known(E::TOPIC).open_epoch() {
            Some(open) if open.number == epoch.number => Ok(()),
            _ => Err(EmitError::Unknown("the topic moved to another bus meanwhile".into())),
        }
    }

    /// The epoch in which events are taken now, if this process may.
    async fn open_epoch(&self, topic: &str) -> Result<(Epoch, i64), EmitError> {
        let by_settings = self.shared.topics.iter().find(|known| known.name == topic);
        let by_settings = by_settings.ok_or_else(|| db::Error::Defect(format!("{topic} is not a direct topic")))?;
        if !self.known(topic).is_good() {
            self.look().await?;
        }
        if self.known(topic).is_to_begin() {
            let _turn = self.shared.beginning.lock().await;
            if self.known(topic).is_to_begin() {
                self.look_at_bus_and_begin(true).await?;
            }
        }
        let known = self.known(topic);
        let Some(epoch) = known.open_epoch() else {
            return Err(EmitError::Unavailable("the topic is being drained; a shop that starts opens it again".into()));
        };
        if epoch.direct != by_settings.direct {
            return Err(EmitError::Unavailable("another process has put the topic on another bus".into()));
        }
        if let Some(away) = known.away.as_ref().filter(|_| epoch.direct) {
            return Err(EmitError::Unavailable(away.clone()));
        }
        if epoch.lacks_begins() {
            return Err(EmitError::Unavailable("it is not known yet where the last epoch on the bus ended".into()));
        }
        Ok((epoch.clone(), by_settings.max_waiting))
    }

    async fn send<E: DomainEvent>(&self, epoch: &Epoch, event: &E) -> Result<(), EmitError> {
        let Some(bus) = &self.shared.bus else {
            return Err(EmitError::Unavailable("no bus is set".into()));
        };
        let key = event.key();
        let record = Event {
            id: Id::new(),
            source: epoch.source,
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
        bus.send(&record).await.map(drop).map_err(|BusError::Unavailable(why)| EmitError::Unknown(why))
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

    /// Keeps an eye on the epochs and on the bus, until `stop`. It must run where events are taken or handled.
    pub async fn keep(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep_looking() => {}
            () = self.keep_looking_at_bus() => {}
        }
    }

    async fn keep_looking(&self) {
        let mut every = every();
        loop {
            every.tick().await;
            let looked = async {
                self.look().await?;
                self.set_ends_of_log().await
            };
            if let Err(error) = looked.await {
                tracing::debug!(%error, "which epoch it is was not looked up");
            }
        }
    }

    async fn keep_looking_at_bus(&self) {
        let mut every = every();
        loop {
            every.tick().await;
            if let Err(error) = self.look_at_bus().await {
                tracing::debug!(%error, "what the bus says was not written down");
            }
        }
    }

    /// Looks now how far everything is, and returns where each topic ends on the bus.
    ///
    /// # Errors
    /// The database's.
    pub async fn refresh(&self) -> db::Result<BTreeMap<&'static str, Ends>> {
        self.look().await?;
        self.look_at_bus().await?;
        Ok(self.locked().iter().map(|(topic, known)| (*topic, known.ends.clone())).collect())
    }

    /// The epoch in which a topic's events are taken now, by what was last seen.
    pub fn epoch(&self, topic: &str) -> Option<Epoch> {
        self.known(topic).open_epoch().cloned()
    }

    /// Events of these topics that a group has still to handle.
    pub fn waiting(&self) -> i64 {
        self.locked().values().map(Known::waiting).sum()
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

    /// Whether every group has come to the end of every epoch that was closed.
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

    /// Reads the epochs and how far the groups are.
    async fn look(&self) -> db::Result<()> {
        let began = Instant::now();
        let names: Vec<&'static str> = self.shared.topics.iter().map(|topic| topic.name).collect();
        let (now, read) = self
            .shared
            .db
            .read(move |conn| -> db::Result<_> {
                let mut read = Vec::with_capacity(names.len());
                for topic in names.iter().copied() {
                    let ends = epochs::log_ends(conn, topic)?;
                    read.push((topic, epochs::load(conn, topic)?, ends, epochs::positions(conn, topic)?));
                }
                Ok((db::now(conn)?, read))
            })
            .await?;
        // half of the time there and back
        let ahead = now.micros() - Time::now().micros() + began.elapsed().as_micros() as i64 / 2;
        self.shared.clock.store(ahead, Ordering::Relaxed);
        let mut known = self.locked();
        for (topic, epochs, log_ends, positions) in read {
            let known = known.entry(topic).or_default();
            if known.looked.is_some_and(|looked| looked > began) {
                continue; // somebody else looked later
            }
            if *known.epochs != *epochs {
                known.epochs = epochs.into();
                self.shared.changed.send_replace(());
            }
            (known.ends.log, known.positions, known.looked) = (log_ends, positions, Some(began));
        }
        Ok(())
    }

    async fn set_ends_of_log(&self) -> db::Result<()> {
        for topic in &self.shared.topics {
            let (name, grace) = (topic.name, self.grace());
            if epochs::any_lacks_ends(&self.known(name).epochs, false) {
                self.shared.db.write(move |tx| epochs::set_log_ends(tx, name, grace)).await?;
                self.look().await?;
            }
        }
        Ok(())
    }

    /// SQLite means one process, so that nobody else saw the epoch open.
    fn grace(&self) -> Duration {
        if self.shared.db.is_shared() { GRACE } else { Duration::ZERO }
    }

    /// Asks the bus where it ends, as far as something waits there or goes there.
    async fn look_at_bus(&self) -> db::Result<()> {
        self.look_at_bus_and_begin(false).await
    }

    /// The same, and has an epoch begin in which an event is to be sent for the first time.
    async fn look_at_bus_and_begin(&self, begin: bool) -> db::Result<()> {
        let Some(bus) = &self.shared.bus else { return Ok(()) };
        for topic in &self.shared.topics {
            let (name, partitions, known) =
                (topic.name, self.shared.log.partitions(topic.name), self.known(topic.name));
            let is_needed = |epoch: &&Epoch| epoch.direct && (epoch.is_open() || !epoch.is_handled(&known.positions));
            let Some(epoch) = known.epochs.iter().find(is_needed) else {
                self.locked().entry(name).or_default().away = None;
                continue;
            };
            let answer = async { Ok::<_, BusError>((bus.cluster().await?, bus.held(name, partitions).await?)) };
            let there = match answer.await {
                Ok((cluster, _)) if epoch.cluster.as_ref().is_some_and(|known| *known != cluster) => Err(format!(
                    "events of {name} wait on the cluster {}, and this is {cluster}: end what is on the former first \
                     (shop drain, with the settings it had)",
                    epoch.cluster.as_deref().unwrap_or_default()
                )),
                Ok(there) => Ok(there),
                Err(BusError::Unavailable(why)) => Err(why),
            };
            match there {
                Ok((cluster, held)) => {
                    let ends = (0..).zip(held.into_iter().map(|held| held.end)).collect();
                    let ends = Ends { bus: ends, ..Ends::default() };
                    self.seen_on_bus(bus, name, cluster, ends, begin).await?;
                }
                Err(why) => self.locked().entry(name).or_default().away = Some(why),
            }
        }
        Ok(())
    }

    async fn seen_on_bus(
        &self,
        bus: &Arc<dyn DirectBus>,
        topic: &'static str,
        cluster: String,
        ends: Ends,
        begin: bool,
    ) -> db::Result<()> {
        let (epochs, gone) = {
            let mut known = self.locked();
            let known = known.entry(topic).or_default();
            (known.away, known.ends.bus) = (None, ends.bus.clone());
            let shrunk = known.shows_less_than_handled();
            let gone = std::mem::replace(&mut known.shrunk, shrunk) && shrunk;
            (known.epochs.clone(), gone)
        };
        let Some(last) = epochs.last() else { return Ok(()) };
        let (grace, now) = (self.grace(), self.now());
        let number = last.number;
        if gone {
            tracing::error!(topic, "the topic was deleted on the bus; what nobody had handled yet is lost");
            self.shared.db.write(move |tx| epochs::give_up(tx, topic, number)).await?;
        } else if let Some(over) = epochs.iter().find(|it| it.direct && it.lacks_ends() && it.is_over(grace, now)) {
            let over = over.clone();
            match self.end_on_bus(bus, topic, &over).await {
                Ok(last) => self.shared.db.write(move |tx| epochs::set_bus_ends(tx, topic, &over, &last)).await?,
                Err(BusError::Unavailable(why)) => tracing::debug!(topic, why, "an epoch was not ended; trying again"),
            }
        } else if begin && last.direct && last.lacks_begins() && !epochs::any_lacks_ends(&epochs, true) {
            self.shared.db.write(move |tx| epochs::set_begins(tx, topic, number, &cluster, &ends)).await?;
        } else {
            return Ok(());
        }
        self.look().await
    }

    /// Sends the last record of a closed epoch to each partition, and returns their offsets.
    async fn end_on_bus(
        &self,
        bus: &Arc<dyn DirectBus>,
        topic: &str,
        epoch: &Epoch,
    ) -> Result<Vec<(i32, i64)>, BusError> {
        let mut last = Vec::new();
        for partition in 0..self.shared.log.partitions(topic) {
            let record = Event {
                id: Id::new(),
                source: epoch.source,
                topic: topic.into(),
                partition,
                position: event::UNNUMBERED,
                key: String::new(),
                kind: CLOSED.into(),
                version: 1,
                aggregate_version: epoch.number,
                occurred_at: self.now(),
                traceparent: None,
                payload: "{}".into(),
            };
            last.push((partition, bus.send(&record).await?));
        }
        Ok(last)
    }

    fn known(&self, topic: &str) -> Known {
        self.locked().get(topic).cloned().unwrap_or_default()
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<&'static str, Known>> {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn every() -> tokio::time::Interval {
    let mut every = interval(LOOK_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    every
}
