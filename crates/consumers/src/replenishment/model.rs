//! Purchase orders, and how much is ordered.

use contracts::events::StockDeducted;
use contracts::{ProductId, PurchaseOrderId};
use db::types::Time;
use diesel::Queryable;
use stock::MAX_UNITS;

db::text_enum!(
    /// How far a purchase order is.
    PurchaseOrderStatus {
        /// Ordered, and on its way to the shop.
        Open => "open",
        /// Its goods are in stock.
        Received => "received",
    }
);

/// The shop's order for more of a product; a product has at most one that is open.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct PurchaseOrder {
    pub id: PurchaseOrderId,
    pub product_id: ProductId,
    pub quantity: i64,
    pub status: PurchaseOrderStatus,
    pub opened_at: Time,
    pub received_at: Option<Time>,
}

/// Returns true if stock is under the threshold; a threshold of 0 is never undercut.
pub(super) fn is_low(available: i64, threshold: i64) -> bool {
    available < threshold
}

/// How many to order: twice the threshold, and what is missing to it. When they come in and nothing was sold
/// meanwhile, three times the threshold is in stock, as far as that can be kept.
pub(super) fn quantity_for(low: &StockDeducted) -> i64 {
    (3 * low.low_stock_threshold).min(MAX_UNITS) - low.available
}
