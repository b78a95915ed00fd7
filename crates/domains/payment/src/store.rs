//! The SQL of wallets.

use contracts::{MemberId, Money, OrderId, PaymentId};
use db::types::{Id, Time};
use db::{Conn, MultiBackend, Prepare, on_each};
use diesel::prelude::*;
use diesel::upsert::excluded;

use crate::model::{MAX_BALANCE, Payment, TransactionKind, WalletTransaction};
use crate::schema::{wallet, wallet_transaction};

/// Returns the balance of the member's wallet; zero without a wallet.
///
/// # Errors
/// Any error of the database.
pub fn balance(conn: &mut Conn, member: MemberId) -> db::Result<Money> {
    let balance = wallet::table.find(member).select(wallet::balance).first(conn).optional()?;
    Ok(balance.unwrap_or(Money::ZERO))
}

/// Returns at most `limit` transactions of the member's wallet before `after`, the newest first.
///
/// # Errors
/// Any error of the database.
pub fn transactions(
    conn: &mut Conn,
    member: MemberId,
    after: Option<Id>,
    limit: i64,
) -> db::Result<Vec<WalletTransaction>> {
    let mut select = wallet_transaction::table
        .filter(wallet_transaction::member_id.eq(member))
        .order(wallet_transaction::id.desc())
        .limit(limit)
        .into_boxed::<MultiBackend>();
    if let Some(after) = after {
        select = select.filter(wallet_transaction::id.lt(after));
    }
    type Row = (MemberId, Id, TransactionKind, Money, Money, Time, Option<OrderId>);
    let rows: Vec<Row> = select.load(conn)?;
    Ok(rows
        .into_iter()
        .map(|(_, id, kind, amount, balance_after, at, order_id)| WalletTransaction {
            id,
            kind,
            amount,
            balance_after,
            at,
            order_id,
        })
        .collect())
}

/// Returns the order's payment, refunded or not.
///
/// # Errors
/// Any error of the database.
pub fn payment_of(conn: &mut Conn, order_id: OrderId) -> db::Result<Option<Payment>> {
    let rows: Vec<(TransactionKind, Id, MemberId, Money, Time)> = wallet_transaction::table
        .filter(wallet_transaction::order_id.eq(order_id))
        .select((
            wallet_transaction::kind,
            wallet_transaction::id,
            wallet_transaction::member_id,
            wallet_transaction::amount,
            wallet_transaction::made_at,
        ))
        .load(conn)?;
    let of_kind = |wanted| rows.iter().find(|(kind, ..)| *kind == wanted);
    let refunded_at = of_kind(TransactionKind::Refund).map(|(.., at)| *at);
    Ok(of_kind(TransactionKind::Payment).map(|&(_, id, member_id, amount, paid_at)| Payment {
        id: PaymentId(id.0),
        order_id,
        member_id,
        amount,
        paid_at,
        refunded_at,
    }))
}

/// Adds to the wallet and returns the new balance; `None` if the balance would exceed [`MAX_BALANCE`].
pub(crate) fn charge(conn: &mut Conn, member: MemberId, amount: Money) -> db::Result<Option<Money>> {
    use diesel::query_dsl::methods::FilterDsl; // an upsert's WHERE

    let charged = on_each!(conn, |c| diesel::insert_into(wallet::table)
        .values((wallet::member_id.eq(member), wallet::balance.eq(amount)))
        .on_conflict(wallet::member_id)
        .do_update()
        .set(wallet::balance.eq(wallet::balance + excluded(wallet::balance)))
        .filter((wallet::balance + excluded(wallet::balance)).le(MAX_BALANCE))
        .returning(wallet::balance)
        .get_result(c)
        .optional())?;
    Ok(charged)
}

/// Creates an empty wallet if absent.
pub(crate) fn open_wallet(conn: &mut Conn, member: MemberId) -> db::Result<()> {
    on_each!(conn, |c| diesel::insert_into(wallet::table)
        .values((wallet::member_id.eq(member), wallet::balance.eq(Money::ZERO)))
        .on_conflict_do_nothing()
        .execute(c))?;
    Ok(())
}

/// Takes from the wallet and returns the new balance; `None` if the wallet is absent or holds less than `amount`.
pub(crate) fn take(conn: &mut Conn, member: MemberId, amount: Money) -> db::Result<Option<Money>> {
    let update = diesel::update(wallet::table.find(member))
        .filter(wallet::balance.ge(amount))
        .set(wallet::balance.eq(wallet::balance - amount.minor()))
        .returning(wallet::balance)
        .prepared();
    Ok(on_each!(conn, |c| update.get_result(c)).optional()?)
}

/// Adds a refund to the wallet and returns the new balance.
pub(crate) fn give_back(conn: &mut Conn, member: MemberId, amount: Money) -> db::Result<Money> {
    Ok(diesel::update(wallet::table.find(member))
        .set(wallet::balance.eq(wallet::balance + amount.minor()))
        .returning(wallet::balance)
        .get_result(conn)?)
}

/// Inserts a transaction. Returns `false` if the order already has a transaction of this kind.
pub(crate) fn insert_transaction(conn: &mut Conn, member: MemberId, new: &WalletTransaction) -> db::Result<bool> {
    let inserted = on_each!(conn, |c| diesel::insert_into(wallet_transaction::table)
        .values((
            wallet_transaction::member_id.eq(member),
            wallet_transaction::id.eq(new.id),
            wallet_transaction::kind.eq(new.kind),
            wallet_transaction::amount.eq(new.amount),
            wallet_transaction::balance_after.eq(new.balance_after),
            wallet_transaction::made_at.eq(new.at),
            wallet_transaction::order_id.eq(new.order_id),
        ))
        .on_conflict_do_nothing()
        .execute(c))?;
    Ok(inserted == 1)
}

/// Balance of a wallet and the sum of the wallet's transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalletSum {
    pub member_id: MemberId,
    pub balance: Money,
    /// Sum of all transactions; equal to `balance`.
    pub sum: Money,
}

/// Returns balance and sum of each wallet, by member.
///
/// Reads everything; for tests and audits.
///
/// # Errors
/// Any error of the database.
pub fn sums(conn: &mut Conn) -> db::Result<Vec<WalletSum>> {
    use diesel::dsl::sql;
    use diesel::sql_types::BigInt;

    let sum = sql::<BigInt>("CAST(coalesce(sum(CASE kind WHEN 'payment' THEN -amount ELSE amount END), 0) AS bigint)");
    let rows: Vec<(MemberId, Money, Money)> = wallet::table
        .left_join(wallet_transaction::table.on(wallet_transaction::member_id.eq(wallet::member_id)))
        .group_by((wallet::member_id, wallet::balance))
        .select((wallet::member_id, wallet::balance, sum))
        .order(wallet::member_id)
        .load(conn)?;
    Ok(rows.into_iter().map(|(member_id, balance, sum)| WalletSum { member_id, balance, sum }).collect())
}
