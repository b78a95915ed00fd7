//! The SQL of idempotency keys.

use contracts::MemberId;
use db::types::Time;
use db::{Conn, Prepare, Tx, on_each};
use diesel::prelude::*;
use rest::reply::Kept;

diesel::table! {
    use diesel::sql_types::*;
    use db::types::{UtcTime, Uuid};

    idempotency_key (principal, key) {
        principal -> Uuid,
        key -> Text,
        fingerprint -> Binary,
        created_at -> UtcTime,
        status -> Nullable<Integer>,
        location -> Nullable<Text>,
        body -> Nullable<Text>,
    }
}

#[derive(Queryable)]
pub(super) struct Row {
    pub fingerprint: Vec<u8>,
    status: Option<i32>,
    location: Option<String>,
    body: Option<String>,
}

impl Row {
    /// Returns the answer; `None` if the row has no answer yet.
    pub(super) fn kept(self) -> Option<Kept> {
        let status = u16::try_from(self.status?).ok()?;
        Some(Kept { status, location: self.location, body: self.body? })
    }
}

/// Takes the key; returns true if the key was free. On PostgreSQL waits for a running unit with the key.
pub(super) fn take(conn: &mut Conn, principal: MemberId, key: &str, fingerprint: &[u8], now: Time) -> db::Result<bool> {
    use idempotency_key as k;
    let row = (k::principal.eq(principal), k::key.eq(key), k::fingerprint.eq(fingerprint), k::created_at.eq(now));
    let rows = on_each!(conn, |c| diesel::insert_into(k::table).values(row).on_conflict_do_nothing().execute(c))?;
    Ok(rows == 1)
}

/// Takes over an expired key; returns true if the key had expired.
pub(super) fn take_over(
    conn: &mut Conn,
    principal: MemberId,
    key: &str,
    fingerprint: &[u8],
    now: Time,
    before: Time,
) -> db::Result<bool> {
    use idempotency_key as k;
    let rows = diesel::update(k::table.find((principal, key)))
        .filter(k::created_at.lt(before))
        .set((k::fingerprint.eq(fingerprint), k::created_at.eq(now)))
        .execute(conn)?;
    Ok(rows == 1)
}

pub(super) fn find(conn: &mut Conn, principal: MemberId, key: &str) -> db::Result<Option<Row>> {
    use idempotency_key as k;
    let row = k::table.find((principal, key)).select((k::fingerprint, k::status, k::location, k::body));
    Ok(row.first(conn).optional()?)
}

/// Stores the answer.
pub(super) fn keep(conn: &mut Conn, principal: MemberId, key: &str, answer: &Kept) -> db::Result<()> {
    use idempotency_key as k;
    let update = diesel::update(k::table.find((principal, key)))
        .set((
            k::status.eq(Some(i32::from(answer.status))),
            k::location.eq(answer.location.as_deref()),
            k::body.eq(Some(answer.body.as_str())),
        ))
        .returning(k::status)
        .prepared();
    let _status: Option<i32> = on_each!(conn, |c| update.get_result(c))?;
    Ok(())
}

/// Deletes at most `limit` answers older than `before`; returns the number of deleted answers.
///
/// # Errors
/// Any error of the database.
pub(crate) fn purge(tx: &mut Tx<'_>, before: Time, limit: i64) -> db::Result<usize> {
    use idempotency_key as k;
    let old: Vec<(db::types::Id, String)> = k::table
        .filter(k::created_at.lt(before))
        .order(k::created_at)
        .limit(limit)
        .select((k::principal, k::key))
        .load(&mut **tx)?;
    for (principal, key) in &old {
        diesel::delete(k::table.find((principal, key)).filter(k::created_at.lt(before))).execute(&mut **tx)?;
    }
    Ok(old.len())
}
