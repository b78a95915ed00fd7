//! `/issue-requests`

use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use consumers::coupon_issuer;
use contracts::RequestId;
use garde::Validate;
use rest::input::{Params, Segment};
use rest::reply;
use serde::Deserialize;

use crate::Storefront;
use crate::auth::Caller;
use crate::dto::coupons::IssueRequestView;
use crate::http::problem::{Answer, Problem};

/// Maximum wait for the result.
#[derive(Deserialize, Validate, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wait {
    /// Seconds; the answer comes as soon as there is a result.
    #[garde(range(max = 30))]
    #[param(minimum = 0, maximum = 30)]
    wait: Option<u32>,
}

/// Returns the outcome of a request for a coupon, or `pending`.
#[utoipa::path(operation_id = "getIssueRequest", tag = "coupons", params(("id" = uuid::Uuid, Path), Wait),
               responses((status = 200, body = IssueRequestView)), security(("bearer" = [])))]
#[get("/issue-requests/{id}")]
pub(crate) async fn one(
    shop: Data<Storefront>,
    caller: Caller,
    id: Segment<RequestId>,
    wait: Params<Wait>,
) -> Answer<HttpResponse> {
    let id = id.0;
    if !shop.request_ids.is_of(id, caller.id) {
        return Err(Problem::not_found("request"));
    }
    let wait = Duration::from_secs(wait.0.wait.unwrap_or(0).into());
    let outcome = tokio::select! {
        outcome = coupon_issuer::outcome(&shop.db, &shop.issuer_wake, id, wait) => outcome?,
        () = shop.stop.cancelled() => None,
    };
    Ok(reply::ok(&outcome.map_or_else(|| IssueRequestView::pending(id), IssueRequestView::from)))
}
