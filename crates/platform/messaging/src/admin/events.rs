//! Events, and how far each has come.

use std::sync::Arc;

use db::Conn;
use db::types::{Id, JsonText, Time};
use diesel::dsl::{exists, select};
use diesel::prelude::*;
use serde::Serialize;

use crate::event::Event;
use crate::log::rows::{self, LogRow};
use crate::relay::RELAY;
use crate::schema::{dead_letter, event_log, group_position, handling_attempt, parked_event};

/// An event with the time of the append to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    pub event: Event,
    pub appended_at: Time,
}

/// Filter of events.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    pub topic: Option<String>,
    pub key: Option<String>,
    /// Only events older than this event.
    pub after: Option<Id>,
}

db::text_enum!(
    /// Status of an event in a group.
    EventStatus {
        /// The group has handled the event.
        Handled => "handled",
        /// The group has not reached the event yet.
        Pending => "pending",
        /// The event waits behind a dead letter of the key.
        Parked => "parked",
        /// The group failed to handle the event.
        Dead => "dead",
    }
);

/// Status of an event in one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupView {
    pub group: String,
    pub status: EventStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An event, and its status in all groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventView {
    pub stored: StoredEvent,
    /// True if Kafka has the event.
    pub relayed: bool,
    pub groups: Vec<GroupView>,
}

/// Events, the newest first by their ids.
///
/// # Errors
/// Any error of the database.
pub fn events(conn: &mut Conn, query: &EventQuery, limit: i64) -> db::Result<Vec<StoredEvent>> {
    let source = rows::source_of(conn)?;
    let mut rows = event_log::table.select(rows::log_row()).into_boxed();
    if let Some(topic) = &query.topic {
        rows = rows.filter(event_log::topic.eq(topic));
    }
    if let Some(key) = &query.key {
        rows = rows.filter(event_log::key.eq(key));
    }
    if let Some(after) = query.after {
        rows = rows.filter(event_log::id.lt(after));
    }
    let rows: Vec<LogRow> = rows.order(event_log::id.desc()).limit(limit).load(conn)?;
    Ok(rows.into_iter().map(|row| row.into_stored(source)).collect())
}

/// Returns at most `limit` events of a partition behind the position `after`, in order, including
/// [tombstones](crate::log::tombstone).
///
/// # Errors
/// Any error of the database.
pub fn behind(conn: &mut Conn, topic: &str, partition: i32, after: i64, limit: i64) -> db::Result<Vec<StoredEvent>> {
    let source = rows::source_of(conn)?;
    let rows = event_log::table.filter(event_log::topic.eq(topic)).filter(event_log::partition.eq(partition));
    let rows = rows.filter(event_log::position.gt(after)).order(event_log::position).limit(limit);
    let rows: Vec<LogRow> = rows.select(rows::log_row()).load(conn)?;
    Ok(rows.into_iter().map(|row| row.into_stored(source)).collect())
}

/// Returns the events of a key on all topics, the oldest first, each with the status in all groups.
///
/// # Errors
/// Any error of the database.
pub fn events_of_key(conn: &mut Conn, key: &str) -> db::Result<Vec<EventView>> {
    let source = rows::source_of(conn)?;
    let rows: Vec<LogRow> =
        event_log::table.filter(event_log::key.eq(key)).order(event_log::id).select(rows::log_row()).load(conn)?;
    rows.into_iter().map(|row| view(conn, row.into_stored(source))).collect()
}

/// Returns the payloads of events by their ids, without events missing in the log.
///
/// # Errors
/// Any error of the database.
pub fn payloads(conn: &mut Conn, ids: &[Id]) -> db::Result<Vec<(Id, String)>> {
    let mut found = Vec::new();
    for id in ids {
        let row = event_log::table.filter(event_log::id.eq(id)).select(event_log::payload);
        found.extend(row.first::<JsonText>(conn).optional()?.map(|payload| (*id, payload.0)));
    }
    Ok(found)
}

/// Returns an event with its status; `None` if the log does not have the event (any more).
///
/// # Errors
/// Any error of the database.
pub fn event(conn: &mut Conn, id: Id) -> db::Result<Option<EventView>> {
    let source = rows::source_of(conn)?;
    let row: Option<LogRow> =
        event_log::table.filter(event_log::id.eq(id)).select(rows::log_row()).first(conn).optional()?;
    row.map(|row| view(conn, row.into_stored(source))).transpose()
}

fn view(conn: &mut Conn, stored: StoredEvent) -> db::Result<EventView> {
    let event = &stored.event;
    let is_passed = rows::relayed(conn, &event.topic, event.partition, event.source)? >= event.position;
    let relayed = is_passed && !is_set_aside(conn, event.id)?;
    Ok(EventView { relayed, groups: groups_of(conn, event)?, stored })
}

/// Returns true if Kafka refused the event, or an earlier one of the key.
fn is_set_aside(conn: &mut Conn, id: Id) -> db::Result<bool> {
    let refused = dead_letter::table.filter(dead_letter::event_id.eq(id)).filter(dead_letter::grp.eq(RELAY));
    let parked = parked_event::table.filter(parked_event::event_id.eq(id)).filter(parked_event::grp.eq(RELAY));
    Ok(select(exists(refused).or(exists(parked))).get_result(conn)?)
}

fn groups_of(conn: &mut Conn, event: &Event) -> db::Result<Vec<GroupView>> {
    let source = rows::source_of(conn)?;
    let positions: Vec<(String, i64)> = group_position::table
        .filter(group_position::topic.eq(&*event.topic))
        .filter(group_position::partition.eq(event.partition))
        .filter(group_position::source.eq(source))
        .filter(group_position::grp.ne(RELAY)) // it is not handled by being on the bus
        .order(group_position::grp)
        .select((group_position::grp, group_position::position))
        .load(conn)?;
    let dead: Vec<(String, i32, String)> = dead_letter::table
        .filter(dead_letter::event_id.eq(event.id))
        .select((dead_letter::grp, dead_letter::attempts, dead_letter::error))
        .load(conn)?;
    let parked: Vec<String> =
        parked_event::table.filter(parked_event::event_id.eq(event.id)).select(parked_event::grp).load(conn)?;
    let attempts: Vec<(String, i32)> = handling_attempt::table
        .filter(handling_attempt::topic.eq(&*event.topic))
        .filter(handling_attempt::partition.eq(event.partition))
        .filter(handling_attempt::position.eq(event.position))
        .select((handling_attempt::grp, handling_attempt::attempts))
        .load(conn)?;
    let groups = positions.into_iter().map(|(group, position)| {
        let died = dead.iter().find(|dead| dead.0 == group);
        let tried = attempts.iter().find(|tried| tried.0 == group).map(|tried| tried.1);
        let status = match () {
            () if died.is_some() => EventStatus::Dead,
            () if parked.contains(&group) => EventStatus::Parked,
            () if position >= event.position => EventStatus::Handled,
            () => EventStatus::Pending,
        };
        GroupView { group, status, attempts: died.map(|dead| dead.1).or(tried), error: died.map(|dead| dead.2.clone()) }
    });
    Ok(groups.collect())
}

impl LogRow {
    fn into_stored(self, source: Id) -> StoredEvent {
        let (appended_at, topic) = (self.appended_at, Arc::from(self.topic.as_str()));
        StoredEvent { event: self.into_event(source, topic), appended_at }
    }
}
