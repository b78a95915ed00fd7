//! Dead letters, and the events of their keys parked behind them.
//!
//! A key is blocked by one dead letter at a time. Only the holder of the partition's lease blocks, parks and resumes;
//! a request of an operator is a status for the holder. After a repartitioning, later events of the key may come to
//! another partition: its holder parks the events, and the holder of the first partition resumes the key.

use std::collections::HashSet;

use db::types::{Id, JsonText};
use db::{Conn, Tx, on_each};
use diesel::prelude::*;

use crate::consumer::offsets::Place;
use crate::event::Event;
use crate::relay::RELAY;
use crate::relay::set_aside;
use crate::schema::{blocked_key, dead_letter, handling_attempt, parked_event};

pub(crate) const DEAD: &str = "dead";
pub(crate) const REPLAY: &str = "replay";
pub(crate) const DISCARDED: &str = "discarded";

/// A key to resume: the dead letter is to be replayed, or was discarded.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub(crate) struct Resumable {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) key: String,
    pub(crate) dead_letter: Id,
}

/// Returns the blocked keys of a topic.
pub(crate) fn blocked(conn: &mut Conn, place: &Place) -> db::Result<HashSet<String>> {
    let keys: Vec<String> = blocked_key::table
        .filter(blocked_key::grp.eq(place.group))
        .filter(blocked_key::topic.eq(&*place.topic))
        .select(blocked_key::key)
        .load(conn)?;
    Ok(keys.into_iter().collect())
}

/// The keys of the group that may go on, and dead letters to be replayed that block no key.
pub(crate) fn resumable(conn: &mut Conn, group: &str) -> db::Result<Vec<Resumable>> {
    let mut keys: Vec<Resumable> = blocked_key::table
        .left_join(dead_letter::table.on(dead_letter::id.eq(blocked_key::dead_letter)))
        .filter(blocked_key::grp.eq(group))
        .filter(dead_letter::status.nullable().is_null().or(dead_letter::status.nullable().ne(DEAD)))
        .order((blocked_key::topic, blocked_key::key))
        .select((blocked_key::topic, blocked_key::partition, blocked_key::key, blocked_key::dead_letter))
        .load(conn)?;
    let replayed: Vec<Resumable> = dead_letter::table
        .filter(dead_letter::grp.eq(group))
        .filter(dead_letter::status.eq(REPLAY))
        .order(dead_letter::id)
        .select((dead_letter::topic, dead_letter::partition, dead_letter::key, dead_letter::id))
        .load(conn)?;
    for letter in replayed {
        if !keys.iter().any(|key| key.dead_letter == letter.dead_letter) {
            keys.push(letter);
        }
    }
    Ok(keys)
}

/// Counts an attempt beforehand, so that an event that kills the process also comes to an end.
pub(crate) fn count_attempt(conn: &mut Conn, place: &Place, event: &Event) -> db::Result<i32> {
    use handling_attempt as attempt;
    let row = (
        attempt::grp.eq(place.group),
        attempt::topic.eq(&*place.topic),
        attempt::partition.eq(event.partition),
        attempt::position.eq(event.position),
        attempt::attempts.eq(1),
    );
    Ok(on_each!(conn, |conn| diesel::insert_into(attempt::table)
        .values(row)
        .on_conflict((attempt::grp, attempt::topic, attempt::partition, attempt::position))
        .do_update()
        .set(attempt::attempts.eq(attempt::attempts + 1))
        .returning(attempt::attempts)
        .get_result(conn))?)
}

/// Takes back an attempt that an outage interrupted.
pub(crate) fn uncount_attempt(conn: &mut Conn, place: &Place, event: &Event) -> db::Result<()> {
    use handling_attempt as attempt;
    let row = attempt::table.find((place.group, &*place.topic, event.partition, event.position));
    diesel::update(row).set(attempt::attempts.eq(attempt::attempts - 1)).execute(conn)?;
    diesel::delete(row.filter(attempt::attempts.le(0))).execute(conn)?;
    Ok(())
}

pub(crate) fn forget_attempts(conn: &mut Conn, place: &Place, event: &Event) -> db::Result<()> {
    let row = handling_attempt::table.find((place.group, &*place.topic, event.partition, event.position));
    diesel::delete(row).execute(conn)?;
    Ok(())
}

/// Makes the event a dead letter, which blocks its key if `key_waits`.
pub(crate) fn bury(
    tx: &mut Tx<'_>,
    place: &Place,
    event: &Event,
    error: &str,
    attempts: i32,
    key_waits: bool,
) -> db::Result<()> {
    note_set_aside(tx, place, event)?;
    let id = Id::new();
    let failed_at = tx.now()?;
    diesel::insert_into(dead_letter::table)
        .values((
            dead_letter::id.eq(id),
            dead_letter::grp.eq(place.group),
            dead_letter::topic.eq(&*place.topic),
            dead_letter::partition.eq(event.partition),
            dead_letter::position.eq(event.position),
            dead_letter::key.eq(&event.key),
            dead_letter::event_id.eq(event.id),
            dead_letter::event.eq(to_json(event)?),
            dead_letter::error.eq(error),
            dead_letter::attempts.eq(attempts),
            dead_letter::status.eq(DEAD),
            dead_letter::failed_at.eq(failed_at),
        ))
        .execute(&mut **tx)?;
    if !key_waits {
        return Ok(());
    }
    let block = (
        blocked_key::grp.eq(place.group),
        blocked_key::topic.eq(&*place.topic),
        blocked_key::key.eq(&event.key),
        blocked_key::partition.eq(place.partition),
        blocked_key::dead_letter.eq(id),
    );
    on_each!(&mut **tx, |conn| diesel::insert_into(blocked_key::table)
        .values(block)
        .on_conflict((blocked_key::grp, blocked_key::topic, blocked_key::key))
        .do_update()
        .set(blocked_key::dead_letter.eq(id))
        .execute(conn))?;
    Ok(())
}

/// The bus lacks what the relay does not copy.
fn note_set_aside(conn: &mut Conn, place: &Place, event: &Event) -> db::Result<()> {
    if place.group == RELAY { set_aside::note(conn, event) } else { Ok(()) }
}

/// Parks the event behind the key's dead letter; returns false if the key is no longer blocked.
pub(crate) fn park(conn: &mut Conn, place: &Place, event: &Event) -> db::Result<bool> {
    let locked = diesel::update(blocked_key::table.find((place.group, &*place.topic, &event.key)))
        .set(blocked_key::parked.eq(blocked_key::parked + 1))
        .execute(conn)?;
    if locked == 0 {
        return Ok(false);
    }
    note_set_aside(conn, place, event)?;
    let last: Option<i64> =
        parked(place, &event.key).order(parked_event::seq.desc()).select(parked_event::seq).first(conn).optional()?;
    diesel::insert_into(parked_event::table)
        .values((
            parked_event::grp.eq(place.group),
            parked_event::topic.eq(&*place.topic),
            parked_event::key.eq(&event.key),
            parked_event::seq.eq(last.map_or(0, |last| last + 1)),
            parked_event::partition.eq(event.partition),
            parked_event::position.eq(event.position),
            parked_event::event_id.eq(event.id),
            parked_event::event.eq(to_json(event)?),
        ))
        .execute(conn)?;
    Ok(true)
}

#[diesel::dsl::auto_type]
fn parked<'a>(place: &'a Place, key: &'a str) -> _ {
    let (group, topic): (&'a str, &'a str) = (place.group, &*place.topic);
    parked_event::table
        .filter(parked_event::grp.eq(group))
        .filter(parked_event::topic.eq(topic))
        .filter(parked_event::key.eq(key))
}

/// Next step of a resumed key.
#[derive(Debug, Clone)]
pub(crate) enum Next {
    /// The dead letter itself.
    DeadLetter(Event),
    /// Handle the first event parked behind the dead letter.
    Parked(Event),
    /// Free the key: no event is left.
    Free,
    /// Stop: another worker was faster, and a replayed event failed, so that the key is blocked again.
    Blocked,
}

/// Reads the next step of the key with the dead letter `id`.
pub(crate) fn next(conn: &mut Conn, place: &Place, key: &str, id: Id) -> db::Result<Next> {
    let block = blocked_key::table.find((place.group, &*place.topic, key));
    let blocks: Option<Id> = block.select(blocked_key::dead_letter).first(conn).optional()?;
    let letter: Option<(String, JsonText)> =
        dead_letter::table.find(id).select((dead_letter::status, dead_letter::event)).first(conn).optional()?;
    match letter {
        _ if blocks.is_some_and(|other| other != id) => return Ok(Next::Blocked),
        Some((status, _)) if status == DEAD => return Ok(Next::Blocked),
        Some((status, event)) if status == REPLAY => return Ok(Next::DeadLetter(from_json(&event)?)),
        _ => {}
    }
    let parked: Option<JsonText> =
        parked(place, key).order(parked_event::seq).select(parked_event::event).first(conn).optional()?;
    parked.map_or(Ok(Next::Free), |event| Ok(Next::Parked(from_json(&event)?)))
}

/// Returns true if the event is next for its key, whose dead letter is `id`.
pub(crate) fn is_next(conn: &mut Conn, place: &Place, event: &Event, id: Id) -> db::Result<bool> {
    let next = next(conn, place, &event.key, id)?;
    Ok(matches!(next, Next::DeadLetter(first) | Next::Parked(first) if first.id == event.id))
}

/// Locks the key against everybody else who resumes it; false when another dead letter blocks it.
pub(crate) fn hold(conn: &mut Conn, place: &Place, key: &str, id: Id) -> db::Result<bool> {
    let block = blocked_key::table.find((place.group, &*place.topic, key));
    let held = diesel::update(block.filter(blocked_key::dead_letter.eq(id))).set(blocked_key::dead_letter.eq(id));
    let held = held.execute(conn)? == 1;
    Ok(held || block.select(blocked_key::dead_letter).first::<Id>(conn).optional()?.is_none())
}

/// Deletes a dead letter for the replay; returns false if no replay is requested any more.
pub(crate) fn take_dead(conn: &mut Conn, id: Id) -> db::Result<bool> {
    let dead = dead_letter::table.find(id).filter(dead_letter::status.eq(REPLAY));
    Ok(diesel::delete(dead).execute(conn)? == 1)
}

/// Marks a dead letter with a failed replay as dead again; returns false if no replay is requested any more.
pub(crate) fn rest_again(conn: &mut Conn, id: Id, error: &str, attempts: i32) -> db::Result<bool> {
    let rested = diesel::update(dead_letter::table.find(id))
        .filter(dead_letter::status.eq(REPLAY))
        .set((
            dead_letter::status.eq(DEAD),
            dead_letter::error.eq(error),
            dead_letter::attempts.eq(dead_letter::attempts + attempts),
        ))
        .execute(conn)?;
    Ok(rested == 1)
}

/// Takes an event parked behind the dead letter `id`; returns false if the event is not the next event of the key. A
/// crash of the server may bring back replayed events.
pub(crate) fn take_parked(conn: &mut Conn, place: &Place, event: &Event, id: Id) -> db::Result<bool> {
    let block = blocked_key::table.find((place.group, &*place.topic, &event.key));
    let held = diesel::update(block.filter(blocked_key::dead_letter.eq(id)))
        .set(blocked_key::parked.eq(blocked_key::parked - 1))
        .execute(conn)?;
    if held == 0 || !is_next(conn, place, event, id)? {
        return Ok(false);
    }
    let parked = parked_event::table
        .filter(parked_event::grp.eq(place.group))
        .filter(parked_event::topic.eq(&*place.topic))
        .filter(parked_event::key.eq(&event.key))
        .filter(parked_event::partition.eq(event.partition))
        .filter(parked_event::position.eq(event.position));
    Ok(diesel::delete(parked).execute(conn)? == 1)
}

/// Frees a key without parked events behind the dead letter; returns false if there are parked events.
pub(crate) fn free(conn: &mut Conn, place: &Place, key: &str, id: Id) -> db::Result<bool> {
    let block = blocked_key::table.find((place.group, &*place.topic, key)).filter(blocked_key::dead_letter.eq(id));
    Ok(diesel::delete(block.filter(blocked_key::parked.eq(0))).execute(conn)? == 1)
}

/// Deletes all dead letters, parked events, blocked keys and attempts of the group in the topic: part of a reset.
pub(crate) fn clear(conn: &mut Conn, group: &str, topic: &str) -> db::Result<()> {
    diesel::delete(parked_event::table.filter(parked_event::grp.eq(group)).filter(parked_event::topic.eq(topic)))
        .execute(conn)?;
    diesel::delete(blocked_key::table.filter(blocked_key::grp.eq(group)).filter(blocked_key::topic.eq(topic)))
        .execute(conn)?;
    diesel::delete(dead_letter::table.filter(dead_letter::grp.eq(group)).filter(dead_letter::topic.eq(topic)))
        .execute(conn)?;
    diesel::delete(
        handling_attempt::table.filter(handling_attempt::grp.eq(group)).filter(handling_attempt::topic.eq(topic)),
    )
    .execute(conn)?;
    Ok(())
}

fn to_json(event: &Event) -> db::Result<JsonText> {
    serde_json::to_string(event).map(JsonText).map_err(|error| db::Error::Defect(error.to_string()))
}

fn from_json(text: &JsonText) -> db::Result<Event> {
    serde_json::from_str(&text.0).map_err(|error| db::Error::Defect(format!("a kept event: {error}")))
}
