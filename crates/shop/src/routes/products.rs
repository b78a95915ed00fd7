//! `/products`

use actix_web::http::header::{CACHE_CONTROL, ContentType};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpResponse, get, patch, post};
use contracts::ProductId;
use garde::Validate;
use rest::input::{Body, Params, Segment};
use rest::page::{Page, PageQuery};
use rest::reply::{self, Kept};
use serde::Deserialize;
use stock::{Cursor, ProductQuery, Sort};

use super::at;
use crate::Storefront;
use crate::auth::Admin;
use crate::dto::catalogue::{PopularProducts, ProductEntry, ProductPatch, ProductView, StockAdjustment, StockLevel};
use crate::dto::texts;
use crate::http::kinds;
use crate::http::problem::{Answer, Problem};
use crate::idempotency::{self, Done, OptionalKey, RequiredKey};

/// Filter and order of products.
#[derive(Deserialize, Validate, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Search {
    /// Part of the name, in any case, width and composition.
    #[garde(length(chars, max = 1000))]
    #[param(max_length = 1000)]
    q: Option<String>,
    /// `newest` unless given.
    #[garde(skip)]
    #[param(inline, value_type = Option<texts::ProductSort>)]
    sort: Option<Sort>,
}

/// A product.
#[utoipa::path(operation_id = "getProduct", tag = "products",
               params(("id" = uuid::Uuid, Path)), responses((status = 200, body = ProductView)))]
#[get("/products/{id}")]
pub(crate) async fn one(shop: Data<Storefront>, id: Segment<ProductId>) -> Answer<HttpResponse> {
    Ok(json(shop.products.json(id.0).await?))
}

/// Returns the five best-selling products of the last three days that can be bought.
#[utoipa::path(operation_id = "listPopularProducts", tag = "products",
               responses((status = 200, body = PopularProducts)))]
#[get("/products/popular")]
pub(crate) async fn popular(shop: Data<Storefront>) -> Answer<HttpResponse> {
    Ok(json(shop.popular.json().await?))
}

fn json(body: Bytes) -> HttpResponse {
    HttpResponse::Ok().insert_header(ContentType::json()).insert_header((CACHE_CONTROL, "no-cache")).body(body)
}

/// The catalogue.
#[utoipa::path(operation_id = "listProducts", tag = "products",
               params(Search, PageQuery), responses((status = 200, body = Page<ProductView>)))]
#[get("/products")]
pub(crate) async fn list(
    shop: Data<Storefront>,
    search: Params<Search>,
    page: Params<PageQuery>,
) -> Answer<HttpResponse> {
    let (Search { q: text, sort }, page) = (search.0, page.0);
    let sort = sort.unwrap_or_default();
    let after = page.after::<Cursor>()?;
    if after.as_ref().is_some_and(|cursor| !cursor.fits(sort)) {
        return Err(Problem::new(&kinds::INVALID_QUERY).field("cursor", "is of a list that is sorted otherwise"));
    }
    let (query, fetch) = (ProductQuery { text, sort, after }, page.fetch());
    let rows = shop.db.read(move |conn| stock::page(conn, &query, fetch)).await?;
    Ok(reply::ok(&Page::of(rows, &page, |row| row.cursor(sort), ProductView::from)))
}

/// Enters a product into the catalogue.
#[utoipa::path(operation_id = "createProduct", tag = "products",
               request_body = ProductEntry, params(("Idempotency-Key" = Option<String>, Header)),
               responses((status = 201, body = ProductView)), security(("bearer" = ["admin"])))]
#[post("/products")]
pub(crate) async fn create(
    shop: Data<Storefront>,
    admin: Admin,
    key: OptionalKey,
    body: Body<ProductEntry>,
) -> Answer<Kept> {
    let new = body.value.into_new()?;
    let work = move |tx: &mut db::Tx<'_>| {
        let product = stock::create(tx, &new)?;
        Done::created(at(format_args!("products/{}", product.id)), &ProductView::from(product))
    };
    idempotency::maybe_once(&shop.db, &admin.0, key, &body.bytes, work).await
}

/// Changes a product; absent fields keep their values. Orders keep the name and price of their time.
#[utoipa::path(operation_id = "updateProduct", tag = "products", request_body = ProductPatch,
               params(("id" = uuid::Uuid, Path)), responses((status = 200, body = ProductView)),
               security(("bearer" = ["admin"])))]
#[patch("/products/{id}")]
pub(crate) async fn edit(
    shop: Data<Storefront>,
    _admin: Admin,
    id: Segment<ProductId>,
    body: Body<ProductPatch>,
) -> Answer<HttpResponse> {
    let (id, change, changes) = (id.0, body.value.into_change()?, shop.products.changes());
    let work = move |tx: &mut db::Tx<'_>| {
        changes.by(tx, [id]);
        stock::change(tx, id, &change)
    };
    let product = shop.db.write(work).await?;
    Ok(reply::ok(&ProductView::from(product)))
}

/// Receives or writes off units; never below zero.
#[utoipa::path(operation_id = "adjustStock", tag = "products", request_body = StockAdjustment,
               params(("id" = uuid::Uuid, Path), ("Idempotency-Key" = String, Header)),
               responses((status = 201, body = StockLevel)), security(("bearer" = ["admin"])))]
#[post("/products/{id}/stock-adjustments")]
pub(crate) async fn adjust(
    shop: Data<Storefront>,
    admin: Admin,
    key: RequiredKey,
    id: Segment<ProductId>,
    body: Body<StockAdjustment>,
) -> Answer<Kept> {
    let (product_id, changes) = (id.0, shop.products.changes());
    let StockAdjustment { delta, reason } = body.value;
    let work = move |tx: &mut db::Tx<'_>| {
        changes.by(tx, [product_id]);
        let available = stock::adjust(tx, product_id, delta, &reason)?;
        Done::created(at(format_args!("products/{product_id}")), &StockLevel { product_id, available })
    };
    idempotency::once(&shop.db, &admin.0, key, &body.bytes, work).await
}
