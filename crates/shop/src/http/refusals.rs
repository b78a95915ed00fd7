//! The problem document for each refusal of a domain.

use checkout::CheckoutError;
use consumers::delivery::DeliveryError;
use consumers::replenishment::ReplenishmentError;
use coupon::{CouponError, OwnedStatus};
use member::MemberError;
use order::OrderError;
use payment::PaymentError;
use stock::StockError;

use super::kinds;
use super::problem::Problem;

fn wrong_field(field: &str, rule: &str) -> Problem {
    Problem::new(&kinds::INVALID_REQUEST).field(field, rule)
}

impl From<MemberError> for Problem {
    fn from(error: MemberError) -> Self {
        match error {
            MemberError::EmailTaken => Problem::new(&kinds::EMAIL_TAKEN),
            MemberError::Invalid { field, reason } => wrong_field(field, reason),
            MemberError::NotFound => Problem::not_found("member"),
            MemberError::InvalidRefresh => Problem::new(&kinds::INVALID_REFRESH_TOKEN),
            MemberError::Database(error) => error.into(),
        }
    }
}

impl From<StockError> for Problem {
    fn from(error: StockError) -> Self {
        let detail = error.to_string();
        match error {
            StockError::Invalid { field, rule } => wrong_field(field, rule),
            StockError::Unknown { product } => {
                Problem::new(&kinds::NOT_FOUND).detail(detail).with("product_id", product)
            }
            StockError::NotOnSale { product, .. } => {
                Problem::new(&kinds::NOT_ON_SALE).detail(detail).with("product_id", product)
            }
            StockError::Insufficient { product, available, .. } => Problem::new(&kinds::INSUFFICIENT_STOCK)
                .detail(detail)
                .with("product_id", product)
                .with("available", available),
            StockError::TooMany { product } => {
                Problem::new(&kinds::STATE_CONFLICT).detail(detail).with("product_id", product)
            }
            StockError::Database(error) => error.into(),
        }
    }
}

impl From<PaymentError> for Problem {
    fn from(error: PaymentError) -> Self {
        let detail = error.to_string();
        match error {
            PaymentError::Invalid { field, rule } => wrong_field(field, rule),
            PaymentError::InsufficientBalance { balance, needed } => Problem::new(&kinds::INSUFFICIENT_BALANCE)
                .detail(detail)
                .with("balance", balance)
                .with("needed", needed),
            PaymentError::WalletFull => Problem::new(&kinds::STATE_CONFLICT).detail(detail),
            PaymentError::AlreadyPaid | PaymentError::NotPaid | PaymentError::AlreadyRefunded => {
                Problem::new(&kinds::ORDER_STATE).detail(detail)
            }
            PaymentError::Database(error) => error.into(),
        }
    }
}

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Self {
        let detail = error.to_string();
        match error {
            OrderError::Invalid { field, rule } => wrong_field(field, rule),
            OrderError::NotFound => Problem::not_found("order"),
            OrderError::TooManyUnpaid { orders, units, .. } => Problem::new(&kinds::TOO_MANY_UNPAID)
                .detail(detail)
                .with("unpaid_orders", orders)
                .with("unpaid_units", units),
            OrderError::State { status, .. } => {
                Problem::new(&kinds::ORDER_STATE).detail(detail).with("order_status", status)
            }
            OrderError::Database(error) => error.into(),
        }
    }
}

impl From<CouponError> for Problem {
    fn from(error: CouponError) -> Self {
        let detail = error.to_string();
        match error {
            CouponError::Invalid { field, reason } => wrong_field(field, reason),
            CouponError::NotFound => Problem::not_found("coupon"),
            CouponError::NotAvailable { status } => {
                let status: OwnedStatus = status;
                Problem::new(&kinds::COUPON_NOT_USABLE).detail(detail).with("coupon_status", status)
            }
            CouponError::BelowMinimum { min_order } => {
                Problem::new(&kinds::COUPON_NOT_USABLE).detail(detail).with("min_order", min_order)
            }
            CouponError::NotHeld => Problem::new(&kinds::COUPON_NOT_USABLE).detail(detail),
            // these two come up in the issuer, and in a discount over 64 bits: neither is the client's doing
            CouponError::Contended(_) | CouponError::Money(_) => Problem::internal(detail),
            CouponError::Database(error) => error.into(),
        }
    }
}

impl From<CheckoutError> for Problem {
    fn from(error: CheckoutError) -> Self {
        match error {
            // these two came in the body of the request, not in its path
            CheckoutError::Stock(error @ StockError::Unknown { .. }) => wrong_field("items", &error.to_string()),
            CheckoutError::Coupon(CouponError::NotFound) => wrong_field("coupon_id", "no such coupon"),
            CheckoutError::Order(error) => error.into(),
            CheckoutError::Coupon(error) => error.into(),
            CheckoutError::Stock(error) => error.into(),
            CheckoutError::Payment(error) => error.into(),
            CheckoutError::Database(error) => error.into(),
        }
    }
}

impl From<DeliveryError> for Problem {
    fn from(error: DeliveryError) -> Self {
        let detail = error.to_string();
        match error {
            DeliveryError::NotFound => Problem::not_found("delivery"),
            DeliveryError::State { status } => {
                Problem::new(&kinds::STATE_CONFLICT).detail(detail).with("delivery_status", status)
            }
            DeliveryError::OrderClosed => Problem::new(&kinds::STATE_CONFLICT).detail(detail),
            DeliveryError::Order(error) => error.into(),
            DeliveryError::Database(error) => error.into(),
        }
    }
}

impl From<ReplenishmentError> for Problem {
    fn from(error: ReplenishmentError) -> Self {
        match error {
            ReplenishmentError::NotFound => Problem::not_found("purchase order"),
            ReplenishmentError::AlreadyReceived => Problem::new(&kinds::STATE_CONFLICT).detail(error),
            ReplenishmentError::Stock(error) => error.into(),
            ReplenishmentError::Database(error) => error.into(),
        }
    }
}
