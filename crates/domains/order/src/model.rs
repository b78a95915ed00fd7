//! Baskets, orders and their life.

use std::collections::BTreeMap;

use contracts::events::OrderLine;
use contracts::{MemberId, Money, OrderId, OwnedCouponId, ProductId};
use db::types::Time;

use crate::error::OrderError;

/// The most products of an order.
pub const MAX_LINES: usize = 100;
/// Maximum number of units of one product in an order.
pub const MAX_QUANTITY: i64 = 10_000;
/// Maximum total of an order before the discount: sums over very many orders stay within 64 bits.
pub const MAX_TOTAL: Money = Money::from_minor(10_000_000_000_000);

/// Maximum of one member's unpaid orders, because unpaid orders hold stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnpaidLimit {
    pub orders: usize,
    /// Units of all products in these orders.
    pub units: i64,
}

impl Default for UnpaidLimit {
    fn default() -> Self {
        Self { orders: 20, units: MAX_QUANTITY }
    }
}

/// Quantity of a product in a member's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    pub product_id: ProductId,
    pub quantity: i64,
}

/// A member's request for an order: each product once, sorted by id, in valid quantities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Basket(Vec<(ProductId, i64)>);

impl Basket {
    /// Items of the same product are added up.
    ///
    /// # Errors
    /// [`OrderError::Invalid`] for no items or more than [`MAX_LINES`], and for a quantity of a product below 1 or
    /// over [`MAX_QUANTITY`].
    pub fn new(items: &[Item]) -> Result<Self, OrderError> {
        if items.is_empty() || items.len() > MAX_LINES {
            return Err(OrderError::Invalid { field: "items", rule: "must be 1 to 100" });
        }
        let mut wanted = BTreeMap::new();
        for item in items {
            let sum: &mut i64 = wanted.entry(item.product_id).or_insert(0);
            // neither is over the limit, so that the sum does not overflow
            *sum += valid_quantity(item.quantity)?;
            valid_quantity(*sum)?;
        }
        Ok(Self(wanted.into_iter().collect()))
    }

    /// Products and quantities, by product id.
    pub fn wanted(&self) -> &[(ProductId, i64)] {
        &self.0
    }

    /// Units of all products.
    pub fn units(&self) -> i64 {
        self.0.iter().map(|(_, quantity)| quantity).sum()
    }
}

fn valid_quantity(quantity: i64) -> Result<i64, OrderError> {
    if !(1..=MAX_QUANTITY).contains(&quantity) {
        return Err(OrderError::Invalid { field: "quantity", rule: "must be from 1 to 10000 for each product" });
    }
    Ok(quantity)
}

/// An order before placing: priced, and within the limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    pub(crate) id: OrderId,
    pub(crate) member_id: MemberId,
    pub(crate) lines: Vec<OrderLine>,
    pub(crate) total: Money,
    pub(crate) discount: Money,
    pub(crate) payable: Money,
    pub(crate) owned_coupon_id: Option<OwnedCouponId>,
}

impl NewOrder {
    /// Returns an order without a coupon.
    ///
    /// # Errors
    /// [`OrderError::Invalid`] for no lines or more than [`MAX_LINES`], for a line without a sensible price and
    /// quantity, and for a total over [`MAX_TOTAL`].
    pub fn new(id: OrderId, member_id: MemberId, lines: Vec<OrderLine>) -> Result<Self, OrderError> {
        if lines.is_empty() || lines.len() > MAX_LINES {
            return Err(OrderError::Invalid { field: "items", rule: "must be 1 to 100" });
        }
        let total = total(&lines)?;
        Ok(Self { id, member_id, lines, total, discount: Money::ZERO, payable: total, owned_coupon_id: None })
    }

    /// Returns the same order with a coupon's discount.
    ///
    /// # Errors
    /// [`OrderError::Invalid`] for a discount below zero or over the total.
    pub fn with_coupon(mut self, coupon: OwnedCouponId, discount: Money) -> Result<Self, OrderError> {
        if discount < Money::ZERO || discount > self.total {
            return Err(OrderError::Invalid { field: "discount", rule: "must be from 0 to the total" });
        }
        self.payable = self.total.subtract(discount).map_err(|_| TOO_MUCH)?;
        self.discount = discount;
        self.owned_coupon_id = Some(coupon);
        Ok(self)
    }

    /// Returns the sum of all lines, before the discount.
    pub fn total(&self) -> Money {
        self.total
    }

    /// Returns the total without the discount.
    pub fn payable(&self) -> Money {
        self.payable
    }
}

const TOO_MUCH: OrderError = OrderError::Invalid { field: "items", rule: "cost more than an order may" };

fn total(lines: &[OrderLine]) -> Result<Money, OrderError> {
    let mut total = Money::ZERO;
    for line in lines {
        valid_quantity(line.quantity)?;
        if line.price < Money::ZERO {
            return Err(OrderError::Invalid { field: "price", rule: "must not be negative" });
        }
        let cost = line.price.times(line.quantity).map_err(|_| TOO_MUCH)?;
        total = total.add(cost).map_err(|_| TOO_MUCH)?;
    }
    if total > MAX_TOTAL { Err(TOO_MUCH) } else { Ok(total) }
}

db::text_enum!(
    /// Status of an order.
    OrderStatus {
        /// Stock and coupon are reserved; the order waits for payment.
        Pending => "pending",
        Paid => "paid",
        /// The member cancelled before paying.
        Cancelled => "cancelled",
        /// The order was not paid in time.
        Expired => "expired",
        /// The member cancelled after paying, and got the money back.
        Refunded => "refunded",
    }
);

impl OrderStatus {
    /// Returns true if the order's units are taken out of the stock.
    pub fn holds_stock(self) -> bool {
        matches!(self, Self::Pending | Self::Paid)
    }
}

/// A step in an order's life; the list is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    Pay,
    Cancel,
    Expire,
    /// Refunds a paid order, unless the order was shipped.
    Refund,
}

impl Transition {
    /// Returns the status before the step.
    pub fn from(self) -> OrderStatus {
        match self {
            Self::Pay | Self::Cancel | Self::Expire => OrderStatus::Pending,
            Self::Refund => OrderStatus::Paid,
        }
    }

    /// Returns the status after the step.
    pub fn to(self) -> OrderStatus {
        match self {
            Self::Pay => OrderStatus::Paid,
            Self::Cancel => OrderStatus::Cancelled,
            Self::Expire => OrderStatus::Expired,
            Self::Refund => OrderStatus::Refunded,
        }
    }
}

/// Current state of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub id: OrderId,
    pub member_id: MemberId,
    pub status: OrderStatus,
    /// Lines as placed, by product id.
    pub lines: Vec<OrderLine>,
    /// Total before the discount.
    pub total: Money,
    pub discount: Money,
    /// Returns the total without the discount.
    pub payable: Money,
    pub owned_coupon_id: Option<OwnedCouponId>,
    /// Version of the order, raised by every change; the aggregate version of the order's events.
    pub version: i64,
    pub created_at: Time,
    /// Time at which an unpaid order is cancelled.
    pub expires_at: Time,
    pub paid_at: Option<Time>,
    pub shipped_at: Option<Time>,
    /// Time of the end without a sale.
    pub closed_at: Option<Time>,
}
