//! Why a coupon was not given, or does not apply.

use contracts::{CouponId, Money, MoneyError};

use crate::model::OwnedStatus;

/// Each case is one that the caller can act on.
#[derive(Debug, thiserror::Error)]
pub enum CouponError {
    /// A value that no coupon can have.
    #[error("{field} {reason}")]
    Invalid { field: &'static str, reason: &'static str },
    /// There is no such coupon, or it is another member's.
    #[error("no such coupon")]
    NotFound,
    /// It is reserved for another order, used, or expired.
    #[error("the coupon is {status}")]
    NotAvailable { status: OwnedStatus },
    /// The order is too small for it.
    #[error("the coupon is for orders of {min_order} and more")]
    BelowMinimum { min_order: Money },
    /// It is not held by the order.
    #[error("the coupon is not held by this order")]
    NotHeld,
    /// Units of the coupon were issued while this batch was decided: decide it again.
    #[error("coupon {0} was issued by somebody else at the same time")]
    Contended(CouponId),
    #[error(transparent)]
    Money(#[from] MoneyError),
    #[error(transparent)]
    Database(#[from] db::Error),
}
