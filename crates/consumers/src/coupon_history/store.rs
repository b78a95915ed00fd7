//! The SQL of the coupon history.

use contracts::MemberId;
use db::types::Id;
use db::{Conn, Tx, insert_each};
use diesel::prelude::*;

use super::model::Entry;
use super::schema::coupon_history;

/// Rows for each statement.
const CHUNK: usize = 1_000;

/// Inserts the entries, except for existing entries.
pub(super) fn insert(conn: &mut Conn, entries: &[Entry]) -> db::Result<()> {
    for entries in entries.chunks(CHUNK) {
        let _ids: Vec<Id> = insert_each!(&mut *conn, Vec::from_iter(entries), |values| {
            diesel::insert_into(coupon_history::table)
                .values(values)
                .on_conflict_do_nothing()
                .returning(coupon_history::id)
        })?;
    }
    Ok(())
}

/// Returns at most `limit` entries of a member before `after`, newest first.
///
/// # Errors
/// Any error of the database.
pub fn page(conn: &mut Conn, member: MemberId, after: Option<Id>, limit: i64) -> db::Result<Vec<Entry>> {
    let newest_first = coupon_history::table
        .filter(coupon_history::member_id.eq(member))
        .order(coupon_history::id.desc())
        .limit(limit);
    Ok(match after {
        Some(after) => newest_first.filter(coupon_history::id.lt(after)).load(conn)?,
        None => newest_first.load(conn)?,
    })
}

/// Deletes all entries for a rebuild.
pub(super) fn clear(tx: &mut Tx<'_>) -> db::Result<()> {
    diesel::delete(coupon_history::table).execute(&mut **tx)?;
    Ok(())
}
