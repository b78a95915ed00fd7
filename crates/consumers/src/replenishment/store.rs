use contracts::{ProductId, PurchaseOrderId};
use db::Conn;
use db::types::Time;
use diesel::prelude::*;

use super::model::{PurchaseOrder, PurchaseOrderStatus};
use super::schema::purchase_order as t;

/// Opens a purchase order for each product without an open one, and returns the new purchase orders, in one
/// statement.
///
/// `wanted` is of distinct products, in the order of their ids, with how many to order.
pub(super) fn open(
    conn: &mut Conn,
    wanted: impl IntoIterator<Item = (ProductId, i64)>,
    now: Time,
) -> db::Result<Vec<(PurchaseOrderId, ProductId)>> {
    let rows: Vec<_> = wanted
        .into_iter()
        .map(|(product, quantity)| {
            (
                t::id.eq(PurchaseOrderId::new()),
                t::product_id.eq(product),
                t::quantity.eq(quantity),
                t::status.eq(PurchaseOrderStatus::Open),
                t::opened_at.eq(now),
            )
        })
        .collect();
    Ok(db::on_each!(conn, |c| diesel::insert_into(t::table)
        .values(rows)
        .on_conflict_do_nothing()
        .returning((t::id, t::product_id))
        .get_results(c))?)
}

pub(super) fn withdraw(conn: &mut Conn, ids: &[PurchaseOrderId]) -> db::Result<()> {
    diesel::delete(t::table.filter(t::id.eq_any(ids))).execute(conn)?;
    Ok(())
}

/// Marks as received. Returns `None` unless the purchase order is open.
pub(super) fn receive(conn: &mut Conn, id: PurchaseOrderId, now: Time) -> db::Result<Option<PurchaseOrder>> {
    Ok(diesel::update(t::table.find(id).filter(t::status.eq(PurchaseOrderStatus::Open)))
        .set((t::status.eq(PurchaseOrderStatus::Received), t::received_at.eq(now)))
        .returning(t::all_columns)
        .get_result(conn)
        .optional()?)
}

/// # Errors
/// Any error of the database.
pub fn get(conn: &mut Conn, id: PurchaseOrderId) -> db::Result<Option<PurchaseOrder>> {
    Ok(t::table.find(id).first(conn).optional()?)
}

/// Returns at most `limit` purchase orders, newest first, opened before `after`.
///
/// # Errors
/// Any error of the database.
pub fn page(
    conn: &mut Conn,
    status: Option<PurchaseOrderStatus>,
    after: Option<PurchaseOrderId>,
    limit: i64,
) -> db::Result<Vec<PurchaseOrder>> {
    let mut query = t::table.order(t::id.desc()).limit(limit).into_boxed();
    if let Some(status) = status {
        query = query.filter(t::status.eq(status));
    }
    if let Some(after) = after {
        query = query.filter(t::id.lt(after));
    }
    Ok(query.load(conn)?)
}
