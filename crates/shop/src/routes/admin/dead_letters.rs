//! Dead letters: list, replay and discard.

use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpResponse, get, post};
use db::types::Id;
use db::{Conn, Tx};
use garde::Validate;
use messaging::RELAY;
use messaging::admin::{self, DeadLetterQuery};
use rest::input::{Body, NoBody, Params, Segment};
use rest::page::{Page, PageQuery};
use rest::reply;
use serde::Deserialize;

use crate::Storefront;
use crate::auth::Admin;
use crate::dto::events::{DeadLetterDetail, DeadLetterView, ReplayRequest, Replayed};
use crate::http::kinds;
use crate::http::problem::{Answer, Problem};
use crate::routes::at;

/// Filter of dead letters.
#[derive(Deserialize, Validate, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeadLetterFilter {
    #[garde(length(bytes, max = 200))]
    #[param(max_length = 200)]
    group: Option<String>,
    #[garde(length(bytes, max = 249))]
    #[param(max_length = 249)]
    topic: Option<String>,
}

/// Returns dead letters, the newest first.
#[utoipa::path(operation_id = "listDeadLetters", tag = "admin", params(DeadLetterFilter, PageQuery),
               responses((status = 200, body = Page<DeadLetterView>)), security(("bearer" = ["admin"])))]
#[get("/admin/dead-letters")]
pub(crate) async fn list(
    shop: Data<Storefront>,
    _admin: Admin,
    filter: Params<DeadLetterFilter>,
    page: Params<PageQuery>,
) -> Answer<HttpResponse> {
    let DeadLetterFilter { group, topic } = filter.0;
    let (query, fetch) = (DeadLetterQuery { group, topic, status: None, after: page.0.after()? }, page.0.fetch());
    let rows = shop.db.read(move |conn| admin::dead_letters(conn, &query, fetch)).await?;
    Ok(reply::ok(&Page::of(rows, &page.0, |row| row.id, DeadLetterView::from)))
}

/// Returns a dead letter with the event and the number of parked events.
#[utoipa::path(operation_id = "getDeadLetter", tag = "admin",
               params(("id" = uuid::Uuid, Path)), responses((status = 200, body = DeadLetterDetail)),
               security(("bearer" = ["admin"])))]
#[get("/admin/dead-letters/{id}")]
pub(crate) async fn one(shop: Data<Storefront>, _admin: Admin, id: Segment<Id>) -> Answer<HttpResponse> {
    let detail = shop.db.read(move |conn| detail(conn, id.0)).await?;
    Ok(reply::ok(&detail))
}

/// Requests a replay: the group's worker handles the event again, and then the events parked behind.
#[utoipa::path(operation_id = "replayDeadLetter", tag = "admin",
               params(("id" = uuid::Uuid, Path)), responses((status = 202, body = DeadLetterDetail)),
               security(("bearer" = ["admin"])))]
#[post("/admin/dead-letters/{id}/replay")]
pub(crate) async fn replay(
    shop: Data<Storefront>,
    _admin: Admin,
    id: Segment<Id>,
    _body: NoBody,
) -> Answer<HttpResponse> {
    ask(&shop, id.0, admin::request_replay).await
}

/// Discards the event: its effect is lost, and the group goes on with the events parked behind.
#[utoipa::path(operation_id = "discardDeadLetter", tag = "admin",
               params(("id" = uuid::Uuid, Path)), responses((status = 202, body = DeadLetterDetail)),
               security(("bearer" = ["admin"])))]
#[post("/admin/dead-letters/{id}/discard")]
pub(crate) async fn discard(
    shop: Data<Storefront>,
    _admin: Admin,
    id: Segment<Id>,
    _body: NoBody,
) -> Answer<HttpResponse> {
    ask(&shop, id.0, admin::discard).await
}

/// Requests a replay of all dead letters of a group, or of a group and a topic.
#[utoipa::path(operation_id = "replayDeadLetters", tag = "admin", request_body = ReplayRequest,
               responses((status = 202, body = Replayed)), security(("bearer" = ["admin"])))]
#[post("/admin/dead-letters/replay")]
pub(crate) async fn replay_all(
    shop: Data<Storefront>,
    _admin: Admin,
    body: Body<ReplayRequest>,
) -> Answer<HttpResponse> {
    let ReplayRequest { group, topic } = body.value;
    let wrong = |field, detail| Problem::new(&kinds::INVALID_REQUEST).field(field, detail);
    let known = shop.groups.iter().find(|known| known.name == group).map(|group| &*group.topics);
    let known = known.or_else(|| (group == RELAY).then(|| shop.runtime.buses.on_kafka()));
    let topics = known.ok_or_else(|| wrong("group", "there is no such consumer group"))?;
    let reads = topic.as_ref().is_none_or(|topic| topics.contains(&topic.as_str()));
    let location = at(format_args!("admin/dead-letters?group={group}"));
    let replayed = shop.db.write(move |tx| admin::request_replay_all(tx, &group, topic.as_deref())).await?;
    // topics that others write are not in the list
    if replayed == 0 && !reads {
        return Err(wrong("topic", "the group does not read this topic"));
    }
    shop.log.ask_groups();
    Ok(reply::accepted(location, Duration::from_secs(1), &Replayed { replayed: replayed as u64 }))
}

/// Request to a group's worker; returns false if the letter is not dead (any more).
type Ask = fn(&mut Tx<'_>, Id) -> db::Result<bool>;

async fn ask(shop: &Storefront, id: Id, what: Ask) -> Answer<HttpResponse> {
    let work = move |tx: &mut Tx<'_>| {
        let asked = what(tx, id)?;
        let detail = detail(tx, id)?;
        if asked { Ok(detail) } else { Err(not_dead(&detail)) }
    };
    let detail = shop.db.write(work).await?;
    shop.log.ask_groups();
    let location = at(format_args!("admin/dead-letters/{id}"));
    Ok(reply::accepted(location, Duration::from_secs(1), &detail))
}

fn detail(conn: &mut Conn, id: Id) -> Result<DeadLetterDetail, Problem> {
    let (letter, parked) = admin::dead_letter(conn, id)?.ok_or_else(|| Problem::not_found("dead letter"))?;
    Ok(DeadLetterDetail::new(letter, parked))
}

fn not_dead(detail: &DeadLetterDetail) -> Problem {
    let status = &detail.letter.status;
    Problem::new(&kinds::STATE_CONFLICT)
        .detail(format_args!("{status} was asked for already"))
        .with("letter_status", status)
}
