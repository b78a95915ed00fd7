use std::collections::BTreeMap;

use chrono::NaiveDate;
use contracts::{CouponId, ProductId};
use db::Conn;
use db::types::Time;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};
use diesel::upsert::excluded;

use super::model::{CouponDay, CouponFigures, POPULAR_WINDOW, Popular, SalesDay, SalesSums, hour_of};
use super::schema::{coupon_issue_day, product_sales_hour, sales_day};

/// Rows for each statement, well under the parameter limits of both databases.
const CHUNK: usize = 2_000;

/// Maximum number of days returned by [`sales`]: a year and a day.
pub const SALES_DAYS: i64 = 366;

/// Maximum number of coupons returned by [`coupons`].
pub const COUPONS: i64 = 100;

pub(super) fn add_products(conn: &mut Conn, sums: &BTreeMap<(Time, ProductId), i64>) -> db::Result<()> {
    use product_sales_hour as t;
    let rows: Vec<_> = sums
        .iter()
        .filter(|(_, sold)| **sold != 0)
        .map(|((hour, product), sold)| (t::hour.eq(*hour), t::product_id.eq(*product), t::sold.eq(*sold)))
        .collect();
    for rows in rows.chunks(CHUNK) {
        let rows = rows.to_vec();
        let _sold: Vec<i64> = db::insert_each!(&mut *conn, rows, |values| diesel::insert_into(t::table)
            .values(values)
            .on_conflict((t::hour, t::product_id))
            .do_update()
            .set(t::sold.eq(t::sold + excluded(t::sold)))
            .returning(t::sold))?;
    }
    Ok(())
}

pub(super) fn add_sales(conn: &mut Conn, sums: &BTreeMap<NaiveDate, SalesSums>) -> db::Result<()> {
    use sales_day as t;
    let rows: Vec<_> = sums
        .iter()
        .map(|(day, sums)| {
            (
                t::day.eq(*day),
                t::orders.eq(sums.orders),
                t::paid.eq(sums.paid),
                t::revenue.eq(sums.revenue),
                t::refunds.eq(sums.refunds),
                t::refunded.eq(sums.refunded),
            )
        })
        .collect();
    let _days: Vec<NaiveDate> = db::insert_each!(conn, rows, |values| diesel::insert_into(t::table)
        .values(values)
        .on_conflict(t::day)
        .do_update()
        .set((
            t::orders.eq(t::orders + excluded(t::orders)),
            t::paid.eq(t::paid + excluded(t::paid)),
            t::revenue.eq(t::revenue + excluded(t::revenue)),
            t::refunds.eq(t::refunds + excluded(t::refunds)),
            t::refunded.eq(t::refunded + excluded(t::refunded)),
        ))
        .returning(t::day))?;
    Ok(())
}

pub(super) fn add_coupons(conn: &mut Conn, sums: &BTreeMap<(CouponId, NaiveDate), (String, i64)>) -> db::Result<()> {
    use coupon_issue_day as t;
    let rows: Vec<_> = sums
        .iter()
        .map(|((coupon, day), (name, issued))| {
            (t::coupon_id.eq(*coupon), t::day.eq(*day), t::coupon_name.eq(name), t::issued.eq(*issued))
        })
        .collect();
    let _issued: Vec<i64> = db::insert_each!(conn, rows, |values| diesel::insert_into(t::table)
        .values(values)
        .on_conflict((t::coupon_id, t::day))
        .do_update()
        .set(t::issued.eq(t::issued + excluded(t::issued)))
        .returning(t::issued))?;
    Ok(())
}

/// Returns at most `limit` products by units sold in the three days before `now`, best first, without the first
/// `skip`.
///
/// Counts whole hours, including the hour of the start of the three days.
///
/// # Errors
/// Any error of the database.
pub fn popular(conn: &mut Conn, now: Time, skip: i64, limit: i64) -> db::Result<Vec<Popular>> {
    use product_sales_hour as t;
    // PostgreSQL adds bigints up to a numeric
    let sold = || sql::<BigInt>("CAST(SUM(sold) AS BIGINT)");
    Ok(t::table
        .filter(t::hour.ge(hour_of(now - POPULAR_WINDOW)))
        .group_by(t::product_id)
        .having(sql::<Bool>("SUM(sold) > 0"))
        .select((t::product_id, sold()))
        .order((sold().desc(), t::product_id.asc()))
        .offset(skip)
        .limit(limit)
        .load(conn)?)
}

/// Returns the newest [`SALES_DAYS`] days with sales, newest first.
///
/// # Errors
/// Any error of the database.
pub fn sales(conn: &mut Conn) -> db::Result<Vec<SalesDay>> {
    Ok(sales_day::table.order(sales_day::day.desc()).limit(SALES_DAYS).load(conn)?)
}

/// Returns the newest [`COUPONS`] coupons with issues, newest first.
///
/// # Errors
/// Any error of the database.
pub fn coupons(conn: &mut Conn) -> db::Result<Vec<CouponFigures>> {
    use coupon_issue_day as t;
    let newest: Vec<CouponId> =
        t::table.select(t::coupon_id).distinct().order(t::coupon_id.desc()).limit(COUPONS).load(conn)?;
    let rows: Vec<(CouponId, NaiveDate, String, i64)> =
        t::table.filter(t::coupon_id.eq_any(newest)).order((t::coupon_id.desc(), t::day.asc())).load(conn)?;
    let mut coupons: Vec<CouponFigures> = Vec::new();
    for (coupon_id, date, name, issued) in rows {
        if coupons.last().is_none_or(|last| last.coupon_id != coupon_id) {
            coupons.push(CouponFigures { coupon_id, name, issued: 0, days: Vec::new() });
        }
        if let Some(coupon) = coupons.last_mut() {
            coupon.issued += issued;
            coupon.days.push(CouponDay { date, issued });
        }
    }
    Ok(coupons)
}

/// Returns the oldest hour in the table.
pub(super) fn oldest_hour(conn: &mut Conn) -> db::Result<Option<Time>> {
    use product_sales_hour as t;
    Ok(t::table.select(t::hour).order(t::hour.asc()).first(conn).optional()?)
}

pub(super) fn forget_hour(conn: &mut Conn, hour: Time) -> db::Result<usize> {
    Ok(diesel::delete(product_sales_hour::table.filter(product_sales_hour::hour.eq(hour))).execute(conn)?)
}

pub(super) fn clear(conn: &mut Conn) -> db::Result<()> {
    diesel::delete(product_sales_hour::table).execute(conn)?;
    diesel::delete(sales_day::table).execute(conn)?;
    diesel::delete(coupon_issue_day::table).execute(conn)?;
    Ok(())
}
