//! Content of a service's event.

use contracts::IncidentId;
use db::types::{Id, JsonText, Time};
use messaging::{Event, HandlerError};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Maximum characters of a reason; the event keeps the full text.
const LONGEST_REASON: usize = 500;

/// A failure in a service.
#[derive(Debug, Clone, PartialEq, Eq, diesel::Queryable)]
pub struct Incident {
    pub id: IncidentId,
    pub event_id: Id,
    pub topic: String,
    /// The event's type: `order.payment-failed`.
    pub kind: String,
    /// Subject of the event, such as the order's id for a failed payment.
    pub key: String,
    /// Reason, if the event has one.
    pub reason: Option<String>,
    /// JSON: the event as posted by the service.
    pub event: JsonText,
    pub occurred_at: Time,
    pub opened_at: Time,
}

/// The used part of a proxy's event.
#[derive(Deserialize)]
struct Posted {
    #[serde(default)]
    data: Value,
}

impl Incident {
    /// # Errors
    /// [`HandlerError::Failed`] if the event is no JSON object.
    pub(super) fn of(event: &Event, now: Time) -> Result<Self, HandlerError> {
        let no_object = |error| HandlerError::Failed(format!("{}: no JSON object: {error}", event.kind));
        let posted: Posted = serde_json::from_str(&event.payload).map_err(no_object)?;
        Ok(Self {
            id: IncidentId::new(),
            event_id: event.id,
            topic: event.topic.to_string(),
            kind: event.kind.clone(),
            key: event.key.clone(),
            reason: posted.data.as_object().and_then(reason),
            event: JsonText(event.payload.clone()),
            occurred_at: event.occurred_at,
            opened_at: now,
        })
    }
}

/// Returns the reason, by the field names of the proxy's client and of common loggers.
fn reason(data: &Map<String, Value>) -> Option<String> {
    let text = ["reason", "error", "message"].iter().find_map(|name| data.get(*name)?.as_str())?;
    // no database takes a NUL
    Some(text.chars().filter(|c| *c != '\0').take(LONGEST_REASON).collect())
}
