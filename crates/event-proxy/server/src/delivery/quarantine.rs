//! Quarantine: events taken out of the log, because Kafka refused the event or an earlier event of the key.

use std::collections::{HashMap, HashSet};

use db::types::{Id, JsonText, Time};
use db::{Conn, Staged, Tx, on_each};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use messaging::Event;

use crate::schema::held;

db::text_enum!(
    /// State of an event in quarantine.
    State {
        /// Kafka refused the event; the event is sent again at the due time.
        Retrying => "retrying",
        /// The event waits for a retried event of the key.
        Behind => "behind",
        /// The event is in the log again.
        Resending => "resending",
        /// The event rests until someone acts.
        Dead => "dead",
        /// The event was discarded; only the outcome is kept.
        Discarded => "discarded",
    }
);

/// States in which an event moves without an action.
pub(crate) const MOVING: [State; 3] = [State::Retrying, State::Behind, State::Resending];

/// An event in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub(crate) struct Held {
    pub id: Id,
    pub topic: String,
    pub partition: i32,
    /// Position in the log at the time of the quarantine.
    pub position: i64,
    pub key: String,
    pub state: State,
    /// Number of refused deliveries.
    pub attempts: i32,
    pub next_attempt_at: Option<Time>,
    pub reason: Option<String>,
    /// Time of the first refusal.
    pub refused_at: Time,
    pub changed_at: Time,
    /// `{service}.{type}`
    pub kind: String,
    pub version: i16,
    pub aggregate_version: i64,
    pub occurred_at: Time,
    pub traceparent: Option<String>,
    pub payload: JsonText,
}

impl Held {
    /// Returns the event to append to the log again.
    pub(crate) fn staged(&self) -> Staged {
        Staged {
            id: self.id,
            topic: self.topic.clone().into(),
            key: self.key.clone(),
            kind: self.kind.clone().into(),
            version: self.version,
            aggregate_version: self.aggregate_version,
            occurred_at: self.occurred_at,
            traceparent: self.traceparent.clone(),
            payload: self.payload.0.clone(),
        }
    }
}

/// Cause of the quarantine.
#[derive(Debug, Clone)]
pub(crate) enum Cause {
    /// Kafka refused the event so many times, for this reason.
    Refused { attempts: i32, next_attempt_at: Time, reason: String },
    /// Kafka refused an earlier event of the key.
    Behind,
}

/// Inserts an event taken out of the log; replaces an earlier entry of the event.
///
/// # Errors
/// Any error of the database.
pub(crate) fn hold(tx: &mut Tx<'_>, event: &Event, cause: &Cause) -> db::Result<()> {
    let now = tx.now()?;
    let (state, attempts, next_attempt_at, reason) = match cause {
        Cause::Refused { attempts, next_attempt_at, reason } => {
            (State::Retrying, Some(*attempts), Some(*next_attempt_at), Some(reason))
        }
        Cause::Behind => (State::Behind, None, None, None),
    };
    let again = (
        held::position.eq(event.position),
        held::state.eq(state),
        held::next_attempt_at.eq(next_attempt_at),
        held::changed_at.eq(now),
    );
    let refusal = attempts.map(|attempts| (held::attempts.eq(attempts), held::reason.eq(reason)));
    let row = diesel::update(held::table.find(event.id)).set((again, refusal));
    if row.execute(&mut **tx)? > 0 {
        return Ok(());
    }
    let row = (
        (
            held::id.eq(event.id),
            held::topic.eq(&*event.topic),
            held::partition.eq(event.partition),
            held::key.eq(&event.key),
            held::attempts.eq(attempts.unwrap_or(0)),
            held::reason.eq(reason),
            held::refused_at.eq(now),
        ),
        again,
        (
            held::kind.eq(&event.kind),
            held::version.eq(event.version),
            held::aggregate_version.eq(event.aggregate_version),
            held::occurred_at.eq(event.occurred_at),
            held::traceparent.eq(&event.traceparent),
            held::payload.eq(JsonText(event.payload.clone())),
        ),
    );
    on_each!(&mut **tx, |conn| diesel::insert_into(held::table).values(row).execute(conn))?;
    Ok(())
}

/// Notes an event that was taken out of the log as given up, for this reason.
///
/// # Errors
/// Any error of the database.
pub(crate) fn discard(tx: &mut Tx<'_>, event: &Event, reason: &str) -> db::Result<()> {
    let cause = Cause::Refused { attempts: 0, next_attempt_at: tx.now()?, reason: reason.to_owned() };
    hold(tx, event, &cause)?;
    give_up(tx, event.id, reason)
}

/// Gives an event up, for this reason.
///
/// # Errors
/// Any error of the database.
pub(crate) fn give_up(tx: &mut Tx<'_>, id: Id, reason: &str) -> db::Result<()> {
    let nothing = (held::payload.eq(JsonText("null".into())), held::reason.eq(Some(reason)));
    diesel::update(held::table.find(id)).set(nothing).execute(&mut **tx)?;
    set_state(tx, id, State::Discarded)
}

/// Events of a topic that are held and go on by themselves, out of the log.
///
/// # Errors
/// Any error of the database.
pub(crate) fn waiting(conn: &mut Conn, topic: &str, limit: i64) -> db::Result<Vec<Held>> {
    let rows = held::table.filter(held::topic.eq(topic)).filter(held::state.eq_any([State::Retrying, State::Behind]));
    Ok(rows.order(held::position).limit(limit).load(conn)?)
}

/// Returns the keys of a partition blocked by a retried event.
///
/// # Errors
/// Any error of the database.
pub(crate) fn blocked(conn: &mut Conn, topic: &str, partition: i32) -> db::Result<HashSet<String>> {
    let keys: Vec<String> = held::table
        .filter(held::topic.eq(topic))
        .filter(held::partition.eq(partition))
        .filter(held::state.eq(State::Retrying))
        .select(held::key)
        .load(conn)?;
    Ok(keys.into_iter().collect())
}

/// Returns true if any event of the partition is held and goes on by itself.
///
/// # Errors
/// Any error of the database.
pub(crate) fn is_any_moving(conn: &mut Conn, topic: &str, partition: i32) -> db::Result<bool> {
    let rows = held::table
        .filter(held::topic.eq(topic))
        .filter(held::partition.eq(partition))
        .filter(held::state.eq_any(MOVING));
    Ok(rows.select(held::id).first::<Id>(conn).optional()?.is_some())
}

/// Returns the number of refusals of events in `ids` that are in the log again.
///
/// # Errors
/// Any error of the database.
pub(crate) fn attempts(conn: &mut Conn, ids: &[Id]) -> db::Result<HashMap<Id, i32>> {
    let rows = held::table.filter(held::id.eq_any(ids)).filter(held::state.eq(State::Resending));
    Ok(rows.select((held::id, held::attempts)).load(conn)?.into_iter().collect())
}

/// Returns the payloads of events in `ids` in quarantine, in any state.
///
/// # Errors
/// Any error of the database.
pub(crate) fn payloads(conn: &mut Conn, ids: &[Id]) -> db::Result<Vec<(Id, String)>> {
    let rows: Vec<(Id, JsonText)> =
        held::table.filter(held::id.eq_any(ids)).select((held::id, held::payload)).load(conn)?;
    Ok(rows.into_iter().map(|(id, payload)| (id, payload.0)).collect())
}

/// # Errors
/// Any error of the database.
pub(crate) fn one(conn: &mut Conn, id: Id) -> db::Result<Option<Held>> {
    Ok(held::table.find(id).first(conn).optional()?)
}

/// Returns the events that wait behind the retried event of the key, in order.
///
/// # Errors
/// Any error of the database.
pub(crate) fn behind(conn: &mut Conn, topic: &str, partition: i32, key: &str) -> db::Result<Vec<Held>> {
    Ok(held::table
        .filter(held::topic.eq(topic))
        .filter(held::partition.eq(partition))
        .filter(held::key.eq(key))
        .filter(held::state.eq(State::Behind))
        .order(held::position)
        .load(conn)?)
}

/// Returns the first event due at `now`, or due later than `latest`: then the clock was set back.
///
/// # Errors
/// Any error of the database.
pub(crate) fn due(conn: &mut Conn, now: Time, latest: Time) -> db::Result<Option<Held>> {
    Ok(held::table
        .filter(held::state.eq(State::Retrying))
        .filter(held::next_attempt_at.le(now).or(held::next_attempt_at.gt(latest)))
        .order((held::next_attempt_at, held::position))
        .first(conn)
        .optional()?)
}

/// Returns the time of the next due event.
///
/// # Errors
/// Any error of the database.
pub(crate) fn next_due(conn: &mut Conn) -> db::Result<Option<Time>> {
    let retrying = held::table.filter(held::state.eq(State::Retrying));
    let next: Option<Option<Time>> =
        retrying.order(held::next_attempt_at).select(held::next_attempt_at).first(conn).optional()?;
    Ok(next.flatten())
}

/// # Errors
/// Any error of the database.
pub(crate) fn set_state(tx: &mut Tx<'_>, id: Id, state: State) -> db::Result<()> {
    let now = tx.now()?;
    diesel::update(held::table.find(id))
        .set((held::state.eq(state), held::next_attempt_at.eq(None::<Time>), held::changed_at.eq(now)))
        .execute(&mut **tx)?;
    Ok(())
}

/// # Errors
/// Any error of the database.
pub(crate) fn postpone(tx: &mut Tx<'_>, id: Id, next_attempt_at: Time) -> db::Result<()> {
    diesel::update(held::table.find(id)).set(held::next_attempt_at.eq(Some(next_attempt_at))).execute(&mut **tx)?;
    Ok(())
}

/// Deletes the events that wait behind the retried event of the key.
///
/// # Errors
/// Any error of the database.
pub(crate) fn delete_behind(tx: &mut Tx<'_>, topic: &str, partition: i32, key: &str) -> db::Result<()> {
    let behind = held::table
        .filter(held::topic.eq(topic))
        .filter(held::partition.eq(partition))
        .filter(held::key.eq(key))
        .filter(held::state.eq(State::Behind));
    diesel::delete(behind).execute(&mut **tx)?;
    Ok(())
}

/// # Errors
/// Any error of the database.
pub(crate) fn delete(tx: &mut Tx<'_>, ids: &[Id]) -> db::Result<()> {
    diesel::delete(held::table.filter(held::id.eq_any(ids))).execute(&mut **tx)?;
    Ok(())
}

/// Bytes of all payloads.
///
/// # Errors
/// Any error of the database.
pub(crate) fn bytes(conn: &mut Conn) -> db::Result<i64> {
    let bytes = sql::<BigInt>("coalesce(sum(octet_length(CAST(payload AS TEXT))), 0)");
    // what is in the log again is counted there
    let rows = held::table.filter(held::state.ne_all([State::Resending, State::Discarded]));
    Ok(rows.select(bytes).first(conn)?)
}

/// Returns the time of the first refusal of the oldest moving event, without the topics `at_rest`.
///
/// # Errors
/// Any error of the database.
pub(crate) fn oldest(conn: &mut Conn, at_rest: &HashSet<String>) -> db::Result<Option<Time>> {
    let moving = held::table.filter(held::state.eq_any(MOVING)).filter(held::topic.ne_all(at_rest));
    Ok(moving.order(held::refused_at).select(held::refused_at).first(conn).optional()?)
}

/// Deletes events discarded before `oldest`.
///
/// # Errors
/// Any error of the database.
pub(crate) fn forget_discarded(tx: &mut Tx<'_>, oldest: Time) -> db::Result<()> {
    let old = held::table.filter(held::state.eq(State::Discarded)).filter(held::changed_at.lt(oldest));
    diesel::delete(old).execute(&mut **tx)?;
    Ok(())
}
