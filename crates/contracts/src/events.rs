//! The events of the shop: a plain struct each, with topic and key.
//!
//! The payload of each type and version is fixed by a golden file under `tests/golden`: a change of the bytes fails
//! the test, and so does an old version that can no longer be read.

use db::types::Time;
use messaging::DomainEvent;
use serde::{Deserialize, Serialize};

use crate::{
    CouponId, DeliveryId, IncidentId, MemberId, Money, OrderId, OwnedCouponId, PaymentId, ProductId, PurchaseOrderId,
    RequestId, topics,
};

macro_rules! event {
    ($type:ident, $name:literal, $version:literal, $topic:expr, key: |$event:ident| $key:expr, version_of: |$again:pat_param| $aggregate:expr) => {
        impl DomainEvent for $type {
            const TYPE: &'static str = $name;
            const VERSION: i16 = $version;
            const TOPIC: &'static str = $topic;
            fn key(&self) -> String {
                let $event = self;
                $key.to_string()
            }
            fn aggregate_version(&self) -> i64 {
                let $again = self;
                $aggregate
            }
        }
    };
}

/// A line of an order, as bought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLine {
    pub product_id: ProductId,
    pub name: String,
    /// Price of a unit.
    pub price: Money,
    pub quantity: i64,
}

/// An order was placed: its stock, and its coupon, are reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCreated {
    pub order_id: OrderId,
    pub order_version: i64,
    pub member_id: MemberId,
    pub lines: Vec<OrderLine>,
    /// Before the discount.
    pub total: Money,
    /// Discount of the coupon.
    pub discount: Money,
    /// `total` less `discount`.
    pub payable: Money,
    /// The coupon reserved for the order.
    pub owned_coupon_id: Option<OwnedCouponId>,
    pub created_at: Time,
    /// An order that is unpaid at this time is cancelled.
    pub expires_at: Time,
}
event!(OrderCreated, "shop.order.created", 1, topics::ORDER_CREATED, key: |e| e.order_id, version_of: |e| e.order_version);

db::text_enum!(
    /// Reason for the end of an order without a sale.
    CancelReason {
        /// The member cancelled the order before paying.
        Cancelled => "cancelled",
        /// The order was not paid in time.
        Expired => "expired",
        /// The member cancelled the order after paying, and got the money back.
        Refunded => "refunded",
    }
);

/// An order ended without a sale; its stock and coupon are given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancelled {
    pub order_id: OrderId,
    pub order_version: i64,
    pub member_id: MemberId,
    pub reason: CancelReason,
    pub lines: Vec<OrderLine>,
    pub cancelled_at: Time,
}
event!(OrderCancelled, "shop.order.cancelled", 1, topics::ORDER_CANCELLED, key: |e| e.order_id, version_of: |e| e.order_version);

/// An order was paid from the member's wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentCompleted {
    pub payment_id: PaymentId,
    pub order_id: OrderId,
    pub order_version: i64,
    pub member_id: MemberId,
    pub lines: Vec<OrderLine>,
    /// Before the discount.
    pub total: Money,
    pub discount: Money,
    /// Amount taken from the wallet.
    pub amount: Money,
    pub paid_at: Time,
}
event!(PaymentCompleted, "shop.payment.completed", 1, topics::PAYMENT_COMPLETED, key: |e| e.order_id, version_of: |e| e.order_version);

/// A payment was given back in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefunded {
    pub payment_id: PaymentId,
    pub order_id: OrderId,
    pub order_version: i64,
    pub member_id: MemberId,
    pub lines: Vec<OrderLine>,
    /// Amount put back into the wallet.
    pub amount: Money,
    pub paid_at: Time,
    pub refunded_at: Time,
}
event!(PaymentRefunded, "shop.payment.refunded", 1, topics::PAYMENT_REFUNDED, key: |e| e.order_id, version_of: |e| e.order_version);

/// Units of a product were reserved for an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockDeducted {
    pub product_id: ProductId,
    pub stock_version: i64,
    pub order_id: OrderId,
    pub quantity: i64,
    /// Units left afterwards.
    pub available: i64,
    /// The shop orders more of the product when fewer units are left; 0 means never.
    pub low_stock_threshold: i64,
}
event!(StockDeducted, "shop.stock.deducted", 1, topics::STOCK_DEDUCTED, key: |e| e.product_id, version_of: |e| e.stock_version);

/// Units of a product came back from an order that ended without a sale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockRestored {
    pub product_id: ProductId,
    pub stock_version: i64,
    pub order_id: OrderId,
    pub quantity: i64,
    /// Units left afterwards.
    pub available: i64,
}
event!(StockRestored, "shop.stock.restored", 1, topics::STOCK_RESTORED, key: |e| e.product_id, version_of: |e| e.stock_version);

/// A product fell under its threshold, and the shop ordered more units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockLow {
    pub purchase_order_id: PurchaseOrderId,
    pub product_id: ProductId,
    pub stock_version: i64,
    pub available: i64,
    pub low_stock_threshold: i64,
    /// Units ordered.
    pub ordered: i64,
}
event!(StockLow, "shop.stock.low", 1, topics::STOCK_LOW, key: |e| e.purchase_order_id, version_of: |e| e.stock_version);

/// A member asked for a first-come coupon. The position of this event decides who wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CouponIssueRequested {
    pub request_id: RequestId,
    pub coupon_id: CouponId,
    pub member_id: MemberId,
    /// Time of the request; the coupon must be open at this time.
    pub requested_at: Time,
}
event!(CouponIssueRequested, "shop.coupon.issue-requested", 1, topics::COUPON_ISSUE_REQUESTED, key: |e| e.coupon_id, version_of: |_| 0);

/// A member got a coupon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CouponIssued {
    pub owned_coupon_id: OwnedCouponId,
    pub owned_coupon_version: i64,
    pub coupon_id: CouponId,
    pub coupon_name: String,
    pub member_id: MemberId,
    pub request_id: RequestId,
    /// Number among the issued coupons of the campaign, from 1.
    pub ordinal: i64,
    pub issued_at: Time,
    /// The coupon can't be used from this time on.
    pub expires_at: Option<Time>,
}
event!(CouponIssued, "shop.coupon.issued", 1, topics::COUPON_ISSUED, key: |e| e.owned_coupon_id, version_of: |e| e.owned_coupon_version);

/// A coupon was reserved for an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CouponUsed {
    pub owned_coupon_id: OwnedCouponId,
    pub owned_coupon_version: i64,
    pub coupon_id: CouponId,
    pub member_id: MemberId,
    pub order_id: OrderId,
    pub discount: Money,
    pub used_at: Time,
}
event!(CouponUsed, "shop.coupon.used", 1, topics::COUPON_USED, key: |e| e.owned_coupon_id, version_of: |e| e.owned_coupon_version);

/// A coupon came back from an order that ended without a sale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CouponReturned {
    pub owned_coupon_id: OwnedCouponId,
    pub owned_coupon_version: i64,
    pub coupon_id: CouponId,
    pub member_id: MemberId,
    pub order_id: OrderId,
    pub returned_at: Time,
}
event!(CouponReturned, "shop.coupon.returned", 1, topics::COUPON_RETURNED, key: |e| e.owned_coupon_id, version_of: |e| e.owned_coupon_version);

db::text_enum!(
    /// State of a delivery.
    DeliveryStatus {
        /// Ordered, not paid.
        Waiting => "waiting",
        /// Paid: to be shipped.
        Preparing => "preparing",
        /// On the way: the order can no longer be refunded.
        Shipped => "shipped",
        /// There.
        Delivered => "delivered",
        /// The delivery will not be sent.
        Cancelled => "cancelled",
    }
);

/// A delivery moved to its next state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryChanged {
    pub delivery_id: DeliveryId,
    pub delivery_version: i64,
    pub order_id: OrderId,
    pub member_id: MemberId,
    pub status: DeliveryStatus,
    pub changed_at: Time,
}
event!(DeliveryChanged, "shop.delivery.changed", 1, topics::DELIVERY_CHANGED, key: |e| e.order_id, version_of: |e| e.delivery_version);

/// A service reported a failure through an event proxy, and the admins must act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentOpened {
    pub incident_id: IncidentId,
    /// The type of the service's event.
    pub kind: String,
    /// The key of the service's event: the subject of the failure.
    pub key: String,
    /// Null if the service gave no reason.
    pub reason: Option<String>,
    pub occurred_at: Time,
}
event!(IncidentOpened, "shop.incident.opened", 1, topics::INCIDENT_OPENED, key: |e| e.incident_id, version_of: |_| 1);
