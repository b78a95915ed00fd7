//! The figures, and the contributions of events.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::NaiveDate;
use contracts::events::{CouponIssued, OrderCreated, OrderLine, PaymentCompleted, PaymentRefunded};
use contracts::{CouponId, Money, MoneyError, ProductId, day_of};
use db::types::Time;
use diesel::Queryable;

/// Length of the window for popular products.
pub const POPULAR_WINDOW: Duration = Duration::from_secs(3 * 24 * 60 * 60);

const HOUR_MICROS: i64 = 60 * 60 * 1_000_000;

/// A product and the units sold in the [`POPULAR_WINDOW`].
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct Popular {
    pub product_id: ProductId,
    /// Units paid for, less the refunded units.
    pub sold: i64,
}

/// The sales of a day of the shop.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct SalesDay {
    pub date: NaiveDate,
    /// Orders placed on this day, with any outcome.
    pub orders: i64,
    /// Payments made on this day, whether refunded later or not.
    pub paid: i64,
    /// Revenue of the day's payments, after discounts.
    pub revenue: Money,
    /// Refunds on this day, of payments of any day.
    pub refunds: i64,
    /// Amount refunded on this day.
    pub refunded: Money,
}

/// Figures of a coupon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CouponFigures {
    pub coupon_id: CouponId,
    pub name: String,
    /// Total number of issues.
    pub issued: i64,
    /// By day of the shop, oldest first; days without any are left out.
    pub days: Vec<CouponDay>,
}

/// How many of a coupon were issued on a day of the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CouponDay {
    pub date: NaiveDate,
    pub issued: i64,
}

/// Sums to be added to a day's sales.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct SalesSums {
    pub orders: i64,
    pub paid: i64,
    pub revenue: Money,
    pub refunds: i64,
    pub refunded: Money,
}

/// Sums of a batch of events, in key order.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub products: BTreeMap<(Time, ProductId), i64>,
    pub sales: BTreeMap<NaiveDate, SalesSums>,
    pub coupons: BTreeMap<(CouponId, NaiveDate), (String, i64)>,
}

impl Sums {
    pub(super) fn order(&mut self, order: &OrderCreated) {
        self.day(order.created_at).orders += 1;
    }

    pub(super) fn pay(&mut self, payment: &PaymentCompleted) -> Result<(), MoneyError> {
        let day = self.day(payment.paid_at);
        day.paid += 1;
        day.revenue = day.revenue.add(payment.amount)?;
        self.sell(payment.paid_at, &payment.lines, 1)
    }

    /// Subtracts refunded units from the hour of the sale, so that a refund leaves no trace among the popular
    /// products.
    pub(super) fn refund(&mut self, refund: &PaymentRefunded) -> Result<(), MoneyError> {
        let day = self.day(refund.refunded_at);
        day.refunds += 1;
        day.refunded = day.refunded.add(refund.amount)?;
        self.sell(refund.paid_at, &refund.lines, -1)
    }

    pub(super) fn issue(&mut self, coupon: CouponIssued) {
        let key = (coupon.coupon_id, day_of(coupon.issued_at));
        self.coupons.entry(key).or_insert((coupon.coupon_name, 0)).1 += 1;
    }

    fn sell(&mut self, at: Time, lines: &[OrderLine], sign: i64) -> Result<(), MoneyError> {
        for line in lines {
            let sold = self.products.entry((hour_of(at), line.product_id)).or_default();
            *sold = sold.checked_add(sign * line.quantity).ok_or(MoneyError::OutOfRange)?;
        }
        Ok(())
    }

    fn day(&mut self, at: Time) -> &mut SalesSums {
        self.sales.entry(day_of(at)).or_default()
    }
}

/// Returns the beginning of the hour.
pub(super) fn hour_of(at: Time) -> Time {
    let micros = at.micros();
    Time::from_micros(micros - micros.rem_euclid(HOUR_MICROS)).unwrap_or(at)
}
