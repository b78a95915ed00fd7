//! Deliveries: one for each order, driven by the order's events in any order of topics, and by people who ship.
//!
//! The order's version decides: a delivery only takes steps of higher versions. So a cancellation stays in force when
//! the order's creation is read later.

mod error;
mod model;
mod schema;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use contracts::events::DeliveryStatus;
use contracts::{DeliveryId, OrderId, topics};
use db::Tx;
use messaging::{Event, Group, Handler, HandlerError, Replay, Start, TransactionalHandler};

pub use error::DeliveryError;
pub use model::Delivery;
use model::Step;
pub use store::{get, of_order, page};

/// The group's name.
pub const GROUP: &str = "delivery";

/// Returns the group; reads all events of an order's life.
pub fn group() -> Group {
    Group {
        name: GROUP,
        topics: vec![
            topics::ORDER_CREATED,
            topics::PAYMENT_COMPLETED,
            topics::ORDER_CANCELLED,
            topics::PAYMENT_REFUNDED,
        ],
        replay: Replay::Once("what was shipped is not in its events, and a repeat would tell members again"),
        start: Start::Floor,
        handler: Handler::Transactional(Arc::new(Track)),
    }
}

/// Takes deliveries as far as the events of their orders say.
struct Track;

impl TransactionalHandler for Track {
    fn handle(&self, tx: &mut Tx<'_>, events: &[Event]) -> Result<(), HandlerError> {
        let mut steps: BTreeMap<OrderId, Step> = BTreeMap::new();
        for event in events {
            let step = Step::of(event)?;
            let known = steps.get(&step.order_id).map(|known| known.order_version);
            if known.is_none_or(|version| version < step.order_version) {
                steps.insert(step.order_id, step);
            }
        }
        for taken in store::advance(tx, steps.values())? {
            let step = &steps[&taken.order_id];
            if step.is_news(taken.prepared_at) {
                messaging::emit(tx, &step.taken(taken.id, taken.version))?;
            }
        }
        Ok(())
    }
}

/// Marks a delivery as shipped: from now on the order can no longer be refunded.
///
/// Locks the order first, as everywhere; of a concurrent shipping and refund, one wins.
///
/// # Errors
/// [`DeliveryError::State`] if the delivery is not in preparation; [`DeliveryError::OrderClosed`] if the order was
/// refunded and the delivery does not know yet.
pub fn ship(tx: &mut Tx<'_>, id: DeliveryId) -> Result<Delivery, DeliveryError> {
    let known = store::get(tx, id)?.ok_or(DeliveryError::NotFound)?;
    if !order::mark_shipped(tx, known.order_id)? {
        return Err(match state(tx, id)? {
            DeliveryError::State { status: DeliveryStatus::Preparing } => DeliveryError::OrderClosed,
            state => state,
        });
    }
    let now = tx.now()?;
    let Some(shipped) = store::ship(tx, id, now)? else {
        return Err(state(tx, id)?);
    };
    messaging::emit(tx, &shipped.changed())?;
    Ok(shipped)
}

/// Marks a delivery as delivered.
///
/// # Errors
/// [`DeliveryError::State`] if the delivery is not shipped.
pub fn deliver(tx: &mut Tx<'_>, id: DeliveryId) -> Result<Delivery, DeliveryError> {
    let now = tx.now()?;
    let Some(delivered) = store::deliver(tx, id, now)? else {
        return Err(state(tx, id)?);
    };
    messaging::emit(tx, &delivered.changed())?;
    Ok(delivered)
}

/// Returns the error for a refused step, with the delivery's current status.
fn state(tx: &mut Tx<'_>, id: DeliveryId) -> db::Result<DeliveryError> {
    let found = store::get(tx, id)?;
    Ok(found.map_or(DeliveryError::NotFound, |delivery| DeliveryError::State { status: delivery.status }))
}
