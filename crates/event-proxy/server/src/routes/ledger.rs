//! `GET /v1/ledger`

use std::collections::BTreeMap;

use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use messaging::admin;
use rest::{Problem, reply};
use serde::Serialize;

use crate::Proxy;

/// What became of all events of a topic: `accepted` is the sum of the others.
#[derive(Default, Serialize, utoipa::ToSchema)]
pub struct TopicLedger {
    accepted: i64,
    delivered: i64,
    queued: i64,
}

/// What became of all events, by topic.
#[utoipa::path(tag = "events", responses((status = 200, body = BTreeMap<String, TopicLedger>)))]
#[get("/ledger")]
pub async fn all(proxy: Data<Proxy>) -> Result<HttpResponse, Problem> {
    let mut ledger = BTreeMap::<String, TopicLedger>::new();
    for partition in proxy.db.read(admin::partitions).await? {
        let accepted = partition.end + 1;
        let delivered = if proxy.delivery.is_there() { partition.relayed + 1 } else { accepted };
        let topic = ledger.entry(partition.topic).or_default();
        topic.accepted += accepted;
        topic.delivered += delivered;
        topic.queued += accepted - delivered;
    }
    Ok(reply::ok(&ledger))
}
