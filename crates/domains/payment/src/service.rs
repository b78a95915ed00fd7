//! Money in, out, and back.

use contracts::events::{OrderLine, PaymentCompleted, PaymentRefunded};
use contracts::{MemberId, Money, OrderId, PaymentId};
use db::Tx;
use db::types::Id;

use crate::error::PaymentError;
use crate::model::{Charge, Payment, TransactionKind, WalletTransaction, valid_charge};
use crate::store;

/// Adds `amount` to the member's wallet. Returns the new balance.
///
/// # Errors
/// [`PaymentError::Invalid`], [`PaymentError::WalletFull`]
pub fn charge(tx: &mut Tx<'_>, member: MemberId, amount: Money) -> Result<Money, PaymentError> {
    valid_charge(amount)?;
    let balance_after = store::charge(tx, member, amount)?.ok_or(PaymentError::WalletFull)?;
    let entry = transaction(tx, TransactionKind::Charge, amount, balance_after, None)?;
    store::insert_transaction(tx, member, &entry)?;
    Ok(balance_after)
}

/// Pays an order from the member's wallet.
///
/// The caller has changed the order's row in this unit: the event's key is the order.
///
/// # Errors
/// [`PaymentError::InsufficientBalance`], [`PaymentError::AlreadyPaid`], [`PaymentError::Invalid`]
pub fn pay(tx: &mut Tx<'_>, charge: &Charge) -> Result<Payment, PaymentError> {
    if charge.amount < Money::ZERO {
        return Err(PaymentError::Invalid { field: "amount", rule: "must not be negative" });
    }
    let balance_after = take(tx, charge.member_id, charge.amount)?;
    let entry = transaction(tx, TransactionKind::Payment, charge.amount, balance_after, Some(charge.order_id))?;
    if !store::insert_transaction(tx, charge.member_id, &entry)? {
        return Err(PaymentError::AlreadyPaid);
    }
    let payment = Payment {
        id: PaymentId(entry.id.0),
        order_id: charge.order_id,
        member_id: charge.member_id,
        amount: charge.amount,
        paid_at: entry.at,
        refunded_at: None,
    };
    let event = PaymentCompleted {
        payment_id: payment.id,
        order_id: charge.order_id,
        order_version: charge.order_version,
        member_id: charge.member_id,
        lines: charge.lines.clone(),
        total: charge.total,
        discount: charge.discount,
        amount: charge.amount,
        paid_at: payment.paid_at,
    };
    messaging::emit(tx, &event)?;
    Ok(payment)
}

/// Takes `amount` out of the wallet. Returns the new balance.
fn take(tx: &mut Tx<'_>, member: MemberId, amount: Money) -> Result<Money, PaymentError> {
    if let Some(balance) = store::take(tx, member, amount)? {
        return Ok(balance);
    }
    if amount == Money::ZERO {
        // nothing to pay, by a member who never charged
        store::open_wallet(tx, member)?;
        return Ok(store::balance(tx, member)?);
    }
    Err(PaymentError::InsufficientBalance { balance: store::balance(tx, member)?, needed: amount })
}

/// Gives an order's payment back into the paying wallet.
///
/// The caller has changed the order's row in this unit, to `order_version`: the event's key is the order.
///
/// # Errors
/// [`PaymentError::NotPaid`], [`PaymentError::AlreadyRefunded`]
pub fn refund(
    tx: &mut Tx<'_>,
    order_id: OrderId,
    order_version: i64,
    lines: &[OrderLine],
) -> Result<Payment, PaymentError> {
    let mut payment = store::payment_of(tx, order_id)?.ok_or(PaymentError::NotPaid)?;
    if payment.refunded_at.is_some() {
        return Err(PaymentError::AlreadyRefunded);
    }
    let balance_after = store::give_back(tx, payment.member_id, payment.amount)?;
    let entry = transaction(tx, TransactionKind::Refund, payment.amount, balance_after, Some(order_id))?;
    if !store::insert_transaction(tx, payment.member_id, &entry)? {
        return Err(PaymentError::AlreadyRefunded);
    }
    payment.refunded_at = Some(entry.at);
    let event = PaymentRefunded {
        payment_id: payment.id,
        order_id,
        order_version,
        member_id: payment.member_id,
        lines: lines.to_vec(),
        amount: payment.amount,
        paid_at: payment.paid_at,
        refunded_at: entry.at,
    };
    messaging::emit(tx, &event)?;
    Ok(payment)
}

/// Builds a transaction while the wallet's row is locked, so that a wallet's ids are in the order of the balances.
fn transaction(
    tx: &mut Tx<'_>,
    kind: TransactionKind,
    amount: Money,
    balance_after: Money,
    order_id: Option<OrderId>,
) -> db::Result<WalletTransaction> {
    Ok(WalletTransaction { id: Id::new(), kind, amount, balance_after, at: tx.now()?, order_id })
}
