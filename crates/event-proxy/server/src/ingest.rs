//! Parses events from request bodies of each format.

use std::fmt;

use actix_web::http::header::{self, HeaderMap};
use rest::Problem;
use rest::fair::pause;
use rest::kinds;
use serde::de::{self, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::cloudevents::{self, CloudEvent};
use crate::event::{Entry, Posted, Refusal};

/// Events of an array at the most.
const MAX_ITEMS: usize = 10_000;
/// Error text of an array with too many items.
const TOO_MANY: &str = "too many items";

/// Format of a body, by media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// An event, or an array of events.
    Json,
    /// An event a line.
    Lines,
    /// A single CloudEvent; `true`: the body is the data, and the headers are the attributes.
    CloudEvent(bool),
    CloudEvents,
}

impl Form {
    /// Returns the format by the headers.
    ///
    /// # Errors
    /// `unsupported-media-type`
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        if cloudevents::is_binary(headers) {
            return Ok(Self::CloudEvent(true));
        }
        let media = headers.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match media.as_str() {
            "application/json" => Ok(Self::Json),
            "application/x-ndjson" => Ok(Self::Lines),
            cloudevents::STRUCTURED => Ok(Self::CloudEvent(false)),
            cloudevents::BATCHED => Ok(Self::CloudEvents),
            _ => Err(Problem::new(&kinds::UNSUPPORTED_MEDIA_TYPE).detail(
                "send application/json, application/x-ndjson, application/cloudevents+json or \
                 application/cloudevents-batch+json",
            )),
        }
    }
}

/// The events of a body, and true for a single event.
pub(crate) struct Read {
    pub entries: Vec<Result<Entry, Refusal>>,
    pub alone: bool,
}

/// Reads a whole body of any form but lines.
///
/// # Errors
/// `malformed-json` for an unreadable body.
pub(crate) async fn read(form: Form, headers: &HeaderMap, body: &[u8], max_event: usize) -> Result<Read, Problem> {
    let alone = |entry: Result<Entry, Refusal>| Ok(Read { entries: vec![entry], alone: true });
    match form {
        Form::CloudEvent(true) => {
            let mut text = None;
            alone(cloudevents::binary(headers, body, &mut text)?.check(max_event))
        }
        Form::CloudEvent(false) => alone(cloud_event(body, max_event)),
        Form::CloudEvents => each(items(body)?, |item| cloud_event(item, max_event)).await,
        Form::Json if body.trim_ascii_start().first() == Some(&b'[') => {
            each(items(body)?, |item| event(item, max_event)).await
        }
        Form::Json | Form::Lines => alone(event(body, max_event)),
    }
}

/// Reads each item of an array.
async fn each(items: Vec<&RawValue>, read: impl Fn(&[u8]) -> Result<Entry, Refusal>) -> Result<Read, Problem> {
    let mut entries = Vec::with_capacity(items.len());
    for item in items {
        pause().await;
        entries.push(read(item.get().as_bytes()));
    }
    Ok(Read { entries, alone: false })
}

fn items(body: &[u8]) -> Result<Vec<&RawValue>, Problem> {
    let items: Result<Items<'_>, _> = serde_json::from_slice(body);
    items.map(|items| items.0).map_err(|error| match error.to_string().starts_with(TOO_MANY) {
        true => Problem::new(&kinds::TOO_LARGE)
            .detail(format_args!("at most {MAX_ITEMS} events; send more as application/x-ndjson")),
        false => wrong(body, &error, |_| "body"),
    })
}

/// The items of an array, of which there are not too many: each is answered, and takes more room there than here.
struct Items<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counted;

        impl<'de> Visitor<'de> for Counted {
            type Value = Items<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Items<'de>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = array.next_element()? {
                    if items.len() == MAX_ITEMS {
                        return Err(de::Error::custom(TOO_MANY));
                    }
                    items.push(item);
                }
                Ok(Items(items))
            }
        }

        deserializer.deserialize_seq(Counted)
    }
}

/// Parses one event.
///
/// # Errors
/// The error in the event.
pub(crate) fn event(json: &[u8], max_event: usize) -> Result<Entry, Refusal> {
    parse::<Posted<'_>>(json)?.check(max_event)
}

fn cloud_event(json: &[u8], max_event: usize) -> Result<Entry, Refusal> {
    parse::<CloudEvent<'_>>(json)?.into_posted()?.check(max_event)
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(json).map_err(|error| wrong(json, &error, field_of))
}

/// Returns the problem of a text that is not JSON, or of unexpected JSON: a syntax error may be either.
fn wrong(json: &[u8], error: &serde_json::Error, field_of: impl Fn(&str) -> &str) -> Problem {
    if !error.is_data() && serde_json::from_slice::<IgnoredAny>(json).is_err() {
        return Problem::new(&kinds::MALFORMED_JSON).detail(error);
    }
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    Problem::new(&kinds::INVALID_REQUEST).field(field_of(text), text)
}

/// Returns the field named in an error of serde, between backticks.
fn field_of(text: &str) -> &str {
    text.split('`').nth(1).filter(|_| text.contains("field")).unwrap_or("event")
}
