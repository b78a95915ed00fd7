//! What domains and consumers share: ids, money, days, topics and the events of the shop.

pub mod events;
mod ids;
mod money;
mod schema;
pub mod topics;
mod zone;

pub use ids::{
    CouponId, DeliveryId, IncidentId, MemberId, OrderId, OwnedCouponId, PaymentId, ProductId, PurchaseOrderId,
    RequestId,
};
pub use money::{Currency, CurrencyError, Money, MoneyError};
pub use schema::MIGRATIONS;
pub use zone::{ShopZone, ZoneError, day_of, shown};
