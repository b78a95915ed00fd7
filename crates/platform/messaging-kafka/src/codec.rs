//! An event as a Kafka record: CloudEvents 1.0 in binary mode
//! (<https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/kafka-protocol-binding.md>).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::DateTime;
use db::types::{Id, Time};
use messaging::{Event, FIRST_EPOCH};
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};
use uuid::Uuid;

const SOURCE: &str = "ce_source";
const ID: &str = "ce_id";
const KIND: &str = "ce_type";
const TIME: &str = "ce_time";
/// The event's position; "sequence" is CloudEvents' extension of that name, whose order is that of texts. So the position
/// has leading zeros. Other programs may leave it out.
const SEQUENCE: &str = "ce_sequence";
const VERSION: &str = "ce_dataversion";
const AGGREGATE_VERSION: &str = "ce_aggregateversion";
/// The epoch of the log at the numbering; absent for the first epoch.
const EPOCH: &str = "ce_logepoch";
const TRACEPARENT: &str = "traceparent";
/// Begins the names of attributes.
const PREFIX: &str = "ce_";
/// Begins a name of ours that an attribute of the event took.
const OURS: &str = "log_";
/// Beginning of a payload with attributes of its own.
const WITH_ATTRIBUTES: &str = r#"{"attributes":{"#;

/// Returns the headers of an event's record; the record's value is the payload, and the record's key the event's key.
///
/// A payload may begin with the attributes of a CloudEvent. They are headers by their names, and one of ours of the same
/// name then begins with `log_`.
pub(crate) fn headers(event: &Event) -> OwnedHeaders {
    let attributes = attributes(&event.payload);
    let name = |ours: &'static str| match ours.strip_prefix(PREFIX) {
        Some(name) if attributes.contains_key(name) => Cow::Owned(format!("{OURS}{name}")),
        _ => Cow::Borrowed(ours),
    };
    let ours = [
        ("ce_specversion", "1.0".to_owned()),
        (ID, event.id.to_string()),
        (SOURCE, source(event.source)),
        (KIND, event.kind.clone()),
        (TIME, event.occurred_at.to_string()),
        (VERSION, event.version.to_string()),
        (AGGREGATE_VERSION, event.aggregate_version.to_string()),
        (SEQUENCE, format!("{:019}", event.position)),
        ("content-type", "application/json".to_owned()),
    ];
    // without ours an attribute of the same name would be taken for it
    let has_epoch = event.epoch != FIRST_EPOCH || attributes.contains_key("logepoch");
    let epoch = has_epoch.then(|| (EPOCH, event.epoch.to_string()));
    let traceparent = event.traceparent.iter().map(|traceparent| (TRACEPARENT, traceparent.clone()));
    let headers = OwnedHeaders::new_with_capacity(ours.len() + 2 + attributes.len());
    let headers = ours
        .into_iter()
        .chain(epoch)
        .chain(traceparent)
        .fold(headers, |headers, (key, value)| headers.insert(Header { key: &name(key), value: Some(&value) }));
    attributes.iter().fold(headers, |headers, (name, value)| {
        headers.insert(Header { key: &format!("{PREFIX}{name}"), value: Some(value) })
    })
}

/// Returns the bytes of key, payload and headers of an event's record.
pub(crate) fn size(event: &Event) -> usize {
    let headers = headers(event);
    let headers = headers.iter().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len) + 8);
    event.key.len() + event.payload.len() + headers.sum::<usize>()
}

/// Attributes of a CloudEvent with which the payload begins.
fn attributes(payload: &str) -> BTreeMap<String, String> {
    #[derive(serde::Deserialize)]
    struct Payload {
        attributes: BTreeMap<String, String>,
    }
    let payload = Some(payload).filter(|payload| payload.starts_with(WITH_ATTRIBUTES));
    payload
        .and_then(|payload| serde_json::from_str(payload).ok())
        .map_or_else(BTreeMap::new, |it: Payload| it.attributes)
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
    let find = |name: &str| record.headers().and_then(|headers| headers.iter().find(|header| header.key == name));
    let header = |name: &str| {
        let of_log = name.strip_prefix(PREFIX).and_then(|name| find(&format!("{OURS}{name}")));
        text(of_log.or_else(|| find(name)).and_then(|header| header.value), name)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_a_cloud_event_are_headers_and_ours_of_the_same_name_move_aside() {
        let payload = r#"{"attributes":{"id":"7","source":"/a b","type":"com.example","sequence":"x","logepoch":"y","ext":"e"},"data":1}"#;
        let mut event = Event {
            id: Id(Uuid::from_u128(1)),
            source: Id(Uuid::from_u128(2)),
            epoch: FIRST_EPOCH,
            topic: "a.b".into(),
            partition: 0,
            position: 9,
            key: "k".to_owned(),
            kind: "a.b".to_owned(),
            version: 1,
            aggregate_version: 0,
            occurred_at: Time::now(),
            traceparent: None,
            payload: payload.to_owned(),
        };
        let find = |event: &Event, name: &str| {
            let headers = headers(event);
            let values = headers.iter().filter(|header| header.key == name);
            values.map(|header| String::from_utf8(header.value.unwrap().to_vec()).unwrap()).collect::<Vec<_>>()
        };
        for (name, value) in [
            ("id", "7"),
            ("source", "/a b"),
            ("type", "com.example"),
            ("sequence", "x"),
            ("logepoch", "y"),
            ("ext", "e"),
        ] {
            assert_eq!(find(&event, &format!("ce_{name}")), [value]);
        }
        assert_eq!(find(&event, "log_logepoch"), [FIRST_EPOCH.to_string()]);
        let ours = [event.id.to_string(), source(event.source), event.kind.clone(), format!("{:019}", 9)];
        for (name, value) in ["id", "source", "type", "sequence"].into_iter().zip(&ours) {
            assert_eq!(find(&event, &format!("log_{name}")), std::slice::from_ref(value));
        }
        event.payload = r#"{"data":{"attributes":{"id":"7"}}}"#.to_owned();
        for (name, value) in ["id", "source", "type", "sequence"].into_iter().zip(ours) {
            assert_eq!(find(&event, &format!("ce_{name}")), [value]);
            assert!(find(&event, &format!("log_{name}")).is_empty());
        }
    }
}
