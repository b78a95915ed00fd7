//! Opens a purchase order when a sale takes a product's stock under the threshold, and notifies the admins.

mod error;
mod model;
mod schema;
mod store;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use contracts::events::{StockDeducted, StockLow};
use contracts::{ProductId, PurchaseOrderId, topics};
use db::Tx;
use messaging::{Event, Group, Handler, HandlerError, Replay, Start, TransactionalHandler};

pub use error::ReplenishmentError;
pub use model::{PurchaseOrder, PurchaseOrderStatus};
use model::{is_low, quantity_for};
pub use store::{get, page};

/// The group's name.
pub const GROUP: &str = "replenishment";

/// Returns the group; reads the units taken by orders.
pub fn group() -> Group {
    Group {
        name: GROUP,
        topics: vec![topics::STOCK_DEDUCTED],
        replay: Replay::Once("it would order goods anew for stock that was low long ago"),
        start: Start::Floor,
        handler: Handler::Transactional(Arc::new(Replenish)),
    }
}

/// Opens at most one purchase order for each product, and emits [`StockLow`] for a new one.
struct Replenish;

impl TransactionalHandler for Replenish {
    fn handle(&self, tx: &mut Tx<'_>, events: &[Event]) -> Result<(), HandlerError> {
        let low = low_by_product(events)?;
        if low.is_empty() {
            return Ok(());
        }
        let now = tx.now()?;
        let opened = store::open(tx, low.iter().map(|(product, event)| (*product, quantity_for(event))), now)?;
        for (purchase_order_id, product) in confirmed(tx, &opened)? {
            let event = &low[&product];
            messaging::emit(
                tx,
                &StockLow {
                    purchase_order_id,
                    product_id: product,
                    stock_version: event.stock_version,
                    available: event.available,
                    low_stock_threshold: event.low_stock_threshold,
                    ordered: quantity_for(event),
                },
            )?;
        }
        Ok(())
    }
}

/// Returns the newest event of each product among the events with stock under the threshold.
fn low_by_product(events: &[Event]) -> Result<BTreeMap<ProductId, StockDeducted>, HandlerError> {
    let mut newest: BTreeMap<ProductId, StockDeducted> = BTreeMap::new();
    for event in events {
        let deducted: StockDeducted = event.decode()?;
        let known = newest.get(&deducted.product_id).map(|known| known.stock_version);
        if known.is_none_or(|version| version < deducted.stock_version) {
            newest.insert(deducted.product_id, deducted);
        }
    }
    newest.retain(|_, event| is_low(event.available, event.low_stock_threshold));
    Ok(newest)
}

/// Returns the purchase orders in `opened` with stock still low; withdraws the rest.
///
/// An event may be handled late, after the goods arrived. The stock is read after the insert, because the insert
/// waits for a concurrent receipt of the same product.
fn confirmed(
    tx: &mut Tx<'_>,
    opened: &[(PurchaseOrderId, ProductId)],
) -> db::Result<Vec<(PurchaseOrderId, ProductId)>> {
    if opened.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<ProductId> = opened.iter().map(|(_, product)| *product).collect();
    let products: HashMap<ProductId, _> = stock::by_ids(tx, &ids)?.into_iter().map(|p| (p.id, p)).collect();
    let (low, refilled): (Vec<_>, Vec<_>) =
        opened.iter().partition(|(_, id)| products.get(id).is_some_and(|p| is_low(p.available, p.low_stock_threshold)));
    if !refilled.is_empty() {
        store::withdraw(tx, &refilled.into_iter().map(|(order, _)| order).collect::<Vec<_>>())?;
    }
    Ok(low)
}

/// Receives the goods: closes the purchase order and adds the units to the stock.
///
/// # Errors
/// [`ReplenishmentError::AlreadyReceived`] the second time.
pub fn receive(tx: &mut Tx<'_>, id: PurchaseOrderId) -> Result<PurchaseOrder, ReplenishmentError> {
    let now = tx.now()?;
    let Some(received) = store::receive(tx, id, now)? else {
        return Err(match store::get(tx, id)? {
            None => ReplenishmentError::NotFound,
            Some(_) => ReplenishmentError::AlreadyReceived,
        });
    };
    stock::adjust(tx, received.product_id, received.quantity, &format!("purchase order {id}"))?;
    Ok(received)
}
