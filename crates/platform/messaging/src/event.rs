//! Domain events as emitted, and events as received by consumers.

use std::sync::Arc;

use db::types::{Id, Time};
use db::{Staged, Tx};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::consumer::group::HandlerError;

/// Something that happened, of interest to other parts of the shop. A plain struct in `contracts`.
pub trait DomainEvent: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The type name, in the manner of CloudEvents: `shop.payment.completed`.
    const TYPE: &'static str;
    /// Version of the payload, raised by a change that old readers don't understand.
    const VERSION: i16;
    /// Topic of the event; one topic may carry several types.
    const TOPIC: &'static str;

    /// Returns the ordering key: events of one key are handled one after the other.
    ///
    /// The emitting unit must have inserted the row with this key, or updated the row with RETURNING: the row's lock
    /// makes the order of events the order of commits.
    fn key(&self) -> String;

    /// Returns the version of the aggregate after this change, for handlers that combine topics.
    fn aggregate_version(&self) -> i64;
}

/// The largest payload that is let into the log, in bytes: under Kafka's usual limit of 1 MiB, with room for headers.
pub const MAX_PAYLOAD_BYTES: usize = 900 * 1024;

/// Adds an event to the unit of work: it is written with the unit's state, or not at all. Returns the event's id.
///
/// # Errors
/// [`db::Error::Defect`] when the payload is no JSON or larger than [`MAX_PAYLOAD_BYTES`].
pub fn emit<E: DomainEvent>(tx: &mut Tx<'_>, event: &E) -> db::Result<Id> {
    let traceparent = tx.trace().map(ToString::to_string);
    stage(tx, event, traceparent)
}

/// Emits like [`emit`], in a handler: the new event belongs to the trace of the causing event.
///
/// # Errors
/// Errors of [`emit`].
pub fn emit_because<E: DomainEvent>(tx: &mut Tx<'_>, cause: &Event, event: &E) -> db::Result<Id> {
    stage(tx, event, cause.traceparent.clone())
}

/// Returns the event as JSON, within the maximum size of every bus.
fn payload<E: DomainEvent>(event: &E) -> db::Result<String> {
    let payload = serde_json::to_string(event).map_err(|e| db::Error::Defect(format!("{}: {e}", E::TYPE)))?;
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(db::Error::Defect(format!("{}: a payload of {} bytes is over the limit", E::TYPE, payload.len())));
    }
    Ok(payload)
}

fn stage<E: DomainEvent>(tx: &mut Tx<'_>, event: &E, traceparent: Option<String>) -> db::Result<Id> {
    let payload = payload(event)?;
    let id = Id::new();
    let occurred_at = tx.now()?;
    tx.stage(Staged {
        id,
        topic: E::TOPIC.into(),
        key: event.key(),
        kind: E::TYPE.into(),
        version: E::VERSION,
        aggregate_version: event.aggregate_version(),
        occurred_at,
        traceparent,
        payload,
    });
    Ok(id)
}

/// Id of the first epoch of a log, with the events from before epochs existed.
pub const FIRST_EPOCH: Id = Id(uuid::Uuid::nil());

fn first_epoch() -> Id {
    FIRST_EPOCH
}

/// An event out of the log, with its position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// UUID v7, the same on every bus and in every replay: the idempotency key for the world outside.
    pub id: Id,
    /// Log that numbered the event.
    pub source: Id,
    /// [Epoch](crate::LogEpoch) of the log at the numbering.
    #[serde(default = "first_epoch")]
    pub epoch: Id,
    pub topic: Arc<str>,
    pub partition: i32,
    /// Its number in the partition: from 0, without gaps. (The record's offset in a topic that other programs write.)
    pub position: i64,
    pub key: String,
    /// [`DomainEvent::TYPE`].
    pub kind: String,
    pub version: i16,
    pub aggregate_version: i64,
    pub occurred_at: Time,
    /// W3C `traceparent` of the causing request.
    pub traceparent: Option<String>,
    /// JSON.
    pub payload: String,
}

/// The kind of what stands for a record that nobody handles, so that a group moves past it.
const SKIPPED: &str = "";

impl Event {
    /// Stands for a record that is no event, in a topic where every record counts.
    pub fn skipped(topic: Arc<str>, partition: i32, position: i64) -> Self {
        Self {
            id: Id(uuid::Uuid::nil()),
            source: Id(uuid::Uuid::nil()),
            epoch: FIRST_EPOCH,
            topic,
            partition,
            position,
            key: String::new(),
            kind: SKIPPED.into(),
            version: 0,
            aggregate_version: 0,
            occurred_at: Time::now(),
            traceparent: None,
            payload: String::new(),
        }
    }

    /// Returns true if it stands for a record that is no event.
    pub fn is_skipped(&self) -> bool {
        self.kind == SKIPPED
    }

    /// Returns true if the event is an `E`.
    pub fn is<E: DomainEvent>(&self) -> bool {
        self.kind == E::TYPE
    }

    /// Decodes the payload as an `E`.
    ///
    /// # Errors
    /// [`HandlerError::Failed`] for another type, or for a newer version.
    pub fn decode<E: DomainEvent>(&self) -> Result<E, HandlerError> {
        if !self.is::<E>() {
            return Err(HandlerError::Failed(format!("a {} came where a {} was due", self.kind, E::TYPE)));
        }
        if self.version > E::VERSION {
            return Err(HandlerError::Failed(format!(
                "{} of version {} is newer than this process",
                self.kind, self.version
            )));
        }
        serde_json::from_str(&self.payload).map_err(|e| HandlerError::Failed(format!("{}: {e}", self.kind)))
    }
}
