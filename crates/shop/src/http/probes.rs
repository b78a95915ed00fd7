//! `/readyz`. What else is asked of a process is in [`rest::health`].

use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use rest::health::Readiness;
use rest::reply;

use super::problem::{Answer, unavailable};
use crate::Storefront;

/// The shop takes requests: it is not shutting down, and its database answers and takes writes. What it can do without is told.
#[get("/readyz")]
pub(crate) async fn readyz(shop: Data<Storefront>) -> Answer<HttpResponse> {
    if shop.stop.is_cancelled() {
        return Err(unavailable("the shop is shutting down"));
    }
    if let Some(fault) = shop.db.storage_fault() {
        return Ok(Readiness::unwritable("database", &fault));
    }
    shop.runtime.check_database().await?;
    Ok(reply::ok(&Readiness::ready(shop.runtime.degraded())))
}
