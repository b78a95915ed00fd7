//! `POST /v1/events`

use actix_web::http::StatusCode;
use actix_web::http::header::{LOCATION, RETRY_AFTER};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, ResponseError, post};
use garde::Validate;
use rest::Problem;
use rest::input::Params;
use rest::problem::Document;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Proxy;
use crate::accept::Ack;
use crate::event::{Entry, Posted};
use crate::ingest::{self, Body, Form};
use crate::intake::Taken;
use crate::keys::Caller;
use crate::quota::{Cost, Exceeded};

/// Lines of which each has its own answer; of more, only those that were refused have one.
const ANSWERED: usize = 10_000;
/// Lines that were refused and have an answer, where not all have.
const REFUSED: usize = 1_000;
/// Lines taken in one unit of work.
const CHUNK: usize = 2000;
/// The same, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// When the events are acknowledged.
#[derive(Deserialize, Validate, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AckQuery {
    /// `disk` unless given.
    #[param(inline)]
    #[garde(skip)]
    #[serde(default)]
    ack: Ack,
}

/// An event that was taken.
#[derive(Serialize, utoipa::ToSchema)]
pub struct TakenView {
    /// Ask `/v1/receipts/{receipt}` what became of it.
    receipt: String,
    /// Of the event, the same on every bus.
    #[schema(value_type = uuid::Uuid)]
    id: db::types::Id,
    /// It had been taken before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
    /// Kafka did not have it in time, or has had it for longer: the receipt tells.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    fallback: bool,
    /// Where Kafka has it.
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

/// What became of one of several events; described as [`Described`].
#[derive(Serialize)]
struct Item {
    status: u16,
    /// Of an NDJSON body of which not every line has an answer, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(flatten)]
    fate: Fate,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Fate {
    Taken(TakenView),
    Refused { problem: Option<Box<RawValue>> },
}

/// What became of one of several events.
#[derive(utoipa::ToSchema)]
#[schema(as = Item)]
#[serde(untagged)]
#[expect(dead_code, reason = "it only describes")]
enum Described {
    Taken(TakenItem),
    Refused(RefusedItem),
}

/// An event of several that was taken.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it only describes")]
struct TakenItem {
    status: u16,
    #[serde(flatten)]
    taken: TakenView,
}

/// An event of several that was refused.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it only describes")]
struct RefusedItem {
    status: u16,
    /// Of an NDJSON body of which not every line has an answer, from 1.
    line: Option<usize>,
    #[schema(value_type = Document)]
    problem: Document,
}

/// What became of several events.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Items {
    /// In the order in which they came.
    #[schema(value_type = Vec<Described>)]
    items: Vec<Item>,
    /// How many were taken, where not every line has an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<usize>,
}

/// One event is answered by itself, several by an item each.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
enum Answer {
    One(TakenView),
    Several(Items),
}

/// What is posted as `application/json`.
#[derive(utoipa::ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it only describes")]
enum Json {
    One(Posted<'static>),
    Several(Vec<Posted<'static>>),
}

/// Takes events: one, an array of them, or one a line; CloudEvents too, in each of their modes.
#[utoipa::path(operation_id = "postEvents", tag = "events", params(AckQuery),
    request_body(content(
        (Json = "application/json"),
        (String = "application/x-ndjson"),
        (Object = "application/cloudevents+json"),
        (Vec<Object> = "application/cloudevents-batch+json"),
    )),
    responses((status = 200, body = Answer), (status = 202, body = Answer), (status = 207, body = Items)),
    security((), ("bearer" = [])))]
#[post("/events")]
pub async fn post(
    proxy: Data<Proxy>,
    caller: Caller,
    request: HttpRequest,
    query: Params<AckQuery>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let (form, ack) = (Form::of(request.headers())?, query.0.ack);
    if ack == Ack::Kafka && !proxy.delivery.is_there() {
        return Err(Problem::new(&rest::kinds::INVALID_QUERY).field("ack", "events do not go to Kafka here"));
    }
    let mut body = Body::of(&request, payload);
    if form == Form::Lines {
        return Lines::new(&proxy, &caller, ack).read(&mut body).await;
    }
    let ingest = &proxy.settings.ingest;
    let body = body.whole(ingest.max_body.0).await?;
    let mut read = ingest::read(form, request.headers(), &body, ingest.max_event.0)?;
    let cost = caller.admit(&mut read.entries)?;
    let mut taken = proxy.accept(read.entries, ack).await.inspect_err(|_| caller.give_back(cost))?;
    match (read.alone, taken.pop()) {
        (true, Some(one)) => {
            let view = view(&proxy, one?);
            let location = format!("/v1/receipts/{}", view.receipt);
            Ok(HttpResponse::build(view.status()).insert_header((LOCATION, location)).json(Answer::One(view)))
        }
        (_, last) => {
            taken.extend(last);
            Ok(several(taken.into_iter().map(|one| item(&proxy, one)).collect()))
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

fn item(proxy: &Proxy, taken: Result<Taken, Problem>) -> Item {
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

fn several(items: Vec<Item>) -> HttpResponse {
    let same = |status: u16| items.iter().all(|item| item.status == status).then_some(status);
    let same =
        same(StatusCode::OK.as_u16()).filter(|_| !items.is_empty()).or_else(|| same(StatusCode::ACCEPTED.as_u16()));
    let status = same.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::MULTI_STATUS);
    HttpResponse::build(status).json(Answer::Several(Items { items, accepted: None, refused: None }))
}

/// Takes events a line each, as they come.
struct Lines<'p> {
    proxy: &'p Proxy,
    caller: &'p Caller,
    ack: Ack,
    /// Once the caller's quota was used up, nothing more is taken: it would come before what was not.
    exceeded: Option<Exceeded>,
    chunk: Vec<Result<Entry, Problem>>,
    /// Of its lines.
    bytes: usize,
    items: Vec<Item>,
    lines: usize,
    accepted: usize,
}

impl<'p> Lines<'p> {
    fn new(proxy: &'p Proxy, caller: &'p Caller, ack: Ack) -> Self {
        let (chunk, items) = (Vec::new(), Vec::new());
        Self { proxy, caller, ack, exceeded: None, chunk, bytes: 0, items, lines: 0, accepted: 0 }
    }

    async fn read(mut self, body: &mut Body) -> Result<HttpResponse, Problem> {
        let ingest = &self.proxy.settings.ingest;
        // a line is an event as it was posted, which may be larger than it is stored
        let longest = ingest.max_event.0.saturating_mul(2).min(ingest.max_body.0);
        let mut rest = Vec::new();
        while let Some(piece) = body.next().await? {
            rest.extend_from_slice(&piece);
            let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else {
                if rest.len() > longest {
                    let kind = &rest::kinds::TOO_LARGE;
                    return Err(Problem::new(kind).detail(format_args!("a line may have {longest} bytes")));
                }
                continue;
            };
            let behind = rest.split_off(end + 1);
            for line in std::mem::replace(&mut rest, behind).split(|byte| *byte == b'\n') {
                self.line(line).await?;
            }
        }
        self.line(&rest).await?;
        self.take().await?;
        Ok(self.answer())
    }

    async fn line(&mut self, line: &[u8]) -> Result<(), Problem> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        self.chunk.push(ingest::event(line, self.proxy.settings.ingest.max_event.0));
        self.bytes += line.len();
        if self.chunk.len() >= CHUNK || self.bytes >= CHUNK_BYTES { self.take().await } else { Ok(()) }
    }

    async fn take(&mut self) -> Result<(), Problem> {
        let mut chunk = std::mem::take(&mut self.chunk);
        self.bytes = 0;
        let cost = self.admit(&mut chunk)?;
        let taken = self.proxy.accept(chunk, self.ack).await.inspect_err(|_| self.caller.give_back(cost))?;
        for taken in taken {
            self.lines += 1;
            self.accepted += usize::from(taken.is_ok());
            if self.lines == ANSWERED + 1 {
                for (at, item) in self.items.iter_mut().enumerate() {
                    item.line = Some(at + 1);
                }
                self.items.retain(|item| matches!(item.fate, Fate::Refused { .. }));
                self.items.truncate(REFUSED);
            }
            let is_many = self.lines > ANSWERED;
            if !is_many || (taken.is_err() && self.items.len() < REFUSED) {
                self.items.push(Item { line: is_many.then_some(self.lines), ..item(self.proxy, taken) });
            }
        }
        Ok(())
    }

    /// Refuses the lines that the caller may not hand over, or not now; all of them at once if none was taken before.
    fn admit(&mut self, chunk: &mut [Result<Entry, Problem>]) -> Result<Cost, Problem> {
        let exceeded = match self.exceeded.map_or_else(|| self.caller.admit(chunk), Err) {
            Ok(cost) => return Ok(cost),
            Err(exceeded) if self.lines == 0 => return Err(exceeded.into()),
            Err(exceeded) => exceeded,
        };
        self.exceeded = Some(exceeded);
        chunk.iter_mut().filter(|entry| entry.is_ok()).for_each(|entry| *entry = Err(exceeded.into()));
        Ok(Cost::default())
    }

    fn answer(self) -> HttpResponse {
        let exceeded = self.exceeded;
        let mut response = self.items_of_all();
        if let Some(exceeded) = exceeded {
            response.headers_mut().insert(RETRY_AFTER, exceeded.seconds().into());
        }
        response
    }

    fn items_of_all(self) -> HttpResponse {
        if self.lines <= ANSWERED {
            return several(self.items);
        }
        let refused = self.lines - self.accepted;
        let status = if refused == 0 { StatusCode::ACCEPTED } else { StatusCode::MULTI_STATUS };
        let items = Items { items: self.items, accepted: Some(self.accepted), refused: Some(refused) };
        HttpResponse::build(status).json(Answer::Several(items))
    }
}
