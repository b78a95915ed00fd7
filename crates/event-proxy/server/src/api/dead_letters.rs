//! Events refused by Kafka: a list, redrives, and discards.

use actix_web::web::Data;
use actix_web::{HttpResponse, get, post};
use db::types::{Id, Time};
use garde::Validate;
use rest::input::{Body, Params, Segment};
use rest::page::{Page, PageQuery};
use rest::{Problem, reply};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Proxy;
use crate::auth::admin::Admin;
use crate::cluster::audit;
use crate::delivery::dead_letters::{self, Filter};
use crate::delivery::quarantine::{self, Held, MOVING, State};

/// Selection of states.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Which {
    #[default]
    Dead,
    /// Events that are sent again, or wait for a retried event of the key.
    Retrying,
}

/// Filter of events; all conditions apply.
#[derive(Debug, Default, Deserialize, Validate, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeadLetterQuery {
    #[param(inline)]
    #[garde(skip)]
    #[serde(default)]
    pub state: Which,
    #[garde(length(bytes, max = 249))]
    #[param(max_length = 249)]
    pub topic: Option<String>,
    #[garde(length(bytes, max = 64))]
    #[param(max_length = 64)]
    pub service: Option<String>,
    #[garde(length(bytes, max = 64))]
    #[param(max_length = 64)]
    #[serde(rename = "type")]
    pub kind: Option<String>,
    #[garde(length(bytes, max = 255))]
    #[param(max_length = 255)]
    pub key: Option<String>,
    /// Part of the reason.
    #[garde(length(bytes, max = 255))]
    #[param(max_length = 255)]
    pub error: Option<String>,
    /// Refused for the first time then or later.
    #[garde(skip)]
    #[param(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub after: Option<Time>,
    /// First refused before this time.
    #[garde(skip)]
    #[param(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub before: Option<Time>,
}

/// Filter of events; all conditions apply, and an empty filter selects all events.
#[derive(Debug, Default, Deserialize, Serialize, Validate, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RedriveFilter {
    #[garde(inner(length(max = 1000)))]
    #[schema(max_items = 1000, value_type = Option<Vec<uuid::Uuid>>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<Id>>,
    #[garde(length(bytes, max = 249))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    #[garde(length(bytes, max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    #[garde(length(bytes, max = 64))]
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[garde(length(bytes, max = 255))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Part of the reason.
    #[garde(length(bytes, max = 255))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[garde(skip)]
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Time>,
    #[garde(skip)]
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Time>,
}

/// Events to be sent again.
#[derive(Debug, Deserialize, Validate, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedriveRequest {
    #[garde(dive)]
    #[serde(default)]
    pub filter: RedriveFilter,
    /// Only counts the events.
    #[garde(skip)]
    #[serde(default)]
    pub dry_run: bool,
}

/// Result of a redrive.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct Redriven {
    /// Dead events matched by the filter.
    pub matched: i64,
    /// Events sent again now.
    pub redriven: usize,
}

/// Reason of a discard.
#[derive(Debug, Deserialize, Validate, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiscardRequest {
    #[garde(length(bytes, min = 1, max = 1000))]
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
}

/// An event refused by Kafka.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct DeadLetterView {
    #[schema(value_type = uuid::Uuid)]
    pub id: Id,
    pub topic: String,
    pub partition: i32,
    pub service: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub key: String,
    pub state: &'static str,
    /// Number of refused deliveries.
    pub attempts: i32,
    pub reason: Option<String>,
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub first_failed_at: Time,
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Time>,
    /// The event as posted.
    #[schema(value_type = Object)]
    pub event: Option<Box<RawValue>>,
}

impl From<Held> for DeadLetterView {
    fn from(held: Held) -> Self {
        let (service, kind) = held.kind.split_once('.').unwrap_or((&held.kind, ""));
        Self {
            service: service.to_owned(),
            kind: kind.to_owned(),
            id: held.id,
            topic: held.topic,
            partition: held.partition,
            key: held.key,
            state: held.state.as_str(),
            attempts: held.attempts,
            reason: held.reason,
            first_failed_at: held.refused_at,
            next_attempt_at: held.next_attempt_at,
            event: RawValue::from_string(held.payload.0).ok(),
        }
    }
}

impl From<RedriveFilter> for Filter {
    fn from(filter: RedriveFilter) -> Self {
        let RedriveFilter { ids, topic, service, kind, key, error, after, before } = filter;
        Self { ids, topic, service, kind, key, error, after, before }
    }
}

/// Returns events refused by Kafka, the newest first.
#[utoipa::path(operation_id = "listDeadLetters", tag = "admin", params(DeadLetterQuery, PageQuery),
               responses((status = 200, body = Page<DeadLetterView>)), security(("basic" = ["admin"])))]
#[get("/admin/dead-letters")]
pub(crate) async fn list(
    proxy: Data<Proxy>,
    _admin: Admin,
    query: Params<DeadLetterQuery>,
    page: Params<PageQuery>,
) -> Result<HttpResponse, Problem> {
    Ok(reply::ok(&letters(&proxy, query.0, &page.0).await?))
}

/// Returns a page of events refused by Kafka.
///
/// # Errors
/// An invalid cursor, and errors of the database.
pub(crate) async fn letters(
    proxy: &Proxy,
    query: DeadLetterQuery,
    page: &PageQuery,
) -> Result<Page<DeadLetterView>, Problem> {
    let DeadLetterQuery { state, topic, service, kind, key, error, after, before } = query;
    let filter = Filter { ids: None, topic, service, kind, key, error, after, before };
    let states: &[State] = if state == Which::Dead { &[State::Dead] } else { &MOVING };
    let (behind, fetch) = (page.after::<Id>()?, page.fetch());
    let rows = proxy.db.read(move |conn| dead_letters::list(conn, &filter, states, behind, fetch)).await?;
    Ok(Page::of(rows, page, |row| row.id, DeadLetterView::from))
}

/// Sends dead events again. The events come behind all events on Kafka, so out of their order.
#[utoipa::path(operation_id = "redriveDeadLetters", tag = "admin",
               request_body = RedriveRequest, responses((status = 200, body = Redriven)),
               security(("basic" = ["admin"])))]
#[post("/admin/redrives")]
pub(crate) async fn redrive(
    proxy: Data<Proxy>,
    admin: Admin,
    body: Body<RedriveRequest>,
) -> Result<HttpResponse, Problem> {
    Ok(reply::ok(&send_again(&proxy, &admin.who, body.value).await?))
}

/// Counts dead events, and sends the events again unless `dry_run`.
///
/// # Errors
/// Any error of the database.
pub(crate) async fn send_again(proxy: &Proxy, who: &str, request: RedriveRequest) -> Result<Redriven, Problem> {
    let RedriveRequest { filter, dry_run } = request;
    let shown = serde_json::to_string(&filter).map_err(Problem::internal)?;
    let filter = Filter::from(filter);
    let counted = filter.clone();
    let matched = proxy.db.read(move |conn| dead_letters::count(conn, &counted)).await?;
    if dry_run || matched == 0 {
        return Ok(Redriven { matched, redriven: 0 });
    }
    let (who, subject) = (who.to_owned(), format!("{matched} events"));
    proxy.control.write(move |tx| audit::record(tx, &who, "dead-letters.redrive", &subject, &shown)).await?;
    let redriven = proxy.redrive(filter).await?;
    Ok(Redriven { matched, redriven })
}

/// Gives a dead event up.
#[utoipa::path(operation_id = "discardDeadLetter", tag = "admin",
               params(("id" = uuid::Uuid, Path)), request_body = DiscardRequest,
               responses((status = 204)), security(("basic" = ["admin"])))]
#[post("/admin/dead-letters/{id}/discard")]
pub(crate) async fn discard(
    proxy: Data<Proxy>,
    admin: Admin,
    id: Segment<Id>,
    body: Body<DiscardRequest>,
) -> Result<HttpResponse, Problem> {
    give_up(&proxy, &admin.who, id.0, body.value).await?;
    Ok(reply::nothing())
}

/// Gives a dead event up.
///
/// # Errors
/// `not-found`, and the database's.
pub(crate) async fn give_up(proxy: &Proxy, who: &str, id: Id, request: DiscardRequest) -> Result<(), Problem> {
    let (who, reason) = (who.to_owned(), request.reason);
    let none = || Problem::not_found("dead letter");
    let held = proxy.db.read(move |conn| quarantine::one(conn, id)).await?;
    held.filter(|held| held.state == State::Dead).ok_or_else(none)?;
    // before it is done, for it may be in another database
    let (subject, said) = (id.to_string(), reason.clone());
    proxy.control.write(move |tx| audit::record(tx, &who, "dead-letters.discard", &subject, &said)).await?;
    if proxy.discard(id, reason).await? { Ok(()) } else { Err(none()) }
}
