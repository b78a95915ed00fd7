//! Wallets, their transactions, and payments.

use contracts::events::OrderLine;
use contracts::{MemberId, Money, OrderId, PaymentId};
use db::types::{Id, Time};

use crate::error::PaymentError;

/// The most that is charged at once.
pub const MAX_CHARGE: Money = Money::from_minor(1_000_000_000_000);
/// The most that a charge may bring a wallet to. Far enough from 64 bits that refunds never reach them.
pub const MAX_BALANCE: Money = Money::from_minor(1_000_000_000_000_000);

db::text_enum!(
    /// What changed a balance.
    TransactionKind {
        /// The member brought money in.
        Charge => "charge",
        /// An order was paid.
        Payment => "payment",
        /// A payment was given back.
        Refund => "refund",
    }
);

/// What changed a wallet's balance, and to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletTransaction {
    pub id: Id,
    pub kind: TransactionKind,
    /// Never negative: a payment takes it away, a charge or a refund adds it.
    pub amount: Money,
    pub balance_after: Money,
    pub at: Time,
    /// What was paid for, or refunded; none for a charge.
    pub order_id: Option<OrderId>,
}

/// An order's payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// The id of its wallet transaction, too.
    pub id: PaymentId,
    pub order_id: OrderId,
    pub member_id: MemberId,
    pub amount: Money,
    pub paid_at: Time,
    pub refunded_at: Option<Time>,
}

/// An order that is to be paid now. Its row was changed in the same unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    pub order_id: OrderId,
    /// Of the order, paid.
    pub order_version: i64,
    pub member_id: MemberId,
    pub lines: Vec<OrderLine>,
    /// Before the discount.
    pub total: Money,
    pub discount: Money,
    /// What the wallet is to give.
    pub amount: Money,
}

pub(crate) fn valid_charge(amount: Money) -> Result<(), PaymentError> {
    if !amount.is_positive() || amount > MAX_CHARGE {
        return Err(PaymentError::Invalid { field: "amount", rule: "must be from 1 to 1000000000000 minor units" });
    }
    Ok(())
}
