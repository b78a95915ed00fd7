//! Events and consumer groups.

use actix_web::web::Data;
use actix_web::{HttpResponse, get, post};
use db::types::Id;
use garde::Validate;
use messaging::admin::{self, EventQuery, ResetError};
use rest::input::{Body, Params, Segment};
use rest::page::{Page, PageQuery};
use rest::reply;
use serde::Deserialize;

use crate::Storefront;
use crate::auth::Admin;
use crate::dto::events::{ConsumerView, LogEpochView, LoggedEventView, ResetRequest, TrackedEventView};
use crate::http::kinds;
use crate::http::problem::{Answer, Problem};

/// Filter of events.
#[derive(Deserialize, Validate, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventFilter {
    #[garde(length(bytes, max = 249))]
    #[param(max_length = 249)]
    topic: Option<String>,
    #[garde(length(bytes, max = 200))]
    #[param(max_length = 200)]
    key: Option<String>,
    /// Only events older than this event.
    #[garde(skip)]
    #[param(value_type = Option<uuid::Uuid>)]
    after: Option<Id>,
}

/// Events in the log, the newest first.
#[utoipa::path(operation_id = "listEvents", tag = "admin",
               params(EventFilter, PageQuery), responses((status = 200, body = Page<LoggedEventView>)),
               security(("bearer" = ["admin"])))]
#[get("/admin/events")]
pub(crate) async fn list(
    shop: Data<Storefront>,
    _admin: Admin,
    filter: Params<EventFilter>,
    page: Params<PageQuery>,
) -> Answer<HttpResponse> {
    let EventFilter { topic, key, after } = filter.0;
    let (after, fetch) = (page.0.after::<Id>()?.or(after), page.0.fetch());
    let query = EventQuery { topic, key, after };
    let rows = shop.db.read(move |conn| admin::events(conn, &query, fetch)).await?;
    Ok(reply::ok(&Page::of(rows, &page.0, |row| row.event.id, LoggedEventView::from)))
}

/// One event, and how far it has come in every group.
#[utoipa::path(operation_id = "getEvent", tag = "admin",
               params(("id" = uuid::Uuid, Path)), responses((status = 200, body = TrackedEventView)),
               security(("bearer" = ["admin"])))]
#[get("/admin/events/{id}")]
pub(crate) async fn one(shop: Data<Storefront>, _admin: Admin, id: Segment<Id>) -> Answer<HttpResponse> {
    let event = shop.db.read(move |conn| admin::event(conn, id.0)).await?;
    Ok(reply::ok(&TrackedEventView::from(event.ok_or_else(|| Problem::not_found("event"))?)))
}

/// Returns the position of every group in every partition.
#[utoipa::path(operation_id = "listConsumers", tag = "admin",
               responses((status = 200, body = Page<ConsumerView>)), security(("bearer" = ["admin"])))]
#[get("/admin/consumers")]
pub(crate) async fn consumers(shop: Data<Storefront>, _admin: Admin) -> Answer<HttpResponse> {
    Ok(reply::ok(&Page::<ConsumerView>::all(shop.runtime.lags().await?)))
}

/// Returns the epochs of the log, the oldest first.
#[utoipa::path(operation_id = "listLogEpochs", tag = "admin",
               responses((status = 200, body = Page<LogEpochView>)), security(("bearer" = ["admin"])))]
#[get("/admin/log-epochs")]
pub(crate) async fn log_epochs(shop: Data<Storefront>, _admin: Admin) -> Answer<HttpResponse> {
    Ok(reply::ok(&Page::<LogEpochView>::all(shop.db.read(messaging::log_epochs).await?)))
}

/// Resets a group: the group handles a topic anew from some point; 409 for a group with forbidden reset. Returns the
/// new positions of the group.
#[utoipa::path(operation_id = "resetConsumer", tag = "admin", request_body = ResetRequest,
               params(("group" = String, Path)), responses((status = 200, body = Page<ConsumerView>)),
               security(("bearer" = ["admin"])))]
#[post("/admin/consumers/{group}/reset")]
pub(crate) async fn reset(
    shop: Data<Storefront>,
    _admin: Admin,
    group: Segment<String>,
    body: Body<ResetRequest>,
) -> Answer<HttpResponse> {
    let (name, ResetRequest { topic, to }, groups) = (group.0, body.value, shop.groups.clone());
    let (to, of, foreign) = (to.into(), name.clone(), shop.runtime.foreign.clone());
    shop.db.write(move |tx| foreign.reset(tx, &groups, &name, &topic, to)).await?;
    tracing::info!(group = of, ?to, "a consumer group was reset");
    shop.log.ask_groups();
    let lags: Vec<_> = shop.runtime.lags().await?.into_iter().filter(|lag| lag.group == of).collect();
    Ok(reply::ok(&Page::<ConsumerView>::all(lags)))
}

impl From<ResetError> for Problem {
    fn from(error: ResetError) -> Self {
        match error {
            ResetError::NoSuchGroup => Self::not_found("consumer group"),
            ResetError::NoSuchTopic | ResetError::NotSeen => Self::new(&kinds::INVALID_REQUEST).field("topic", error),
            ResetError::MustNotRepeat(_) => Self::new(&kinds::RESET_REFUSED).detail(error),
            ResetError::SeveralTopics | ResetError::NoTimestamp => {
                Self::new(&kinds::INVALID_REQUEST).field("to", error)
            }
            ResetError::Database(error) => error.into(),
        }
    }
}
