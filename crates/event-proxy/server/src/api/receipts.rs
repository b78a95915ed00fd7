//! `GET /v1/receipts/{receipt}`

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, get};
use db::Conn;
use db::types::{Id, Time};
use messaging::admin;
use rest::Problem;
use rest::input::Segment;
use rest::reply;
use serde::Serialize;

use crate::Proxy;
use crate::auth::caller::Caller;
use crate::delivery::offset_index;
use crate::delivery::quarantine::{self, Held, State};
use crate::http::problems;

/// Outcome of an event.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct ReceiptView {
    status: Status,
    topic: String,
    partition: i32,
    /// Offset of the event on Kafka.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    /// Number of deliveries refused by Kafka.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<i32>,
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<Time>,
    /// Reason of the refusal or of the discard.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// The event is in the log, on the way to Kafka.
    Queued,
    /// The event is on Kafka; without a bus, in the log.
    Delivered,
    /// Kafka refused the event, or an earlier event of the key; the event is sent again.
    Retrying,
    /// Kafka refused the event for good; the event rests until someone acts.
    Dead,
    /// Someone discarded the event.
    Discarded,
}

/// Returns the outcome of the receipt's event.
#[utoipa::path(operation_id = "getReceipt", tag = "events",
               params(("receipt" = String, Path)), responses((status = 200, body = ReceiptView)),
               security((), ("bearer" = []), ("basic" = [])))]
#[get("/receipts/{receipt}")]
pub(crate) async fn one(
    proxy: Data<Proxy>,
    _caller: Caller,
    request: HttpRequest,
    receipt: Segment<String>,
) -> Result<HttpResponse, Problem> {
    if let Some(answer) = proxy.peers.ask(&request, &receipt.0).await? {
        return Ok(answer);
    }
    let id = proxy.receipts.read(&receipt.0).ok_or_else(|| Problem::not_found("receipt"))?;
    let to_kafka = proxy.delivery.is_there();
    let view = proxy.db.read(move |conn| view(conn, id, to_kafka)).await?;
    Ok(reply::ok(&view.ok_or_else(|| Problem::new(&problems::FORGOTTEN))?))
}

fn view(conn: &mut Conn, id: Id, to_kafka: bool) -> db::Result<Option<ReceiptView>> {
    if let Some(held) = quarantine::one(conn, id)? {
        return Ok(Some(ReceiptView::of_held(held)));
    }
    let Some(found) = admin::event(conn, id)? else { return Ok(None) };
    let event = found.stored.event;
    let offset = match found.relayed {
        true => offset_index::offset(conn, &event.topic, event.partition, event.position)?,
        false => None,
    };
    let status = if found.relayed || !to_kafka { Status::Delivered } else { Status::Queued };
    let (topic, partition) = (event.topic.to_string(), event.partition);
    Ok(Some(ReceiptView { status, topic, partition, offset, attempts: None, next_attempt_at: None, reason: None }))
}

impl ReceiptView {
    fn of_held(held: Held) -> Self {
        let status = match held.state {
            State::Retrying | State::Behind | State::Resending => Status::Retrying,
            State::Dead => Status::Dead,
            State::Discarded => Status::Discarded,
        };
        Self {
            status,
            topic: held.topic,
            partition: held.partition,
            offset: None,
            attempts: (held.attempts > 0).then_some(held.attempts),
            next_attempt_at: held.next_attempt_at,
            reason: held.reason,
        }
    }
}
