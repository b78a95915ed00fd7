//! `/coupons`

use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpResponse, get, patch, post};
use contracts::CouponId;
use contracts::events::CouponIssueRequested;
use rest::input::{Body, NoBody, Params, Segment};
use rest::page::{Page, PageQuery};
use rest::reply::{self, Kept};

use super::at;
use crate::Storefront;
use crate::auth::{Admin, Caller};
use crate::cache::CouponState;
use crate::dto::coupons::{CouponEntry, CouponPatch, CouponView, IssueRequestAccepted};
use crate::http::problem::{Answer, Problem};
use crate::idempotency::{self, Done, OptionalKey};

/// Starts a campaign.
#[utoipa::path(operation_id = "createCoupon", tag = "coupons",
               request_body = CouponEntry, params(("Idempotency-Key" = Option<String>, Header)),
               responses((status = 201, body = CouponView)), security(("bearer" = ["admin"])))]
#[post("/coupons")]
pub(crate) async fn create(
    shop: Data<Storefront>,
    admin: Admin,
    key: OptionalKey,
    body: Body<CouponEntry>,
) -> Answer<Kept> {
    let new = body.value.into_new()?;
    let work = move |tx: &mut db::Tx<'_>| {
        let coupon = coupon::create(tx, &new)?;
        Done::created(at(format_args!("coupons/{}", coupon.id)), &CouponView::from(coupon))
    };
    idempotency::maybe_once(&shop.db, &admin.0, key, &body.bytes, work).await
}

/// Sets when a campaign closes.
#[utoipa::path(operation_id = "closeCoupon", tag = "coupons", request_body = CouponPatch,
               params(("id" = uuid::Uuid, Path)), responses((status = 200, body = CouponView)),
               security(("bearer" = ["admin"])))]
#[patch("/coupons/{id}")]
pub(crate) async fn close(
    shop: Data<Storefront>,
    _admin: Admin,
    id: Segment<CouponId>,
    body: Body<CouponPatch>,
) -> Answer<HttpResponse> {
    let (id, closes_at, known) = (id.0, body.value.closes_at, shop.clone());
    let work = move |tx: &mut db::Tx<'_>| {
        let known = known.clone();
        tx.after_commit(move || known.coupons.forget(id));
        coupon::close_at(tx, id, closes_at)
    };
    let coupon = shop.db.write(work).await?;
    Ok(reply::ok(&CouponView::from(coupon)))
}

/// The campaigns, the newest first.
#[utoipa::path(operation_id = "listCoupons", tag = "coupons",
               params(PageQuery), responses((status = 200, body = Page<CouponView>)))]
#[get("/coupons")]
pub(crate) async fn list(shop: Data<Storefront>, page: Params<PageQuery>) -> Answer<HttpResponse> {
    let (after, fetch) = (page.0.after::<CouponId>()?, page.0.fetch());
    let rows = shop.db.read(move |conn| coupon::page(conn, after, fetch)).await?;
    Ok(reply::ok(&Page::of(rows, &page.0, |row| row.id, CouponView::from)))
}

/// A campaign.
#[utoipa::path(operation_id = "getCoupon", tag = "coupons",
               params(("id" = uuid::Uuid, Path)), responses((status = 200, body = CouponView)))]
#[get("/coupons/{id}")]
pub(crate) async fn one(shop: Data<Storefront>, id: Segment<CouponId>) -> Answer<HttpResponse> {
    let coupon = shop.db.read(move |conn| coupon::get(conn, id.0)).await?;
    Ok(reply::ok(&CouponView::from(coupon.ok_or_else(|| Problem::not_found("coupon"))?)))
}

/// Requests a coupon. The order of the event log decides who gets the coupon; `status_url` returns the outcome.
#[utoipa::path(operation_id = "requestCoupon", tag = "coupons", params(("id" = uuid::Uuid, Path)),
               responses((status = 202, body = IssueRequestAccepted)), security(("bearer" = [])))]
#[post("/coupons/{id}/issue-requests")]
pub(crate) async fn request(
    shop: Data<Storefront>,
    caller: Caller,
    id: Segment<CouponId>,
    _body: NoBody,
) -> Answer<HttpResponse> {
    let (coupon, member) = (id.0, caller.id);
    if let CouponState::Refused(problem) = shop.coupons.state(coupon, member).await? {
        return Err(problem);
    }
    let request_id = shop.request_ids.generate(member);
    let unit = move |tx: &mut db::Tx<'_>| {
        let requested_at = tx.now()?;
        let event = CouponIssueRequested { request_id, coupon_id: coupon, member_id: member, requested_at };
        messaging::emit(tx, &event).map(drop)
    };
    shop.requests.write(unit).await?;
    let status_url = at(format_args!("issue-requests/{request_id}"));
    let accepted = IssueRequestAccepted { request_id, status_url: status_url.clone() };
    Ok(reply::accepted(status_url, Duration::from_secs(1), &accepted))
}
