use std::collections::HashSet;

use contracts::IncidentId;
use db::Conn;
use diesel::prelude::*;

use super::model::Incident;
use super::schema::incident as t;

/// Opens incidents for events without one, and returns the new ids, in one statement.
pub(super) fn open(conn: &mut Conn, incidents: &[Incident]) -> db::Result<HashSet<IncidentId>> {
    let rows: Vec<_> = incidents
        .iter()
        .map(|new| {
            (
                t::id.eq(new.id),
                t::event_id.eq(new.event_id),
                t::topic.eq(&new.topic),
                t::kind.eq(&new.kind),
                t::key.eq(&new.key),
                t::reason.eq(&new.reason),
                t::event.eq(&new.event),
                t::occurred_at.eq(new.occurred_at),
                t::opened_at.eq(new.opened_at),
            )
        })
        .collect();
    let opened: Vec<IncidentId> = db::on_each!(conn, |c| diesel::insert_into(t::table)
        .values(rows)
        .on_conflict_do_nothing()
        .returning(t::id)
        .get_results(c))?;
    Ok(opened.into_iter().collect())
}

/// Returns at most `limit` incidents, newest first, opened before `after`.
///
/// # Errors
/// Any error of the database.
pub fn page(conn: &mut Conn, after: Option<IncidentId>, limit: i64) -> db::Result<Vec<Incident>> {
    let mut query = t::table.order(t::id.desc()).limit(limit).into_boxed();
    if let Some(after) = after {
        query = query.filter(t::id.lt(after));
    }
    Ok(query.load(conn)?)
}
