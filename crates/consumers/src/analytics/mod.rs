//! Figures for the shop window and for marketing: popular products, sales and coupons.
//!
//! Units sold are counted from payments, in the hour of the payment, and a refund takes them out of that hour again;
//! orders from their creation; revenue from payments and coupons from their issue, by day of the shop. All of it is plain
//! sums, which come out the same whichever topic is read first.

mod model;
mod schema;
mod store;

use std::sync::Arc;

use contracts::events::{OrderCreated, PaymentCompleted, PaymentRefunded};
use contracts::{MoneyError, topics};
use db::Tx;
use messaging::{Event, Group, Handler, HandlerError, Replay, Start, TransactionalHandler};

pub use model::{CouponDay, CouponFigures, POPULAR_WINDOW, Popular, SalesDay};
use model::{Sums, hour_of};
pub use store::{COUPONS, SALES_DAYS, coupons, popular, sales};

/// The group's name.
pub const GROUP: &str = "analytics";

/// Returns the group of a projection: a reset rebuilds the figures from the log.
pub fn group() -> Group {
    Group {
        name: GROUP,
        topics: vec![topics::ORDER_CREATED, topics::PAYMENT_COMPLETED, topics::PAYMENT_REFUNDED, topics::COUPON_ISSUED],
        replay: Replay::Rebuildable(|tx| store::clear(tx)),
        start: Start::Floor,
        handler: Handler::Transactional(Arc::new(Count)),
    }
}

/// Adds a batch up, and then each figure once.
struct Count;

impl TransactionalHandler for Count {
    fn handle(&self, tx: &mut Tx<'_>, events: &[Event]) -> Result<(), HandlerError> {
        let mut sums = Sums::default();
        for event in events {
            if event.is::<OrderCreated>() {
                sums.order(&event.decode()?);
            } else if event.is::<PaymentCompleted>() {
                sums.pay(&event.decode()?).map_err(failed)?;
            } else if event.is::<PaymentRefunded>() {
                sums.refund(&event.decode()?).map_err(failed)?;
            } else {
                sums.issue(event.decode()?);
            }
        }
        store::add_products(tx, &sums.products)?;
        store::add_sales(tx, &sums.sales)?;
        store::add_coupons(tx, &sums.coupons)?;
        Ok(())
    }
}

fn failed(error: MoneyError) -> HandlerError {
    HandlerError::Failed(error.to_string())
}

/// Deletes one hour of units sold from before the window of popular products, and returns the number of rows.
///
/// Call `purge` in a unit for each hour, so that no transaction is long; 0 means the end.
///
/// # Errors
/// Any error of the database.
pub fn purge(tx: &mut Tx<'_>) -> db::Result<usize> {
    let first_kept = hour_of(tx.now()? - POPULAR_WINDOW);
    match store::oldest_hour(tx)? {
        Some(hour) if hour < first_kept => store::forget_hour(tx, hour),
        _ => Ok(0),
    }
}
