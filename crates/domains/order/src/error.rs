//! Why an order was not placed or changed.

use crate::model::{OrderStatus, UnpaidLimit};

/// Why an order was not placed or changed; in every case nothing of the unit is kept.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// A value is not acceptable, whatever the state.
    #[error("{field} {rule}")]
    Invalid {
        /// As the API names it.
        field: &'static str,
        /// What it must be: reads on from the field's name.
        rule: &'static str,
    },
    /// There is no such order of this member's.
    #[error("there is no such order")]
    NotFound,
    /// The order is past the point where that can be done.
    #[error("the order is {status}{}", if *.shipped { " and shipped" } else { "" })]
    State {
        /// An order that is over its time counts as expired, even if nobody has done it yet.
        status: OrderStatus,
        /// It can no longer be refunded.
        shipped: bool,
    },
    /// With this order the member would have too many unpaid orders, or too many units in them.
    #[error("unpaid orders hold {units} units in {orders} orders; at most {} units in {} orders", .limit.units, .limit.orders)]
    TooManyUnpaid {
        /// Unpaid orders of the member before this one.
        orders: usize,
        /// Units in them.
        units: i64,
        limit: UnpaidLimit,
    },
    #[error(transparent)]
    Database(#[from] db::Error),
}
