use std::collections::BTreeMap;

use chrono::NaiveDate;
use db::Conn;
use diesel::prelude::*;
use diesel::upsert::excluded;

use super::model::{Day, Sums};
use super::schema::settlement_day as t;

/// Adds to each day, in the order of the days.
pub(super) fn add(conn: &mut Conn, days: &BTreeMap<NaiveDate, Sums>) -> db::Result<()> {
    let rows: Vec<_> = days
        .iter()
        .map(|(day, sums)| {
            (
                t::day.eq(*day),
                t::gross.eq(sums.gross),
                t::discount.eq(sums.discount),
                t::refunded.eq(sums.refunded),
                t::payments.eq(sums.payments),
            )
        })
        .collect();
    let _days: Vec<NaiveDate> = db::insert_each!(conn, rows, |values| diesel::insert_into(t::table)
        .values(values)
        .on_conflict(t::day)
        .do_update()
        .set((
            t::gross.eq(t::gross + excluded(t::gross)),
            t::discount.eq(t::discount + excluded(t::discount)),
            t::refunded.eq(t::refunded + excluded(t::refunded)),
            t::payments.eq(t::payments + excluded(t::payments)),
        ))
        .returning(t::day))?;
    Ok(())
}

/// Returns the days from `from` to `to`, both included, newest first; days without payments and refunds are left out.
///
/// # Errors
/// Any error of the database.
pub fn days(conn: &mut Conn, from: NaiveDate, to: NaiveDate) -> db::Result<Vec<Day>> {
    let rows: Vec<(NaiveDate, contracts::Money, contracts::Money, contracts::Money, i64)> = t::table
        .filter(t::day.between(from, to))
        .order(t::day.desc())
        .select((t::day, t::gross, t::discount, t::refunded, t::payments))
        .load(conn)?;
    rows.into_iter()
        .map(|(date, gross, discount, refunded, payments)| {
            let sums = Sums { gross, discount, refunded, payments };
            sums.of(date).map_err(|e| db::Error::Defect(format!("settlement of {date}: {e}")))
        })
        .collect()
}

pub(super) fn clear(conn: &mut Conn) -> db::Result<()> {
    diesel::delete(t::table).execute(conn)?;
    Ok(())
}
