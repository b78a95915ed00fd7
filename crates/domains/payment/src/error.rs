//! Why no money moved.

use contracts::Money;

/// Why no money moved; in every case nothing of the unit is kept.
#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    /// A value is not acceptable, whatever the state.
    #[error("{field} {rule}")]
    Invalid {
        /// As the API names it.
        field: &'static str,
        /// What it must be: reads on from the field's name.
        rule: &'static str,
    },
    /// There is less in the wallet than is to be paid.
    #[error("the balance is {balance}, {needed} is needed")]
    InsufficientBalance { balance: Money, needed: Money },
    /// A charge would bring the wallet over [`crate::MAX_BALANCE`].
    #[error("the wallet cannot hold that much")]
    WalletFull,
    /// The order has its payment already.
    #[error("the order is paid already")]
    AlreadyPaid,
    /// There is no payment to give back.
    #[error("the order is not paid")]
    NotPaid,
    /// The payment was given back already.
    #[error("the payment is refunded already")]
    AlreadyRefunded,
    #[error(transparent)]
    Database(#[from] db::Error),
}
