//! Types shared by domains and consumers: ids, money, topics and the events of the shop.

pub mod events;
mod ids;
mod money;
mod schema;
pub mod topics;

pub use ids::{
    CouponId, DeliveryId, IncidentId, MemberId, OrderId, OwnedCouponId, PaymentId, ProductId, PurchaseOrderId,
    RequestId,
};
pub use money::{Currency, CurrencyError, Money, MoneyError};
pub use schema::MIGRATIONS;
