//! Settlement, analytics, and the reconciliation of coupons.

use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use chrono::NaiveDate;
use consumers::{analytics, settlement};
use contracts::{CouponId, day_of};
use db::types::Time;
use garde::Validate;
use rest::input::{Params, Segment};
use rest::page::Page;
use rest::reply;
use serde::Deserialize;

use crate::Storefront;
use crate::auth::Admin;
use crate::dto::coupons::ReconciliationView;
use crate::dto::figures::{CouponFiguresView, SalesDayView, SettlementDay};
use crate::http::kinds;
use crate::http::problem::{Answer, Problem};

/// Default number of days of a settlement.
const LATELY: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Days of a settlement at most.
const MOST_DAYS: i64 = 3_660;

/// Range of days, both inclusive.
#[derive(Deserialize, Validate, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Days {
    /// 30 days ago unless given.
    #[garde(skip)]
    #[serde(default, deserialize_with = "db::types::day")]
    from: Option<NaiveDate>,
    /// Today in the time zone of the shop unless given.
    #[garde(skip)]
    #[serde(default, deserialize_with = "db::types::day")]
    to: Option<NaiveDate>,
}

/// Returns the figures of each day, the newest first.
#[utoipa::path(operation_id = "listSettlements", tag = "admin",
               params(Days), responses((status = 200, body = Page<SettlementDay>)),
               security(("bearer" = ["admin"])))]
#[get("/admin/settlements")]
pub(crate) async fn settlements(shop: Data<Storefront>, _admin: Admin, days: Params<Days>) -> Answer<HttpResponse> {
    let now = Time::now();
    let to = days.0.to.unwrap_or_else(|| day_of(now));
    let from = days.0.from.unwrap_or_else(|| day_of(now - LATELY).min(to));
    if from > to || (to - from).num_days() > MOST_DAYS {
        return Err(Problem::new(&kinds::INVALID_QUERY).field("from", "must not be after to, nor 10 years before it"));
    }
    let rows = shop.db.read(move |conn| settlement::days(conn, from, to)).await?;
    Ok(reply::ok(&Page::<SettlementDay>::all(rows)))
}

/// Returns the figures of the coupons, the newest first.
#[utoipa::path(operation_id = "listCouponFigures", tag = "admin",
               responses((status = 200, body = Page<CouponFiguresView>)), security(("bearer" = ["admin"])))]
#[get("/admin/analytics/coupons")]
pub(crate) async fn coupons(shop: Data<Storefront>, _admin: Admin) -> Answer<HttpResponse> {
    let rows = shop.db.read(analytics::coupons).await?;
    Ok(reply::ok(&Page::<CouponFiguresView>::all(rows)))
}

/// The sales of each day, the newest first.
#[utoipa::path(operation_id = "listSalesFigures", tag = "admin",
               responses((status = 200, body = Page<SalesDayView>)), security(("bearer" = ["admin"])))]
#[get("/admin/analytics/sales")]
pub(crate) async fn sales(shop: Data<Storefront>, _admin: Admin) -> Answer<HttpResponse> {
    let rows = shop.db.read(analytics::sales).await?;
    Ok(reply::ok(&Page::<SalesDayView>::all(rows)))
}

/// Proves from the data that a coupon went to the first requests.
#[utoipa::path(operation_id = "reconcileCoupon", tag = "admin", params(("id" = uuid::Uuid, Path)),
               responses((status = 200, body = ReconciliationView)), security(("bearer" = ["admin"])))]
#[get("/admin/coupons/{id}/reconciliation")]
pub(crate) async fn reconciliation(
    shop: Data<Storefront>,
    _admin: Admin,
    id: Segment<CouponId>,
) -> Answer<HttpResponse> {
    let found = shop.db.read(move |conn| coupon::reconciliation(conn, id.0)).await?;
    Ok(reply::ok(&ReconciliationView::from(found.ok_or_else(|| Problem::not_found("coupon"))?)))
}
