//! Audit of the books of the domains.

use contracts::{MemberId, Money, OrderId, ProductId};
use db::Conn;
use order::{Held, OrderStatus};

/// Orders read at once.
const PAGE: i64 = 1_000;

/// Disagreement between the books of the domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discrepancy {
    /// Units received differ from the sum of available, reserved and sold units.
    Stock { product_id: ProductId, received: i64, available: i64, held: Held },
    /// The balance is not the sum of the transactions.
    Wallet { member_id: MemberId, balance: Money, sum: Money },
    /// The order's status and the order's payment contradict each other.
    Payment { order_id: OrderId, status: OrderStatus },
}

/// Returns all discrepancies; none if all is well.
///
/// Reads everything; call `audit` in one snapshot, for tests and audits.
///
/// # Errors
/// Any error of the database.
pub fn audit(conn: &mut Conn) -> db::Result<Vec<Discrepancy>> {
    let mut found = stock_discrepancies(conn)?;
    for wallet in payment::sums(conn)?.into_iter().filter(|wallet| wallet.balance != wallet.sum) {
        found.push(Discrepancy::Wallet { member_id: wallet.member_id, balance: wallet.balance, sum: wallet.sum });
    }
    found.extend(payment_discrepancies(conn)?);
    Ok(found)
}

fn stock_discrepancies(conn: &mut Conn) -> db::Result<Vec<Discrepancy>> {
    let held_by_orders = order::held(conn)?;
    let mut found = Vec::new();
    for product in stock::balances(conn)? {
        let held = held_by_orders.get(&product.product_id).copied().unwrap_or_default();
        if product.received != product.available + held.reserved + held.sold {
            found.push(Discrepancy::Stock {
                product_id: product.product_id,
                received: product.received,
                available: product.available,
                held,
            });
        }
    }
    Ok(found)
}

fn payment_discrepancies(conn: &mut Conn) -> db::Result<Vec<Discrepancy>> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let orders = order::page(conn, None, after, PAGE)?;
        let Some(last) = orders.last() else { return Ok(found) };
        after = Some(last.id);
        for order in &orders {
            let payment = payment::payment_of(conn, order.id)?;
            let agrees = match order.status {
                OrderStatus::Pending | OrderStatus::Cancelled | OrderStatus::Expired => payment.is_none(),
                OrderStatus::Paid => {
                    payment.is_some_and(|paid| paid.refunded_at.is_none() && paid.amount == order.payable)
                }
                OrderStatus::Refunded => {
                    payment.is_some_and(|paid| paid.refunded_at.is_some() && paid.amount == order.payable)
                }
            };
            if !agrees {
                found.push(Discrepancy::Payment { order_id: order.id, status: order.status });
            }
        }
    }
}
