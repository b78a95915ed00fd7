use contracts::events::DeliveryStatus;
use order::OrderError;

/// Why a delivery was not changed.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// There is none of this id.
    #[error("no such delivery")]
    NotFound,
    /// It has another status than the step needs.
    #[error("the delivery is {status}")]
    State { status: DeliveryStatus },
    /// Its order is not paid any more: it was refunded.
    #[error("the order of the delivery is closed")]
    OrderClosed,
    /// The order did not take it.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The database.
    #[error(transparent)]
    Database(#[from] db::Error),
}
