//! What operators see and ask: events, lag, dead letters, replay and reset.

use std::collections::BTreeMap;
use std::sync::Arc;

use db::types::{Id, JsonText, Time};
use db::{Conn, Tx};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Text};
use serde::Serialize;

use crate::dead::{self, DEAD, DISCARDED, REPLAY};
use crate::direct::{self, Ends};
use crate::event::Event;
use crate::handler::{Group, Replay};
use crate::place;
use crate::relay::RELAY;
use crate::schema::{
    consumer_group, dead_letter, event_log, group_member, group_position, handling_attempt, log_source, parked_event,
    topic_partition,
};
use crate::store::{self, LogRow};

/// An event with the time at which it was appended to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    pub event: Event,
    pub appended_at: Time,
}

/// Which events to list.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    pub topic: Option<String>,
    pub key: Option<String>,
    /// Only events older than this one.
    pub after: Option<Id>,
}

db::text_enum!(
    /// How far an event has come in a group.
    EventStatus {
        /// Its effect is there.
        Handled => "handled",
        /// The group has not come to it yet.
        Pending => "pending",
        /// It waits behind a dead letter of its key.
        Parked => "parked",
        /// It could not be handled.
        Dead => "dead",
    }
);

/// How far an event has come in one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupView {
    pub group: String,
    pub status: EventStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One event, and how far it has come everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventView {
    pub stored: StoredEvent,
    /// Whether Kafka has it.
    pub relayed: bool,
    pub groups: Vec<GroupView>,
}

/// How far a group is behind in a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Queryable)]
pub struct ConsumerLag {
    pub group: String,
    pub topic: String,
    pub partition: i32,
    /// The last position handled, -1 for none.
    pub position: i64,
    /// The position of the last event there is, -1 for none.
    pub end: i64,
    pub lag: i64,
    /// `rebuildable`, `re-sendable` or `once`.
    pub mode: String,
}

/// How far a partition has come on its way to groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionStatus {
    pub topic: String,
    pub partition: i32,
    /// The position of the last event there is, -1 for none.
    pub end: i64,
    /// The position of the last event that the relay has copied, -1 for none.
    pub relayed: i64,
    /// Events that the relay has still to copy; `None` when it does not copy the topic.
    pub to_relay: Option<i64>,
    /// Events that wait for their position.
    pub in_outbox: i64,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct DeadLetter {
    pub id: Id,
    pub group: String,
    pub topic: String,
    pub partition: i32,
    pub position: i64,
    pub key: String,
    pub event_id: Id,
    /// JSON of the whole [`Event`].
    pub event: JsonText,
    pub error: String,
    pub attempts: i32,
    /// `dead`, `replay` or `discarded`.
    pub status: String,
    pub failed_at: Time,
}

/// Events, the newest first by their ids.
///
/// # Errors
/// The database's.
pub fn events(conn: &mut Conn, query: &EventQuery, limit: i64) -> db::Result<Vec<StoredEvent>> {
    let source = store::source_of(conn)?;
    let mut rows = event_log::table.into_boxed();
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

/// At most `limit` events of a partition behind the position `after`, in order; places that events have
/// [left](crate::moved) are among them.
///
/// # Errors
/// The database's.
pub fn behind(conn: &mut Conn, topic: &str, partition: i32, after: i64, limit: i64) -> db::Result<Vec<StoredEvent>> {
    let source = store::source_of(conn)?;
    let rows = event_log::table.filter(event_log::topic.eq(topic)).filter(event_log::partition.eq(partition));
    let rows = rows.filter(event_log::position.gt(after)).order(event_log::position).limit(limit);
    let rows: Vec<LogRow> = rows.load(conn)?;
    Ok(rows.into_iter().map(|row| row.into_stored(source)).collect())
}

/// The events of a key on all topics, the oldest first, each with how far it has come.
///
/// # Errors
/// The database's.
pub fn events_of_key(conn: &mut Conn, key: &str) -> db::Result<Vec<EventView>> {
    let source = store::source_of(conn)?;
    let rows: Vec<LogRow> = event_log::table.filter(event_log::key.eq(key)).order(event_log::id).load(conn)?;
    rows.into_iter().map(|row| view(conn, row.into_stored(source))).collect()
}

/// Where events are in the log, by their ids; those that are not there are left out.
///
/// # Errors
/// The database's.
pub fn places(conn: &mut Conn, ids: &[Id]) -> db::Result<Vec<(Id, LogPlace)>> {
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let place = event_log::table
            .filter(event_log::id.eq(id))
            .select((event_log::topic, event_log::partition, event_log::position))
            .first::<(String, i32, i64)>(conn)
            .optional()?;
        found.extend(place.map(|(topic, partition, position)| (*id, LogPlace { topic, partition, position })));
    }
    Ok(found)
}

/// Where an event is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPlace {
    pub topic: String,
    pub partition: i32,
    pub position: i64,
}

/// One event and how far it has come; `None` when the log does not have it (any more).
///
/// # Errors
/// The database's.
pub fn event(conn: &mut Conn, id: Id) -> db::Result<Option<EventView>> {
    let source = store::source_of(conn)?;
    let row: Option<LogRow> = event_log::table.filter(event_log::id.eq(id)).first(conn).optional()?;
    row.map(|row| view(conn, row.into_stored(source))).transpose()
}

/// How far an event has come that is on the bus and not in the log: one that [`crate::Direct`] found there.
///
/// # Errors
/// The database's.
pub fn event_on_bus(conn: &mut Conn, event: &Event) -> db::Result<EventView> {
    let stored = StoredEvent { appended_at: event.occurred_at, event: event.clone() };
    Ok(EventView { stored, relayed: true, groups: groups_of(conn, event)? })
}

fn view(conn: &mut Conn, stored: StoredEvent) -> db::Result<EventView> {
    let event = &stored.event;
    let relayed = store::relayed(conn, &event.topic, event.partition, event.source)? >= event.position;
    Ok(EventView { relayed, groups: groups_of(conn, event)?, stored })
}

fn groups_of(conn: &mut Conn, event: &Event) -> db::Result<Vec<GroupView>> {
    let source = store::source_of(conn)?;
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

/// Every group's position and lag in the log, by group, topic and partition. `direct` tells where direct topics end on the
/// bus.
///
/// # Errors
/// The database's.
pub fn consumers(conn: &mut Conn, direct: &BTreeMap<&str, Ends>) -> db::Result<Vec<ConsumerLag>> {
    let (source, ends) = (store::source_of(conn)?, store::partitions(conn)?);
    let mut epochs = BTreeMap::new();
    for topic in direct.keys() {
        epochs.insert(*topic, direct::load(conn, topic)?);
    }
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
        if let (Some(epochs), Some(ends)) = (epochs.get(&*topic), direct.get(&*topic)) {
            let lag = direct::waiting(epochs, ends, partition, position);
            let end = epochs.last().map_or(-1, |last| ends.of(last, partition) - 1);
            return ConsumerLag { group, topic, partition, position, end, lag, mode };
        }
        let end =
            ends.iter().find(|end| end.topic == topic && end.partition == partition).map_or(-1, |end| end.next - 1);
        ConsumerLag { group, topic, partition, position, end, lag: end - position, mode }
    };
    Ok(rows.into_iter().map(lag).collect())
}

/// Every partition, by topic and number.
///
/// # Errors
/// The database's.
pub fn partitions(conn: &mut Conn) -> db::Result<Vec<PartitionStatus>> {
    let source = store::source_of(conn)?;
    let relay = place::positions(conn, RELAY, source)?;
    let waiting = waiting_in_outbox(conn)?;
    let status = |row: store::PartitionRow| {
        let copied = relay.iter().find(|at| at.topic == row.topic && at.partition == row.partition);
        let waits = waiting.iter().find(|(topic, partition, _)| *topic == row.topic && *partition == row.partition);
        PartitionStatus {
            end: row.next - 1,
            relayed: row.relayed.max(copied.map_or(-1, |copied| copied.position)),
            to_relay: copied.map(|copied| row.next - 1 - copied.position),
            in_outbox: waits.map_or(0, |(_, _, events)| *events),
            topic: row.topic,
            partition: row.partition,
        }
    };
    Ok(store::partitions(conn)?.into_iter().map(status).collect())
}

/// SQLite has no outbox, for its writer numbers at once.
fn waiting_in_outbox(conn: &mut Conn) -> db::Result<Vec<(String, i32, i64)>> {
    let Conn::Pg(conn) = conn else { return Ok(Vec::new()) };
    let waiting = sql::<(Text, Integer, BigInt)>(
        "SELECT topic, key_hash % count AS partition, count(*) \
         FROM outbox JOIN (SELECT topic, count(*)::integer FROM topic_partition GROUP BY topic) place USING (topic) \
         GROUP BY topic, partition",
    );
    Ok(waiting.load(conn)?)
}

/// Why a log was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// Groups have members: processes run.
    #[error("{0} members of groups are at work, or were killed less than a lease ago: stop all processes first")]
    InUse(i64),
    #[error(transparent)]
    Database(#[from] db::Error),
}

/// Makes the log another one, after its database was restored from a backup: positions that it gives a second time are
/// not mistaken for those that it gave before. Groups stay where they are; the relay copies again all that is kept.
/// Returns the new source.
///
/// # Errors
/// As [`RenewError`] says.
pub fn renew_log(tx: &mut Tx<'_>) -> Result<Id, RenewError> {
    store::lock_source(tx)?;
    let now = tx.now()?;
    let members = group_member::table.filter(group_member::expires_at.gt(now)).count();
    match members.get_result(&mut **tx).map_err(db::Error::from)? {
        0 => {}
        members => return Err(RenewError::InUse(members)),
    }
    let source = Id(uuid::Uuid::new_v4());
    let renew = |conn: &mut Conn| -> db::Result<()> {
        let of_log = group_position::source.eq(store::source(conn)?);
        diesel::update(log_source::table).set(log_source::id.eq(source)).execute(conn)?;
        diesel::update(group_position::table.filter(of_log)).set(group_position::source.eq(source)).execute(conn)?;
        diesel::update(topic_partition::table)
            .set(topic_partition::relayed.eq(topic_partition::floor - 1))
            .execute(conn)?;
        store::partitions(conn)?.iter().try_for_each(|row| place::forget(conn, RELAY, &row.topic).map(drop))
    };
    renew(tx)?;
    Ok(source)
}

/// Which dead letters to list.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterQuery {
    pub group: Option<String>,
    pub topic: Option<String>,
    /// Only those older than this one.
    pub after: Option<Id>,
}

/// Dead letters, the newest first.
///
/// # Errors
/// The database's.
pub fn dead_letters(conn: &mut Conn, query: &DeadLetterQuery, limit: i64) -> db::Result<Vec<DeadLetter>> {
    let mut rows = dead_letter::table.into_boxed();
    if let Some(group) = &query.group {
        rows = rows.filter(dead_letter::grp.eq(group));
    }
    if let Some(topic) = &query.topic {
        rows = rows.filter(dead_letter::topic.eq(topic));
    }
    if let Some(after) = query.after {
        rows = rows.filter(dead_letter::id.lt(after));
    }
    Ok(rows.order(dead_letter::id.desc()).limit(limit).load(conn)?)
}

/// One dead letter, and how many events are parked behind it.
///
/// # Errors
/// The database's.
pub fn dead_letter(conn: &mut Conn, id: Id) -> db::Result<Option<(DeadLetter, i64)>> {
    let Some(letter) = dead_letter::table.find(id).first::<DeadLetter>(conn).optional()? else { return Ok(None) };
    let parked = parked_event::table
        .filter(parked_event::grp.eq(&letter.group))
        .filter(parked_event::topic.eq(&letter.topic))
        .filter(parked_event::key.eq(&letter.key))
        .count()
        .get_result(conn)?;
    Ok(Some((letter, parked)))
}

/// Asks the group's worker to handle the dead letter again, and then what is parked behind it. False when it is
/// not dead. Call [`crate::Log::ask_groups`] after the commit.
///
/// # Errors
/// The database's.
pub fn request_replay(tx: &mut Tx<'_>, id: Id) -> db::Result<bool> {
    set_status(tx, id, REPLAY)
}

/// Gives the event up: its effect will not be there, and what is parked behind it goes on. False when it is not
/// dead. Call [`crate::Log::ask_groups`] after the commit.
///
/// # Errors
/// The database's.
pub fn discard(tx: &mut Tx<'_>, id: Id) -> db::Result<bool> {
    set_status(tx, id, DISCARDED)
}

fn set_status(tx: &mut Tx<'_>, id: Id, status: &str) -> db::Result<bool> {
    let changed = diesel::update(dead_letter::table.find(id))
        .filter(dead_letter::status.eq(DEAD))
        .set(dead_letter::status.eq(status))
        .execute(&mut **tx)?;
    Ok(changed == 1)
}

/// Asks for all dead letters of the group, or of one of its topics, to be handled again; says how many.
///
/// # Errors
/// The database's.
pub fn request_replay_all(tx: &mut Tx<'_>, group: &str, topic: Option<&str>) -> db::Result<usize> {
    let of_group = dead_letter::grp.eq(group).and(dead_letter::status.eq(DEAD));
    let set = dead_letter::status.eq(REPLAY);
    Ok(match topic {
        Some(topic) => diesel::update(dead_letter::table.filter(of_group).filter(dead_letter::topic.eq(topic)))
            .set(set)
            .execute(&mut **tx)?,
        None => diesel::update(dead_letter::table.filter(of_group)).set(set).execute(&mut **tx)?,
    })
}

/// Where a group is to begin again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetTo {
    /// At the first event that is kept.
    Earliest,
    /// Behind the last event there is.
    Latest,
    /// At this position, in each partition, as far as it is kept.
    Position(i64),
    /// At the first event appended at this time or later.
    Timestamp(Time),
}

/// Why a group was not reset.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// No group of this name is known.
    #[error("there is no consumer group of this name")]
    NoSuchGroup,
    /// The group does not read this topic.
    #[error("the group does not read this topic")]
    NoSuchTopic,
    /// A topic of others, of which this process has not heard from the bus.
    #[error("the topic is not there, or was not seen yet")]
    NotSeen,
    /// A topic of others: the log does not know when its events came.
    #[error("a topic of others is reset to the earliest or the latest event, or to a position")]
    NoTimestamp,
    /// The group must not repeat, for this reason.
    #[error("{0}")]
    MustNotRepeat(&'static str),
    /// A projection is built from all of the group's topics, so that one position cannot be meant for each.
    #[error("a group that is rebuilt from several topics is reset to a time, the earliest or the latest event")]
    SeveralTopics,
    #[error(transparent)]
    Database(#[from] db::Error),
}

/// Sets the group back or forward, while its members run. A rebuildable group's projection is cleared in the same
/// transaction, and all its topics begin again, for the projection comes from all of them.
///
/// # Errors
/// As [`ResetError`] says.
pub fn reset(tx: &mut Tx<'_>, groups: &[Group], name: &str, topic: &str, to: ResetTo) -> Result<(), ResetError> {
    let group = groups.iter().find(|group| group.name == name).ok_or(ResetError::NoSuchGroup)?;
    if !group.topics.contains(&topic) {
        return Err(ResetError::NoSuchTopic);
    }
    let mut topics = match group.replay {
        Replay::Once(why) => return Err(ResetError::MustNotRepeat(why)),
        Replay::Resendable => vec![topic],
        Replay::Rebuildable(_) if matches!(to, ResetTo::Position(_)) && group.topics.len() > 1 => {
            return Err(ResetError::SeveralTopics);
        }
        Replay::Rebuildable(_) => group.topics.clone(),
    };
    topics.sort_unstable();
    lock_positions(tx, name, &topics)?;
    let source = store::source_of(tx)?;
    for topic in &topics {
        for partition in store::lock_partitions(tx, topic)? {
            let begin = begin_at(tx, &partition, to)?;
            diesel::update(group_position::table)
                .filter(group_position::grp.eq(name))
                .filter(group_position::topic.eq(topic))
                .filter(group_position::partition.eq(partition.partition))
                .filter(group_position::source.eq(source))
                .set(group_position::position.eq(begin - 1))
                .execute(&mut **tx)
                .map_err(db::Error::from)?;
        }
        dead::clear(tx, name, topic)?;
    }
    if let Replay::Rebuildable(clear) = group.replay {
        clear(tx)?;
    }
    Ok(())
}

/// The position to begin at: within what is kept.
fn begin_at(conn: &mut Conn, partition: &store::PartitionRow, to: ResetTo) -> db::Result<i64> {
    Ok(match to {
        ResetTo::Earliest => partition.floor,
        ResetTo::Latest => partition.next,
        ResetTo::Position(position) => position.clamp(partition.floor, partition.next),
        ResetTo::Timestamp(time) => event_log::table
            .filter(event_log::topic.eq(&partition.topic))
            .filter(event_log::partition.eq(partition.partition))
            .filter(event_log::appended_at.ge(time))
            .order(event_log::position)
            .select(event_log::position)
            .first(conn)
            .optional()?
            .unwrap_or(partition.next),
    })
}

/// Locks the rows that handlers move, so that a handler's unit is wholly before or wholly after the reset.
fn lock_positions(tx: &mut Tx<'_>, group: &str, topics: &[&str]) -> db::Result<()> {
    if let Conn::Pg(conn) = &mut **tx {
        group_position::table
            .filter(group_position::grp.eq(group))
            .filter(group_position::topic.eq_any(topics))
            .order((group_position::topic, group_position::partition))
            .select(group_position::position)
            .for_update()
            .load::<i64>(conn)?;
    }
    Ok(())
}

impl LogRow {
    fn into_stored(self, source: Id) -> StoredEvent {
        let (appended_at, topic) = (self.appended_at, Arc::from(self.topic.as_str()));
        StoredEvent { event: self.into_event(source, topic), appended_at }
    }
}
