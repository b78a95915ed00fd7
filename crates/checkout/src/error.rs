//! Why a use case was refused.

use coupon::CouponError;
use order::OrderError;
use payment::PaymentError;
use stock::StockError;

/// Why a use case was refused: what the domain in question said. The database's own errors come as one variant,
/// whichever domain they came up in.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    #[error(transparent)]
    Order(OrderError),
    #[error(transparent)]
    Coupon(CouponError),
    #[error(transparent)]
    Stock(StockError),
    #[error(transparent)]
    Payment(PaymentError),
    #[error(transparent)]
    Database(#[from] db::Error),
}

macro_rules! from_domain {
    ($($variant:ident($error:ident)),*) => {$(
        impl From<$error> for CheckoutError {
            fn from(error: $error) -> Self {
                match error {
                    $error::Database(error) => Self::Database(error),
                    refusal => Self::$variant(refusal),
                }
            }
        }
    )*};
}
from_domain!(Order(OrderError), Coupon(CouponError), Stock(StockError), Payment(PaymentError));
