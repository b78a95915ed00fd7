//! Tombstones: an event refused by a bus leaves the partition's way, and is appended again later. A tombstone stays
//! in the log, so that positions have no gaps.

use std::ops::RangeInclusive;
use std::sync::Arc;

use db::types::{Id, JsonText};
use db::{Conn, Staged, Tx, on_each};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Integer, Text};

use crate::event::Event;
use crate::log::Log;
use crate::log::rows::{self, LogRow};
use crate::schema::event_log;

/// Kind of a tombstone.
pub const TOMBSTONE: &str = "moved";

/// Replaces the event in the log by a tombstone; returns false if the event is no longer there. The same unit can
/// [stage](Event::staged) the event again.
///
/// # Errors
/// Any error of the database.
pub fn replace(tx: &mut Tx<'_>, event: &Event) -> db::Result<bool> {
    let place = event_log::table.find((&*event.topic, event.partition, event.position));
    let taken = diesel::update(place)
        .filter(event_log::id.eq(event.id))
        .set((
            event_log::id.eq(Id::new()),
            event_log::key.eq(""),
            event_log::kind.eq(TOMBSTONE),
            event_log::payload.eq(JsonText("null".into())),
        ))
        .execute(&mut **tx)?;
    Ok(taken == 1)
}

/// Returns the positions of a partition's tombstones; the log must have the index `event_log_moved`.
///
/// # Errors
/// Any error of the database.
pub fn positions(conn: &mut Conn, topic: &str, partition: i32, within: RangeInclusive<i64>) -> db::Result<Vec<i64>> {
    // SQLite would rather go through the whole partition
    let (index, [t, p, from, to]) = match conn.is_pg() {
        true => ("", ["$1", "$2", "$3", "$4"]),
        false => ("INDEXED BY event_log_moved", ["?"; 4]),
    };
    let query = sql_query(format!(
        "SELECT position FROM event_log {index} \
         WHERE topic = {t} AND partition = {p} AND position BETWEEN {from} AND {to} AND kind = '{TOMBSTONE}'"
    ));
    let query = query.bind::<Text, _>(topic).bind::<Integer, _>(partition);
    let query = query.bind::<BigInt, _>(*within.start()).bind::<BigInt, _>(*within.end());
    let left: Vec<Left> = on_each!(conn, |conn| query.load(conn))?;
    Ok(left.into_iter().map(|left| left.position).collect())
}

#[derive(QueryableByName)]
struct Left {
    #[diesel(sql_type = BigInt)]
    position: i64,
}

/// Returns the events of `key` behind position `after`, in order.
///
/// # Errors
/// Any error of the database.
pub fn events_of_key(
    conn: &mut Conn,
    topic: &Arc<str>,
    partition: i32,
    key: &str,
    after: i64,
) -> db::Result<Vec<Event>> {
    let source = rows::source_of(conn)?;
    let rows: Vec<LogRow> = event_log::table
        .filter(event_log::topic.eq(&**topic))
        .filter(event_log::partition.eq(partition))
        .filter(event_log::position.gt(after))
        .filter(event_log::key.eq(key))
        .filter(event_log::kind.ne(TOMBSTONE))
        .order(event_log::position)
        .select(rows::log_row())
        .load(conn)?;
    Ok(rows.into_iter().map(|row| row.into_event(source, topic.clone())).collect())
}

/// Returns the end of the events that the relay has delivered, or taken out of the log on the way; -1 for none.
///
/// # Errors
/// Any error of the database.
pub fn relayed(conn: &mut Conn, log: &Log, topic: &Arc<str>, partition: i32) -> db::Result<i64> {
    rows::relayed(conn, topic, partition, log.source())
}

impl Event {
    /// Returns the event to append again; call [`replace`] before.
    pub fn staged(&self) -> Staged {
        Staged {
            id: self.id,
            topic: self.topic.to_string().into(),
            key: self.key.clone(),
            kind: self.kind.clone().into(),
            version: self.version,
            aggregate_version: self.aggregate_version,
            occurred_at: self.occurred_at,
            traceparent: self.traceparent.clone(),
            payload: self.payload.clone(),
        }
    }
}
