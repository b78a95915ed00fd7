//! The figures of a day.

use chrono::NaiveDate;
use contracts::events::{PaymentCompleted, PaymentRefunded};
use contracts::{Money, MoneyError};

/// What a day brought. A payment counts on the day of the shop it was made, a refund on the day it was given back, which
/// may be another: the figures of a day that is over no longer change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    pub date: NaiveDate,
    /// Sum of the day's payments before discounts.
    pub gross: Money,
    /// Discounts on the day's payments.
    pub discount: Money,
    /// Refunds on this day, of payments of any day.
    pub refunded: Money,
    /// `gross` less `discount` and `refunded`; below zero when more was given back than came in.
    pub net: Money,
    /// Payments made on this day, whether refunded later or not.
    pub payments: i64,
}

/// Sums to be added to a day.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sums {
    pub gross: Money,
    pub discount: Money,
    pub refunded: Money,
    pub payments: i64,
}

impl Sums {
    pub(super) fn pay(&mut self, payment: &PaymentCompleted) -> Result<(), MoneyError> {
        self.gross = self.gross.add(payment.total)?;
        self.discount = self.discount.add(payment.discount)?;
        self.payments += 1;
        Ok(())
    }

    pub(super) fn refund(&mut self, refund: &PaymentRefunded) -> Result<(), MoneyError> {
        self.refunded = self.refunded.add(refund.amount)?;
        Ok(())
    }

    /// Returns the figures of `date`.
    pub(super) fn of(self, date: NaiveDate) -> Result<Day, MoneyError> {
        let Self { gross, discount, refunded, payments } = self;
        let net = gross.subtract(discount)?.subtract(refunded)?;
        Ok(Day { date, gross, discount, refunded, net, payments })
    }
}
