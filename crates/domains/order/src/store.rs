//! The SQL of orders.

use std::collections::BTreeMap;

use contracts::events::OrderLine;
use contracts::{MemberId, Money, OrderId, OwnedCouponId, ProductId};
use db::types::{JsonText, Time};
use db::{Conn, MultiBackend, Prepare, on_each};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;

use crate::model::{Order, OrderStatus, Transition};
use crate::schema::orders;

#[derive(Queryable)]
struct Row {
    id: OrderId,
    member_id: MemberId,
    status: OrderStatus,
    lines: JsonText,
    total: Money,
    discount: Money,
    payable: Money,
    owned_coupon_id: Option<OwnedCouponId>,
    version: i64,
    created_at: Time,
    expires_at: Time,
    paid_at: Option<Time>,
    shipped_at: Option<Time>,
    closed_at: Option<Time>,
}

impl TryFrom<Row> for Order {
    type Error = db::Error;

    fn try_from(row: Row) -> db::Result<Order> {
        Ok(Order {
            id: row.id,
            member_id: row.member_id,
            status: row.status,
            lines: read_lines(&row.lines)?,
            total: row.total,
            discount: row.discount,
            payable: row.payable,
            owned_coupon_id: row.owned_coupon_id,
            version: row.version,
            created_at: row.created_at,
            expires_at: row.expires_at,
            paid_at: row.paid_at,
            shipped_at: row.shipped_at,
            closed_at: row.closed_at,
        })
    }
}

fn read_lines(json: &JsonText) -> db::Result<Vec<OrderLine>> {
    serde_json::from_str(&json.0).map_err(|e| db::Error::Defect(format!("lines of an order: {e}")))
}

/// Returns the order, for any member.
///
/// # Errors
/// Any error of the database.
pub fn get(conn: &mut Conn, id: OrderId) -> db::Result<Option<Order>> {
    orders::table.find(id).first::<Row>(conn).optional()?.map(Order::try_from).transpose()
}

/// Returns at most `limit` orders before `after`, the newest first: a member's, or all members'.
///
/// # Errors
/// Any error of the database.
pub fn page(conn: &mut Conn, member: Option<MemberId>, after: Option<OrderId>, limit: i64) -> db::Result<Vec<Order>> {
    let mut select = orders::table.order(orders::id.desc()).limit(limit).into_boxed::<MultiBackend>();
    if let Some(member) = member {
        select = select.filter(orders::member_id.eq(member));
    }
    if let Some(after) = after {
        select = select.filter(orders::id.lt(after));
    }
    select.load::<Row>(conn)?.into_iter().map(Order::try_from).collect()
}

/// Lines of each unpaid order of a member.
pub(crate) fn unpaid(conn: &mut Conn, member: MemberId) -> db::Result<Vec<Vec<OrderLine>>> {
    let select = orders::table
        .filter(orders::member_id.eq(member))
        // as text, so that the planner of either database sees the condition of the partial index
        .filter(sql::<Bool>("status = 'pending'"))
        .select(orders::lines)
        .prepared();
    let rows: Vec<JsonText> = on_each!(conn, |c| select.load(c))?;
    rows.iter().map(read_lines).collect()
}

pub(crate) fn insert(conn: &mut Conn, order: &Order) -> db::Result<()> {
    let lines = serde_json::to_string(&order.lines).map_err(|e| db::Error::Defect(e.to_string()))?;
    let insert = diesel::insert_into(orders::table).values((
        orders::id.eq(order.id),
        orders::member_id.eq(order.member_id),
        orders::status.eq(order.status),
        orders::lines.eq(JsonText(lines)),
        orders::total.eq(order.total),
        orders::discount.eq(order.discount),
        orders::payable.eq(order.payable),
        orders::owned_coupon_id.eq(order.owned_coupon_id),
        orders::version.eq(order.version),
        orders::created_at.eq(order.created_at),
        orders::expires_at.eq(order.expires_at),
    ));
    on_each!(conn, |c| insert.execute(c))?;
    Ok(())
}

/// Marks the order as paid. Returns `None` if the order is another member's, not pending, or overdue.
pub(crate) fn pay(conn: &mut Conn, id: OrderId, member: MemberId, now: Time) -> db::Result<Option<Order>> {
    let update = diesel::update(orders::table.find(id))
        .filter(orders::member_id.eq(member))
        .filter(orders::status.eq(Transition::Pay.from()))
        .filter(orders::expires_at.gt(now))
        .set((
            orders::status.eq(Transition::Pay.to()),
            orders::version.eq(orders::version + 1),
            orders::paid_at.eq(Some(now)),
        ))
        .returning(orders::all_columns)
        .prepared();
    on_each!(conn, |c| update.get_result::<Row>(c)).optional()?.map(Order::try_from).transpose()
}

/// Cancels the order. Returns `None` if the order is another member's or not pending.
pub(crate) fn cancel(conn: &mut Conn, id: OrderId, member: MemberId, now: Time) -> db::Result<Option<Order>> {
    diesel::update(orders::table.find(id))
        .filter(orders::member_id.eq(member))
        .filter(orders::status.eq(Transition::Cancel.from()))
        .set((
            orders::status.eq(Transition::Cancel.to()),
            orders::version.eq(orders::version + 1),
            orders::closed_at.eq(Some(now)),
        ))
        .returning(orders::all_columns)
        .get_result::<Row>(conn)
        .optional()?
        .map(Order::try_from)
        .transpose()
}

/// Marks the order as refunded. Returns `None` if the order is another member's, not paid, or shipped.
pub(crate) fn refund(conn: &mut Conn, id: OrderId, member: MemberId, now: Time) -> db::Result<Option<Order>> {
    diesel::update(orders::table.find(id))
        .filter(orders::member_id.eq(member))
        .filter(orders::status.eq(Transition::Refund.from()))
        .filter(orders::shipped_at.is_null())
        .set((
            orders::status.eq(Transition::Refund.to()),
            orders::version.eq(orders::version + 1),
            orders::closed_at.eq(Some(now)),
        ))
        .returning(orders::all_columns)
        .get_result::<Row>(conn)
        .optional()?
        .map(Order::try_from)
        .transpose()
}

/// Marks the order as expired. Returns `None` if the order is not pending or not yet due.
pub(crate) fn expire(conn: &mut Conn, id: OrderId, now: Time) -> db::Result<Option<Order>> {
    diesel::update(orders::table.find(id))
        .filter(orders::status.eq(Transition::Expire.from()))
        .filter(orders::expires_at.le(now))
        .set((
            orders::status.eq(Transition::Expire.to()),
            orders::version.eq(orders::version + 1),
            orders::closed_at.eq(Some(now)),
        ))
        .returning(orders::all_columns)
        .get_result::<Row>(conn)
        .optional()?
        .map(Order::try_from)
        .transpose()
}

/// Marks the order as shipped. Returns `false` if the order is unpaid or already shipped.
pub(crate) fn ship(conn: &mut Conn, id: OrderId, now: Time) -> db::Result<bool> {
    let shipped = diesel::update(orders::table.find(id))
        .filter(orders::status.eq(OrderStatus::Paid))
        .filter(orders::shipped_at.is_null())
        .set((orders::version.eq(orders::version + 1), orders::shipped_at.eq(Some(now))))
        .execute(conn)?;
    Ok(shipped == 1)
}

pub(crate) fn due(conn: &mut Conn, now: Time, limit: i64) -> db::Result<Vec<OrderId>> {
    use diesel::dsl::sql;
    use diesel::sql_types::Bool;

    Ok(orders::table
        // to the letter as the partial index has it: of a bound value neither database knows that it fits
        .filter(sql::<Bool>("status = 'pending'"))
        .filter(orders::expires_at.le(now))
        .order(orders::expires_at)
        .limit(limit)
        .select(orders::id)
        .load(conn)?)
}

/// Units of a product held by orders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Units of pending orders.
    pub reserved: i64,
    /// Units of paid orders.
    pub sold: i64,
}

/// Returns the units of each product held by orders.
///
/// Reads every order; for tests and audits.
///
/// # Errors
/// Any error of the database.
pub fn held(conn: &mut Conn) -> db::Result<BTreeMap<ProductId, Held>> {
    let rows: Vec<(OrderStatus, JsonText)> = orders::table
        .filter(orders::status.eq_any([OrderStatus::Pending, OrderStatus::Paid]))
        .select((orders::status, orders::lines))
        .load(conn)?;
    let mut held: BTreeMap<ProductId, Held> = BTreeMap::new();
    for (status, lines) in rows {
        for line in read_lines(&lines)? {
            let units = held.entry(line.product_id).or_default();
            match status {
                OrderStatus::Pending => units.reserved += line.quantity,
                _ => units.sold += line.quantity,
            }
        }
    }
    Ok(held)
}
