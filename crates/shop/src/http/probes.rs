//! `/livez`, `/readyz` and `/metrics`.

use actix_web::web::Data;
use actix_web::{HttpResponse, get};

use super::problem::unavailable;
use super::reply::{self, Answer};
use crate::Storefront;

/// The process runs.
#[get("/livez")]
pub async fn livez() -> HttpResponse {
    reply::ok(&serde_json::json!({ "status": "live" }))
}

/// The shop takes requests: it is not shutting down, and its database answers.
#[get("/readyz")]
pub async fn readyz(shop: Data<Storefront>) -> Answer<HttpResponse> {
    if shop.stop.is_cancelled() {
        return Err(unavailable("the shop is shutting down"));
    }
    shop.runtime.check_database().await?;
    Ok(reply::ok(&serde_json::json!({ "status": "ready" })))
}

/// In the text format of Prometheus.
#[get("/metrics")]
pub async fn metrics() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(telemetry::metrics::render())
}
