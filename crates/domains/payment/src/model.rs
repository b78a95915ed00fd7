//! Wallets, their transactions, and payments.

use contracts::events::OrderLine;
use contracts::{MemberId, Money, OrderId, PaymentId};
use db::types::{Id, Time};

use crate::error::PaymentError;

/// Maximum amount of one charge.
pub const MAX_CHARGE: Money = Money::from_minor(1_000_000_000_000);
/// Maximum balance after a charge. Far enough from 64 bits for any refunds.
pub const MAX_BALANCE: Money = Money::from_minor(1_000_000_000_000_000);

db::text_enum!(
    /// Kind of a change of a balance.
    TransactionKind {
        /// The member brought money in.
        Charge => "charge",
        /// An order was paid.
        Payment => "payment",
        /// A payment was given back.
        Refund => "refund",
    }
);

/// A change of a wallet's balance, and the new balance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletTransaction {
    pub id: Id,
    pub kind: TransactionKind,
    /// Amount, never negative: a payment subtracts, a charge or a refund adds.
    pub amount: Money,
    pub balance_after: Money,
    pub at: Time,
    /// The paid or refunded order; `None` for a charge.
    pub order_id: Option<OrderId>,
}

/// An order's payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Id of the payment and of the wallet transaction.
    pub id: PaymentId,
    pub order_id: OrderId,
    pub member_id: MemberId,
    pub amount: Money,
    pub paid_at: Time,
    pub refunded_at: Option<Time>,
}

/// An order to be paid in this unit. The order's row was changed in the same unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    pub order_id: OrderId,
    /// Version of the paid order.
    pub order_version: i64,
    pub member_id: MemberId,
    pub lines: Vec<OrderLine>,
    /// Total before the discount.
    pub total: Money,
    pub discount: Money,
    /// Amount to take from the wallet.
    pub amount: Money,
}

pub(crate) fn valid_charge(amount: Money) -> Result<(), PaymentError> {
    if !amount.is_positive() || amount > MAX_CHARGE {
        return Err(PaymentError::Invalid { field: "amount", rule: "must be from 1 to 1000000000000 minor units" });
    }
    Ok(())
}
