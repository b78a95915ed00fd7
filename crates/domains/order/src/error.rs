//! Errors of the order domain.

use crate::model::{OrderStatus, UnpaidLimit};

/// Refusal to place or change an order; the unit then keeps nothing.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// A value is invalid in any state.
    #[error("{field} {rule}")]
    Invalid {
        /// Field name of the API.
        field: &'static str,
        /// Rule for the value: continues the sentence after the field's name.
        rule: &'static str,
    },
    /// The member has no such order.
    #[error("there is no such order")]
    NotFound,
    /// The order's state does not allow the step.
    #[error("the order is {status}{}", if *.shipped { " and shipped" } else { "" })]
    State {
        /// Status of the order; an overdue order counts as expired even before the expiry ran.
        status: OrderStatus,
        /// True if the order was shipped and can no longer be refunded.
        shipped: bool,
    },
    /// The order would give the member too many unpaid orders, or too many units in unpaid orders.
    #[error("unpaid orders hold {units} units in {orders} orders; at most {} units in {} orders", .limit.units, .limit.orders)]
    TooManyUnpaid {
        /// Number of the member's other unpaid orders.
        orders: usize,
        /// Units in the unpaid orders.
        units: i64,
        limit: UnpaidLimit,
    },
    #[error(transparent)]
    Database(#[from] db::Error),
}
