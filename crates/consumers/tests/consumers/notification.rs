//! Notifications: in the app, by mail, by webhook.

mod channels;
mod in_app;

use contracts::events::{CouponIssued, DeliveryChanged, DeliveryStatus, StockLow};
use contracts::{CouponId, DeliveryId, MemberId, OrderId, OwnedCouponId, ProductId, PurchaseOrderId, RequestId};
use messaging::Event;

use super::given::{Given, Purchase, event, time};

fn paid_by(member: MemberId) -> Event {
    let mut purchase = Purchase::of(ProductId::new(), 1, 19_900).discounted(900);
    purchase.member_id = member;
    purchase.paid(time("2026-11-22T10:00:00Z"))
}

fn coupon_won_by(member: MemberId) -> Event {
    event(&CouponIssued {
        owned_coupon_id: OwnedCouponId::new(),
        owned_coupon_version: 1,
        coupon_id: CouponId::new(),
        coupon_name: "Autumn".into(),
        member_id: member,
        request_id: RequestId::new(),
        ordinal: 3,
        issued_at: time("2026-11-22T10:00:00Z"),
        expires_at: Some(time("2026-12-01T00:00:00Z")),
    })
}

fn delivery_is(status: DeliveryStatus, member_id: MemberId, order_id: OrderId) -> Event {
    let changed_at = time("2026-11-22T10:00:00Z");
    let delivery_id = DeliveryId::new();
    event(&DeliveryChanged { delivery_id, delivery_version: 1, order_id, member_id, status, changed_at })
}

fn low_stock(product_id: ProductId) -> Event {
    event(&StockLow {
        purchase_order_id: PurchaseOrderId::new(),
        product_id,
        stock_version: 1,
        available: 2,
        low_stock_threshold: 5,
        ordered: 10,
    })
}

async fn member(given: &Given, email: &str) -> MemberId {
    let new = member::NewMember { email: email.into(), name: "Someone".into() };
    given.db.write(move |tx| member::register(tx, &new, "hash")).await.expect("registered").id
}

async fn admin(given: &Given, email: &'static str) {
    given.db.write(move |tx| member::insert_admin_if_absent(tx, email, "Someone", "hash")).await.expect("inserted");
}
