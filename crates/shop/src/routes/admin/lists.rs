//! All orders, all members, and all incidents.

use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use consumers::incident;
use contracts::{IncidentId, MemberId, OrderId};
use rest::input::Params;
use rest::page::{Page, PageQuery};
use rest::reply;

use crate::Storefront;
use crate::auth::Admin;
use crate::dto::checkout::OrderView;
use crate::dto::events::IncidentView;
use crate::dto::members::Profile;
use crate::http::problem::Answer;

/// Returns all orders, the newest first.
#[utoipa::path(operation_id = "listAllOrders", tag = "admin",
               params(PageQuery), responses((status = 200, body = Page<OrderView>)),
               security(("bearer" = ["admin"])))]
#[get("/admin/orders")]
pub(crate) async fn orders(shop: Data<Storefront>, _admin: Admin, page: Params<PageQuery>) -> Answer<HttpResponse> {
    let (after, fetch) = (page.0.after::<OrderId>()?, page.0.fetch());
    let rows = shop.db.read(move |conn| order::page(conn, None, after, fetch)).await?;
    Ok(reply::ok(&Page::of(rows, &page.0, |row| row.id, OrderView::from)))
}

/// Returns all members, the newest first.
#[utoipa::path(operation_id = "listMembers", tag = "admin",
               params(PageQuery), responses((status = 200, body = Page<Profile>)),
               security(("bearer" = ["admin"])))]
#[get("/admin/members")]
pub(crate) async fn members(shop: Data<Storefront>, _admin: Admin, page: Params<PageQuery>) -> Answer<HttpResponse> {
    let (after, fetch) = (page.0.after::<MemberId>()?, page.0.fetch());
    let rows = shop.db.read(move |conn| member::page(conn, after, fetch)).await?;
    Ok(reply::ok(&Page::of(rows, &page.0, |row| row.id, Profile::from)))
}

/// Returns failures that services reported through an event proxy, the newest first. Each event opens one incident.
#[utoipa::path(operation_id = "listIncidents", tag = "admin",
               params(PageQuery), responses((status = 200, body = Page<IncidentView>)),
               security(("bearer" = ["admin"])))]
#[get("/admin/incidents")]
pub(crate) async fn incidents(shop: Data<Storefront>, _admin: Admin, page: Params<PageQuery>) -> Answer<HttpResponse> {
    let (after, fetch) = (page.0.after::<IncidentId>()?, page.0.fetch());
    let rows = shop.db.read(move |conn| incident::page(conn, after, fetch)).await?;
    Ok(reply::ok(&Page::of(rows, &page.0, |row| row.id, IncidentView::from)))
}
