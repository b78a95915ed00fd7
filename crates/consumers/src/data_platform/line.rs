//! The exported form of an event, the same in every sink.

use std::borrow::Cow;

use db::types::{Id, Time};
use messaging::{Event, HandlerError};
use serde::Serialize;
use serde_json::value::RawValue;

/// An exported event.
#[derive(Serialize)]
pub(super) struct Line<'e> {
    id: Id,
    #[serde(rename = "type")]
    kind: &'e str,
    version: i16,
    source: Id,
    topic: &'e str,
    partition: i32,
    position: i64,
    key: &'e str,
    occurred_at: Time,
    trace: Option<&'e str>,
    /// Time field of Elasticsearch; absent in other sinks.
    #[serde(rename = "@timestamp", skip_serializing_if = "Option::is_none")]
    timestamp: Option<Time>,
    data: &'e RawValue,
}

/// Returns the payload on one line. Line breaks in JSON are white space: inside strings, line breaks are escaped.
pub(super) fn data(event: &Event) -> Result<Cow<'_, RawValue>, HandlerError> {
    let failed = |error| HandlerError::Failed(format!("{}: the payload is no JSON: {error}", event.kind));
    let data = serde_json::from_str::<&RawValue>(&event.payload).map_err(failed)?;
    if !data.get().contains(['\n', '\r']) {
        return Ok(Cow::Borrowed(data));
    }
    RawValue::from_string(data.get().replace(['\n', '\r'], " ")).map(Cow::Owned).map_err(failed)
}

impl<'e> Line<'e> {
    pub(super) fn new(event: &'e Event, data: &'e RawValue) -> Self {
        Self {
            id: event.id,
            kind: &event.kind,
            version: event.version,
            source: event.source,
            topic: &event.topic,
            partition: event.partition,
            position: event.position,
            key: &event.key,
            occurred_at: event.occurred_at,
            trace: event.traceparent.as_deref(),
            timestamp: None,
            data,
        }
    }

    pub(super) fn with_timestamp(self) -> Self {
        Self { timestamp: Some(self.occurred_at), ..self }
    }
}

/// `document` as JSON, at the end of `out`.
pub(super) fn write(out: &mut Vec<u8>, document: &impl Serialize) -> Result<(), HandlerError> {
    serde_json::to_writer(out, document).map_err(|error| HandlerError::Failed(error.to_string()))
}

/// Returns each event as a JSON object, without a line break.
pub(super) fn documents(events: &[Event]) -> Result<Vec<Vec<u8>>, HandlerError> {
    let document = |event| {
        let mut document = Vec::with_capacity(512);
        write(&mut document, &Line::new(event, &data(event)?))?;
        Ok(document)
    };
    events.iter().map(document).collect()
}
