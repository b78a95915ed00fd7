//! Deliveries and purchase orders.

use actix_web::web::Data;
use actix_web::{HttpResponse, get, post};
use consumers::delivery::{self, Delivery, DeliveryError};
use consumers::replenishment::{self, PurchaseOrderStatus};
use contracts::events::DeliveryStatus;
use contracts::{DeliveryId, PurchaseOrderId};
use db::Tx;
use garde::Validate;
use rest::input::{NoBody, Params, Segment};
use rest::page::{Page, PageQuery};
use rest::reply::{self, Kept};
use serde::Deserialize;

use crate::Storefront;
use crate::auth::Admin;
use crate::dto::checkout::DeliveryView;
use crate::dto::figures::PurchaseOrderView;
use crate::dto::texts;
use crate::http::problem::Answer;
use crate::idempotency::{self, Done, OptionalKey};

/// Filter of deliveries.
#[derive(Deserialize, Validate, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeliveryFilter {
    #[garde(skip)]
    #[param(value_type = Option<texts::DeliveryStatus>)]
    status: Option<DeliveryStatus>,
}

/// Deliveries, the newest first.
#[utoipa::path(operation_id = "listDeliveries", tag = "admin",
               params(DeliveryFilter, PageQuery), responses((status = 200, body = Page<DeliveryView>)),
               security(("bearer" = ["admin"])))]
#[get("/admin/deliveries")]
pub(crate) async fn deliveries(
    shop: Data<Storefront>,
    _admin: Admin,
    filter: Params<DeliveryFilter>,
    page: Params<PageQuery>,
) -> Answer<HttpResponse> {
    let (status, after, fetch) = (filter.0.status, page.0.after::<DeliveryId>()?, page.0.fetch());
    let rows = shop.db.read(move |conn| delivery::page(conn, status, after, fetch)).await?;
    Ok(reply::ok(&Page::of(rows, &page.0, |row| row.id, DeliveryView::from)))
}

/// Marks the goods as shipped; the order can no longer be refunded.
#[utoipa::path(operation_id = "shipDelivery", tag = "admin",
               params(("id" = uuid::Uuid, Path), ("Idempotency-Key" = Option<String>, Header)),
               responses((status = 200, body = DeliveryView)), security(("bearer" = ["admin"])))]
#[post("/admin/deliveries/{id}/ship")]
pub(crate) async fn ship(
    shop: Data<Storefront>,
    admin: Admin,
    key: OptionalKey,
    id: Segment<DeliveryId>,
    _body: NoBody,
) -> Answer<Kept> {
    step(&shop, admin, key, id.0, delivery::ship).await
}

/// Marks the goods as delivered.
#[utoipa::path(operation_id = "completeDelivery", tag = "admin",
               params(("id" = uuid::Uuid, Path), ("Idempotency-Key" = Option<String>, Header)),
               responses((status = 200, body = DeliveryView)), security(("bearer" = ["admin"])))]
#[post("/admin/deliveries/{id}/deliver")]
pub(crate) async fn deliver(
    shop: Data<Storefront>,
    admin: Admin,
    key: OptionalKey,
    id: Segment<DeliveryId>,
    _body: NoBody,
) -> Answer<Kept> {
    step(&shop, admin, key, id.0, delivery::deliver).await
}

type Step = fn(&mut Tx<'_>, DeliveryId) -> Result<Delivery, DeliveryError>;

async fn step(shop: &Storefront, admin: Admin, key: OptionalKey, id: DeliveryId, step: Step) -> Answer<Kept> {
    let work = move |tx: &mut Tx<'_>| Done::ok(&DeliveryView::from(step(tx, id)?));
    idempotency::maybe_once(&shop.db, &admin.0, key, b"", work).await
}

/// Filter of purchase orders.
#[derive(Deserialize, Validate, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PurchaseOrderFilter {
    #[garde(skip)]
    #[param(value_type = Option<texts::PurchaseOrderStatus>)]
    status: Option<PurchaseOrderStatus>,
}

/// The shop's own orders, the newest first.
#[utoipa::path(operation_id = "listPurchaseOrders", tag = "admin", params(PurchaseOrderFilter, PageQuery),
               responses((status = 200, body = Page<PurchaseOrderView>)), security(("bearer" = ["admin"])))]
#[get("/admin/purchase-orders")]
pub(crate) async fn purchase_orders(
    shop: Data<Storefront>,
    _admin: Admin,
    filter: Params<PurchaseOrderFilter>,
    page: Params<PageQuery>,
) -> Answer<HttpResponse> {
    let (status, after, fetch) = (filter.0.status, page.0.after::<PurchaseOrderId>()?, page.0.fetch());
    let rows = shop.db.read(move |conn| replenishment::page(conn, status, after, fetch)).await?;
    Ok(reply::ok(&Page::of(rows, &page.0, |row| row.id, PurchaseOrderView::from)))
}

/// Marks a purchase order as received, and adds the goods to the stock.
#[utoipa::path(operation_id = "receivePurchaseOrder", tag = "admin",
               params(("id" = uuid::Uuid, Path), ("Idempotency-Key" = Option<String>, Header)),
               responses((status = 200, body = PurchaseOrderView)), security(("bearer" = ["admin"])))]
#[post("/admin/purchase-orders/{id}/receive")]
pub(crate) async fn receive(
    shop: Data<Storefront>,
    admin: Admin,
    key: OptionalKey,
    id: Segment<PurchaseOrderId>,
    _body: NoBody,
) -> Answer<Kept> {
    let (id, changes) = (id.0, shop.products.changes());
    let work = move |tx: &mut Tx<'_>| {
        let received = replenishment::receive(tx, id)?;
        changes.by(tx, [received.product_id]);
        Done::ok(&PurchaseOrderView::from(received))
    };
    idempotency::maybe_once(&shop.db, &admin.0, key, b"", work).await
}
