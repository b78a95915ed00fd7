//! Members' wallets, and the payments made from them.
//!
//! A wallet's balance is the sum of its transactions. A payment is a transaction of a wallet, at most one an order,
//! and so is its refund.

mod error;
mod model;
mod schema;
mod service;
mod store;

pub use error::PaymentError;
pub use model::{Charge, MAX_BALANCE, MAX_CHARGE, Payment, TransactionKind, WalletTransaction};
pub use service::{charge, pay, refund};
pub use store::{WalletSum, balance, payment_of, sums, transactions};
