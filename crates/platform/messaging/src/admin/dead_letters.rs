//! Dead letters: list, replay, discard.

use db::types::{Id, JsonText, Time};
use db::{Conn, Tx};
use diesel::prelude::*;

use crate::consumer::dead_letters::{DEAD, DISCARDED, REPLAY};
use crate::schema::{dead_letter, parked_event};

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
    /// JSON of the whole [`Event`](crate::Event).
    pub event: JsonText,
    pub error: String,
    pub attempts: i32,
    /// `dead`, `replay` or `discarded`.
    pub status: String,
    pub failed_at: Time,
}

/// Filter of dead letters.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterQuery {
    pub group: Option<String>,
    pub topic: Option<String>,
    /// Only dead letters with this status.
    pub status: Option<&'static str>,
    /// Only dead letters older than this one.
    pub after: Option<Id>,
}

/// Returns dead letters, the newest first.
///
/// # Errors
/// Any error of the database.
pub fn dead_letters(conn: &mut Conn, query: &DeadLetterQuery, limit: i64) -> db::Result<Vec<DeadLetter>> {
    let mut rows = dead_letter::table.into_boxed();
    if let Some(group) = &query.group {
        rows = rows.filter(dead_letter::grp.eq(group));
    }
    if let Some(topic) = &query.topic {
        rows = rows.filter(dead_letter::topic.eq(topic));
    }
    if let Some(status) = query.status {
        rows = rows.filter(dead_letter::status.eq(status));
    }
    if let Some(after) = query.after {
        rows = rows.filter(dead_letter::id.lt(after));
    }
    Ok(rows.order(dead_letter::id.desc()).limit(limit).load(conn)?)
}

/// Returns a dead letter, and the number of events parked behind.
///
/// # Errors
/// Any error of the database.
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

/// Asks the group's worker to handle the dead letter again, and then the parked events. Returns false if the letter
/// is not dead. Call [`crate::Log::ask_groups`] after the commit.
///
/// # Errors
/// Any error of the database.
pub fn request_replay(tx: &mut Tx<'_>, id: Id) -> db::Result<bool> {
    set_status(tx, id, REPLAY)
}

/// Discards the event: its effect is lost, and the parked events go on. Returns false if the letter is not dead. Call
/// [`crate::Log::ask_groups`] after the commit.
///
/// # Errors
/// Any error of the database.
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

/// Requests the replay of all dead letters of the group, or of the group and a topic; returns the number of dead
/// letters.
///
/// # Errors
/// Any error of the database.
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
