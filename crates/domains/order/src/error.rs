//! Why an order was not placed or changed.

use crate::model::OrderStatus;

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
    #[error(transparent)]
    Database(#[from] db::Error),
}
