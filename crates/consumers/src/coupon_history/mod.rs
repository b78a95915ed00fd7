//! History of each member's coupons: a projection of the coupon events, one row for each event.

mod model;
mod schema;
mod store;

use std::sync::Arc;

use contracts::topics;
use db::Tx;
use messaging::{Event, Group, Handler, HandlerError, Replay, Start, TransactionalHandler};

pub use model::{Entry, What};
pub use store::page;

/// The group's name.
pub const GROUP: &str = "coupon-history";

/// Returns the group; reads all events of coupons in members' hands.
pub fn group() -> Group {
    Group {
        name: GROUP,
        topics: vec![topics::COUPON_ISSUED, topics::COUPON_USED, topics::COUPON_RETURNED],
        replay: Replay::Rebuildable(store::clear),
        start: Start::Floor,
        handler: Handler::Transactional(Arc::new(Chronicle)),
    }
}

/// Records the events.
struct Chronicle;

impl TransactionalHandler for Chronicle {
    fn handle(&self, tx: &mut Tx<'_>, events: &[Event]) -> Result<(), HandlerError> {
        let entries = events.iter().map(Entry::of).collect::<Result<Vec<_>, _>>()?;
        Ok(store::insert(tx, &entries)?)
    }
}
