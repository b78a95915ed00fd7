//! CloudEvents 1.0 as events of the proxy.
//!
//! `source` is the service (without slashes around it) and `type` the type, with `-` for dots. The extension
//! attributes `service`, `level` and `partitionkey` carry the rest; without `partitionkey`, `subject` is the key.
//! Other attributes are dropped.

use std::borrow::Cow;

use actix_web::http::header::{self, HeaderMap};
use chrono::{DateTime, Utc};
use rest::Problem;
use rest::kinds;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event::{Level, Posted};

/// Media types of the structured and the batched mode.
pub(crate) const STRUCTURED: &str = "application/cloudevents+json";
pub(crate) const BATCHED: &str = "application/cloudevents-batch+json";

/// A CloudEvent of the structured mode.
#[derive(Deserialize)]
pub(crate) struct CloudEvent<'a> {
    #[serde(borrow)]
    specversion: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    subject: Option<Cow<'a, str>>,
    #[serde(default)]
    time: Option<DateTime<Utc>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data_base64: Option<&'a RawValue>,
    #[serde(borrow, default)]
    service: Option<Cow<'a, str>>,
    #[serde(default)]
    level: Option<Level>,
    #[serde(borrow, default)]
    partitionkey: Option<Cow<'a, str>>,
}

impl<'a> CloudEvent<'a> {
    /// Converts to an event of the proxy. Binary data stays base64 text.
    ///
    /// # Errors
    /// `invalid-request` for another version.
    pub(crate) fn into_posted(self) -> Result<Posted<'a>, Problem> {
        if self.specversion != "1.0" {
            return Err(Problem::new(&kinds::INVALID_REQUEST).field("specversion", "must be 1.0"));
        }
        Ok(Posted {
            service: self.service.unwrap_or_else(|| service_of(&self.source).into()),
            kind: self.kind.replace('.', "-").into(),
            key: self.partitionkey.or(self.subject),
            id: Some(self.id),
            time: self.time,
            level: self.level,
            data: self.data.or(self.data_base64).unwrap_or(RawValue::NULL),
            source: Some(self.source),
        })
    }
}

fn service_of(source: &str) -> String {
    source.trim_matches('/').to_owned()
}

/// Returns true for headers of the binary mode.
pub(crate) fn is_binary(headers: &HeaderMap) -> bool {
    headers.contains_key("ce-specversion")
}

/// Returns the event of the binary mode with `body` as the data; text other than JSON becomes a JSON string, kept in
/// `text`.
///
/// # Errors
/// `invalid-request`, naming the header.
pub(crate) fn binary<'a>(
    headers: &'a HeaderMap,
    body: &'a [u8],
    text: &'a mut Option<Box<RawValue>>,
) -> Result<Posted<'a>, Problem> {
    let get = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(Cow::Borrowed);
    let wrong = |name: &str, detail: &str| Problem::new(&kinds::INVALID_REQUEST).field(name, detail);
    let due = |name: &str| get(name).ok_or_else(|| wrong(name, "is missing"));
    let time = get("ce-time").map(|time| time.parse().map_err(|_| wrong("ce-time", "must be as in RFC 3339")));
    let level = get("ce-level").map(|level| level_of(&level).ok_or_else(|| wrong("ce-level", "is not known")));
    let event = CloudEvent {
        specversion: due("ce-specversion")?,
        id: due("ce-id")?,
        source: due("ce-source")?,
        kind: due("ce-type")?,
        subject: get("ce-subject"),
        time: time.transpose()?,
        data: Some(data(headers, body, text)?),
        data_base64: None,
        service: get("ce-service"),
        level: level.transpose()?,
        partitionkey: get("ce-partitionkey"),
    };
    event.into_posted()
}

fn level_of(text: &str) -> Option<Level> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).ok()
}

fn data<'a>(headers: &HeaderMap, body: &'a [u8], text: &'a mut Option<Box<RawValue>>) -> Result<&'a RawValue, Problem> {
    let media = headers.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or("application/json");
    let media = media.split(';').next().unwrap_or_default().trim();
    if media.is_empty() || media.ends_with("json") {
        return if body.trim_ascii().is_empty() {
            Ok(RawValue::NULL)
        } else {
            serde_json::from_slice(body).map_err(|error| Problem::new(&kinds::MALFORMED_JSON).detail(error))
        };
    }
    let said = std::str::from_utf8(body).map_err(|_| {
        let problem = Problem::new(&kinds::INVALID_REQUEST);
        problem.field("body", "must be JSON or text; send other data in the structured mode, as data_base64")
    })?;
    let quoted = serde_json::value::to_raw_value(said).map_err(Problem::internal)?;
    Ok(text.insert(quoted))
}
