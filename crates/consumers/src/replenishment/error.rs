use stock::StockError;

/// Why a purchase order was not received.
#[derive(Debug, thiserror::Error)]
pub enum ReplenishmentError {
    /// There is none of this id.
    #[error("no such purchase order")]
    NotFound,
    /// It was received before.
    #[error("the purchase order was already received")]
    AlreadyReceived,
    /// Stock did not take the goods.
    #[error(transparent)]
    Stock(#[from] StockError),
    /// The database.
    #[error(transparent)]
    Database(#[from] db::Error),
}
