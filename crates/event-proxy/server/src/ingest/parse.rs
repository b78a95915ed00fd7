//! Parses events from request bodies of each format.

use std::borrow::Cow;
use std::fmt;

use actix_web::http::header::{self, HeaderMap};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rest::Problem;
use rest::fair::pause;
use rest::kinds;
use serde::de::{self, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::ingest::cloudevents;
use crate::ingest::event::{Data, Entry, Level, Posted, Refusal};

/// Events of an array at the most.
const MAX_ITEMS: usize = 10_000;
/// Error text of an array with too many items.
const TOO_MANY: &str = "too many items";

/// Media types of lines of JSON.
const LINES: [&str; 5] = [
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
    "application/jsonlines",
];

/// Format of a body, by media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// An event, an array of them, or an event a line.
    Json,
    /// An event a line.
    Lines,
    /// Data of one event, whose attributes are headers or parts of the path.
    Data,
    CloudEvent,
    CloudEvents,
}

/// Service, type and other parts of an event whose body is data alone.
#[derive(Debug)]
pub(crate) struct Target {
    pub service: String,
    pub kind: String,
    pub key: Option<String>,
    pub id: Option<String>,
    pub level: Option<Level>,
}

/// Reads events of a request.
pub(crate) struct Reader<'a> {
    pub form: Form,
    headers: &'a HeaderMap,
    /// `None` if the events themselves say it.
    target: Option<Target>,
    max_event: usize,
}

/// The events of a body, and true for a single event.
pub(crate) struct Read {
    pub entries: Vec<Result<Entry, Refusal>>,
    pub alone: bool,
}

impl<'a> Reader<'a> {
    /// Reads events that say where they go.
    ///
    /// # Errors
    /// `unsupported-media-type`
    pub(crate) fn of_events(headers: &'a HeaderMap, max_event: usize) -> Result<Self, Problem> {
        let media = essence(headers);
        let form = match media.as_str() {
            cloudevents::STRUCTURED => Form::CloudEvent,
            cloudevents::BATCHED => Form::CloudEvents,
            _ if cloudevents::is_binary(headers) && !media.starts_with(cloudevents::FORMATS) => Form::Data,
            "application/json" => Form::Json,
            lines if LINES.contains(&lines) => Form::Lines,
            _ => {
                return Err(Problem::new(&kinds::UNSUPPORTED_MEDIA_TYPE).detail(
                    "send application/json, application/x-ndjson, application/cloudevents+json or \
                     application/cloudevents-batch+json; any other body to /v1/events/{service}/{type}",
                ));
            }
        };
        Ok(Self { form, headers, target: None, max_event })
    }

    /// Reads data of events of one service and type: lines of JSON, or else one body of any media type.
    ///
    /// # Errors
    /// `invalid-request` for a CloudEvent, and for lines with one id.
    pub(crate) fn of_data(headers: &'a HeaderMap, target: Target, max_event: usize) -> Result<Self, Problem> {
        let media = essence(headers);
        let wrong = |field: &str, detail: &str| Problem::new(&kinds::INVALID_REQUEST).field(field, detail);
        if cloudevents::is_binary(headers) || media.starts_with(cloudevents::FORMATS) {
            return Err(wrong("body", "send CloudEvents to /v1/events"));
        }
        let form = match media.as_str() {
            "application/json" => Form::Json,
            lines if LINES.contains(&lines) => Form::Lines,
            _ => Form::Data,
        };
        if form == Form::Lines && target.id.is_some() {
            return Err(wrong("id", "lines cannot have one id"));
        }
        Ok(Self { form, headers, target: Some(target), max_event })
    }

    /// Reads a whole body of any form but lines.
    ///
    /// # Errors
    /// `malformed-json` for an unreadable body.
    pub(crate) async fn read(&self, body: &[u8]) -> Result<Read, Problem> {
        let alone = |entry: Result<Entry, Refusal>| Ok(Read { entries: vec![entry], alone: true });
        if self.form == Form::Data {
            return alone(self.data(body));
        }
        let body = without_mark(body);
        if self.form == Form::CloudEvents || (self.target.is_none() && body.trim_ascii_start().starts_with(b"[")) {
            return self.each(items(body)?.into_iter().map(|item| item.get().as_bytes())).await;
        }
        let lines = || body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        // behind a line that is JSON by itself come other events, or what was meant as such
        let first = lines().next().filter(|_| self.form == Form::Json && lines().nth(1).is_some());
        if first.is_some_and(|line| serde_json::from_slice::<IgnoredAny>(line).is_ok()) {
            if self.target.as_ref().is_some_and(|target| target.id.is_some()) {
                return Err(Problem::new(&kinds::INVALID_REQUEST).field("id", "lines cannot have one id"));
            }
            return self.each(lines()).await;
        }
        alone(self.event(body))
    }

    /// One event, which is a line or a whole body of JSON.
    ///
    /// # Errors
    /// The reason why it cannot be taken.
    pub(crate) fn event(&self, json: &[u8]) -> Result<Entry, Refusal> {
        let posted = match (&self.target, self.form) {
            (Some(target), _) => target.posted(Data::Json(Cow::Borrowed(parse(json, "body")?)), None),
            (None, Form::CloudEvent | Form::CloudEvents) => cloudevents::structured(object(json)?)?,
            (None, _) => object::<Posted<'_>>(json)?,
        };
        posted.check(self.max_event)
    }

    async fn each(&self, items: impl Iterator<Item = &[u8]>) -> Result<Read, Problem> {
        let mut entries = Vec::new();
        for item in items {
            pause().await;
            if entries.len() == MAX_ITEMS {
                return Err(too_many());
            }
            entries.push(self.event(item));
        }
        Ok(Read { entries, alone: false })
    }

    /// The event whose data is the body.
    fn data(&self, body: &[u8]) -> Result<Entry, Refusal> {
        let media = self.headers.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok());
        let data = data(&essence(self.headers), body)?;
        let posted = match &self.target {
            Some(target) => target.posted(data, media),
            None => cloudevents::binary(self.headers, media, data)?,
        };
        posted.check(self.max_event)
    }
}

impl Target {
    fn posted<'a>(&'a self, data: Data<'a>, media: Option<&str>) -> Posted<'a> {
        Posted {
            service: self.service.as_str().into(),
            kind: self.kind.as_str().into(),
            key: self.key.as_deref().map(Cow::Borrowed),
            id: self.id.as_deref().map(Cow::Borrowed),
            time: None,
            level: self.level,
            data,
            attributes: media.map(|media| ("datacontenttype".to_owned(), media.to_owned())).into_iter().collect(),
        }
    }
}

/// The media type in lower case, without parameters; empty if there is none.
fn essence(headers: &HeaderMap) -> String {
    let media = headers.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or_default();
    media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// A body without the byte order mark that some programs begin a text with.
pub(crate) fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// A body as data, by its media type: JSON, a text, or else binary data. Without a media type the body tells.
fn data<'a>(media: &str, body: &'a [u8]) -> Result<Data<'a>, Problem> {
    let is_json = media == "application/json" || media.ends_with("/json") || media.ends_with("+json");
    if is_json || media.is_empty() {
        let json = without_mark(body);
        match parse(json, "body") {
            _ if json.trim_ascii().is_empty() => return Ok(Data::Json(Cow::Borrowed(RawValue::NULL))),
            Ok(json) => return Ok(Data::Json(Cow::Borrowed(json))),
            Err(problem) if is_json => return Err(problem),
            Err(_) => {}
        }
    }
    let is_text = media.is_empty()
        || media.starts_with("text/")
        || ["/xml", "+xml", "/yaml", "/x-www-form-urlencoded"].iter().any(|end| media.ends_with(end));
    match std::str::from_utf8(body) {
        Ok(text) if is_text => {
            Ok(Data::Json(Cow::Owned(serde_json::value::to_raw_value(text).map_err(Problem::internal)?)))
        }
        _ => Ok(Data::Base64(BASE64_STANDARD.encode(body))),
    }
}

fn items(body: &[u8]) -> Result<Vec<&RawValue>, Problem> {
    let items: Result<Items<'_>, _> = serde_json::from_slice(body);
    items.map(|items| items.0).map_err(|error| match error.to_string().starts_with(TOO_MANY) {
        true => too_many(),
        false => wrong(body, "body", &error),
    })
}

fn too_many() -> Problem {
    let detail = format_args!("at most {MAX_ITEMS} events; send more as application/x-ndjson");
    Problem::new(&kinds::TOO_LARGE).detail(detail)
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

/// The value of a JSON object.
fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Problem> {
    // structs would also be taken from arrays
    let is_object = json.trim_ascii_start().starts_with(b"{");
    if !is_object && serde_json::from_slice::<IgnoredAny>(json).is_ok() {
        return Err(Problem::new(&kinds::INVALID_REQUEST).field("event", "must be an object"));
    }
    parse(json, "event")
}

/// The value of a JSON text; `whole` names it in problems.
fn parse<'a, T: Deserialize<'a>>(json: &'a [u8], whole: &str) -> Result<T, Problem> {
    serde_json::from_slice(json).map_err(|error| {
        // a second pass tells the path
        let again = serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_slice(json));
        let path = again.err().map(|error| error.path().to_string()).filter(|path| path != ".");
        let text = error.to_string();
        wrong(json, path.as_deref().unwrap_or_else(|| named(&text).unwrap_or(whole)), &error)
    })
}

/// Returns the problem of a text that is not JSON, or of unexpected JSON: a syntax error may be either.
fn wrong(json: &[u8], field: &str, error: &serde_json::Error) -> Problem {
    if !error.is_data() && serde_json::from_slice::<IgnoredAny>(json).is_err() {
        return Problem::new(&kinds::MALFORMED_JSON).detail(error);
    }
    let text = error.to_string();
    // serde_json ends its text with the place, which the field's name says better
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    Problem::new(&kinds::INVALID_REQUEST).field(field, text)
}

/// The field that an error of serde names, between backticks: one that is missing, unknown, or there twice.
fn named(text: &str) -> Option<&str> {
    text.split('`').nth(1).filter(|_| text.contains(" field `"))
}
