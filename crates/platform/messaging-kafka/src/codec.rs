//! An event as a Kafka record: CloudEvents 1.0 in binary mode
//! (<https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/kafka-protocol-binding.md>).

use std::sync::Arc;

use chrono::DateTime;
use db::types::{Id, Time};
use messaging::{Event, FIRST_EPOCH, UNNUMBERED};
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};
use uuid::Uuid;

const SOURCE: &str = "ce_source";
const ID: &str = "ce_id";
const KIND: &str = "ce_type";
const TIME: &str = "ce_time";
/// The event's position, independent of the offset; "sequence" is a CloudEvents extension.
const SEQUENCE: &str = "ce_sequence";
const VERSION: &str = "ce_dataversion";
const AGGREGATE_VERSION: &str = "ce_aggregateversion";
/// The epoch of the log at the numbering; absent for the first epoch.
const EPOCH: &str = "ce_logepoch";
const TRACEPARENT: &str = "traceparent";

/// Returns the headers of an event's record; the record's value is the payload, and the record's key the event's key.
pub(crate) fn headers(event: &Event) -> OwnedHeaders {
    let ours = [
        ("ce_specversion", "1.0".to_owned()),
        (ID, event.id.to_string()),
        (SOURCE, source(event.source)),
        (KIND, event.kind.clone()),
        (TIME, event.occurred_at.to_string()),
        (VERSION, event.version.to_string()),
        (AGGREGATE_VERSION, event.aggregate_version.to_string()),
        ("content-type", "application/json".to_owned()),
    ];
    let sequence = (event.position != UNNUMBERED).then(|| (SEQUENCE, event.position.to_string()));
    let epoch = (event.epoch != FIRST_EPOCH).then(|| (EPOCH, event.epoch.to_string()));
    let traceparent = event.traceparent.iter().map(|traceparent| (TRACEPARENT, traceparent.clone()));
    let headers = OwnedHeaders::new_with_capacity(ours.len() + 3);
    ours.into_iter()
        .chain(sequence)
        .chain(epoch)
        .chain(traceparent)
        .fold(headers, |headers, (key, value)| headers.insert(Header { key, value: Some(&value) }))
}

/// Returns a log's UUID as a URI, required by CloudEvents for a source.
fn source(id: Id) -> String {
    format!("urn:uuid:{id}")
}

/// Returns the event of a record.
///
/// # Errors
/// The reason why the record is no event of the shop or proxy.
pub(crate) fn decode(record: &BorrowedMessage<'_>, topic: &Arc<str>) -> Result<Event, String> {
    let text = |bytes: Option<&[u8]>, what: &str| {
        let bytes = bytes.ok_or_else(|| format!("it has no {what}"))?;
        let text = String::from_utf8(bytes.to_vec()).map_err(|_| format!("its {what} is not UTF-8"))?;
        // no database takes it
        if text.contains('\0') { Err(format!("its {what} has a NUL")) } else { Ok(text) }
    };
    let header = |name: &str| {
        let found = record.headers().and_then(|headers| headers.iter().find(|header| header.key == name));
        text(found.and_then(|header| header.value), name)
    };
    let source = header(SOURCE)?;
    let source = source.strip_prefix("urn:uuid:").unwrap_or(&source);
    let occurred_at = DateTime::parse_from_rfc3339(&header(TIME)?).map_err(|error| format!("{TIME}: {error}"))?;
    Ok(Event {
        id: Id(parsed::<Uuid>(ID, &header(ID)?)?),
        source: Id(parsed::<Uuid>(SOURCE, source)?),
        epoch: header(EPOCH).map_or(Ok(FIRST_EPOCH), |epoch| parsed::<Uuid>(EPOCH, &epoch).map(Id))?,
        topic: topic.clone(),
        partition: record.partition(),
        position: header(SEQUENCE).map_or(Ok(record.offset()), |sequence| parsed(SEQUENCE, &sequence))?,
        key: text(record.key(), "key")?,
        kind: header(KIND)?,
        version: parsed(VERSION, &header(VERSION)?)?,
        aggregate_version: parsed(AGGREGATE_VERSION, &header(AGGREGATE_VERSION)?)?,
        occurred_at: Time::from(occurred_at.to_utc()),
        traceparent: header(TRACEPARENT).ok(),
        payload: text(record.payload(), "value")?,
    })
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|error| format!("{name} {value:?}: {error}"))
}
