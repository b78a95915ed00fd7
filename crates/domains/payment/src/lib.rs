//! Members' wallets and payments.
//!
//! A wallet's balance is the sum of the wallet's transactions. A payment is a transaction, at most one for each
//! order; a refund likewise.

mod error;
mod model;
mod schema;
mod service;
mod store;

pub use error::PaymentError;
pub use model::{Charge, MAX_BALANCE, MAX_CHARGE, Payment, TransactionKind, WalletTransaction};
pub use service::{charge, pay, refund};
pub use store::{WalletSum, balance, payment_of, sums, transactions};
