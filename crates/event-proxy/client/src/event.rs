//! An event, and the event's JSON for the proxy.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Map;
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use crate::error::{BuildError, SendError};

/// The longest service or type, in characters.
const LONGEST_NAME: usize = 64;
/// The longest key or id, in bytes.
pub(crate) const LONGEST_ID: usize = 255;

/// Severity of an event, with the names of logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl From<tracing::Level> for Level {
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::TRACE => Self::Trace,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::INFO => Self::Info,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::ERROR => Self::Error,
        }
    }
}

/// An event of a service, for [`EventProxy::send`](crate::EventProxy::send); see there for the limits.
///
/// ```
/// use event_proxy_client::{Event, Level};
///
/// let event = Event::new("payment-failed")
///     .service("order")
///     .key("order-17") // order holds within a key
///     .level(Level::Error)
///     .data(serde_json::json!({ "amount": 1200, "reason": "card expired" }));
/// ```
#[derive(Debug, Clone)]
#[must_use = "an event does nothing until it is sent"]
pub struct Event {
    service: Option<String>,
    kind: String,
    key: Option<String>,
    id: Option<String>,
    time: Option<DateTime<Utc>>,
    level: Option<Level>,
    /// The data, or the text of a failed serialisation.
    data: Result<Box<RawValue>, String>,
}

impl Event {
    /// `kind` is the event's type: 1 to 64 of ASCII letters, digits, `_` and `-`.
    pub fn new(kind: impl Into<String>) -> Self {
        let (service, key, id, time, level) = (None, None, None, None, None);
        Self { service, kind: kind.into(), key, id, time, level, data: Err(String::new()) }.data(Map::new())
    }

    /// Sets the service, if not the client's own. Allows the characters of a type.
    pub fn service(mut self, service: impl Into<String>) -> Self {
        self.service = Some(service.into());
        self
    }

    /// Sets the key: the subject of the event, such as an order's number, 1 to 255 bytes. Events of one key keep
    /// their order.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the caller's own id, 1 to 255 bytes: the proxy takes a second event of this service and id for a repeat.
    /// Without an id, the event gets a UUID when sent.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the time of the event; default now.
    pub fn time(mut self, time: DateTime<Utc>) -> Self {
        self.time = Some(time);
        self
    }

    /// Sets the severity; by default the event has none.
    pub fn level(mut self, level: Level) -> Self {
        self.level = Some(level);
        self
    }

    /// Sets any further data; by default an empty object.
    pub fn data(mut self, data: impl Serialize) -> Self {
        self.data = to_raw_value(&data).map_err(|error| error.to_string());
        self
    }

    /// Returns the event's JSON for the proxy, with defaults filled in.
    pub(crate) fn into_json(self, default_service: Option<&str>) -> Result<Box<[u8]>, SendError> {
        let service = self.service.as_deref().or(default_service);
        let service = service.ok_or_else(|| invalid("service", "is missing, and the client has none of its own"))?;
        check_name("service", service)?;
        check_name("type", &self.kind)?;
        check_id("key", self.key.as_deref())?;
        check_id("id", self.id.as_deref())?;
        let wire = Wire {
            service,
            kind: &self.kind,
            key: self.key.as_deref(),
            id: &self.id.unwrap_or_else(|| Uuid::now_v7().to_string()),
            time: self.time.unwrap_or_else(Utc::now),
            level: self.level,
            data: &self.data.map_err(|reason| invalid("data", reason))?,
        };
        let json = serde_json::to_vec(&wire).map_err(|error| invalid("data", error.to_string()))?;
        Ok(json.into_boxed_slice())
    }
}

#[derive(Serialize)]
struct Wire<'a> {
    service: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    id: &'a str,
    time: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<Level>,
    data: &'a RawValue,
}

/// Returns true if `name` can be a service or a type; neither has dots, for a topic is `{service}.{type}`.
pub(crate) fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(allowed)
}

/// Checks a name like [`check_name`], for settings of a client or a layer.
pub(crate) fn check_setting(setting: &'static str, name: &str) -> Result<(), BuildError> {
    let reason = || format!("{name:?} must be 1 to {LONGEST_NAME} of letters, digits, _ and -");
    if is_name(name) { Ok(()) } else { Err(BuildError::setting(setting, reason())) }
}

fn check_name(field: &'static str, name: &str) -> Result<(), SendError> {
    let reason = || format!("must be 1 to {LONGEST_NAME} of letters, digits, _ and -");
    if is_name(name) { Ok(()) } else { Err(invalid(field, reason())) }
}

fn check_id(field: &'static str, id: Option<&str>) -> Result<(), SendError> {
    let fits = id.is_none_or(|id| (1..=LONGEST_ID).contains(&id.len()) && !id.contains('\0'));
    if fits { Ok(()) } else { Err(invalid(field, format!("must be 1 to {LONGEST_ID} bytes, none of them 0"))) }
}

fn invalid(field: &'static str, reason: impl Into<String>) -> SendError {
    SendError::Invalid { field, reason: reason.into() }
}
