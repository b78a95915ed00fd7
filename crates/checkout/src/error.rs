//! Refusals of use cases.

use coupon::CouponError;
use order::OrderError;
use payment::PaymentError;
use stock::StockError;

/// Refusal of a use case, with the error of the domain. Errors of the database come as one variant, from any domain.
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
