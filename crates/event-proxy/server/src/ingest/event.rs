//! Posted events and their checks.

use std::borrow::Cow;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use db::types::{Id, Time};
use rest::Problem;
use rest::depth::{self, MAX_DEPTH};
use rest::kinds;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use telemetry::TraceContext;
use uuid::Uuid;

use crate::ingest::cloudevents::Attributes;

/// Namespace of [`Uuid::new_v5`], for ids given by services.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f2d_8a54_1b0e_5c77_9d3a_4e51_70c2_b8f6);
/// Maximum length of a service or a type; both together name a topic, limited to 249 by Kafka.
pub(crate) const MAX_NAME: usize = 64;
/// Bytes of a key or an id.
pub(crate) const MAX_TEXT: usize = 255;
/// Maximum bytes of the attributes of a CloudEvent, which are in the payload and in headers on Kafka.
pub(crate) const MAX_ATTRIBUTES: usize = 32 * 1024;
/// Memory of an event besides the payload: texts, allocations and the item of the answer.
pub(crate) const MEMORY: usize = 512;

/// Severity. The words of other systems are taken too, in any case: `warning`, `err`, `fatal`, those of syslog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase", try_from = "Cow<'_, str>")]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl FromStr for Level {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "trace" | "verbose" | "finest" | "finer" | "all" => Ok(Self::Trace),
            "debug" | "fine" | "config" => Ok(Self::Debug),
            "info" | "information" | "informational" | "notice" => Ok(Self::Info),
            "warn" | "warning" => Ok(Self::Warn),
            "error" | "err" | "severe" | "fatal" | "critical" | "crit" | "alert" | "emergency" | "emerg" | "panic" => {
                Ok(Self::Error)
            }
            _ => Err("must be trace, debug, info, warn or error, or a word of syslog for one of them"),
        }
    }
}

impl TryFrom<Cow<'_, str>> for Level {
    type Error = &'static str;

    fn try_from(text: Cow<'_, str>) -> Result<Self, &'static str> {
        text.parse()
    }
}

/// Data of an event.
#[derive(Debug)]
pub(crate) enum Data<'a> {
    Json(Cow<'a, RawValue>),
    /// Binary data.
    Base64(String),
}

impl<'de: 'a, 'a> Deserialize<'de> for Data<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|json| Self::Json(Cow::Borrowed(json)))
    }
}

/// An event as posted by a service.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Posted<'a> {
    /// Letters, digits, `_` and `-`.
    #[schema(max_length = 64, pattern = "^[A-Za-z0-9_-]+$")]
    #[serde(borrow)]
    pub service: Cow<'a, str>,
    /// Letters, digits, `_` and `-`.
    #[schema(max_length = 64, pattern = "^[A-Za-z0-9_-]+$")]
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
    /// Key of the event. Events of one key keep their order.
    #[schema(min_length = 1, max_length = 255)]
    #[serde(borrow, default)]
    pub key: Option<Cow<'a, str>>,
    /// The service's own: the same again is the same event.
    #[schema(min_length = 1, max_length = 255)]
    #[serde(borrow, default)]
    pub id: Option<Cow<'a, str>>,
    /// Time of the event; by default the time of arrival.
    #[serde(default, deserialize_with = "strict")]
    pub time: Option<DateTime<Utc>>,
    #[serde(default)]
    pub level: Option<Level>,
    /// Any JSON, of at most 126 levels.
    #[schema(value_type = serde_json::Value)]
    #[serde(borrow)]
    pub data: Data<'a>,
    /// Attributes of a CloudEvent; an id counts within its source.
    #[serde(skip)]
    pub attributes: Attributes,
}

/// RFC 3339, as [`Time`] has it.
fn strict<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    Ok(Option::<Time>::deserialize(deserializer)?.map(Time::to_chrono))
}

/// A refused event.
#[derive(Debug)]
pub struct Refusal {
    /// Service, if the event names one.
    pub service: Option<String>,
    pub problem: Problem,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { service: None, problem }
    }
}

/// A valid event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: Id,
    /// True if the service gave an id: the event may have been accepted before.
    pub may_be_known: bool,
    pub service: String,
    pub kind: String,
    pub key: String,
    pub occurred_at: Time,
    /// JSON: the posted event, with time and id.
    pub payload: String,
    /// W3C `traceparent` that the event has as an attribute.
    pub traceparent: Option<String>,
}

impl Entry {
    /// Returns the memory of the event, including the texts and the answer.
    pub fn memory(&self) -> usize {
        self.payload.len() + MEMORY
    }
}

/// What is stored and sent: the order of the fields is theirs. Attributes are first, where the codec of records looks.
#[derive(Serialize)]
struct Payload<'a> {
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    attributes: &'a Attributes,
    service: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    id: &'a str,
    time: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<Level>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<&'a str>,
}

impl Posted<'_> {
    /// Returns the event, if all fields are valid.
    ///
    /// # Errors
    /// `invalid-request`, naming each wrong field; `body-too-large` with more than `max_bytes`.
    pub(crate) fn check(&self, max_bytes: usize) -> Result<Entry, Refusal> {
        self.entry(max_bytes).map_err(|problem| Refusal { service: Some(self.service.to_string()), problem })
    }

    fn entry(&self, max_bytes: usize) -> Result<Entry, Problem> {
        self.check_fields()?;
        let (data, data_base64) = match &self.data {
            Data::Json(data) => (Some(&**data), None),
            Data::Base64(data) => (None, Some(data.as_str())),
        };
        // the event itself is a level
        depth::check("data", data.map_or("", RawValue::get).as_bytes(), MAX_DEPTH - 1)?;
        let time = self.time.map_or_else(Time::now, Time::from);
        let (id, given) = match &self.id {
            Some(own) => (self.own_id(own), own.as_ref()),
            None => (Id::new(), ""),
        };
        let shown = id.to_string();
        let payload = Payload {
            attributes: &self.attributes,
            service: &self.service,
            kind: &self.kind,
            key: self.key.as_deref(),
            id: if given.is_empty() { &shown } else { given },
            time,
            level: self.level,
            data,
            data_base64,
        };
        let payload = serde_json::to_string(&payload).map_err(Problem::internal)?;
        if payload.len() > max_bytes {
            return Err(Problem::new(&kinds::TOO_LARGE).detail(format_args!("an event may have {max_bytes} bytes")));
        }
        Ok(Entry {
            id,
            may_be_known: self.id.is_some(),
            service: self.service.to_string(),
            kind: self.kind.to_string(),
            // without a key, nothing is to come before or after it
            key: self.key.as_ref().map_or(shown, ToString::to_string),
            occurred_at: time,
            payload,
            traceparent: self.traceparent(),
        })
    }

    /// Returns the id of the event with the service's id `own`.
    fn own_id(&self, own: &str) -> Id {
        let source = self.attributes.get("source").map(String::as_str).unwrap_or_default();
        let (service, kind) = (&self.service, &self.kind);
        Uuid::new_v5(&NAMESPACE, format!("{service}\n{kind}\n{source}\n{own}").as_bytes()).into()
    }

    fn traceparent(&self) -> Option<String> {
        let sent = self.attributes.get("traceparent")?;
        sent.parse::<TraceContext>().is_ok().then(|| sent.clone())
    }

    fn check_fields(&self) -> Result<(), Problem> {
        let mut wrong = Vec::new();
        for (field, name) in [("service", &self.service), ("type", &self.kind)] {
            if !is_name(name) {
                wrong.push((field, "must be 1 to 64 letters, digits, _ or -"));
            }
        }
        for (field, text) in [("key", &self.key), ("id", &self.id)] {
            if text.as_ref().is_some_and(|text| text.is_empty() || text.len() > MAX_TEXT || text.contains('\0')) {
                wrong.push((field, "must be 1 to 255 bytes, without NUL"));
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let problem = Problem::new(&kinds::INVALID_REQUEST);
        Err(wrong.into_iter().fold(problem, |problem, (field, detail)| problem.field(field, detail)))
    }
}

/// Returns true for a valid name of a service or a type.
pub(crate) fn is_name(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(known)
}
