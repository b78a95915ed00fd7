//! Topics: list, create by hand, delete.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpResponse, delete, get, post};
use db::types::Time;
use garde::Validate;
use messaging_kafka::SeeToTopics;
use program::settings::positive;
use rest::input::{Body, Params, Segment};
use rest::page::Page;
use rest::{Problem, kinds, reply};
use serde::{Deserialize, Serialize};

use crate::Proxy;
use crate::auth::admin::Admin;
use crate::cluster::audit;
use crate::delivery::ledger::{self, TopicLedger};
use crate::http::problems as ours;
use crate::ingest::event::is_name;
use crate::settings::MAX_PARTITIONS;
use crate::topics::TopicState;
use crate::topics::rows::{NewTopic, TopicRow};

/// Topics made at once, at the most.
const MAX_AT_ONCE: usize = 100;

/// A topic.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct TopicView {
    pub name: String,
    pub partitions: i32,
    /// Copies of each record; the brokers' unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication: Option<i32>,
    /// Retention of records on Kafka; by default the brokers' retention.
    #[schema(value_type = Option<String>)]
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub retention: Option<Duration>,
    pub state: TopicState,
    /// Reason why Kafka refuses the topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub created_at: Time,
    /// Outcomes of the topic's events in this proxy.
    pub events: TopicLedger,
}

/// Request for a topic by name, or for a topic for each service and type.
#[derive(Debug, Deserialize, Validate, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TopicRequest {
    #[garde(length(bytes, min = 1, max = 249))]
    #[schema(min_length = 1, max_length = 249)]
    name: Option<String>,
    #[garde(length(max = 100))]
    #[serde(default)]
    services: Vec<String>,
    #[garde(length(max = 100))]
    #[serde(default)]
    types: Vec<String>,
    #[garde(range(min = 1, max = MAX_PARTITIONS))]
    #[schema(minimum = 1, maximum = 100)]
    partitions: Option<u32>,
    #[garde(range(min = 1, max = 100))]
    #[schema(minimum = 1, maximum = 100)]
    replication: Option<u16>,
    /// `7d`
    #[garde(skip)]
    #[schema(value_type = Option<String>)]
    #[serde(default, with = "humantime_serde")]
    retention: Option<Duration>,
}

impl TopicRequest {
    /// Returns the names of the topics.
    fn names(&self, proxy: &Proxy) -> Result<Vec<String>, Problem> {
        let wrong = |field, detail| Err(Problem::new(&kinds::INVALID_REQUEST).field(field, detail));
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        match &self.name {
            Some(_) if !(self.services.is_empty() && self.types.is_empty()) => {
                return wrong("name", "either a name, or services and types");
            }
            Some(name) if !name.chars().all(known) || name.chars().all(|c| c == '.') => {
                return wrong("name", "must be letters, digits, dots, _ and -");
            }
            Some(name) => return Ok(vec![name.clone()]),
            None => {}
        }
        for (field, names) in [("services", &self.services), ("types", &self.types)] {
            if names.is_empty() || !names.iter().all(|name| is_name(name)) {
                return wrong(field, "must be names of 1 to 64 letters, digits, _ or -");
            }
        }
        if self.services.len() * self.types.len() > MAX_AT_ONCE {
            return wrong("types", "at most 100 topics at once");
        }
        let of = |service: &String| self.types.iter().map(|kind| proxy.topics.name(service, kind)).collect::<Vec<_>>();
        Ok(self.services.iter().flat_map(of).collect())
    }
}

/// Returns all topics, by name.
#[utoipa::path(operation_id = "listTopics", tag = "admin",
               responses((status = 200, body = Page<TopicView>)), security(("basic" = ["admin"])))]
#[get("/admin/topics")]
pub(crate) async fn list(proxy: Data<Proxy>, _admin: Admin) -> Result<HttpResponse, Problem> {
    Ok(reply::ok(&Page::<TopicView>::all(views(&proxy).await?)))
}

/// A topic.
#[utoipa::path(operation_id = "getTopic", tag = "admin",
               params(("name" = String, Path)), responses((status = 200, body = TopicView)),
               security(("basic" = ["admin"])))]
#[get("/admin/topics/{name}")]
pub(crate) async fn one(proxy: Data<Proxy>, _admin: Admin, name: Segment<String>) -> Result<HttpResponse, Problem> {
    Ok(reply::ok(&view(&proxy, &name.0).await?))
}

/// Creates a topic, or a topic for each service and type. A deleted topic, or a topic missing on Kafka, comes back;
/// the topic keeps its partitions.
#[utoipa::path(operation_id = "createTopics", tag = "admin",
               request_body = TopicRequest, responses((status = 201, body = Page<TopicView>)),
               security(("basic" = ["admin"])))]
#[post("/admin/topics")]
pub(crate) async fn make(proxy: Data<Proxy>, admin: Admin, body: Body<TopicRequest>) -> Result<HttpResponse, Problem> {
    let made = create(&proxy, &admin.who, body.value).await?;
    Ok(HttpResponse::build(StatusCode::CREATED).json(Page::<TopicView>::all::<TopicView>(made)))
}

/// Creates the requested topics.
///
/// # Errors
/// Invalid names, and errors of the database.
pub(crate) async fn create(proxy: &Proxy, who: &str, request: TopicRequest) -> Result<Vec<TopicView>, Problem> {
    let names = request.names(proxy)?;
    let retention = request.retention.map_or(Ok(()), |retention| positive("retention", retention));
    retention.map_err(|wrong| Problem::new(&kinds::INVALID_REQUEST).field(wrong.key, wrong.reason))?;
    for name in &names {
        let by_rules = proxy.topics.new_topic(name);
        let topic = NewTopic {
            partitions: request.partitions.map_or(by_rules.partitions, |partitions| partitions as i32),
            replication: request.replication.map(i32::from).or(by_rules.replication),
            retention: request.retention.map(|retention| retention.as_millis() as i64).or(by_rules.retention),
            ..by_rules
        };
        let (who, subject) = (who.to_owned(), name.clone());
        let detail = format!("{} partitions", topic.partitions);
        proxy.control.write(move |tx| audit::record(tx, &who, "topic.create", &subject, &detail)).await?;
        proxy.topics.make(topic).await?;
    }
    if let Some(cluster) = proxy.delivery.cluster()
        && let Err(why) = proxy.topics.see_to(cluster).await
    {
        tracing::warn!(why, "topics that were asked for are not on Kafka yet");
    }
    Ok(views(proxy).await?.into_iter().filter(|topic| names.contains(&topic.name)).collect())
}

/// Options of a deletion.
#[derive(Deserialize, Validate, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteQuery {
    /// Gives up the events that wait for Kafka, or are sent again.
    #[garde(skip)]
    #[serde(default)]
    discard: bool,
}

/// Deletes a topic, with all of its records on Kafka. The topic comes back only by hand.
#[utoipa::path(operation_id = "deleteTopic", tag = "admin",
               params(("name" = String, Path), DeleteQuery), responses((status = 204)),
               security(("basic" = ["admin"])))]
#[delete("/admin/topics/{name}")]
pub(crate) async fn delete(
    proxy: Data<Proxy>,
    admin: Admin,
    name: Segment<String>,
    query: Params<DeleteQuery>,
) -> Result<HttpResponse, Problem> {
    remove(&proxy, &admin.who, name.0, query.0.discard).await?;
    Ok(reply::nothing())
}

/// Deletes a topic. With `discard`, events of it that wait are given up.
///
/// # Errors
/// `not-found`, `topic-busy` while events of the topic wait, and errors of
/// [`Topics::delete`](crate::topics::Topics::delete).
pub(crate) async fn remove(proxy: &Proxy, who: &str, name: String, discard: bool) -> Result<(), Problem> {
    let topic = view(proxy, &name).await?;
    let waiting = topic.events.queued + topic.events.retrying;
    if waiting > 0 && !discard {
        let detail = format_args!("{waiting} events of {name} wait for Kafka");
        return Err(Problem::new(&ours::TOPIC_BUSY).detail(detail));
    }
    let (who, subject) = (who.to_owned(), name.clone());
    let detail = if waiting > 0 { format!("{waiting} events discarded") } else { String::new() };
    proxy.control.write(move |tx| audit::record(tx, &who, "topic.delete", &subject, &detail)).await?;
    proxy.topics.delete(&name).await?;
    if discard { Ok(proxy.discard_waiting(&name).await?) } else { Ok(()) }
}

/// Returns a topic with the outcomes of the topic's events.
///
/// # Errors
/// `not-found`, and the database's.
pub(crate) async fn view(proxy: &Proxy, name: &str) -> Result<TopicView, Problem> {
    let found = views(proxy).await?.into_iter().find(|topic| topic.name == name);
    found.ok_or_else(|| Problem::not_found("topic"))
}

/// Returns all topics with the outcomes of their events, by name.
pub(crate) async fn views(proxy: &Proxy) -> Result<Vec<TopicView>, Problem> {
    let to_kafka = proxy.delivery.is_there();
    let mut events = proxy.db.read(move |conn| ledger::count(conn, to_kafka)).await?;
    let mut rows: Vec<TopicRow> = proxy.topics.rows().into_values().collect();
    rows.sort_unstable_by(|row, other| row.name.cmp(&other.name));
    let mut refused = proxy.topics.refused();
    let view = |row: TopicRow| TopicView {
        state: proxy.topics.state(&row),
        reason: refused.remove(&row.name),
        events: events.remove(&row.name).unwrap_or_default(),
        partitions: row.partitions,
        replication: row.replication,
        retention: row.retention(),
        created_at: row.created_at,
        name: row.name,
    };
    Ok(rows.into_iter().map(view).collect())
}
