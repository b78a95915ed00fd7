//! `/readyz`. Other probes of a process are in [`rest::health`].

use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use rest::health::Readiness;
use rest::reply;

use super::problem::{Answer, unavailable};
use crate::Storefront;

/// Answers that the shop takes requests: the shop is not shutting down, and the database answers and takes writes.
/// The answer also lists failures of optional parts.
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
