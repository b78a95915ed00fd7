//! Dead letters: events refused by Kafka, found, sent again, or discarded.

use std::collections::HashSet;
use std::sync::Arc;

use db::types::{Id, Time};
use db::{Conn, Tx};
use diesel::prelude::*;
use messaging::tombstone::{self, TOMBSTONE};
use messaging::{Log, admin};

use crate::Proxy;
use crate::delivery::ledger::{self, Change};
use crate::delivery::quarantine::{self, Held, State};
use crate::delivery::retry::{Part, Pin, append_again};
use crate::schema::held as table;

/// Events sent again in one unit of work.
const CHUNK: i64 = 500;
/// Reason of events that are given up with their topic.
const TOPIC_DELETED: &str = "the topic was deleted";

/// Filter of dead letters.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub ids: Option<Vec<Id>>,
    pub topic: Option<String>,
    pub service: Option<String>,
    pub kind: Option<String>,
    pub key: Option<String>,
    /// Part of the reason.
    pub error: Option<String>,
    /// Refused for the first time at this time or later.
    pub after: Option<Time>,
    /// Refused for the first time before this.
    pub before: Option<Time>,
}

/// A boxed query of [`table`], filtered.
macro_rules! filtered {
    ($filter:expr, $rows:expr) => {{
        let filter = $filter;
        let mut rows = $rows;
        if let Some(ids) = &filter.ids {
            rows = rows.filter(table::id.eq_any(ids.clone()));
        }
        if let Some(topic) = &filter.topic {
            rows = rows.filter(table::topic.eq(topic.clone()));
        }
        if let Some(service) = &filter.service {
            rows = rows.filter(table::kind.like(format!("{}.%", literal(service))).escape('!'));
        }
        if let Some(kind) = &filter.kind {
            rows = rows.filter(table::kind.like(format!("%.{}", literal(kind))).escape('!'));
        }
        if let Some(key) = &filter.key {
            rows = rows.filter(table::key.eq(key.clone()));
        }
        if let Some(error) = &filter.error {
            rows = rows.filter(table::reason.like(format!("%{}%", literal(error))).escape('!'));
        }
        if let Some(after) = filter.after {
            rows = rows.filter(table::refused_at.ge(after));
        }
        if let Some(before) = filter.before {
            rows = rows.filter(table::refused_at.lt(before));
        }
        rows
    }};
}

/// Returns a text escaped for LIKE, with `!` as the escape.
fn literal(text: &str) -> String {
    text.replace('!', "!!").replace('%', "!%").replace('_', "!_")
}

/// Returns events in quarantine in some states, the newest event first, behind the event `before`.
///
/// # Errors
/// Any error of the database.
pub(crate) fn list(
    conn: &mut Conn,
    filter: &Filter,
    states: &[State],
    before: Option<Id>,
    limit: i64,
) -> db::Result<Vec<Held>> {
    let rows = table::table.filter(table::state.eq_any(states.to_vec())).into_boxed();
    let mut rows = filtered!(filter, rows);
    if let Some(before) = before {
        rows = rows.filter(table::id.lt(before));
    }
    Ok(rows.order(table::id.desc()).limit(limit).load(conn)?)
}

/// Returns the number of dead events that match a filter.
///
/// # Errors
/// Any error of the database.
pub(crate) fn count(conn: &mut Conn, filter: &Filter) -> db::Result<i64> {
    let rows = table::table.filter(table::state.eq(State::Dead)).into_boxed();
    Ok(filtered!(filter, rows).count().get_result(conn)?)
}

/// Returns events dead before `since`, in the order of refusal: an event refused again at once is not found twice.
fn next_dead(conn: &mut Conn, filter: &Filter, since: Time) -> db::Result<Vec<(Id, String, i32)>> {
    let rows = table::table.filter(table::state.eq(State::Dead)).into_boxed();
    let rows = filtered!(filter, rows).filter(table::changed_at.lt(since));
    let rows = rows.order((table::refused_at, table::position)).limit(CHUNK);
    Ok(rows.select((table::id, table::topic, table::partition)).load(conn)?)
}

impl Proxy {
    /// Sends the dead events of a filter again, with all attempts available again; later events of the keys may
    /// already be on Kafka. Returns the number of events.
    ///
    /// # Errors
    /// Errors of the database; chunks finished before stay redriven.
    pub async fn redrive(&self, filter: Filter) -> db::Result<usize> {
        let (mut redriven, since) = (0, self.db.read(db::now).await?);
        loop {
            let of_chunk = filter.clone();
            let dead = self.db.read(move |conn| next_dead(conn, &of_chunk, since)).await?;
            if dead.is_empty() {
                return Ok(redriven);
            }
            let ids: Vec<Id> = dead.iter().map(|(id, ..)| *id).collect();
            let parts: HashSet<Part> = dead.into_iter().map(|(_, topic, part)| (Arc::from(topic), part)).collect();
            let _pins: Vec<Pin> = parts.into_iter().map(|part| self.refusals.pin(part)).collect();
            redriven += self.db.write(move |tx| redrive(tx, &ids)).await?;
        }
    }

    /// Gives up all events of a topic that wait for Kafka, or are sent again.
    ///
    /// # Errors
    /// The database's; what was given up before stays so.
    pub async fn discard_waiting(&self, topic: &str) -> db::Result<()> {
        let name: Arc<str> = topic.into();
        for partition in 0..self.log.partitions(topic) {
            let part = (name.clone(), partition);
            // the relay leaves out what is taken out from here on
            let _pin = self.refusals.pin(part.clone());
            loop {
                let (log, part) = (self.log.clone(), part.clone());
                let unit = move |tx: &mut Tx<'_>| discard_queued(tx, &log, &part);
                let (count, bytes) = self.db.write_after_staged(unit).await?;
                self.room.discarded(bytes);
                if count == 0 {
                    break;
                }
            }
        }
        loop {
            let name = name.clone();
            let (count, bytes) = self.db.write(move |tx| discard_held(tx, &name)).await?;
            self.room.discarded(bytes);
            if count == 0 {
                return Ok(());
            }
        }
    }

    /// Discards a dead event, for this reason; returns true if the event was dead.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn discard(&self, id: Id, reason: String) -> db::Result<bool> {
        let bytes = self.db.write(move |tx| discard(tx, id, &reason)).await?;
        bytes.into_iter().for_each(|bytes| self.room.discarded(bytes));
        Ok(bytes.is_some())
    }
}

/// Gives up the first events of a topic that wait in a partition of the log; returns their count and bytes.
fn discard_queued(tx: &mut Tx<'_>, log: &Log, part: &Part) -> db::Result<(usize, usize)> {
    let (topic, partition) = (&part.0, part.1);
    let mut after = tombstone::relayed(tx, log, topic, partition)?;
    let (mut count, mut bytes) = (0, 0);
    // places that events left are passed
    while count == 0 {
        let events = admin::behind(tx, topic, partition, after, CHUNK)?;
        let Some(last) = events.last() else { break };
        after = last.event.position;
        for stored in events.into_iter().filter(|stored| stored.event.kind != TOMBSTONE) {
            if tombstone::replace(tx, &stored.event)? {
                quarantine::discard(tx, &stored.event, TOPIC_DELETED)?;
                (count, bytes) = (count + 1, bytes + stored.event.payload.len());
            }
        }
    }
    ledger::change(tx, topic, Change { discarded: count as i64, ..Change::default() })?;
    Ok((count, bytes))
}

/// Gives up the first events of a topic that are sent again by schedule; returns their count and bytes.
fn discard_held(tx: &mut Tx<'_>, topic: &str) -> db::Result<(usize, usize)> {
    let waiting = quarantine::waiting(tx, topic, CHUNK)?;
    waiting.iter().try_for_each(|held| quarantine::give_up(tx, held.id, TOPIC_DELETED))?;
    ledger::change(tx, topic, Change { discarded: waiting.len() as i64, ..Change::default() })?;
    Ok((waiting.len(), waiting.iter().map(|held| held.payload.0.len()).sum()))
}

fn redrive(tx: &mut Tx<'_>, ids: &[Id]) -> db::Result<usize> {
    let dead = table::table.filter(table::id.eq_any(ids)).filter(table::state.eq(State::Dead));
    let dead: Vec<Held> = dead.order((table::refused_at, table::position)).load(&mut **tx)?;
    for held in &dead {
        diesel::update(table::table.find(held.id)).set(table::attempts.eq(0)).execute(&mut **tx)?;
        append_again(tx, held)?;
    }
    Ok(dead.len())
}

fn discard(tx: &mut Tx<'_>, id: Id, reason: &str) -> db::Result<Option<usize>> {
    let Some(held) = quarantine::one(tx, id)?.filter(|held| held.state == State::Dead) else { return Ok(None) };
    quarantine::give_up(tx, id, reason)?;
    ledger::change(tx, &held.topic, Change { discarded: 1, ..Change::default() })?;
    Ok(Some(held.payload.0.len()))
}
