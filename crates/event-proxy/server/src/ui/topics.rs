//! Pages of topics: list, view, create, delete.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpResponse, get, post};
use askama::Template;
use garde::Validate;
use rest::input::{Segment, parse};
use rest::{Problem, kinds};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::session_extractor::{Form, Query, Viewer};
use super::{Frame, Refusal, assets, go_to, html, show};
use crate::Proxy;
use crate::api::topics::{TopicRequest, TopicView, create, remove, view, views};
use crate::auth::admin;
use crate::topics::TopicState;

/// Result of the last action, for a line at the top.
#[derive(Deserialize, Validate)]
pub(super) struct Done {
    #[garde(skip)]
    made: Option<u32>,
    #[garde(length(bytes, max = 249))]
    deleted: Option<String>,
}

#[derive(Template)]
#[template(path = "topics.html")]
struct TopicsPage {
    frame: Frame,
    topics: Vec<TopicView>,
    done: Option<String>,
    form: TopicForm,
    refused: Option<String>,
}

#[derive(Template)]
#[template(path = "topic.html")]
struct TopicPage {
    frame: Frame,
    topic: TopicView,
    to_kafka: bool,
    refused: Option<String>,
}

/// New topics as typed into the form.
#[derive(Default, Deserialize, Validate)]
#[garde(allow_unvalidated)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicForm {
    #[serde(default)]
    name: String,
    #[serde(default)]
    services: String,
    #[serde(default)]
    types: String,
    #[serde(default)]
    partitions: String,
    #[serde(default)]
    replication: String,
    #[serde(default)]
    retention: String,
}

impl TopicForm {
    /// Returns the request in the form of the JSON route, so that both run the same checks.
    fn request(&self) -> Result<TopicRequest, Problem> {
        let mut request = Map::new();
        for (field, text) in [("name", &self.name), ("retention", &self.retention)] {
            let text = text.trim();
            if !text.is_empty() {
                request.insert(field.into(), text.into());
            }
        }
        for (field, names) in [("services", &self.services), ("types", &self.types)] {
            request.insert(field.into(), words(names).collect());
        }
        request.extend(numbers([("partitions", &self.partitions), ("replication", &self.replication)])?);
        parse(Value::Object(request).to_string().as_bytes())
    }
}

/// Splits names at commas or spaces.
pub(super) fn words(names: &str) -> impl Iterator<Item = &str> {
    names.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty())
}

/// Returns the filled-in fields with whole numbers.
///
/// # Errors
/// `invalid-request`, naming the first invalid field.
pub(super) fn numbers<'f>(
    fields: impl IntoIterator<Item = (&'f str, &'f String)>,
) -> Result<Vec<(String, Value)>, Problem> {
    let filled = fields.into_iter().filter(|(_, text)| !text.trim().is_empty());
    let number = |(field, text): (&str, &String)| match text.trim().parse::<u32>() {
        Ok(number) => Ok((field.to_owned(), number.into())),
        Err(_) => Err(Problem::new(&kinds::INVALID_REQUEST).field(field, "must be a whole number")),
    };
    filled.map(number).collect()
}

impl TopicsPage {
    async fn new(proxy: &Proxy, viewer: &Viewer) -> Result<Self, Problem> {
        let frame = Frame::new(proxy, viewer, "topics", "Topics");
        let topics = views(proxy).await?;
        Ok(Self { frame, topics, done: None, form: TopicForm::default(), refused: None })
    }
}

/// Shows all topics.
#[get("/admin/topics")]
pub(crate) async fn list(proxy: Data<Proxy>, viewer: Viewer, done: Query<Done>) -> Result<HttpResponse, Refusal> {
    let made = done.0.made.map(|made| format!("Made {}.", show::count(made, "topic")));
    let done = done.0.deleted.map(|name| format!("Deleted {name}.")).or(made);
    Ok(html(StatusCode::OK, &TopicsPage { done, ..TopicsPage::new(&proxy, &viewer).await? }))
}

/// Creates a topic, or a topic for each service and type.
#[post("/admin/topics")]
pub(crate) async fn make(proxy: Data<Proxy>, form: Form<TopicForm>) -> Result<HttpResponse, Refusal> {
    let made = match form.value.request() {
        Ok(request) => create(&proxy, admin::NAME, request).await,
        Err(problem) => Err(problem),
    };
    match made {
        Ok(made) => Ok(go_to(&format!("/admin/topics?made={}", made.len()))),
        Err(problem) if problem.is_refusal() => {
            let page = TopicsPage::new(&proxy, &form.viewer).await?;
            let refused = Some(problem.told());
            Ok(html(problem.kind().status, &TopicsPage { form: form.value, refused, ..page }))
        }
        Err(problem) => Err(problem.into()),
    }
}

/// Shows a topic and the live stream of events.
#[get("/admin/topics/{name}")]
pub(crate) async fn one(proxy: Data<Proxy>, viewer: Viewer, name: Segment<String>) -> Result<HttpResponse, Refusal> {
    Ok(html(StatusCode::OK, &TopicPage::new(&proxy, &viewer, &name.0).await?))
}

impl TopicPage {
    async fn new(proxy: &Proxy, viewer: &Viewer, name: &str) -> Result<Self, Problem> {
        let frame = Frame::new(proxy, viewer, "topics", name);
        let topic = view(proxy, name).await?;
        Ok(Self { frame, topic, to_kafka: proxy.delivery.is_there(), refused: None })
    }
}

#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteForm {
    /// The name once more, typed by hand.
    #[garde(length(bytes, max = 249))]
    #[serde(default)]
    confirm: String,
    /// Events that wait are given up.
    #[garde(skip)]
    #[serde(default)]
    discard: bool,
}

/// Deletes a topic after the name was typed.
#[post("/admin/topics/{name}/delete")]
pub(crate) async fn delete(
    proxy: Data<Proxy>,
    form: Form<DeleteForm>,
    name: Segment<String>,
) -> Result<HttpResponse, Refusal> {
    let name = name.0;
    let deleted = match form.value.confirm.trim() == name {
        true => remove(&proxy, admin::NAME, name.clone(), form.value.discard).await,
        false => Err(Problem::new(&kinds::INVALID_REQUEST).detail("the name that was typed is not the topic's")),
    };
    match deleted {
        Ok(()) => Ok(go_to(&format!("/admin/topics?deleted={name}"))),
        Err(problem) => {
            let page = TopicPage::new(&proxy, &form.viewer, &name).await?;
            Ok(html(problem.kind().status, &TopicPage { refused: Some(problem.told()), ..page }))
        }
    }
}

/// Explains a state to a person: a colour, a word, and the consequence.
fn told(state: &TopicState) -> (&'static str, &'static str, &'static str) {
    match state {
        TopicState::Active => ("ok", "active", "It takes events."),
        TopicState::Creating => ("warn", "being made", "It takes events, which wait until Kafka has it."),
        TopicState::Missing => {
            ("bad", "missing", "It was deleted on Kafka. Events of it wait until it is made there again.")
        }
        TopicState::Refused => {
            ("bad", "refused", "Kafka refuses to make it. Events of it wait, and no more are taken.")
        }
        TopicState::Deleted => ("off", "deleted", "It takes no events until it is made again."),
    }
}
