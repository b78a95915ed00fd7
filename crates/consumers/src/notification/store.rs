//! Notifications of members, and what left by which channel.

use std::collections::{BTreeMap, HashMap, HashSet};

use contracts::MemberId;
use db::types::{Id, Time};
use db::{Conn, Result, insert_each, on_each};
use diesel::prelude::*;
use diesel::upsert::excluded;

use super::model::{Notice, Notification};

diesel::table! {
    use db::types::Uuid;
    use diesel::sql_types::*;
    notification_counter (member_id) {
        member_id -> Uuid,
        last_number -> BigInt,
    }
}

diesel::table! {
    use db::types::{Uuid, UtcTime};
    use diesel::sql_types::*;
    notification (member_id, number) {
        member_id -> Uuid,
        number -> BigInt,
        kind -> Text,
        text -> Text,
        event_id -> Uuid,
        at -> UtcTime,
        read -> Bool,
    }
}

diesel::table! {
    use db::types::{Uuid, UtcTime};
    use diesel::sql_types::*;
    notification_sent (event_id, channel, recipient) {
        event_id -> Uuid,
        channel -> Text,
        recipient -> Text,
        sent_at -> UtcTime,
        refusal -> Nullable<Text>,
    }
}

diesel::table! {
    use db::types::{Uuid, UtcTime};
    use diesel::sql_types::*;
    notification_waiting (event_id, member_id) {
        event_id -> Uuid,
        member_id -> Uuid,
        subject -> Text,
        text -> Text,
        since -> UtcTime,
        next_attempt_at -> UtcTime,
    }
}

db::text_enum!(
    /// A channel that reaches outside.
    Channel {
        Email => "email",
        Webhook => "webhook",
    }
);

/// Rows in one INSERT: SQLite takes 32,766 values, PostgreSQL 65,535.
const ROWS: usize = 2_000;

/// Adds to each member's counter, and returns the counters after that. In key order, so that two batches never wait
/// for each other in a circle.
pub(super) fn count(conn: &mut Conn, more: &BTreeMap<MemberId, i64>) -> Result<HashMap<MemberId, i64>> {
    use notification_counter::{last_number, member_id, table};
    let rows: Vec<_> = more.iter().map(|(member, more)| (member_id.eq(*member), last_number.eq(*more))).collect();
    let mut counters = HashMap::with_capacity(rows.len());
    for rows in rows.chunks(ROWS) {
        let rows = rows.to_vec();
        let after: Vec<(MemberId, i64)> = insert_each!(&mut *conn, rows, |values| diesel::insert_into(table)
            .values(values)
            .on_conflict(member_id)
            .do_update()
            .set(last_number.eq(last_number + excluded(last_number)))
            .returning((member_id, last_number)))?;
        counters.extend(after);
    }
    Ok(counters)
}

/// A row to be.
pub(super) struct New<'n> {
    pub member_id: MemberId,
    pub number: i64,
    pub notice: &'n Notice,
}

/// A repeat (same event, same member) is left out; it then leaves a hole in the member's numbers.
pub(super) fn insert(conn: &mut Conn, rows: &[New<'_>]) -> Result<()> {
    for rows in rows.chunks(ROWS) {
        let values: Vec<_> = rows
            .iter()
            .map(|new| {
                (
                    notification::member_id.eq(new.member_id),
                    notification::number.eq(new.number),
                    notification::kind.eq(new.notice.kind),
                    notification::text.eq(&new.notice.text),
                    notification::event_id.eq(new.notice.event_id),
                    notification::at.eq(new.notice.at),
                )
            })
            .collect();
        let _numbers: Vec<i64> = insert_each!(&mut *conn, values, |values| diesel::insert_into(notification::table)
            .values(values)
            .on_conflict_do_nothing()
            .returning(notification::number))?;
    }
    Ok(())
}

type Columns = (
    notification::number,
    notification::kind,
    notification::text,
    notification::event_id,
    notification::at,
    notification::read,
);
const COLUMNS: Columns = (
    notification::number,
    notification::kind,
    notification::text,
    notification::event_id,
    notification::at,
    notification::read,
);

/// A member's notifications with a number under `before`, the newest first.
///
/// # Errors
/// Any error of the database.
pub fn page(conn: &mut Conn, member: MemberId, before: Option<i64>, limit: i64) -> Result<Vec<Notification>> {
    Ok(notification::table
        .filter(notification::member_id.eq(member).and(notification::number.lt(before.unwrap_or(i64::MAX))))
        .order(notification::number.desc())
        .limit(limit)
        .select(COLUMNS)
        .load(conn)?)
}

/// A member's notifications with a number over `after`, the oldest first: what a stream has yet to show.
///
/// # Errors
/// Any error of the database.
pub fn after(conn: &mut Conn, member: MemberId, after: i64, limit: i64) -> Result<Vec<Notification>> {
    Ok(notification::table
        .filter(notification::member_id.eq(member).and(notification::number.gt(after)))
        .order(notification::number.asc())
        .limit(limit)
        .select(COLUMNS)
        .load(conn)?)
}

/// The number last given to a member; 0 before the first. Where a new stream begins.
///
/// # Errors
/// Any error of the database.
pub fn last_number(conn: &mut Conn, member: MemberId) -> Result<i64> {
    use notification_counter::{last_number, table};
    Ok(table.find(member).select(last_number).first(conn).optional()?.unwrap_or(0))
}

/// Numbers last given to members.
pub(super) fn last_numbers(conn: &mut Conn, members: &[MemberId]) -> Result<Vec<(MemberId, i64)>> {
    use notification_counter::{last_number, member_id, table};
    let mut numbers = Vec::with_capacity(members.len());
    for members in members.chunks(ROWS) {
        let select = table.filter(member_id.eq_any(members)).select((member_id, last_number));
        numbers.append(&mut on_each!(conn, |c| select.load(c))?);
    }
    Ok(numbers)
}

/// Marks a member's notifications up to a number as read; returns how many were not.
///
/// # Errors
/// Any error of the database.
pub fn mark_read(conn: &mut Conn, member: MemberId, up_to: i64) -> Result<usize> {
    let unread = notification::table.filter(
        notification::member_id.eq(member).and(notification::number.le(up_to)).and(notification::read.eq(false)),
    );
    Ok(diesel::update(unread).set(notification::read.eq(true)).execute(conn)?)
}

/// Which of `events` have left by `channel`, and to whom.
pub(super) fn sent(conn: &mut Conn, channel: Channel, events: &[Id]) -> Result<HashSet<(Id, String)>> {
    let rows: Vec<(Id, String)> = on_each!(conn, |c| notification_sent::table
        .filter(notification_sent::event_id.eq_any(events).and(notification_sent::channel.eq(channel)))
        .select((notification_sent::event_id, notification_sent::recipient))
        .load(c))?;
    Ok(rows.into_iter().collect())
}

/// Notes that an event has left by `channel`, or why it never will.
pub(super) fn mark_sent(
    conn: &mut Conn,
    event: Id,
    channel: Channel,
    recipient: &str,
    refusal: Option<&str>,
    at: Time,
) -> Result<()> {
    let row = (
        notification_sent::event_id.eq(event),
        notification_sent::channel.eq(channel),
        notification_sent::recipient.eq(recipient),
        notification_sent::refusal.eq(refusal),
        notification_sent::sent_at.eq(at),
    );
    let insert = diesel::insert_into(notification_sent::table).values(row).on_conflict_do_nothing();
    on_each!(conn, |c| insert.execute(c))?;
    Ok(())
}

/// A mail that waits for its mailbox.
#[derive(Debug, Clone, Queryable)]
pub(super) struct Waiting {
    pub event_id: Id,
    pub member_id: MemberId,
    pub subject: String,
    pub text: String,
    pub since: Time,
    next_attempt_at: Time,
}

/// Members of whom a mail waits.
pub(super) fn members_waiting(conn: &mut Conn) -> Result<HashSet<MemberId>> {
    let members: Vec<MemberId> = notification_waiting::table.select(notification_waiting::member_id).load(conn)?;
    Ok(members.into_iter().collect())
}

/// Has a mail wait until `next_attempt_at`.
pub(super) fn put_off(
    conn: &mut Conn,
    event: Id,
    member: MemberId,
    subject: &str,
    text: &str,
    now: Time,
    next_attempt_at: Time,
) -> Result<()> {
    let row = (
        notification_waiting::event_id.eq(event),
        notification_waiting::member_id.eq(member),
        notification_waiting::subject.eq(subject),
        notification_waiting::text.eq(text),
        notification_waiting::since.eq(now),
        notification_waiting::next_attempt_at.eq(next_attempt_at),
    );
    let insert = diesel::insert_into(notification_waiting::table).values(row).on_conflict_do_nothing();
    on_each!(conn, |c| insert.execute(c))?;
    Ok(())
}

/// Takes the mail that waits the longest and is due, so that no other process does until `next_attempt_at`.
pub(super) fn claim(conn: &mut Conn, now: Time, next_attempt_at: Time) -> Result<Option<Waiting>> {
    use notification_waiting::{next_attempt_at as due, since, table};
    let found: Option<Waiting> = table.filter(due.le(now)).order((since, due)).first(conn).optional()?;
    let Some(waiting) = found else { return Ok(None) };
    let row = table.find((waiting.event_id, waiting.member_id)).filter(due.eq(waiting.next_attempt_at));
    let claimed = diesel::update(row).set(due.eq(next_attempt_at)).execute(conn)?;
    Ok((claimed == 1).then_some(waiting))
}

/// Forgets a mail that waited.
pub(super) fn forget_waiting(conn: &mut Conn, event: Id, member: MemberId) -> Result<()> {
    diesel::delete(notification_waiting::table.find((event, member))).execute(conn)?;
    Ok(())
}
