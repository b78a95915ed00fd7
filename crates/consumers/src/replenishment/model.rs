//! Purchase orders, and how much is ordered.

use contracts::events::StockDeducted;
use contracts::{ProductId, PurchaseOrderId};
use db::types::Time;
use diesel::Queryable;
use stock::MAX_UNITS;

db::text_enum!(
    /// Status of a purchase order.
    PurchaseOrderStatus {
        /// Ordered and under way to the shop.
        Open => "open",
        /// The goods are in stock.
        Received => "received",
    }
);

/// The shop's order for more units of a product; a product has at most one open purchase order.
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

/// Returns the quantity to order: twice the threshold, and the units missing to the threshold. Without sales in the
/// meantime the stock is then three times the threshold, but at most [`MAX_UNITS`].
pub(super) fn quantity_for(low: &StockDeducted) -> i64 {
    (3 * low.low_stock_threshold).min(MAX_UNITS) - low.available
}
