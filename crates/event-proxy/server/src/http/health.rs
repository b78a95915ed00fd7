//! Readiness and metrics of the proxy.

use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use db::types::Time;
use messaging_kafka::Cluster;
use rest::health::{self, Readiness};
use rest::{Problem, reply};
use telemetry::metrics::{
    EVENT_PROXY_KAFKA_UP, EVENT_PROXY_LOG_AGE_LIMIT_SECONDS, EVENT_PROXY_LOG_AGE_SECONDS, EVENT_PROXY_LOG_BYTES,
    EVENT_PROXY_LOG_LIMIT_BYTES, EVENT_PROXY_READY, EVENT_PROXY_REFUSED_TOPICS,
};

use crate::Proxy;

/// Answers that the proxy accepts events.
#[get("/readyz")]
pub(crate) async fn readyz(proxy: Data<Proxy>) -> Result<HttpResponse, Problem> {
    if let Some(fault) = proxy.db.storage_fault() {
        return Ok(Readiness::unwritable("log", &fault));
    }
    proxy.db.read(db::now).await?;
    if let Some(reason) = proxy.room.closed() {
        return Ok(HttpResponse::ServiceUnavailable().json(Readiness::not_ready(vec![format!("log: {reason}")])));
    }
    let kafka = proxy.delivery.away().map(|away| format!("kafka: {away}; events wait in the log"));
    let deaf = proxy.delivery.deaf().into_iter().map(|client| format!("kafka: {client}; events wait in the log"));
    let missing = proxy.topics.missing().into_iter();
    let missing =
        missing.map(|topic| format!("topic {topic}: was deleted on Kafka; events wait until it is made again"));
    let refused = proxy.topics.refused().into_iter();
    let refused = refused.map(|(topic, why)| format!("topic {topic}: {why}; its events wait, and no more are taken"));
    let keys = proxy.keys.are_old().then(|| "control database: away; the API keys known last are in force".to_owned());
    let control =
        proxy.control.storage_fault().map(|fault| format!("control database: {fault}; no key can be changed"));
    let differences = proxy.delivery.cluster().map(Cluster::differences).unwrap_or_default();
    let differences = differences.iter().map(|difference| format!("kafka: {difference}"));
    let degraded =
        kafka.into_iter().chain(deaf).chain(missing).chain(refused).chain(differences).chain(keys).chain(control);
    Ok(reply::ok(&Readiness::ready(degraded.collect())))
}

/// Returns metrics in the text format of Prometheus; gauges of the proxy are read at the request.
#[get("/metrics")]
pub(crate) async fn metrics(proxy: Data<Proxy>) -> HttpResponse {
    let is_writable = proxy.room.closed().is_none() && proxy.db.storage_fault().is_none();
    let is_ready = is_writable && proxy.db.read(db::now).await.is_ok();
    let (used, max_bytes) = proxy.room.used();
    let age = proxy.room.oldest().map_or(0, |oldest| Time::now().micros().saturating_sub(oldest.micros()).max(0));
    EVENT_PROXY_READY.of([]).set(flag(is_ready));
    EVENT_PROXY_LOG_BYTES.of([]).set(used as f64);
    EVENT_PROXY_LOG_LIMIT_BYTES.of([]).set(max_bytes as f64);
    EVENT_PROXY_LOG_AGE_SECONDS.of([]).set(age as f64 / 1e6);
    EVENT_PROXY_LOG_AGE_LIMIT_SECONDS.of([]).set(proxy.settings.log_limit.max_age.as_secs_f64());
    EVENT_PROXY_REFUSED_TOPICS.of([]).set(proxy.topics.refused().len() as f64);
    if proxy.delivery.is_there() {
        EVENT_PROXY_KAFKA_UP.of([]).set(flag(proxy.delivery.away().is_none()));
    }
    health::text_of_metrics()
}

fn flag(is_true: bool) -> f64 {
    f64::from(u8::from(is_true))
}
