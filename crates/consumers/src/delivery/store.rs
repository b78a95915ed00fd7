use contracts::events::DeliveryStatus;
use contracts::{DeliveryId, OrderId};
use db::Conn;
use db::types::{Time, UtcTime};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Nullable;
use diesel::upsert::excluded;

use super::model::{Delivery, Step};
use super::schema::delivery as t;

type Columns = (
    t::id,
    t::order_id,
    t::member_id,
    t::status,
    t::version,
    t::changed_at,
    t::prepared_at,
    t::shipped_at,
    t::delivered_at,
);

const COLUMNS: Columns = (
    t::id,
    t::order_id,
    t::member_id,
    t::status,
    t::version,
    t::changed_at,
    t::prepared_at,
    t::shipped_at,
    t::delivered_at,
);

/// The condition follows the last assignment: diesel has no WHERE for an upsert of several rows on SQLite.
const UNLESS_NEWER_WAS_SEEN: &str = "excluded.changed_at WHERE delivery.order_version < excluded.order_version";

/// Result of a taken step.
#[derive(Debug, Queryable)]
pub(super) struct Advanced {
    pub order_id: OrderId,
    pub id: DeliveryId,
    pub version: i64,
    pub prepared_at: Option<Time>,
}

/// Takes each step with a newer version than the delivery's, and returns the taken steps.
///
/// `steps` are of distinct orders and in the order of their ids, so that two batches never wait for each other in a
/// circle.
pub(super) fn advance<'s>(conn: &mut Conn, steps: impl IntoIterator<Item = &'s Step>) -> db::Result<Vec<Advanced>> {
    let rows: Vec<_> = steps
        .into_iter()
        .map(|step| {
            (
                t::order_id.eq(step.order_id),
                t::id.eq(DeliveryId::new()),
                t::member_id.eq(step.member_id),
                t::status.eq(step.status),
                t::version.eq(1_i64),
                t::order_version.eq(step.order_version),
                t::changed_at.eq(step.at),
                t::prepared_at.eq(step.prepared_at()),
            )
        })
        .collect();
    Ok(db::insert_each!(conn, rows, |values| diesel::insert_into(t::table)
        .values(values)
        .on_conflict(t::order_id)
        .do_update()
        .set((
            t::status.eq(excluded(t::status)),
            t::version.eq(t::version + 1),
            t::order_version.eq(excluded(t::order_version)),
            t::prepared_at.eq(sql::<Nullable<UtcTime>>("coalesce(excluded.prepared_at, delivery.prepared_at)")),
            t::changed_at.eq(sql::<UtcTime>(UNLESS_NEWER_WAS_SEEN)),
        ))
        .returning((t::order_id, t::id, t::version, t::prepared_at)))?)
}

/// Marks as shipped. Returns `None` unless the delivery is in preparation.
pub(super) fn ship(conn: &mut Conn, id: DeliveryId, now: Time) -> db::Result<Option<Delivery>> {
    Ok(diesel::update(t::table.filter(t::id.eq(id)).filter(t::status.eq(DeliveryStatus::Preparing)))
        .set((
            t::status.eq(DeliveryStatus::Shipped),
            t::version.eq(t::version + 1),
            t::changed_at.eq(now),
            t::shipped_at.eq(now),
        ))
        .returning(COLUMNS)
        .get_result(conn)
        .optional()?)
}

/// Marks as delivered. Returns `None` unless the delivery is shipped.
pub(super) fn deliver(conn: &mut Conn, id: DeliveryId, now: Time) -> db::Result<Option<Delivery>> {
    Ok(diesel::update(t::table.filter(t::id.eq(id)).filter(t::status.eq(DeliveryStatus::Shipped)))
        .set((
            t::status.eq(DeliveryStatus::Delivered),
            t::version.eq(t::version + 1),
            t::changed_at.eq(now),
            t::delivered_at.eq(now),
        ))
        .returning(COLUMNS)
        .get_result(conn)
        .optional()?)
}

/// # Errors
/// Any error of the database.
pub fn get(conn: &mut Conn, id: DeliveryId) -> db::Result<Option<Delivery>> {
    Ok(t::table.filter(t::id.eq(id)).select(COLUMNS).first(conn).optional()?)
}

/// Returns the delivery of an order; `None` before the order's first event is handled.
///
/// # Errors
/// Any error of the database.
pub fn of_order(conn: &mut Conn, order: OrderId) -> db::Result<Option<Delivery>> {
    Ok(t::table.find(order).select(COLUMNS).first(conn).optional()?)
}

/// Returns at most `limit` deliveries, newest first, created before `after`.
///
/// # Errors
/// Any error of the database.
pub fn page(
    conn: &mut Conn,
    status: Option<DeliveryStatus>,
    after: Option<DeliveryId>,
    limit: i64,
) -> db::Result<Vec<Delivery>> {
    let mut query = t::table.select(COLUMNS).order(t::id.desc()).limit(limit).into_boxed();
    if let Some(status) = status {
        query = query.filter(t::status.eq(status));
    }
    if let Some(after) = after {
        query = query.filter(t::id.lt(after));
    }
    Ok(query.load(conn)?)
}
