//! An event as a service hands it over.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use db::types::{Id, Time};
use rest::Problem;
use rest::depth::{self, MAX_DEPTH};
use rest::kinds;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// Of [`Uuid::new_v5`], for the ids that services give.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f2d_8a54_1b0e_5c77_9d3a_4e51_70c2_b8f6);
/// Letters of a service or a type; together they are the name of a topic, which Kafka ends at 249.
const MAX_NAME: usize = 64;
/// Bytes of a key or an id.
const MAX_TEXT: usize = 255;
/// Memory of an event beside its payload: texts, allocations and the item of the answer.
pub(crate) const MEMORY: usize = 512;

/// How grave it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// What a service posts.
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
    /// Events of one key keep their order.
    #[schema(min_length = 1, max_length = 255)]
    #[serde(borrow, default)]
    pub key: Option<Cow<'a, str>>,
    /// The service's own: the same again is the same event.
    #[schema(min_length = 1, max_length = 255)]
    #[serde(borrow, default)]
    pub id: Option<Cow<'a, str>>,
    /// When it happened; now, unless given.
    #[serde(default)]
    pub time: Option<DateTime<Utc>>,
    #[serde(default)]
    pub level: Option<Level>,
    /// Any JSON, of at most 126 levels.
    #[schema(value_type = serde_json::Value)]
    #[serde(borrow)]
    pub data: &'a RawValue,
    /// CloudEvents attribute: an id counts within its source.
    #[serde(skip)]
    pub source: Option<Cow<'a, str>>,
}

/// An event that cannot be taken.
#[derive(Debug)]
pub struct Refusal {
    /// Service, as far as the event says it.
    pub service: Option<String>,
    pub problem: Problem,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { service: None, problem }
    }
}

/// An event that can be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: Id,
    /// The service gave it an id of its own, so that it may have been taken before.
    pub may_be_known: bool,
    pub service: String,
    pub kind: String,
    pub key: String,
    pub occurred_at: Time,
    /// JSON: what was posted, with its time and id.
    pub payload: String,
}

impl Entry {
    /// Memory of the event, its texts and its answer included.
    pub fn memory(&self) -> usize {
        self.payload.len() + MEMORY
    }
}

/// What is stored and sent: the order of the fields is theirs.
#[derive(Serialize)]
struct Payload<'a> {
    service: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    id: &'a str,
    time: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<Level>,
    data: &'a RawValue,
}

impl Posted<'_> {
    /// The event, if all its fields can be.
    ///
    /// # Errors
    /// `invalid-request`, naming each wrong field; `body-too-large` with more than `max_bytes`.
    pub(crate) fn check(&self, max_bytes: usize) -> Result<Entry, Refusal> {
        self.entry(max_bytes).map_err(|problem| Refusal { service: Some(self.service.to_string()), problem })
    }

    fn entry(&self, max_bytes: usize) -> Result<Entry, Problem> {
        self.check_fields()?;
        // the event itself is a level
        depth::check("data", self.data.get().as_bytes(), MAX_DEPTH - 1)?;
        let time = self.time.map_or_else(Time::now, Time::from);
        let (id, given) = match &self.id {
            Some(own) => (self.own_id(own), own.as_ref()),
            None => (Id::new(), ""),
        };
        let shown = id.to_string();
        let payload = Payload {
            service: &self.service,
            kind: &self.kind,
            key: self.key.as_deref(),
            id: if given.is_empty() { &shown } else { given },
            time,
            level: self.level,
            data: self.data,
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
        })
    }

    /// Id of the event to which the service gave the id `own`.
    fn own_id(&self, own: &str) -> Id {
        let (service, kind, source) = (&self.service, &self.kind, self.source.as_deref().unwrap_or_default());
        Uuid::new_v5(&NAMESPACE, format!("{service}\n{kind}\n{source}\n{own}").as_bytes()).into()
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

/// Returns true if it can name a service or a type.
pub(crate) fn is_name(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(known)
}
