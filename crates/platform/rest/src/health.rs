//! Probes of a process: liveness, readiness, metrics.

#![allow(unreachable_pub, reason = "route macros put the visibility on a function inside, too")]

use actix_web::{HttpResponse, get};
use serde::Serialize;

/// Answers that the process runs.
#[get("/livez")]
pub async fn livez() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({ "status": "live" }))
}

/// Metrics of the process in the text format of Prometheus.
#[get("/metrics")]
pub async fn metrics() -> HttpResponse {
    text_of_metrics()
}

/// Returns the answer of a route for Prometheus.
pub fn text_of_metrics() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(telemetry::metrics::render())
}

/// The answer of `/readyz`.
#[derive(Debug, Serialize)]
pub struct Readiness {
    status: &'static str,
    /// Failures of parts: an item for each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    degraded: Vec<String>,
}

impl Readiness {
    /// Returns the readiness of a working process, with failed parts.
    pub fn ready(degraded: Vec<String>) -> Self {
        Self { status: "ready", degraded }
    }

    /// Returns the answer of a service with an unwritable database.
    pub fn unwritable(database: &str, fault: &db::StorageFault) -> HttpResponse {
        HttpResponse::ServiceUnavailable().json(Self::not_ready(vec![format!("{database}: {fault}")]))
    }

    /// Returns the readiness of a process that can't work.
    pub fn not_ready(degraded: Vec<String>) -> Self {
        Self { status: "not ready", degraded }
    }
}
