use contracts::events::DeliveryStatus;
use order::OrderError;

/// Refusal to change a delivery.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// There is no delivery with this id.
    #[error("no such delivery")]
    NotFound,
    /// The delivery's status does not allow the step.
    #[error("the delivery is {status}")]
    State { status: DeliveryStatus },
    /// The order is no longer paid: the order was refunded.
    #[error("the order of the delivery is closed")]
    OrderClosed,
    /// The order refused the step.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The database.
    #[error(transparent)]
    Database(#[from] db::Error),
}
