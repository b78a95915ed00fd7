//! `GET /v1/ledger`

use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use rest::{Problem, reply};

use crate::Proxy;
use crate::ledger::{self, TopicLedger};

/// What became of all events, by topic.
#[utoipa::path(tag = "events", responses((status = 200, body = std::collections::BTreeMap<String, TopicLedger>)))]
#[get("/ledger")]
pub async fn all(proxy: Data<Proxy>) -> Result<HttpResponse, Problem> {
    let to_kafka = proxy.delivery.is_there();
    let ledger = proxy.db.read(move |conn| ledger::count(conn, to_kafka)).await?;
    Ok(reply::ok(&ledger))
}
