//! The topics of the shop.

pub const ORDER_CREATED: &str = "order-created";
pub const ORDER_CANCELLED: &str = "order-cancelled";
pub const PAYMENT_COMPLETED: &str = "payment-completed";
pub const PAYMENT_REFUNDED: &str = "payment-refunded";
pub const STOCK_DEDUCTED: &str = "stock-deducted";
pub const STOCK_RESTORED: &str = "stock-restored";
pub const STOCK_LOW: &str = "stock-low";
pub const COUPON_ISSUE_REQUESTED: &str = "coupon-issue-requested";
pub const COUPON_ISSUED: &str = "coupon-issued";
pub const COUPON_USED: &str = "coupon-used";
pub const COUPON_RETURNED: &str = "coupon-returned";
pub const DELIVERY_CHANGED: &str = "delivery-changed";
pub const INCIDENT_OPENED: &str = "incident-opened";

/// All topics; each is registered in the log at the start.
pub const ALL: [&str; 13] = [
    ORDER_CREATED,
    ORDER_CANCELLED,
    PAYMENT_COMPLETED,
    PAYMENT_REFUNDED,
    STOCK_DEDUCTED,
    STOCK_RESTORED,
    STOCK_LOW,
    COUPON_ISSUE_REQUESTED,
    COUPON_ISSUED,
    COUPON_USED,
    COUPON_RETURNED,
    DELIVERY_CHANGED,
    INCIDENT_OPENED,
];
