//! The event log: gives each event a position, and notifies waiting tasks.

pub(crate) mod cache;
pub(crate) mod depth;
pub(crate) mod epochs;
pub(crate) mod follow;
pub(crate) mod partitioner;
pub(crate) mod repartition;
pub(crate) mod retention;
pub(crate) mod rows;
pub mod tombstone;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use db::types::{Id, Time};
use db::{Conn, Database, Life, Recorded, Recorder, Staged, Tx};
use diesel::pg::PgConnection;
use diesel::result::DatabaseErrorKind;
use parking_lot::{Mutex, RwLock};
use telemetry::metrics;
use tokio::sync::{Notify, watch};

use crate::consumer::leases;
use crate::consumer::pauses::Pauses;
use crate::event::{Event, FIRST_EPOCH};
use crate::log::cache::Tail;
use crate::log::epochs::{Epochs, LogEpoch, Standing};
use crate::log::partitioner::partition_of;
use crate::log::rows::PartitionRow;

/// A topic, and the number of partitions at creation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    pub name: Cow<'static, str>,
    pub partitions: i32,
}

/// The event log of a database; clones share the state.
///
/// Create the log before the database, because units of work write through the log; then open the log with the
/// topics.
#[derive(Clone, Default)]
pub struct Log {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    source: OnceLock<Id>,
    name: OnceLock<String>,
    topics: RwLock<HashMap<Arc<str>, Arc<Topic>>>,
    /// Locked before changes of ends and recent events, because both belong to the newest epoch.
    epochs: RwLock<Epochs>,
    /// The newest epoch.
    epoch: watch::Sender<Option<Id>>,
    /// Raised ends of this process's events that other processes do not know yet.
    risen: Mutex<BTreeMap<Part, i64>>,
    /// Rung when there are such.
    rising: Notify,
    /// True while a unit in flight may have added partitions or an epoch.
    gaining: AtomicBool,
    /// Counter of operators' requests, so that the groups react at once.
    asked: watch::Sender<u64>,
    /// Partitions with pausing groups in this process.
    pauses: Pauses,
}

#[derive(Clone)]
struct Topic {
    name: Arc<str>,
    partitions: Vec<Arc<Partition>>,
}

#[derive(Default)]
struct Partition {
    /// Position of the next event, as known to this process.
    end: watch::Sender<i64>,
    tail: Tail,
}

impl Log {
    /// Returns a log without topics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the recorder for the database's staged records.
    pub fn recorder(&self) -> Arc<dyn Recorder> {
        Arc::new(self.clone())
    }

    /// Creates missing topics, and learns the ends of all partitions.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn open(&self, db: &Database, topics: &[TopicSpec]) -> db::Result<()> {
        let forget = |tx: &mut Tx<'_>| match tx.is_pg() {
            true => Ok(()),
            // SQLite means one process, so whoever held a lease is gone
            false => leases::forget_members(tx),
        };
        let source = self.add(db, topics, forget).await?;
        self.shared.source.get_or_init(|| source);
        Ok(())
    }

    /// Makes more topics in a log that is open, in one unit with what `besides` does.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn add(
        &self,
        db: &Database,
        topics: &[TopicSpec],
        besides: impl Fn(&mut Tx<'_>) -> db::Result<()> + Send + 'static,
    ) -> db::Result<Id> {
        let specs = topics.to_vec();
        let (source, rows, epochs, life) = db
            .write(move |tx| -> db::Result<_> {
                rows::lock_source(tx)?;
                for spec in &specs {
                    rows::insert_topic(tx, spec)?;
                }
                besides(tx)?;
                Ok((rows::source(tx)?, rows::partitions(tx)?, epochs::log_epochs(tx)?, tx.life()))
            })
            .await?;
        self.set_epochs(life, epochs);
        let mut known = self.shared.topics.write();
        for row in &rows {
            let name: Arc<str> = row.topic.as_str().into();
            known.entry(name.clone()).or_insert_with(|| Arc::new(Topic { name, partitions: Vec::new() }));
        }
        drop(known);
        self.learn(&rows);
        Ok(source)
    }

    /// Returns the UUID of this log, the source of all its events.
    ///
    /// # Panics
    /// Before [`open`](Self::open).
    pub fn source(&self) -> Id {
        *self.shared.source.get().expect("the log is opened before it is used")
    }

    /// Returns a name that distinguishes this process's log from other processes' logs.
    pub(crate) fn name(&self) -> &str {
        self.shared.name.get_or_init(|| Id::new().to_string())
    }

    /// Returns the number of partitions of `topic`; 0 for an unknown topic.
    pub fn partitions(&self, topic: &str) -> i32 {
        self.topic(topic).map_or(0, |topic| topic.partitions.len() as i32)
    }

    /// Returns a line for each group with partitions that this process has not handled for `at_least` this time, because
    /// something fails. The line names the last reason.
    pub fn paused(&self, at_least: Duration) -> Vec<String> {
        self.shared.pauses.lines(at_least)
    }

    pub(crate) fn pauses(&self) -> &Pauses {
        &self.shared.pauses
    }

    /// Returns the newest epoch, now and after changes.
    pub(crate) fn epoch(&self) -> watch::Receiver<Option<Id>> {
        self.shared.epoch.subscribe()
    }

    /// Returns true if the log has all these events, as far as this process knows.
    pub(crate) fn owns(&self, events: &[Event]) -> bool {
        let epochs = self.shared.epochs.read();
        events.iter().all(|event| epochs.owns(event))
    }

    /// Returns true if the log has lost the event, or never had it, as far as this process knows.
    pub fn lacks(&self, event: &Event) -> bool {
        !self.shared.epochs.read().owns(event)
    }

    /// What the log is, as far as this process knows.
    pub(crate) fn standing(&self) -> Option<Standing> {
        self.shared.epochs.read().standing()
    }

    /// As [`standing`](Self::standing), in a unit that runs on the storage of `life`. If the list of epochs is of another
    /// life, the unit is to run again.
    pub(crate) fn standing_in(&self, life: Life) -> Option<Standing> {
        let epochs = self.shared.epochs.read();
        epochs.standing().filter(|_| epochs.life() == Some(life))
    }

    /// Returns true if the log is as this process knows it. Otherwise reads the list of epochs, on a new connection to a
    /// server: after a restore that the connections have survived this opens an epoch.
    pub(crate) async fn stands(&self, db: &Database, standing: Standing) -> db::Result<bool> {
        if self.standing() == Some(standing) {
            return Ok(true);
        }
        if db.is_shared() {
            self.shared.epochs.write().doubt();
        }
        self.renew_epochs(db.read(epochs::log_epochs).await?);
        Ok(false)
    }

    /// Separates orphans from the log's events. Reads the list of epochs again if an epoch may be missing.
    pub(crate) async fn without_orphans(
        &self,
        db: &Database,
        events: Vec<Event>,
    ) -> db::Result<(Vec<Event>, Vec<Event>)> {
        let may_lack = {
            let epochs = self.shared.epochs.read();
            events.iter().any(|event| epochs.may_lack(event))
        };
        if may_lack {
            let rows = db.read(epochs::log_epochs).await?;
            self.renew_epochs(rows);
            self.shared.epochs.write().note_strangers(&events);
        }
        let epochs = self.shared.epochs.read();
        Ok(events.into_iter().partition(|event| epochs.owns(event)))
    }

    /// Takes a list of epochs read on the storage of `life`.
    pub(crate) fn set_epochs(&self, life: Life, rows: Vec<LogEpoch>) {
        self.replace_epochs(&mut self.shared.epochs.write(), life, rows);
    }

    /// Takes a list of epochs only if read on the same storage as the list before.
    pub(crate) fn renew_epochs(&self, rows: Vec<LogEpoch>) {
        let mut epochs = self.shared.epochs.write();
        if let (Some(life), Some(newest)) = (epochs.life(), rows.last())
            && life.to_string() == newest.life
        {
            self.replace_epochs(&mut epochs, life, rows);
        }
    }

    /// Replaces the epochs. A new newest epoch may mean lost positions: ends fall to the begin of the epoch, and
    /// recent events missing in the log are forgotten.
    fn replace_epochs(&self, epochs: &mut Epochs, life: Life, rows: Vec<LogEpoch>) {
        let (known, newest) = (epochs.last(), rows.last().map(|newest| (newest.ordinal, newest.id)));
        if epochs.life() == Some(life) && newest < known {
            return; // read before the other list
        }
        *epochs = Epochs::new(life, rows);
        if newest == known {
            return;
        }
        for topic in self.shared.topics.read().values() {
            for (number, partition) in (0..).zip(&topic.partitions) {
                let first = epochs.first_of_newest(&topic.name, number).unwrap_or(0);
                partition.end.send_if_modified(|end| std::mem::replace(end, first.min(*end)) > first);
                partition.tail.retain(|event| epochs.owns(event));
            }
        }
        self.shared.risen.lock().clear();
        self.shared.epoch.send_replace(epochs.newest());
    }

    /// Waits for ends raised by this process's events, and takes these ends with their epoch.
    pub(crate) async fn risen(&self) -> (Option<Id>, Vec<(Part, i64)>) {
        self.shared.rising.notified().await;
        let epochs = self.shared.epochs.read();
        (epochs.newest(), std::mem::take(&mut *self.shared.risen.lock()).into_iter().collect())
    }

    /// Returns the position of the partition's next event, now and after changes. `None` without such a partition.
    pub fn end(&self, topic: &str, partition: i32) -> Option<watch::Receiver<i64>> {
        let topic = self.topic(topic)?;
        Some(topic.partitions.get(usize::try_from(partition).ok()?)?.end.subscribe())
    }

    /// Returns the events behind `after`, in order, if the cache still has all of them.
    pub(crate) fn recent(&self, topic: &str, partition: i32, after: i64, max: usize) -> Option<Vec<Event>> {
        let topic = self.topic(topic)?;
        topic.partitions.get(usize::try_from(partition).ok()?)?.tail.after(after, max)
    }

    /// Learns the ends of all partitions of some topics, from a snapshot with the newest epoch `epoch`.
    pub(crate) fn learn_in(&self, epoch: Id, rows: &[PartitionRow]) {
        let epochs = self.shared.epochs.read();
        if epochs.newest() == Some(epoch) {
            self.learn(rows);
        }
    }

    fn learn(&self, rows: &[PartitionRow]) {
        // first, as `gain` wants it
        rows.iter().for_each(|row| self.gain(&row.topic, row.partition + 1));
        rows.iter().for_each(|row| self.rise(&row.topic, row.partition, row.next));
    }

    /// Returns true if a row has more partitions or events than this process knows of.
    pub(crate) fn is_news(&self, rows: &[PartitionRow]) -> bool {
        rows.iter().any(|row| self.end(&row.topic, row.partition).is_none_or(|end| *end.borrow() < row.next))
    }

    /// Learns that a topic has at least this number of partitions. Call this before learning of later positions:
    /// groups rely on this order.
    pub(crate) fn gain(&self, topic: &str, partitions: i32) {
        if self.partitions(topic) < partitions {
            let mut known = self.shared.topics.write();
            if let Some(topic) = known.get_mut(topic) {
                let count = topic.partitions.len().max(partitions as usize);
                Arc::make_mut(topic).partitions.resize_with(count, Arc::default);
            }
        }
    }

    /// Reads the numbers of partitions and the epochs from the database for the next unit.
    pub(crate) fn set_gaining(&self) {
        self.shared.gaining.store(true, Ordering::Relaxed);
    }

    /// Learns ends from another process's notification, unless they are of another epoch.
    pub(crate) fn hear(&self, epoch: &str, ends: impl Iterator<Item = (String, i32, i64, i32)>) {
        let epochs = self.shared.epochs.read();
        if epochs.newest().is_some_and(|newest| newest.to_string() == epoch) {
            for (topic, partition, end, partitions) in ends {
                self.gain(&topic, partitions);
                self.rise(&topic, partition, end);
            }
        }
    }

    /// Learns a partition's `end`, and wakes waiting tasks.
    fn rise(&self, topic: &str, partition: i32, end: i64) {
        if let Some(topic) = self.topic(topic)
            && let Some(partition) = topic.partitions.get(partition as usize)
        {
            partition.end.send_if_modified(|known| std::mem::replace(known, end.max(*known)) < end);
        }
    }

    /// Adds durable events to the recent-events cache, wakes the groups, and notifies other processes. Events are in
    /// the order of topics, partitions and positions. Events of an older epoch come too late.
    fn appended(&self, events: Vec<Event>) {
        let epochs = self.shared.epochs.read();
        let newest = epochs.newest();
        let mut events = events.into_iter().filter(|event| Some(event.epoch) == newest).peekable();
        while let Some(first) = events.next() {
            let (topic, number) = (first.topic.clone(), first.partition);
            let mut of_part = vec![first];
            while let Some(next) = events.next_if(|next| next.topic == topic && next.partition == number) {
                of_part.push(next);
            }
            let end = of_part.last().map_or(0, |last| last.position + 1);
            metrics::EVENT_LOG_EVENTS.of([topic.clone().into()]).increment(of_part.len() as u64);
            if let Some(known) = self.topic(&topic)
                && let Some(partition) = known.partitions.get(number as usize)
            {
                partition.tail.push(of_part);
            }
            self.rise(&topic, number, end);
            let mut risen = self.shared.risen.lock();
            let risen = risen.entry((topic, number)).or_default();
            *risen = end.max(*risen);
        }
        self.shared.rising.notify_one();
    }

    /// Makes the groups of this process read operators' requests at once: a replay, a discard, a reset.
    pub fn ask_groups(&self) {
        self.shared.asked.send_modify(|count| *count += 1);
    }

    pub(crate) fn asked(&self) -> watch::Receiver<u64> {
        self.shared.asked.subscribe()
    }

    /// Returns all topics.
    pub fn topics(&self) -> Vec<Arc<str>> {
        let topics = self.shared.topics.read();
        topics.values().map(|topic| topic.name.clone()).collect()
    }

    fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.shared.topics.read().get(name).cloned()
    }

    fn topic_of(&self, record: &Staged) -> db::Result<Arc<Topic>> {
        let topic = self.topic(&record.topic).filter(|topic| !topic.partitions.is_empty());
        topic.ok_or_else(|| db::Error::Defect(format!("the topic {} was not registered", record.topic)))
    }

    /// Divides records by topic and partition, in order. Returns the partitions as the database has them, if there may be
    /// more than this process knows of.
    fn divide(&self, conn: &mut Conn, records: Vec<Staged>) -> db::Result<(Vec<PartitionRow>, Parts)> {
        let mut gained = Vec::new();
        if self.shared.gaining.load(Ordering::Relaxed) {
            self.renew_epochs(epochs::log_epochs(conn)?);
            gained = rows::partitions(conn)?;
        }
        let mut parts = Parts::new();
        for record in records {
            let topic = self.topic_of(&record)?;
            let known = topic.partitions.len() as i32;
            let count = gained.iter().filter(|row| row.topic == record.topic).count() as i32;
            let count = count.max(known);
            let part = (topic.name.clone(), partition_of(&record.key, count));
            parts.entry(part).or_insert_with(|| (count, Vec::new())).1.push(record);
        }
        Ok((gained, parts))
    }

    /// Numbers the events on SQLite, just before the COMMIT; the writer is alone.
    fn number(&self, conn: &mut Conn, parts: Parts) -> db::Result<Vec<Event>> {
        let (source, appended_at) = (self.source(), Time::now());
        let (ordinal, epoch) = self.shared.epochs.read().last().ok_or_else(no_epoch)?;
        let mut events = Vec::new();
        for ((topic, partition), (_, records)) in parts {
            let next = rows::advance_end(conn, &topic, partition, records.len() as i64)?;
            let first = next - records.len() as i64;
            for (position, record) in (first..).zip(records) {
                let event = Event::of(record, source, epoch, topic.clone(), partition, position);
                rows::insert_event(conn, &event, ordinal, appended_at)?;
                events.push(event);
            }
        }
        Ok(events)
    }

    /// Numbers the events on PostgreSQL, by the last statement of the unit. New partitions of a topic, or a new
    /// epoch, make the unit run again.
    fn append(&self, conn: &mut PgConnection, parts: Parts) -> db::Result<Vec<Event>> {
        let (source, standing) = (self.source(), self.standing().ok_or_else(restored)?);
        let epoch = standing.epoch;
        let (mut events, mut counts) = (Vec::new(), Vec::new());
        for ((topic, partition), (count, records)) in parts {
            counts.resize(counts.len() + records.len(), count);
            events.extend(
                records.into_iter().map(|record| Event::of(record, source, epoch, topic.clone(), partition, -1)),
            );
        }
        let (positions, file) =
            rows::append_events(conn, &events, &counts, epoch).inspect_err(|_| self.set_gaining())?;
        if file != standing.file {
            self.shared.epochs.write().doubt();
            return Err(restored().into());
        }
        for (event, position) in events.iter_mut().zip(positions) {
            event.position = position;
        }
        Ok(events)
    }
}

/// Returns the error of a process without a connection.
fn no_epoch() -> db::Error {
    db::Error::Defect("the log has no epoch".into())
}

/// Error that has a unit run again, on a new connection.
fn restored() -> diesel::result::Error {
    let why = "the database was restored under the connection".to_owned();
    diesel::result::Error::DatabaseError(DatabaseErrorKind::SerializationFailure, Box::new(why))
}

/// A topic and the number of a partition.
type Part = (Arc<str>, i32);

/// Records by partition, with the number of partitions of the topic.
type Parts = BTreeMap<Part, (i32, Vec<Staged>)>;

impl Recorder for Log {
    fn witness(&self) -> Option<&'static str> {
        Some("log_epoch")
    }

    fn connected(&self, conn: &mut Conn, life: Life) -> db::Result<()> {
        let known = {
            let epochs = self.shared.epochs.read();
            epochs.newest().filter(|_| epochs.life() == Some(life))
        };
        // a list of this life is good unless the log has another epoch since
        if known.is_none() || epochs::newest(conn).map(|newest| newest.id).ok() != known {
            self.set_epochs(life, epochs::enter(conn, life)?);
        }
        Ok(())
    }

    fn is_current(&self, life: Life) -> bool {
        self.shared.epochs.read().life() == Some(life)
    }

    fn record(&self, conn: &mut Conn, records: Vec<Staged>) -> db::Result<Recorded> {
        let (gained, parts) = self.divide(conn, records)?;
        let events = match conn {
            Conn::Sqlite(_) => self.number(conn, parts)?,
            Conn::Pg(conn) => self.append(conn, parts)?,
        };
        let first = events.first().map(|event| (event.topic.clone(), event.partition, event.position, event.id));
        let (log, epoch) = (self.clone(), events.first().map_or(FIRST_EPOCH, |event| event.epoch));
        let wake = Box::new(move || {
            if !gained.is_empty() {
                log.learn_in(epoch, &gained);
                log.shared.gaining.store(false, Ordering::Relaxed);
            }
            log.appended(events);
        });
        let is_there = Box::new(move |conn: &mut Conn| match &first {
            Some((topic, partition, position, id)) => rows::is_there(conn, topic, *partition, *position, *id),
            None => Ok(true),
        });
        Ok(Recorded { wake, is_there })
    }
}

impl Event {
    fn of(record: Staged, source: Id, epoch: Id, topic: Arc<str>, partition: i32, position: i64) -> Self {
        Self {
            id: record.id,
            source,
            epoch,
            topic,
            partition,
            position,
            key: record.key,
            kind: record.kind.into_owned(),
            version: record.version,
            aggregate_version: record.aggregate_version,
            occurred_at: record.occurred_at,
            traceparent: record.traceparent,
            payload: record.payload,
        }
    }
}
