//! What a coupon is, what it takes off an order, and how requests for it end.

use contracts::{CouponId, MemberId, Money, MoneyError, OrderId, OwnedCouponId, RequestId};
use db::types::Time;
use rust_decimal::Decimal;
use std::time::Duration;

use crate::error::CouponError;

/// What a coupon takes off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discount {
    /// So many percent, over 0 and up to 100, with two digits after the point at most; never more than `max_discount`.
    Percent { percent: Decimal, max_discount: Option<Money> },
    /// A fixed amount.
    Amount(Money),
}

impl Discount {
    /// What it takes off an order of `total`: rounded down to the minor unit, and never more than `total`.
    ///
    /// # Errors
    /// [`MoneyError::OutOfRange`]
    pub fn of(&self, total: Money) -> Result<Money, MoneyError> {
        let discount = match self {
            Self::Percent { percent, max_discount } => {
                let share = total.percent(*percent)?;
                max_discount.map_or(share, |most| share.min(most))
            }
            Self::Amount(amount) => *amount,
        };
        Ok(discount.min(total).max(Money::ZERO))
    }

    fn check(&self) -> Result<(), CouponError> {
        let refused = |field, reason| Err(CouponError::Invalid { field, reason });
        match self {
            Self::Percent { percent, .. } if *percent <= Decimal::ZERO || *percent > Decimal::ONE_HUNDRED => {
                refused("discount.percent", "is not over 0 and up to 100")
            }
            Self::Percent { percent, .. } if percent.normalize().scale() > 2 => {
                refused("discount.percent", "has more than two digits after the point")
            }
            Self::Percent { max_discount: Some(most), .. } if !most.is_positive() => {
                refused("discount.max_discount", "is not more than nothing")
            }
            Self::Amount(amount) if !amount.is_positive() => refused("discount.amount", "is not more than nothing"),
            _ => Ok(()),
        }
    }
}

/// A campaign to be.
#[derive(Debug, Clone)]
pub struct NewCoupon {
    pub name: String,
    pub discount: Discount,
    /// The least total that it applies to.
    pub min_order: Money,
    /// How many there are.
    pub quantity: i64,
    /// From here on it can be asked for; from the start if `None`.
    pub opens_at: Option<Time>,
    /// Until just before here it can be asked for; without end if `None`.
    pub closes_at: Option<Time>,
    /// How many days of 24 hours an issued coupon can be used; without end if `None`.
    pub valid_days: Option<i32>,
}

/// In characters.
const MAX_NAME: usize = 100;
/// Ten years.
const MAX_VALID_DAYS: i32 = 3_650;

impl NewCoupon {
    /// # Errors
    /// [`CouponError::Invalid`] names the field.
    pub(crate) fn check(&self) -> Result<(), CouponError> {
        let refused = |field, reason| Err(CouponError::Invalid { field, reason });
        let name = self.name.trim();
        if name.is_empty() || name.chars().count() > MAX_NAME {
            return refused("name", "is empty or longer than 100 characters");
        }
        if self.min_order < Money::ZERO {
            return refused("min_order", "is less than nothing");
        }
        if self.quantity < 1 {
            return refused("quantity", "is not more than nothing");
        }
        if self.opens_at.zip(self.closes_at).is_some_and(|(opens, closes)| closes <= opens) {
            return refused("closes_at", "is not after opens_at");
        }
        if self.valid_days.is_some_and(|days| !(1..=MAX_VALID_DAYS).contains(&days)) {
            return refused("valid_days", "is not between 1 and 3650");
        }
        self.discount.check()
    }
}

/// A campaign: so many coupons, for those who come first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coupon {
    pub id: CouponId,
    pub name: String,
    pub discount: Discount,
    /// The least total that it applies to.
    pub min_order: Money,
    pub quantity: i64,
    pub issued: i64,
    pub opens_at: Option<Time>,
    pub closes_at: Option<Time>,
    /// Of 24 hours.
    pub valid_days: Option<i32>,
    pub created_at: Time,
}

/// True if a coupon can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    Open,
    NotYetOpen,
    Closed,
    SoldOut,
}

impl Coupon {
    /// How many are left.
    pub fn remaining(&self) -> i64 {
        self.quantity - self.issued
    }

    /// Returns true if it can be asked for at `now`.
    pub fn availability(&self, now: Time) -> Availability {
        match self.closed_at(now) {
            Some(RejectReason::NotYetOpen) => Availability::NotYetOpen,
            Some(_) => Availability::Closed,
            None if self.remaining() <= 0 => Availability::SoldOut,
            None => Availability::Open,
        }
    }

    /// Why a request made at `time` is too early or too late.
    pub(crate) fn closed_at(&self, time: Time) -> Option<RejectReason> {
        if self.opens_at.is_some_and(|opens| time < opens) {
            Some(RejectReason::NotYetOpen)
        } else if self.closes_at.is_some_and(|closes| time >= closes) {
            Some(RejectReason::Closed)
        } else {
            None
        }
    }

    /// What it takes off an order of `total`.
    ///
    /// # Errors
    /// [`CouponError::BelowMinimum`], [`CouponError::Money`]
    pub fn discount_of(&self, total: Money) -> Result<Money, CouponError> {
        if total < self.min_order {
            return Err(CouponError::BelowMinimum { min_order: self.min_order });
        }
        Ok(self.discount.of(total)?)
    }

    /// Until when one that is issued at `now` can be used.
    pub(crate) fn expiry(&self, now: Time) -> Option<Time> {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        self.valid_days.map(|days| now + DAY * days.unsigned_abs())
    }
}

db::text_enum!(
    /// How far a member's coupon is.
    OwnedStatus {
        /// To be used.
        Available => "available",
        /// Taken by an order that is not paid yet.
        Reserved => "reserved",
        /// Paid with.
        Used => "used",
        /// Not used in time; follows from `expires_at` and is never stored.
        Expired => "expired",
    }
);

/// A coupon in a member's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedCoupon {
    pub id: OwnedCouponId,
    pub coupon_id: CouponId,
    pub name: String,
    pub status: OwnedStatus,
    pub discount: Discount,
    pub min_order: Money,
    /// The order that holds it, or that it was used for.
    pub order_id: Option<OrderId>,
    pub issued_at: Time,
    pub expires_at: Option<Time>,
}

impl OwnedStatus {
    /// As it shows at `now`, out of what is stored.
    pub(crate) fn at(self, expires_at: Option<Time>, now: Time) -> Self {
        match self {
            Self::Available if expires_at.is_some_and(|expires| expires <= now) => Self::Expired,
            other => other,
        }
    }
}

db::text_enum!(
    /// How a request for a first-come coupon ended.
    IssueStatus {
        /// It won a coupon.
        Issued => "issued",
        /// All were gone.
        SoldOut => "sold_out",
        /// The member has one already.
        Duplicate => "duplicate",
        /// It could not take part.
        Rejected => "rejected",
    }
);

db::text_enum!(
    /// Why a request could not take part.
    RejectReason {
        /// There is no such coupon.
        UnknownCoupon => "unknown-coupon",
        /// It was made before the coupon opened.
        NotYetOpen => "not-yet-open",
        /// It was made after the coupon closed.
        Closed => "closed",
    }
);

/// A request that was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssueRequest {
    pub request_id: RequestId,
    pub coupon_id: CouponId,
    pub member_id: MemberId,
    /// Where the request is in the event log.
    pub position: i64,
    pub status: IssueStatus,
    /// What the member has: won by this request, or by an earlier one.
    pub owned_coupon_id: Option<OwnedCouponId>,
    /// Where the request that won it is: `position`, or less for a duplicate.
    pub won_position: Option<i64>,
    pub reason: Option<RejectReason>,
    pub requested_at: Time,
    pub handled_at: Time,
}

/// What the data says about how a coupon was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciliation {
    /// How many there are to issue.
    pub limit: i64,
    /// Coupons in members' hands.
    pub issued: i64,
    /// Members who have one.
    pub distinct_members: i64,
    /// True if the owners are just the first distinct members who took part, in the order of the log.
    pub in_log_order: bool,
    /// True if all of this, the campaign's counter, and the results of the requests agree.
    pub consistent: bool,
}
