//! `GET /v1/receipts/{receipt}`

use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use messaging::admin::{self, LogPlace};
use rest::Problem;
use rest::input::Segment;
use rest::reply;
use serde::Serialize;

use crate::Proxy;
use crate::http::kinds;

/// What became of an event.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ReceiptView {
    #[schema(value_type = String)]
    status: Status,
    topic: String,
    partition: i32,
    /// Where it is in the partition.
    offset: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Delivered,
}

/// What became of the event that the receipt was given for.
#[utoipa::path(tag = "events", params(("receipt" = String, Path)), responses((status = 200, body = ReceiptView)))]
#[get("/receipts/{receipt}")]
pub async fn one(proxy: Data<Proxy>, receipt: Segment<String>) -> Result<HttpResponse, Problem> {
    let id = proxy.receipts.read(&receipt.0).ok_or_else(|| Problem::not_found("receipt"))?;
    let mut places = proxy.db.read(move |conn| admin::places(conn, &[id])).await?;
    let (_, place) = places.pop().ok_or_else(|| Problem::new(&kinds::FORGOTTEN))?;
    let LogPlace { topic, partition, position: offset } = place;
    Ok(reply::ok(&ReceiptView { status: Status::Delivered, topic, partition, offset }))
}
