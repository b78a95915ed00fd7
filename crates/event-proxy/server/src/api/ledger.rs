//! `GET /v1/ledger`

use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use rest::{Problem, reply};

use crate::Proxy;
use crate::auth::caller::Reader;
use crate::delivery::ledger::{self, TopicLedger};

/// Returns the outcomes of all events, by topic; an API key bound to services sees only their topics.
#[utoipa::path(operation_id = "getLedger", tag = "events",
               responses((status = 200, body = std::collections::BTreeMap<String, TopicLedger>)),
               security((), ("bearer" = []), ("basic" = [])))]
#[get("/ledger")]
pub(crate) async fn all(proxy: Data<Proxy>, reader: Reader) -> Result<HttpResponse, Problem> {
    let to_kafka = proxy.delivery.is_there();
    let mut ledger = proxy.db.read(move |conn| ledger::count(conn, to_kafka)).await?;
    ledger.retain(|topic, _| reader.0.may_see(&proxy.settings.topics, topic));
    Ok(reply::ok(&ledger))
}
