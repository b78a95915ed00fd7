//! `/readyz`. What else is asked of a process is in [`runtime::health`].

use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use runtime::health::Readiness;

use super::problem::unavailable;
use super::reply::{self, Answer};
use crate::Storefront;

/// The shop takes requests: it is not shutting down, and its database answers. What it can do without is told.
#[get("/readyz")]
pub async fn readyz(shop: Data<Storefront>) -> Answer<HttpResponse> {
    if shop.stop.is_cancelled() {
        return Err(unavailable("the shop is shutting down"));
    }
    shop.runtime.check_database().await?;
    Ok(reply::ok(&Readiness::ready(shop.runtime.degraded())))
}
