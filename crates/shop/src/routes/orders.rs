//! `/orders`

use actix_web::web::Data;
use actix_web::{HttpResponse, get, post};
use checkout::Item;
use consumers::delivery;
use contracts::OrderId;
use db::Conn;
use messaging::admin;
use order::Order;
use rest::input::{Body, NoBody, Params, Segment};
use rest::page::{Page, PageQuery};
use rest::reply::{self, Kept};

use super::{at, payments};
use crate::Storefront;
use crate::auth::Caller;
use crate::dto::checkout::{DeliveryView, OrderRequest, OrderView, PaymentView};
use crate::dto::events::OrderEvent;
use crate::http::problem::{Answer, Problem};
use crate::idempotency::{self, Done, RequiredKey};

/// Places an order: the stock and the coupon are reserved until `expires_at`.
#[utoipa::path(operation_id = "placeOrder", tag = "orders",
               request_body = OrderRequest, params(("Idempotency-Key" = String, Header)),
               responses((status = 201, body = OrderView)), security(("bearer" = [])))]
#[post("/orders")]
pub(crate) async fn place(
    shop: Data<Storefront>,
    caller: Caller,
    key: RequiredKey,
    body: Body<OrderRequest>,
) -> Answer<Kept> {
    let coupon = body.value.coupon_id;
    let items = body.value.items.iter();
    let items: Vec<Item> = items.map(|i| Item { product_id: i.product_id, quantity: i.quantity }).collect();
    let (terms, changes) = (shop.terms, shop.products.changes());
    let _turn = shop.turns.of(caller.id).await;
    let work = move |tx: &mut db::Tx<'_>| {
        changes.by(tx, items.iter().map(|item| item.product_id));
        let order = checkout::place_order(tx, caller.id, &items, coupon, terms)?;
        Done::created(at(format_args!("orders/{}", order.id)), &OrderView::from(order))
    };
    idempotency::once(&shop.db, &caller, key, &body.bytes, work).await
}

/// Pays an order from the wallet; 402 if the balance is too low.
#[utoipa::path(operation_id = "payOrder", tag = "orders",
               params(("id" = uuid::Uuid, Path), ("Idempotency-Key" = String, Header)),
               responses((status = 201, body = PaymentView)), security(("bearer" = [])))]
#[post("/orders/{id}/payment")]
pub(crate) async fn pay(
    shop: Data<Storefront>,
    caller: Caller,
    key: RequiredKey,
    id: Segment<OrderId>,
    _body: NoBody,
) -> Answer<Kept> {
    payments::pay(&shop.db, &caller, key, id.0).await.unwrap_or_else(|failed| failed.answer)
}

/// Cancels an order: a pending order becomes cancelled, a paid and unshipped order refunded.
#[utoipa::path(operation_id = "cancelOrder", tag = "orders",
               params(("id" = uuid::Uuid, Path), ("Idempotency-Key" = String, Header)),
               responses((status = 200, body = OrderView)), security(("bearer" = [])))]
#[post("/orders/{id}/cancellation")]
pub(crate) async fn cancel(
    shop: Data<Storefront>,
    caller: Caller,
    key: RequiredKey,
    id: Segment<OrderId>,
    _body: NoBody,
) -> Answer<Kept> {
    let (id, changes) = (id.0, shop.products.changes());
    let work = move |tx: &mut db::Tx<'_>| {
        let order = checkout::cancel(tx, caller.id, id)?;
        changes.by(tx, order.lines.iter().map(|line| line.product_id));
        Done::ok(&OrderView::from(order))
    };
    idempotency::once(&shop.db, &caller, key, b"", work).await
}

/// The member's orders, the newest first.
#[utoipa::path(operation_id = "listOrders", tag = "orders",
               params(PageQuery), responses((status = 200, body = Page<OrderView>)),
               security(("bearer" = [])))]
#[get("/orders")]
pub(crate) async fn list(shop: Data<Storefront>, caller: Caller, page: Params<PageQuery>) -> Answer<HttpResponse> {
    let (after, fetch) = (page.0.after::<OrderId>()?, page.0.fetch());
    let rows = shop.db.read(move |conn| order::page(conn, Some(caller.id), after, fetch)).await?;
    Ok(reply::ok(&Page::of(rows, &page.0, |row| row.id, OrderView::from)))
}

/// An order.
#[utoipa::path(operation_id = "getOrder", tag = "orders",
               params(("id" = uuid::Uuid, Path)), responses((status = 200, body = OrderView)),
               security(("bearer" = [])))]
#[get("/orders/{id}")]
pub(crate) async fn one(shop: Data<Storefront>, caller: Caller, id: Segment<OrderId>) -> Answer<HttpResponse> {
    let order = shop.db.read(move |conn| own(conn, &caller, id.0)).await?;
    Ok(reply::ok(&OrderView::from(order)))
}

/// The payment of an order.
#[utoipa::path(operation_id = "getPayment", tag = "orders",
               params(("id" = uuid::Uuid, Path)), responses((status = 200, body = PaymentView)),
               security(("bearer" = [])))]
#[get("/orders/{id}/payment")]
pub(crate) async fn payment_of(shop: Data<Storefront>, caller: Caller, id: Segment<OrderId>) -> Answer<HttpResponse> {
    let payment = shop.db.read(move |conn| {
        let order = own(conn, &caller, id.0)?;
        payment::payment_of(conn, order.id)?.ok_or_else(|| Problem::not_found("payment"))
    });
    Ok(reply::ok(&PaymentView::from(payment.await?)))
}

/// Returns the delivery of an order. The delivery appears a moment after the order.
#[utoipa::path(operation_id = "getDelivery", tag = "orders",
               params(("id" = uuid::Uuid, Path)), responses((status = 200, body = DeliveryView)),
               security(("bearer" = [])))]
#[get("/orders/{id}/delivery")]
pub(crate) async fn delivery_of(shop: Data<Storefront>, caller: Caller, id: Segment<OrderId>) -> Answer<HttpResponse> {
    let delivery = shop.db.read(move |conn| {
        let order = own(conn, &caller, id.0)?;
        delivery::of_order(conn, order.id)?.ok_or_else(|| Problem::not_found("delivery"))
    });
    Ok(reply::ok(&DeliveryView::from(delivery.await?)))
}

/// The events of an order, the oldest first, with how far each has come.
#[utoipa::path(operation_id = "listOrderEvents", tag = "orders",
               params(("id" = uuid::Uuid, Path)), responses((status = 200, body = Page<OrderEvent>)),
               security(("bearer" = [])))]
#[get("/orders/{id}/events")]
pub(crate) async fn events_of(shop: Data<Storefront>, caller: Caller, id: Segment<OrderId>) -> Answer<HttpResponse> {
    let events = shop.db.read(move |conn| {
        let order = own(conn, &caller, id.0)?;
        Ok::<_, Problem>(admin::events_of_key(conn, &order.id.to_string())?)
    });
    Ok(reply::ok(&Page::<OrderEvent>::all(events.await?)))
}

/// Returns the caller's order. Another member's order counts as absent; administrators see all orders.
fn own(conn: &mut Conn, caller: &Caller, id: OrderId) -> Result<Order, Problem> {
    let order = order::get(conn, id)?.filter(|order| order.member_id == caller.id || caller.is_admin());
    order.ok_or_else(|| Problem::not_found("order"))
}
