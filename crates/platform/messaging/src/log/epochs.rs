//! Epochs of the log. A log that loses commits, in a failover or a restore, gives positions a second time. The epochs
//! tell whether the log still has an event of a bus or a process.
//!
//! 1. Each new connection compares the life of the storage with the newest epoch. A difference opens an epoch.
//! 2. An epoch owns the positions from its first one up to the next epoch's first one.
//! 3. Each event carries the epoch of its row. If the epoch does not own the event's position, the event is an
//!    orphan.
//! 4. A process keeps the list of epochs in memory, with the life at the reading of the list.
//!

use std::collections::{HashMap, HashSet};

use db::types::{Id, Time};
use db::{Conn, Life, Tx, on_each};
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use crate::event::Event;
use crate::log::rows;
use crate::schema::{log_epoch, log_epoch_start, topic_partition};

/// An epoch of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEpoch {
    /// Orders the epochs of a log.
    pub ordinal: i64,
    /// Unique id of the epoch, also if a restored log repeats an ordinal.
    pub id: Id,
    /// Life of the storage when the epoch was opened.
    pub life: String,
    pub opened_at: Time,
    /// Topic, partition and first position, where the epoch owns positions or is the newest.
    pub starts: Vec<(String, i32, i64)>,
}

/// An epoch without the first positions.
#[derive(Queryable)]
pub(crate) struct EpochRow {
    pub(crate) ordinal: i64,
    pub(crate) id: Id,
    life: String,
    opened_at: Time,
}

/// The epochs of the log, and the life at the reading.
#[derive(Default)]
pub(crate) struct Epochs {
    life: Option<Life>,
    /// Ordinals and ids, by ordinal.
    ids: Vec<(i64, Id)>,
    /// First positions and epochs, by ordinal.
    starts: HashMap<String, HashMap<i32, Vec<(i64, Id)>>>,
    /// Epochs of events that are missing in a list read after the events had come.
    strangers: HashSet<Id>,
}

impl Epochs {
    /// Builds the epochs of a list; `epochs` are in the order of ordinals.
    pub(crate) fn new(life: Life, epochs: Vec<LogEpoch>) -> Self {
        let mut starts = HashMap::<String, HashMap<i32, Vec<(i64, Id)>>>::new();
        let mut ids = Vec::with_capacity(epochs.len());
        for epoch in epochs {
            ids.push((epoch.ordinal, epoch.id));
            for (topic, partition, first) in epoch.starts {
                starts.entry(topic).or_default().entry(partition).or_default().push((first, epoch.id));
            }
        }
        Self { life: Some(life), ids, starts, strangers: HashSet::new() }
    }

    pub(crate) fn life(&self) -> Option<Life> {
        self.life
    }

    /// Returns ordinal and id of the newest epoch.
    pub(crate) fn last(&self) -> Option<(i64, Id)> {
        self.ids.last().copied()
    }

    /// What the log is, as far as the list tells.
    pub(crate) fn standing(&self) -> Option<Standing> {
        Some(Standing { epoch: self.newest()?, file: self.life?.file() })
    }

    /// Forgets for which life the list was read.
    pub(crate) fn doubt(&mut self) {
        self.life = None;
    }

    pub(crate) fn newest(&self) -> Option<Id> {
        self.last().map(|(_, id)| id)
    }

    fn has(&self, epoch: Id) -> bool {
        self.ids.iter().any(|(_, id)| *id == epoch)
    }

    /// Returns the first position of the newest epoch with positions in the partition.
    pub(crate) fn first_of_newest(&self, topic: &str, partition: i32) -> Option<i64> {
        Some(self.starts.get(topic)?.get(&partition)?.last()?.0)
    }

    /// Returns true if the epoch of the event owns the event's position.
    pub(crate) fn owns(&self, event: &Event) -> bool {
        let starts = self.starts.get(&*event.topic).and_then(|topic| topic.get(&event.partition));
        let owner = starts.and_then(|starts| starts.iter().rev().find(|(first, _)| *first <= event.position));
        owner.is_some_and(|(_, owner)| *owner == event.epoch)
    }

    /// Returns true if a newer list may have the epoch of the event, or the partition.
    pub(crate) fn may_lack(&self, event: &Event) -> bool {
        let has_partition = self.starts.get(&*event.topic).is_some_and(|topic| topic.contains_key(&event.partition));
        let has_epoch = self.has(event.epoch) || self.strangers.contains(&event.epoch);
        !(has_partition && has_epoch)
    }

    /// Remembers epochs missing in a list read after their events had come.
    pub(crate) fn note_strangers(&mut self, events: &[Event]) {
        let strangers = events.iter().map(|event| event.epoch).filter(|epoch| !self.has(*epoch));
        let strangers: Vec<Id> = strangers.collect();
        self.strangers.extend(strangers);
    }
}

/// Returns the epochs of the log, the oldest first.
///
/// # Errors
/// Any error of the database.
pub fn log_epochs(conn: &mut Conn) -> db::Result<Vec<LogEpoch>> {
    use log_epoch_start as start;
    // first, so that without a snapshot the epoch that is opened in between is unknown, and not one that owns nothing
    let epochs: Vec<EpochRow> = log_epoch::table.order(log_epoch::ordinal).load(conn)?;
    let starts: Vec<(String, i32, i64, i64)> = start::table
        .order((start::topic, start::partition, start::ordinal))
        .select((start::topic, start::partition, start::ordinal, start::first))
        .load(conn)?;
    let mut of_epoch = HashMap::<i64, Vec<(String, i32, i64)>>::new();
    for (topic, partition, ordinal, first) in starts {
        of_epoch.entry(ordinal).or_default().push((topic, partition, first));
    }
    let epoch = |EpochRow { ordinal, id, life, opened_at }| {
        let starts = of_epoch.remove(&ordinal).unwrap_or_default();
        LogEpoch { ordinal, id, life, opened_at, starts }
    };
    Ok(epochs.into_iter().map(epoch).collect())
}

/// What tells a log from the log before a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The newest epoch.
    pub(crate) epoch: Id,
    /// File of the table of epochs: a part of the life which also changes under a connection.
    pub(crate) file: i64,
}

/// SQL of PostgreSQL for the file of the table of epochs.
pub(crate) const FILE: &str = "coalesce(pg_relation_filenode('log_epoch'), 0)::bigint";

/// Returns SQL for the file of the table of epochs.
pub(crate) fn file_column(conn: &Conn) -> &'static str {
    if conn.is_pg() { FILE } else { "0" }
}

/// Reads what the log is now.
pub(crate) fn standing(conn: &mut Conn) -> db::Result<Standing> {
    let file = sql::<BigInt>(file_column(conn));
    let newest = log_epoch::table.order(log_epoch::ordinal.desc()).select((log_epoch::id, file));
    let (epoch, file) = newest.first(conn)?;
    Ok(Standing { epoch, file })
}

/// Returns the newest epoch.
pub(crate) fn newest(conn: &mut Conn) -> db::Result<EpochRow> {
    Ok(log_epoch::table.order(log_epoch::ordinal.desc()).first(conn)?)
}

/// Returns the list of epochs on a connection of `life`. Opens an epoch if the newest one is of another life.
pub(crate) fn enter(conn: &mut Conn, life: Life) -> db::Result<Vec<LogEpoch>> {
    let life = life.to_string();
    conn.transaction(|conn| {
        if newest(conn)?.life != life {
            lock(conn)?;
            // another process may have been faster
            if newest(conn)?.life != life {
                open(conn, &life)?;
            }
        }
        log_epochs(conn)
    })
}

/// Opens an epoch of the same life, if an event of the newest epoch has a position beyond the log's end: this proves
/// a restore without a trace in the life. Returns the list of epochs if an epoch was opened.
pub(crate) fn open_unseen(tx: &mut Tx<'_>, event: &Event) -> db::Result<Option<Vec<LogEpoch>>> {
    lock(tx)?;
    let newest = newest(tx)?;
    let rows = rows::lock_partitions(tx, &event.topic)?;
    let end = rows.iter().find(|row| row.partition == event.partition).map_or(0, |row| row.next);
    if newest.id != event.epoch || event.position < end {
        return Ok(None);
    }
    open(tx, &newest.life)?;
    log_epochs(tx).map(Some)
}

/// Keeps other units from opening epochs until the transaction ends.
fn lock(conn: &mut Conn) -> db::Result<()> {
    if let Conn::Pg(conn) = conn {
        conn.batch_execute("LOCK TABLE log_epoch IN SHARE ROW EXCLUSIVE MODE")?;
    }
    Ok(())
}

/// Opens an epoch that begins at the ends of the partitions, and deletes starts without own positions.
fn open(conn: &mut Conn, life: &str) -> db::Result<()> {
    if let Conn::Pg(conn) = conn {
        conn.batch_execute("SELECT FROM topic_partition ORDER BY topic COLLATE \"C\", partition FOR NO KEY UPDATE")?;
    }
    let (ordinal, id) = (newest(conn)?.ordinal + 1, Id(uuid::Uuid::new_v4()));
    let row = (
        log_epoch::ordinal.eq(ordinal),
        log_epoch::id.eq(id),
        log_epoch::life.eq(life),
        log_epoch::opened_at.eq(Time::now()),
    );
    diesel::insert_into(log_epoch::table).values(row).execute(conn)?;
    diesel::update(topic_partition::table).set(topic_partition::epoch.eq(id)).execute(conn)?;
    let end = rows::end_column(conn);
    conn.batch_execute(&format!(
        "INSERT INTO log_epoch_start (topic, partition, ordinal, first)
         SELECT topic, partition, {ordinal}, {end} FROM topic_partition;
         DELETE FROM log_epoch_start WHERE EXISTS (
             SELECT 1 FROM log_epoch_start later
             WHERE later.topic = log_epoch_start.topic AND later.partition = log_epoch_start.partition
             AND later.ordinal > log_epoch_start.ordinal AND later.first = log_epoch_start.first);
         DELETE FROM log_epoch WHERE ordinal < {ordinal} AND NOT EXISTS (
             SELECT 1 FROM log_epoch_start own WHERE own.ordinal = log_epoch.ordinal)"
    ))?;
    tracing::info!(epoch = %id, ordinal, life, "the log has a new epoch");
    Ok(())
}

/// Returns the newest epoch for a partition that is made in this unit; no epoch is opened until the unit ends.
pub(crate) fn for_new_partition(conn: &mut Conn) -> db::Result<EpochRow> {
    if let Conn::Pg(conn) = conn {
        conn.batch_execute("LOCK TABLE log_epoch IN SHARE MODE")?;
    }
    newest(conn)
}

/// Inserts the begin of a new partition in its epoch.
pub(crate) fn begin(conn: &mut Conn, topic: &str, partition: i32, epoch: &EpochRow) -> db::Result<()> {
    use log_epoch_start as start;
    let row =
        (start::topic.eq(topic), start::partition.eq(partition), start::ordinal.eq(epoch.ordinal), start::first.eq(0));
    on_each!(conn, |conn| diesel::insert_into(start::table).values(row).on_conflict_do_nothing().execute(conn))?;
    Ok(())
}
