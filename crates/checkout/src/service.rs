//! The use cases.

use std::time::Duration;

use contracts::{MemberId, OrderId, OwnedCouponId};
use db::Tx;
use order::{Basket, Item, NewOrder, Order, OrderStatus, UnpaidLimit};
use payment::{Charge, Payment};

use crate::error::CheckoutError;

/// Conditions for placing an order.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Time until an order must be paid.
    pub expires_after: Duration,
    pub unpaid: UnpaidLimit,
}

impl Terms {
    /// Terms with the default limit of unpaid orders.
    pub fn new(expires_after: Duration) -> Self {
        Self { expires_after, unpaid: UnpaidLimit::default() }
    }
}

/// Places a member's order: takes the stock, reserves the coupon, and sets the time for payment.
///
/// # Errors
/// Errors of the domains; the unit then takes nothing.
pub fn place_order(
    tx: &mut Tx<'_>,
    member: MemberId,
    items: &[Item],
    coupon: Option<OwnedCouponId>,
    terms: Terms,
) -> Result<Order, CheckoutError> {
    let basket = Basket::new(items)?;
    order::within_unpaid_limit(tx, member, basket.units(), terms.unpaid)?;
    let id = OrderId::new();
    let lines = stock::reserve(tx, id, basket.wanted())?;
    let mut new = NewOrder::new(id, member, lines)?;
    if let Some(coupon) = coupon {
        let discount = coupon::reserve(tx, coupon, member, id, new.total())?;
        new = new.with_coupon(coupon, discount)?;
    }
    Ok(order::place(tx, new, terms.expires_after)?)
}

/// Pays a member's order from the member's wallet.
///
/// # Errors
/// Errors of the domains; the unit then takes nothing.
pub fn pay(tx: &mut Tx<'_>, member: MemberId, order: OrderId) -> Result<Payment, CheckoutError> {
    let order = order::mark_paid(tx, order, member)?;
    if let Some(coupon) = order.owned_coupon_id {
        coupon::redeem(tx, coupon, order.id)?;
    }
    let charge = Charge {
        order_id: order.id,
        order_version: order.version,
        member_id: member,
        lines: order.lines,
        total: order.total,
        discount: order.discount,
        amount: order.payable,
    };
    Ok(payment::pay(tx, &charge)?)
}

/// Cancels a member's order and gives everything back: stock, coupon, and the money of a paid order.
///
/// # Errors
/// Errors of the domains; the unit then gives nothing back.
pub fn cancel(tx: &mut Tx<'_>, member: MemberId, order: OrderId) -> Result<Order, CheckoutError> {
    let order = order::cancel(tx, order, member)?;
    release(tx, &order)?;
    if order.status == OrderStatus::Refunded {
        payment::refund(tx, order.id, order.version, &order.lines)?;
    }
    Ok(order)
}

/// Ends an order not paid in time, and gives stock and coupon back. Returns `false` if the order is no longer pending
/// or not yet due.
///
/// # Errors
/// Errors of the domains; the unit then gives nothing back.
pub fn expire(tx: &mut Tx<'_>, order: OrderId) -> Result<bool, CheckoutError> {
    match order::expire(tx, order)? {
        Some(order) => release(tx, &order).map(|()| true),
        None => Ok(false),
    }
}

/// Gives back the order's reservations.
fn release(tx: &mut Tx<'_>, order: &Order) -> Result<(), CheckoutError> {
    if let Some(coupon) = order.owned_coupon_id {
        coupon::give_back(tx, coupon, order.id)?;
    }
    stock::restore(tx, order.id, &order.lines)?;
    Ok(())
}
