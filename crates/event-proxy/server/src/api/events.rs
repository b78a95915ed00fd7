//! `POST /v1/events` and `POST /v1/events/{service}/{type}`

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse, ResponseError, post};
use garde::Validate;
use rest::Problem;
use rest::body::{Incoming, Whole};
use rest::fair::pause;
use rest::input::Params;
use rest::kinds::Kind;
use rest::problem::Document;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Proxy;
use crate::api::lines::Lines;
use crate::auth::caller::Caller;
use crate::ingest::event::{Entry, Level, Posted};
use crate::ingest::parse::{Form, Reader, Target};
use crate::ingest::service::Ack;
use crate::ingest::writer::Taken;

/// Time of the acknowledgement.
#[derive(Deserialize, Validate, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AckQuery {
    /// `disk` unless given.
    #[param(inline)]
    #[garde(skip)]
    #[serde(default)]
    ack: Ack,
}

/// An accepted event.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct TakenView {
    /// Ask `/v1/receipts/{receipt}` for the outcome.
    receipt: String,
    /// Id of the event, the same on every bus.
    #[schema(value_type = uuid::Uuid)]
    id: db::types::Id,
    /// True if the event had been accepted before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
    /// True if Kafka did not have the event in time, or has had the event for longer: the receipt tells.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    fallback: bool,
    /// Place of the event on Kafka.
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
}

impl TakenView {
    fn status(&self) -> StatusCode {
        if self.topic.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED }
    }
}

/// Outcome of one of several events; described as [`Described`].
#[derive(Serialize)]
pub(super) struct Item {
    status: u16,
    /// Line, from 1, of an NDJSON body without an answer for every line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<usize>,
    #[serde(flatten)]
    pub(super) fate: Fate,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Fate {
    Taken(TakenView),
    Refused { problem: Option<Box<RawValue>> },
}

impl Fate {
    /// Bytes of the texts of a refusal.
    pub(super) fn texts(&self) -> usize {
        match self {
            Self::Refused { problem: Some(problem) } => problem.get().len(),
            _ => 0,
        }
    }
}

/// Outcome of one of several events.
#[derive(utoipa::ToSchema)]
#[schema(as = Item)]
#[serde(untagged)]
#[expect(dead_code, reason = "it only describes")]
enum Described {
    Taken(TakenItem),
    Refused(RefusedItem),
}

/// An accepted event of several.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it only describes")]
struct TakenItem {
    status: u16,
    #[serde(flatten)]
    taken: TakenView,
}

/// A refused event of several.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it only describes")]
struct RefusedItem {
    status: u16,
    /// Line, from 1, of an NDJSON body without an answer for every line.
    line: Option<usize>,
    #[schema(value_type = Document)]
    problem: Document,
}

/// Outcomes of several events.
#[derive(Default, Serialize, utoipa::ToSchema)]
pub(crate) struct Items {
    /// Items in the order of the events.
    #[schema(value_type = Vec<Described>)]
    pub(super) items: Vec<Item>,
    /// Number of accepted events, if not every line has an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) accepted: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<usize>,
    /// Unread lines of an NDJSON body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unread: Option<Unread>,
}

/// Unread end of an NDJSON body.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Unread {
    /// First line, from 1, neither accepted nor refused: send this line and all later lines again.
    pub(super) from_line: usize,
    /// Reason why the body was read no further.
    #[schema(value_type = Document)]
    pub(super) problem: Option<Box<RawValue>>,
}

/// Answer: a single event by itself, several events by an item each.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
enum Answer {
    One(TakenView),
    Several(Items),
}

/// Body of the type `application/json`.
#[derive(utoipa::ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it only describes")]
enum Json {
    One(Posted<'static>),
    Several(Vec<Posted<'static>>),
}

/// Accepts events: a single event, an array, or an event on each line; also CloudEvents, in each mode.
#[utoipa::path(operation_id = "postEvents", tag = "events", params(AckQuery),
    request_body(content(
        (Json = "application/json"),
        (String = "application/x-ndjson"),
        (Object = "application/cloudevents+json"),
        (Vec<Object> = "application/cloudevents-batch+json"),
    )),
    responses((status = 200, body = Answer), (status = 202, body = Answer), (status = 207, body = Items)),
    security((), ("bearer" = []), ("basic" = [])))]
#[post("/events")]
pub(crate) async fn post(
    proxy: Data<Proxy>,
    caller: Caller,
    request: HttpRequest,
    query: Params<AckQuery>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let reader = Reader::of_events(request.headers(), proxy.settings.ingest.max_event.0)?;
    take(&proxy, &caller, &request, reader, query.0.ack, payload).await
}

/// Parts of an event whose body is data alone.
#[derive(Deserialize, Validate, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DataQuery {
    /// `disk` unless given.
    #[param(inline)]
    #[garde(skip)]
    #[serde(default)]
    ack: Ack,
    /// Key of the event. Events of one key keep their order.
    #[param(max_length = 255)]
    #[garde(skip)]
    key: Option<String>,
    /// The service's own: the same again is the same event. Not for several lines.
    #[param(max_length = 255)]
    #[garde(skip)]
    id: Option<String>,
    #[param(inline)]
    #[garde(skip)]
    level: Option<Level>,
}

/// Takes a body of any media type as the data of an event: JSON, a text, or else as base64 in `data_base64`. Lines of
/// JSON are an event each.
#[utoipa::path(operation_id = "postData", tag = "events", params(
        ("service" = String, Path, min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_-]+$"),
        ("type" = String, Path, min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_-]+$"),
        DataQuery),
    request_body(content(
        (serde_json::Value = "application/json"),
        (String = "application/x-ndjson"),
        (String = "text/plain"),
    )),
    responses((status = 200, body = Answer), (status = 202, body = Answer), (status = 207, body = Items)),
    security((), ("bearer" = []), ("basic" = [])))]
#[post("/events/{service}/{type}")]
pub(crate) async fn post_data(
    proxy: Data<Proxy>,
    caller: Caller,
    request: HttpRequest,
    path: Path<(String, String)>,
    query: Params<DataQuery>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let (service, kind) = path.into_inner();
    let DataQuery { ack, key, id, level } = query.0;
    let target = Target { service, kind, key, id, level };
    let reader = Reader::of_data(request.headers(), target, proxy.settings.ingest.max_event.0)?;
    take(&proxy, &caller, &request, reader, ack, payload).await
}

async fn take(
    proxy: &Proxy,
    caller: &Caller,
    request: &HttpRequest,
    reader: Reader<'_>,
    ack: Ack,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    if ack == Ack::Kafka && !proxy.delivery.is_there() {
        return Err(Problem::new(&rest::kinds::INVALID_QUERY).field("ack", "events do not go to Kafka here"));
    }
    let body = Incoming::of(request, payload.into_inner(), true)?;
    if reader.form == Form::Lines {
        return Lines::new(proxy, caller, &reader, ack, body).read().await;
    }
    let Whole { bytes, mut memory } = body.whole(proxy.settings.ingest.max_body.0).await?;
    let mut read = reader.read(&bytes).await?;
    memory.resize(bytes.capacity() + read.entries.iter().flatten().map(Entry::memory).sum::<usize>())?;
    drop(bytes);
    let cost = caller.admit(&mut read.entries)?;
    let mut taken = proxy.accept(read.entries, ack).await.inspect_err(|_| caller.give_back(cost))?;
    match (read.alone, taken.pop()) {
        (true, Some(one)) => {
            let view = view(proxy, one?);
            let location = format!("/v1/receipts/{}", view.receipt);
            Ok(HttpResponse::build(view.status()).insert_header((LOCATION, location)).json(Answer::One(view)))
        }
        (_, last) => {
            taken.extend(last);
            let (mut tally, mut items) = (Tally::default(), Vec::with_capacity(taken.len()));
            for one in taken {
                pause().await;
                tally.count(&one);
                items.push(item(proxy, one));
            }
            let mut response = tally.answer(Items { items, ..Items::default() });
            // until the answer is sent
            response.extensions_mut().insert(memory);
            Ok(response)
        }
    }
}

fn view(proxy: &Proxy, taken: Taken) -> TakenView {
    let Taken { id, duplicate, fallback, place } = taken;
    let offset = place.as_ref().map(|place| place.offset);
    let partition = place.as_ref().map(|place| place.partition);
    let topic = place.map(|place| place.topic.to_string());
    TakenView { receipt: proxy.receipts.of(id), id, duplicate, fallback, topic, partition, offset }
}

pub(super) fn item(proxy: &Proxy, taken: Result<Taken, Problem>) -> Item {
    match taken {
        Ok(taken) => {
            let view = view(proxy, taken);
            Item { status: view.status().as_u16(), line: None, fate: Fate::Taken(view) }
        }
        Err(problem) => {
            let document = RawValue::from_string(problem.document(None)).ok();
            Item { status: problem.status_code().as_u16(), line: None, fate: Fate::Refused { problem: document } }
        }
    }
}

/// Counts of outcomes of several events.
#[derive(Default)]
pub(super) struct Tally {
    /// Number of events on Kafka.
    delivered: usize,
    queued: usize,
    pub(super) refused: usize,
    /// Kind that represents all refusals.
    kind: Option<&'static Kind>,
    wait: Option<Duration>,
}

impl Tally {
    pub(super) fn count(&mut self, taken: &Result<Taken, Problem>) {
        match taken {
            Ok(Taken { place: Some(_), .. }) => self.delivered += 1,
            Ok(_) => self.queued += 1,
            Err(problem) => {
                self.refused += 1;
                self.wait = self.wait.max(problem.wait());
                self.kind = Some(self.kind.map_or(problem.kind(), |kind| common(kind, problem.kind())));
            }
        }
    }

    pub(super) fn accepted(&self) -> usize {
        self.delivered + self.queued
    }

    /// Answers several events: if all were refused, with a problem that has the items.
    pub(super) fn answer(&self, items: Items) -> HttpResponse {
        let status = match (self.delivered, self.queued, self.refused) {
            (0, 0, 1..) => {
                let problem = Problem::new(self.kind.unwrap_or(&rest::kinds::INVALID_REQUEST));
                let problem = problem.detail("no event was taken; `items` has the reasons").with_all(&items);
                return match self.wait {
                    Some(wait) => problem.retry_after(wait).error_response(),
                    None => problem.error_response(),
                };
            }
            _ if items.unread.is_some() => StatusCode::MULTI_STATUS,
            (1.., 0, 0) => StatusCode::OK,
            (0, _, 0) => StatusCode::ACCEPTED,
            _ => StatusCode::MULTI_STATUS,
        };
        HttpResponse::build(status).json(Answer::Several(items))
    }
}

/// Returns the kind for refusals of two kinds: a temporary kind wins, so that the client sends all events again.
fn common(one: &'static Kind, other: &'static Kind) -> &'static Kind {
    let may_pass = |kind: &Kind| kind.status == StatusCode::TOO_MANY_REQUESTS || kind.status.is_server_error();
    match () {
        () if one == other || may_pass(one) => one,
        () if may_pass(other) => other,
        () => &rest::kinds::INVALID_REQUEST,
    }
}
