//! Errors of the payment domain.

use contracts::Money;

/// Refusal to move money; the unit then keeps nothing.
#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    /// A value is invalid in any state.
    #[error("{field} {rule}")]
    Invalid {
        /// Field name of the API.
        field: &'static str,
        /// Rule for the value: continues the sentence after the field's name.
        rule: &'static str,
    },
    /// The wallet holds less than the amount.
    #[error("the balance is {balance}, {needed} is needed")]
    InsufficientBalance { balance: Money, needed: Money },
    /// A charge would bring the wallet over [`crate::MAX_BALANCE`].
    #[error("the wallet cannot hold that much")]
    WalletFull,
    /// The order is already paid.
    #[error("the order is paid already")]
    AlreadyPaid,
    /// The order has no payment to give back.
    #[error("the order is not paid")]
    NotPaid,
    /// The payment was given back already.
    #[error("the payment is refunded already")]
    AlreadyRefunded,
    #[error(transparent)]
    Database(#[from] db::Error),
}
