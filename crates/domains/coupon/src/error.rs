//! Errors of the coupon domain.

use contracts::{CouponId, Money, MoneyError};

use crate::model::OwnedStatus;

/// The caller can act on each variant.
#[derive(Debug, thiserror::Error)]
pub enum CouponError {
    /// A value outside the rules for coupons.
    #[error("{field} {reason}")]
    Invalid { field: &'static str, reason: &'static str },
    /// The coupon is unknown, or belongs to another member.
    #[error("no such coupon")]
    NotFound,
    /// The coupon is reserved for another order, used, or expired.
    #[error("the coupon is {status}")]
    NotAvailable { status: OwnedStatus },
    /// The order is too small for the coupon.
    #[error("the coupon is for orders of {min_order} and more")]
    BelowMinimum { min_order: Money },
    /// The order does not hold the coupon.
    #[error("the coupon is not held by this order")]
    NotHeld,
    /// Another unit issued the coupon while this batch was decided: decide the batch again.
    #[error("coupon {0} was issued by somebody else at the same time")]
    Contended(CouponId),
    #[error(transparent)]
    Money(#[from] MoneyError),
    #[error(transparent)]
    Database(#[from] db::Error),
}
