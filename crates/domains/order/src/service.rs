//! An order's life.

use std::time::Duration;

use contracts::events::{CancelReason, OrderCancelled, OrderCreated};
use contracts::{MemberId, OrderId};
use db::types::Time;
use db::{Conn, Tx};

use crate::error::OrderError;
use crate::model::{NewOrder, Order, OrderStatus, Transition, UnpaidLimit};
use crate::store;

/// Refuses an order of `units` units to a member with too many unpaid orders. Two concurrent orders of a member do
/// not see each other: the caller places a member's orders one after the other.
///
/// # Errors
/// [`OrderError::TooManyUnpaid`]
pub fn within_unpaid_limit(
    conn: &mut Conn,
    member: MemberId,
    units: i64,
    limit: UnpaidLimit,
) -> Result<(), OrderError> {
    let unpaid = store::unpaid(conn, member)?;
    let held = unpaid.iter().flatten().map(|line| line.quantity).sum::<i64>();
    if unpaid.len() < limit.orders && held.saturating_add(units) <= limit.units {
        return Ok(());
    }
    Err(OrderError::TooManyUnpaid { orders: unpaid.len(), units: held, limit })
}

/// Places an order, to be paid within `expires_after`. The caller has reserved stock and coupon in the same unit.
///
/// # Errors
/// [`OrderError::Database`]
pub fn place(tx: &mut Tx<'_>, new: NewOrder, expires_after: Duration) -> Result<Order, OrderError> {
    let now = tx.now()?;
    let order = Order {
        id: new.id,
        member_id: new.member_id,
        status: OrderStatus::Pending,
        lines: new.lines,
        total: new.total,
        discount: new.discount,
        payable: new.payable,
        owned_coupon_id: new.owned_coupon_id,
        version: 1,
        created_at: now,
        expires_at: now + expires_after,
        paid_at: None,
        shipped_at: None,
        closed_at: None,
    };
    store::insert(tx, &order)?;
    let event = OrderCreated {
        order_id: order.id,
        order_version: order.version,
        member_id: order.member_id,
        lines: order.lines.clone(),
        total: order.total,
        discount: order.discount,
        payable: order.payable,
        owned_coupon_id: order.owned_coupon_id,
        created_at: order.created_at,
        expires_at: order.expires_at,
    };
    messaging::emit(tx, &event)?;
    Ok(order)
}

/// Marks the member's order as paid. Call this first in a payment's unit, so that only one payment succeeds.
///
/// # Errors
/// [`OrderError::NotFound`], also for another member's order; [`OrderError::State`] if the order is not pending, or
/// overdue by the database's clock.
pub fn mark_paid(tx: &mut Tx<'_>, id: OrderId, member: MemberId) -> Result<Order, OrderError> {
    let now = tx.now()?;
    match store::pay(tx, id, member, now)? {
        Some(order) => Ok(order),
        None => Err(refusal(tx, id, member, now)?),
    }
}

/// Cancels the member's order: a pending order becomes cancelled; a paid and unshipped order becomes refunded. The
/// caller gives stock, coupon and money back, in the same unit.
///
/// # Errors
/// [`OrderError::NotFound`], also for another member's order; [`OrderError::State`] if the order is closed or
/// shipped.
pub fn cancel(tx: &mut Tx<'_>, id: OrderId, member: MemberId) -> Result<Order, OrderError> {
    let now = tx.now()?;
    if let Some(order) = store::cancel(tx, id, member, now)? {
        emit_cancelled(tx, &order, CancelReason::Cancelled, now)?;
        return Ok(order);
    }
    // in this order: an order that is paid between the two statements is found by the second
    if let Some(order) = store::refund(tx, id, member, now)? {
        emit_cancelled(tx, &order, CancelReason::Refunded, now)?;
        return Ok(order);
    }
    Err(refusal(tx, id, member, now)?)
}

/// Ends an order not paid in time; returns `None` if the order is not pending or not yet due. The caller gives stock
/// and coupon back, in the same unit.
///
/// # Errors
/// Any error of the database.
pub fn expire(tx: &mut Tx<'_>, id: OrderId) -> db::Result<Option<Order>> {
    let now = tx.now()?;
    let expired = store::expire(tx, id, now)?;
    if let Some(order) = &expired {
        emit_cancelled(tx, order, CancelReason::Expired, now)?;
    }
    Ok(expired)
}

/// Returns at most `limit` overdue pending orders by this process's clock, the longest overdue first. [`expire`]
/// decides by the database's clock.
///
/// # Errors
/// Any error of the database.
pub fn due(conn: &mut Conn, limit: i64) -> db::Result<Vec<OrderId>> {
    store::due(conn, Time::now(), limit)
}

/// Marks a paid order as shipped and so excludes a refund; returns `false` if the order is unpaid or already shipped.
///
/// # Errors
/// Any error of the database.
pub fn mark_shipped(tx: &mut Tx<'_>, id: OrderId) -> db::Result<bool> {
    let now = tx.now()?;
    store::ship(tx, id, now)
}

fn emit_cancelled(tx: &mut Tx<'_>, order: &Order, reason: CancelReason, now: Time) -> db::Result<()> {
    let event = OrderCancelled {
        order_id: order.id,
        order_version: order.version,
        member_id: order.member_id,
        reason,
        lines: order.lines.clone(),
        cancelled_at: now,
    };
    messaging::emit(tx, &event)?;
    Ok(())
}

/// Returns the reason for a conditional UPDATE without a row.
fn refusal(tx: &mut Tx<'_>, id: OrderId, member: MemberId, now: Time) -> db::Result<OrderError> {
    let Some(order) = store::get(tx, id)?.filter(|order| order.member_id == member) else {
        return Ok(OrderError::NotFound);
    };
    let overdue = order.status == Transition::Expire.from() && order.expires_at <= now;
    let status = if overdue { Transition::Expire.to() } else { order.status };
    Ok(OrderError::State { status, shipped: order.shipped_at.is_some() })
}
