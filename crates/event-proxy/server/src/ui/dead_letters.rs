//! Pages of dead letters: search, redrive, discard.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpResponse, get, post};
use askama::Template;
use db::types::{Id, Time};
use garde::Validate;
use rest::Problem;
use rest::input::{Segment, parse};
use rest::page::{Page, PageQuery};
use serde::Deserialize;
use serde_json::json;

use super::session_extractor::{Form, Query, Viewer};
use super::{Frame, Refusal, assets, go_to, html, show};
use crate::Proxy;
use crate::api::dead_letters::{
    DeadLetterQuery, DeadLetterView, RedriveFilter, RedriveRequest, Which, give_up, letters, send_again,
};
use crate::auth::admin;

/// Result of the last action, for a line at the top.
#[derive(Deserialize, Validate)]
#[garde(allow_unvalidated)]
pub(super) struct Done {
    redriven: Option<u64>,
    discarded: Option<u32>,
}

#[derive(Template)]
#[template(path = "dead-letters.html")]
struct DeadLettersPage {
    frame: Frame,
    fields: Vec<(&'static str, &'static str, String)>,
    times: Vec<(&'static str, &'static str, String)>,
    is_dead: bool,
    is_filtered: bool,
    page: Page<DeadLetterView>,
    /// URL of the next page.
    next: Option<String>,
    is_first: bool,
    done: Option<String>,
}

#[derive(Template)]
#[template(path = "redrive.html")]
struct RedrivePage {
    frame: Frame,
    /// Fields of the filter, sent again by the form.
    fields: Vec<(&'static str, String)>,
    matched: i64,
}

fn at(time: &Option<Time>) -> String {
    time.map(|time| time.to_string()).unwrap_or_default()
}

fn text(text: &Option<String>) -> String {
    text.clone().unwrap_or_default()
}

/// Shows events refused by Kafka, the newest first.
#[get("/admin/dead-letters")]
pub(crate) async fn list(
    proxy: Data<Proxy>,
    viewer: Viewer,
    query: Query<DeadLetterQuery>,
    page: Query<PageQuery>,
    done: Query<Done>,
) -> Result<HttpResponse, Refusal> {
    let query = query.0;
    let is_dead = query.state == Which::Dead;
    let fields = vec![
        ("topic", "Topic", text(&query.topic)),
        ("service", "Service", text(&query.service)),
        ("type", "Type", text(&query.kind)),
        ("key", "Key", text(&query.key)),
        ("error", "Reason contains", text(&query.error)),
    ];
    let times = vec![("after", "Refused from", at(&query.after)), ("before", "Refused before", at(&query.before))];
    let given = fields.iter().chain(&times).filter(|(.., value)| !value.is_empty());
    let given: Vec<(&str, &str)> = given.map(|(name, _, value)| (*name, value.as_str())).collect();
    let is_filtered = !given.is_empty();
    let link = |cursor: &String| {
        let state = (!is_dead).then_some(("state", "retrying"));
        let all: Vec<_> = given.iter().copied().chain(state).chain([("cursor", cursor.as_str())]).collect();
        serde_urlencoded::to_string(all).map(|query| format!("/admin/dead-letters?{query}")).ok()
    };
    let found = letters(&proxy, query, &page.0).await?;
    let next = found.next_cursor.as_ref().and_then(link);
    let redriven = done.0.redriven.map(|events| format!("{} sent again.", show::count(events, "event")));
    let done = done.0.discarded.map(|_| "Discarded one event.".to_owned()).or(redriven);
    let frame = Frame::new(&proxy, &viewer, "dead-letters", "Dead letters");
    let is_first = page.0.cursor.is_none();
    let page = DeadLettersPage { frame, fields, times, is_dead, is_filtered, page: found, next, is_first, done };
    Ok(html(StatusCode::OK, &page))
}

/// Filter of dead events, and the confirmation of their number.
#[derive(Deserialize, Validate)]
#[garde(allow_unvalidated)]
#[serde(deny_unknown_fields)]
pub(super) struct RedriveForm {
    id: Option<String>,
    topic: Option<String>,
    service: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    key: Option<String>,
    error: Option<String>,
    after: Option<String>,
    before: Option<String>,
    #[serde(default)]
    confirmed: bool,
}

impl RedriveForm {
    fn fields(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("id", &self.id),
            ("topic", &self.topic),
            ("service", &self.service),
            ("type", &self.kind),
            ("key", &self.key),
            ("error", &self.error),
            ("after", &self.after),
            ("before", &self.before),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }

    /// Returns the filter in the form of the JSON route, so that both run the same checks.
    fn filter(&self) -> Result<RedriveFilter, Problem> {
        let mut filter: serde_json::Map<_, _> =
            self.fields().into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        if let Some(id) = filter.remove("id") {
            filter.insert("ids".into(), json!([id]));
        }
        parse(serde_json::Value::Object(filter).to_string().as_bytes())
    }
}

/// Shows the number of dead events of a filter; after a confirmation, sends the events again.
#[post("/admin/dead-letters/redrive")]
pub(crate) async fn redrive(proxy: Data<Proxy>, form: Form<RedriveForm>) -> Result<HttpResponse, Refusal> {
    let request = RedriveRequest { filter: form.value.filter()?, dry_run: !form.value.confirmed };
    let redriven = send_again(&proxy, admin::NAME, request).await?;
    if form.value.confirmed {
        return Ok(go_to(&format!("/admin/dead-letters?redriven={}", redriven.redriven)));
    }
    let frame = Frame::new(&proxy, &form.viewer, "dead-letters", "Send again");
    Ok(html(StatusCode::OK, &RedrivePage { frame, fields: form.value.fields(), matched: redriven.matched }))
}

#[derive(Deserialize, Validate)]
#[garde(allow_unvalidated)]
#[serde(deny_unknown_fields)]
pub(super) struct DiscardForm {
    #[serde(default)]
    reason: String,
}

/// Gives a dead event up.
#[post("/admin/dead-letters/{id}/discard")]
pub(crate) async fn discard(
    proxy: Data<Proxy>,
    form: Form<DiscardForm>,
    id: Segment<Id>,
) -> Result<HttpResponse, Refusal> {
    let reason = json!({ "reason": form.value.reason.trim() }).to_string();
    give_up(&proxy, admin::NAME, id.0, parse(reason.as_bytes())?).await?;
    Ok(go_to("/admin/dead-letters?discarded=1"))
}
