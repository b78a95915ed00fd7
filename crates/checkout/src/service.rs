//! The use cases.

use std::time::Duration;

use contracts::{MemberId, OrderId, OwnedCouponId};
use db::Tx;
use order::{Basket, Item, NewOrder, Order, OrderStatus, UnpaidLimit};
use payment::{Charge, Payment};

use crate::error::CheckoutError;

/// Conditions that every order is placed under.
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

/// Places a member's order: takes its stock, reserves its coupon, and gives it time to be paid.
///
/// # Errors
/// What the domains say; nothing is taken then.
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
/// What the domains say; nothing is taken then.
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

/// Cancels a member's order and gives everything back: stock, coupon, and the money if it was paid.
///
/// # Errors
/// What the domains say; nothing is given back then.
pub fn cancel(tx: &mut Tx<'_>, member: MemberId, order: OrderId) -> Result<Order, CheckoutError> {
    let order = order::cancel(tx, order, member)?;
    release(tx, &order)?;
    if order.status == OrderStatus::Refunded {
        payment::refund(tx, order.id, order.version, &order.lines)?;
    }
    Ok(order)
}

/// Ends an order that was not paid in time, and gives stock and coupon back. `false` when that is not the case (any
/// more).
///
/// # Errors
/// What the domains say; nothing is given back then.
pub fn expire(tx: &mut Tx<'_>, order: OrderId) -> Result<bool, CheckoutError> {
    match order::expire(tx, order)? {
        Some(order) => release(tx, &order).map(|()| true),
        None => Ok(false),
    }
}

/// Gives back what an order has reserved.
fn release(tx: &mut Tx<'_>, order: &Order) -> Result<(), CheckoutError> {
    if let Some(coupon) = order.owned_coupon_id {
        coupon::give_back(tx, coupon, order.id)?;
    }
    stock::restore(tx, order.id, &order.lines)?;
    Ok(())
}
