//! `GET /v1/receipts/{receipt}`

use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use messaging::admin;
use rest::Problem;
use rest::input::Segment;
use rest::reply;
use serde::Serialize;

use crate::Proxy;
use crate::http::kinds;

/// What became of an event.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ReceiptView {
    status: Status,
    topic: String,
    partition: i32,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// In the log, on its way to Kafka.
    Queued,
    /// Kafka has it; or it is in the log, and goes nowhere else.
    Delivered,
}

/// What became of the event that the receipt was given for.
#[utoipa::path(tag = "events", params(("receipt" = String, Path)), responses((status = 200, body = ReceiptView)))]
#[get("/receipts/{receipt}")]
pub async fn one(proxy: Data<Proxy>, receipt: Segment<String>) -> Result<HttpResponse, Problem> {
    let id = proxy.receipts.read(&receipt.0).ok_or_else(|| Problem::not_found("receipt"))?;
    let event = proxy.db.read(move |conn| admin::event(conn, id)).await?;
    let event = event.ok_or_else(|| Problem::new(&kinds::FORGOTTEN))?;
    let is_delivered = event.relayed || !proxy.delivery.is_there();
    let (topic, partition) = (event.stored.event.topic.to_string(), event.stored.event.partition);
    let status = if is_delivered { Status::Delivered } else { Status::Queued };
    Ok(reply::ok(&ReceiptView { status, topic, partition }))
}
