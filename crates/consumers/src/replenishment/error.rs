use stock::StockError;

/// Refusal to receive a purchase order.
#[derive(Debug, thiserror::Error)]
pub enum ReplenishmentError {
    /// There is no purchase order with this id.
    #[error("no such purchase order")]
    NotFound,
    /// The purchase order was already received.
    #[error("the purchase order was already received")]
    AlreadyReceived,
    /// Stock did not take the goods.
    #[error(transparent)]
    Stock(#[from] StockError),
    /// The database.
    #[error(transparent)]
    Database(#[from] db::Error),
}
