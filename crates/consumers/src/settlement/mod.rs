//! What the shop took and gave back, by day of the shop, exact to the minor unit.
//!
//! All figures are plain sums, with the same result for any order of payments and refunds.

mod model;
mod schema;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use contracts::events::{PaymentCompleted, PaymentRefunded};
use contracts::{MoneyError, day_of, topics};
use db::Tx;
use messaging::{Event, Group, Handler, HandlerError, Replay, Start, TransactionalHandler};

pub use model::Day;
use model::Sums;
pub use store::days;

/// The group's name.
pub const GROUP: &str = "settlement";

/// Returns the group of a projection: a reset rebuilds the figures from the log.
pub fn group() -> Group {
    Group {
        name: GROUP,
        topics: vec![topics::PAYMENT_COMPLETED, topics::PAYMENT_REFUNDED],
        replay: Replay::Rebuildable(|tx| store::clear(tx)),
        start: Start::Floor,
        handler: Handler::Transactional(Arc::new(Settle)),
    }
}

/// Adds payments and refunds to their days, a batch at a time.
struct Settle;

impl TransactionalHandler for Settle {
    fn handle(&self, tx: &mut Tx<'_>, events: &[Event]) -> Result<(), HandlerError> {
        let mut days: BTreeMap<_, Sums> = BTreeMap::new();
        for event in events {
            if event.is::<PaymentCompleted>() {
                let payment: PaymentCompleted = event.decode()?;
                days.entry(day_of(payment.paid_at)).or_default().pay(&payment).map_err(failed)?;
            } else {
                let refund: PaymentRefunded = event.decode()?;
                days.entry(day_of(refund.refunded_at)).or_default().refund(&refund).map_err(failed)?;
            }
        }
        Ok(store::add(tx, &days)?)
    }
}

fn failed(error: MoneyError) -> HandlerError {
    HandlerError::Failed(error.to_string())
}
