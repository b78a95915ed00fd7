//! Campaigns, discounts, owned coupons, and outcomes of requests.

use contracts::{CouponId, MemberId, Money, MoneyError, OrderId, OwnedCouponId, RequestId};
use db::text::Line;
use db::types::Time;
use rust_decimal::Decimal;
use std::time::Duration;

use crate::error::CouponError;

/// Discount of a coupon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discount {
    /// So many percent, over 0 and up to 100, with two digits after the point at most; never more than `max_discount`.
    Percent { percent: Decimal, max_discount: Option<Money> },
    /// A fixed amount.
    Amount(Money),
}

impl Discount {
    /// Returns the discount for an order of `total`: rounded down to the minor unit, and never more than `total`.
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
    /// Minimum total for the use of the coupon.
    pub min_order: Money,
    /// Number of coupons.
    pub quantity: i64,
    /// Time of the opening for requests; from the start if `None`.
    pub opens_at: Option<Time>,
    /// Time of the closing for requests, exclusive; without end if `None`.
    pub closes_at: Option<Time>,
    /// Validity of an issued coupon in days of 24 hours; without end if `None`.
    pub valid_days: Option<i32>,
}

/// Rule for the name of a campaign.
pub const NAME: Line = Line::new(100, "must have 1 to 100 characters");
/// Ten years.
const MAX_VALID_DAYS: i32 = 3_650;

impl NewCoupon {
    /// Returns the name as it is kept.
    ///
    /// # Errors
    /// [`CouponError::Invalid`]
    pub(crate) fn kept_name(&self) -> Result<String, CouponError> {
        NAME.kept(&self.name).map_err(|reason| CouponError::Invalid { field: "name", reason })
    }

    /// # Errors
    /// [`CouponError::Invalid`] names the field.
    pub(crate) fn check(&self) -> Result<(), CouponError> {
        let refused = |field, reason| Err(CouponError::Invalid { field, reason });
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

/// A campaign: a number of coupons for the first members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coupon {
    pub id: CouponId,
    pub name: String,
    pub discount: Discount,
    /// Minimum total for the use of the coupon.
    pub min_order: Money,
    pub quantity: i64,
    pub issued: i64,
    pub opens_at: Option<Time>,
    pub closes_at: Option<Time>,
    /// Validity in days of 24 hours.
    pub valid_days: Option<i32>,
    pub created_at: Time,
}

/// Availability of a coupon for requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    Open,
    NotYetOpen,
    Closed,
    SoldOut,
}

impl Coupon {
    /// Returns the number of coupons left.
    pub fn remaining(&self) -> i64 {
        self.quantity - self.issued
    }

    /// Returns the availability for requests at `now`.
    pub fn availability(&self, now: Time) -> Availability {
        match self.closed_at(now) {
            Some(RejectReason::NotYetOpen) => Availability::NotYetOpen,
            Some(_) => Availability::Closed,
            None if self.remaining() <= 0 => Availability::SoldOut,
            None => Availability::Open,
        }
    }

    /// Returns the reason against a request at `time`: too early or too late.
    pub(crate) fn closed_at(&self, time: Time) -> Option<RejectReason> {
        if self.opens_at.is_some_and(|opens| time < opens) {
            Some(RejectReason::NotYetOpen)
        } else if self.closes_at.is_some_and(|closes| time >= closes) {
            Some(RejectReason::Closed)
        } else {
            None
        }
    }

    /// Returns the discount for an order of `total`.
    ///
    /// # Errors
    /// [`CouponError::BelowMinimum`], [`CouponError::Money`]
    pub fn discount_of(&self, total: Money) -> Result<Money, CouponError> {
        if total < self.min_order {
            return Err(CouponError::BelowMinimum { min_order: self.min_order });
        }
        Ok(self.discount.of(total)?)
    }

    /// Returns the end of validity of a coupon issued at `now`.
    pub(crate) fn expiry(&self, now: Time) -> Option<Time> {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        self.valid_days.map(|days| now + DAY * days.unsigned_abs())
    }
}

db::text_enum!(
    /// Status of a member's coupon.
    OwnedStatus {
        /// Ready for use.
        Available => "available",
        /// Taken by an unpaid order.
        Reserved => "reserved",
        /// Paid with.
        Used => "used",
        /// Expired before use; computed from `expires_at` and never stored.
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
    /// The order with the coupon, reserved or used.
    pub order_id: Option<OrderId>,
    pub issued_at: Time,
    pub expires_at: Option<Time>,
}

impl OwnedStatus {
    /// Returns the status at `now`, from the stored status.
    pub(crate) fn at(self, expires_at: Option<Time>, now: Time) -> Self {
        match self {
            Self::Available if expires_at.is_some_and(|expires| expires <= now) => Self::Expired,
            other => other,
        }
    }
}

db::text_enum!(
    /// Outcome of a request for a first-come coupon.
    IssueStatus {
        /// The request won a coupon.
        Issued => "issued",
        /// All coupons were gone.
        SoldOut => "sold_out",
        /// The member already has the coupon.
        Duplicate => "duplicate",
        /// The request could not take part.
        Rejected => "rejected",
    }
);

db::text_enum!(
    /// Reason against a request's part in the draw.
    RejectReason {
        /// The coupon does not exist.
        UnknownCoupon => "unknown-coupon",
        /// The request came before the opening.
        NotYetOpen => "not-yet-open",
        /// The request came after the closing.
        Closed => "closed",
    }
);

/// A decided request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssueRequest {
    pub request_id: RequestId,
    pub coupon_id: CouponId,
    pub member_id: MemberId,
    /// Position of the request in the event log.
    pub position: i64,
    pub status: IssueStatus,
    /// The member's coupon: won by this request, or by an earlier request.
    pub owned_coupon_id: Option<OwnedCouponId>,
    /// Position of the winning request: `position`, or less for a duplicate.
    pub won_position: Option<i64>,
    pub reason: Option<RejectReason>,
    pub requested_at: Time,
    pub handled_at: Time,
}

/// Comparison of the issued coupons with the requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciliation {
    /// Number of coupons to issue.
    pub limit: i64,
    /// Coupons in members' hands.
    pub issued: i64,
    /// Number of members with the coupon.
    pub distinct_members: i64,
    /// True if the owners are exactly the first distinct members in the order of the log.
    pub in_log_order: bool,
    /// True if all of this, the campaign's counter, and the results of the requests agree.
    pub consistent: bool,
}
