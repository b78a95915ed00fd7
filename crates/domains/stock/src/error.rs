//! Errors of the stock domain.

use contracts::ProductId;

/// Refusal to change stock or a product; the unit then keeps nothing.
#[derive(Debug, thiserror::Error)]
pub enum StockError {
    /// A value is invalid in any state.
    #[error("{field} {rule}")]
    Invalid {
        /// Field name of the API.
        field: &'static str,
        /// Rule for the value: continues the sentence after the field's name.
        rule: &'static str,
    },
    /// The product does not exist.
    #[error("there is no product {product}")]
    Unknown { product: ProductId },
    /// The product is in the catalogue, but not sold at present.
    #[error("{name:?} is not on sale")]
    NotOnSale { product: ProductId, name: String },
    /// Fewer units are available than wanted, or than are to be taken away.
    #[error("only {available} of {name:?} are available, {wanted} are wanted")]
    Insufficient { product: ProductId, name: String, available: i64, wanted: i64 },
    /// More units of one product than allowed: [`crate::MAX_UNITS`].
    #[error("product {product} would have more units than can be kept")]
    TooMany { product: ProductId },
    #[error(transparent)]
    Database(#[from] db::Error),
}
