//! Why stock or a product was not changed.

use contracts::ProductId;

/// Why stock or a product was not changed; in every case nothing of the unit is kept.
#[derive(Debug, thiserror::Error)]
pub enum StockError {
    /// A value is not acceptable, whatever the state.
    #[error("{field} {rule}")]
    Invalid {
        /// As the API names it.
        field: &'static str,
        /// What it must be: reads on from the field's name.
        rule: &'static str,
    },
    /// There is no such product.
    #[error("there is no product {product}")]
    Unknown { product: ProductId },
    /// The product is in the catalogue, but not sold at present.
    #[error("{name:?} is not on sale")]
    NotOnSale { product: ProductId, name: String },
    /// Fewer units are available than wanted, or than are to be taken away.
    #[error("only {available} of {name:?} are available, {wanted} are wanted")]
    Insufficient { product: ProductId, name: String, available: i64, wanted: i64 },
    /// More units than are kept of one product: [`crate::MAX_UNITS`].
    #[error("product {product} would have more units than can be kept")]
    TooMany { product: ProductId },
    #[error(transparent)]
    Database(#[from] db::Error),
}
