//! The audit log: actions of admins, written in the unit of the action.

use db::types::{Id, Time};
use db::{Conn, Tx};
use diesel::prelude::*;
use serde::Serialize;

use super::schema::audit;

/// An action.
#[derive(Debug, Serialize, Queryable, utoipa::ToSchema)]
pub struct AuditEntry {
    #[schema(value_type = uuid::Uuid)]
    pub id: Id,
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub at: Time,
    pub who: String,
    /// Kind of thing, and action: `api-key.create`.
    pub action: String,
    /// Id or name of the thing.
    pub subject: String,
    pub detail: String,
}

/// Records the action of `who` on `subject`, in the unit of the action. On the control database.
///
/// # Errors
/// Any error of the database.
pub fn record(tx: &mut Tx<'_>, who: &str, action: &'static str, subject: &str, detail: &str) -> db::Result<()> {
    use audit as a;
    let at = tx.now()?;
    let row = (
        a::id.eq(Id::new()),
        a::at.eq(at),
        a::who.eq(who),
        a::action.eq(action),
        a::subject.eq(subject),
        a::detail.eq(detail),
    );
    diesel::insert_into(a::table).values(row).execute(&mut **tx)?;
    Ok(())
}

/// Returns the entries behind `after`, the newest first.
///
/// # Errors
/// Any error of the database.
pub fn page(conn: &mut Conn, after: Option<Id>, limit: i64) -> db::Result<Vec<AuditEntry>> {
    let newest_first = audit::table.order(audit::id.desc()).limit(limit);
    Ok(match after {
        Some(after) => newest_first.filter(audit::id.lt(after)).load(conn)?,
        None => newest_first.load(conn)?,
    })
}
