//! Administration for operators: events, lag, dead letters, replay and reset.

mod dead_letters;
mod events;
mod reset;

use db::Conn;
use diesel::prelude::*;
use serde::Serialize;

pub use self::dead_letters::{
    DeadLetter, DeadLetterQuery, dead_letter, dead_letters, discard, request_replay, request_replay_all,
};
pub use self::events::{
    EventQuery, EventStatus, EventView, GroupView, StoredEvent, behind, event, events, events_of_key, payloads,
};
pub use self::reset::{ResetError, ResetTo, reset};
use crate::consumer::offsets;
use crate::log::rows;
use crate::relay::RELAY;
use crate::schema::{consumer_group, group_position};

/// Lag of a group in a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Queryable)]
pub struct ConsumerLag {
    pub group: String,
    pub topic: String,
    pub partition: i32,
    /// Last handled position, -1 for none.
    pub position: i64,
    /// Position of the last event, -1 for none.
    pub end: i64,
    pub lag: i64,
    /// `rebuildable`, `re-sendable` or `once`.
    pub mode: String,
}

/// Progress of a partition towards the groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionStatus {
    pub topic: String,
    pub partition: i32,
    /// Position of the last event, -1 for none.
    pub end: i64,
    /// Position of the last relayed event, -1 for none.
    pub relayed: i64,
    /// Events that the relay has still to copy; `None` for a topic without a relay.
    pub to_relay: Option<i64>,
}

/// Every group's position and lag in the log, by group, topic and partition.
///
/// # Errors
/// Any error of the database.
pub fn consumers(conn: &mut Conn) -> db::Result<Vec<ConsumerLag>> {
    let (source, ends) = (rows::source_of(conn)?, rows::partitions(conn)?);
    let rows: Vec<(String, String, i32, i64, String)> = group_position::table
        .inner_join(consumer_group::table.on(consumer_group::name.eq(group_position::grp)))
        .filter(group_position::source.eq(source))
        .order((group_position::grp, group_position::topic, group_position::partition))
        .select((
            group_position::grp,
            group_position::topic,
            group_position::partition,
            group_position::position,
            consumer_group::mode,
        ))
        .load(conn)?;
    let lag = |(group, topic, partition, position, mode): (String, String, i32, i64, String)| {
        let end =
            ends.iter().find(|end| end.topic == topic && end.partition == partition).map_or(-1, |end| end.next - 1);
        ConsumerLag { group, topic, partition, position, end, lag: end - position, mode }
    };
    Ok(rows.into_iter().map(lag).collect())
}

/// Returns every partition, by topic and number.
///
/// # Errors
/// Any error of the database.
pub fn partitions(conn: &mut Conn) -> db::Result<Vec<PartitionStatus>> {
    let source = rows::source_of(conn)?;
    let relay = offsets::positions(conn, RELAY, source)?;
    let status = |row: rows::PartitionRow| {
        let copied = relay.iter().find(|at| at.topic == row.topic && at.partition == row.partition);
        PartitionStatus {
            end: row.next - 1,
            relayed: row.relayed.max(copied.map_or(-1, |copied| copied.position)),
            to_relay: copied.map(|copied| row.next - 1 - copied.position),
            topic: row.topic,
            partition: row.partition,
        }
    };
    Ok(rows::partitions(conn)?.into_iter().map(status).collect())
}
