//! Events, consumers and dead letters, for administrators; and an order's own events.

use consumers::incident::Incident;
use contracts::IncidentId;
use db::types::{Id, Time};
use garde::Validate;
use messaging::admin::{ConsumerLag, DeadLetter, EventView, GroupView, ResetTo, StoredEvent};
use messaging::{Event, LogEpoch};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::texts;

/// An event as emitted.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
pub(crate) struct EventBody {
    #[schema(value_type = uuid::Uuid)]
    pub id: Id,
    #[serde(rename = "type")]
    #[schema(example = "shop.payment.completed")]
    pub kind: String,
    pub version: i16,
    /// Id of the log that numbered the event.
    #[schema(value_type = uuid::Uuid)]
    pub source: Id,
    /// Epoch of the log at the numbering.
    #[schema(value_type = uuid::Uuid)]
    pub epoch: Id,
    pub key: String,
    pub aggregate_version: i64,
    #[schema(value_type = String, format = DateTime)]
    pub occurred_at: Time,
    /// W3C `traceparent` of the causing request.
    pub traceparent: Option<String>,
    #[schema(value_type = Object)]
    pub data: Box<RawValue>,
}

impl EventBody {
    fn new(event: Event) -> (Self, String, i32, i64) {
        let Event { id, source, epoch, topic, partition, position, key, kind, .. } = event;
        let data = RawValue::from_string(event.payload).unwrap_or_else(|_| RawValue::NULL.to_owned());
        let (version, aggregate_version) = (event.version, event.aggregate_version);
        let (occurred_at, traceparent) = (event.occurred_at, event.traceparent);
        let body = Self { id, kind, version, source, epoch, key, aggregate_version, occurred_at, traceparent, data };
        (body, topic.to_string(), partition, position)
    }
}

/// Positions that the log gave in one life of its storage. A record whose epoch does not own the position belongs to
/// a lost event.
#[derive(Serialize, ToSchema)]
#[schema(as = LogEpoch)]
pub(crate) struct LogEpochView {
    /// Orders the epochs.
    pub ordinal: i64,
    /// Value of the header `ce_logepoch` of a record on Kafka.
    #[schema(value_type = uuid::Uuid)]
    pub id: Id,
    #[schema(value_type = String, format = DateTime)]
    pub opened_at: Time,
    /// First position of each partition; the epoch owns the positions up to the next epoch's first position.
    /// Partitions without own positions of an earlier epoch are left out.
    pub starts: Vec<EpochStart>,
}

/// Begin of an epoch in a partition.
#[derive(Serialize, ToSchema)]
pub(crate) struct EpochStart {
    pub topic: String,
    pub partition: i32,
    pub first: i64,
}

impl From<LogEpoch> for LogEpochView {
    fn from(epoch: LogEpoch) -> Self {
        let LogEpoch { ordinal, id, opened_at, starts, .. } = epoch;
        let start = |(topic, partition, first)| EpochStart { topic, partition, first };
        Self { ordinal, id, opened_at, starts: starts.into_iter().map(start).collect() }
    }
}

/// An event and the event's position in the log.
#[derive(Serialize, ToSchema)]
#[schema(as = LoggedEvent)]
pub(crate) struct LoggedEventView {
    pub event: EventBody,
    pub topic: String,
    pub partition: i32,
    pub position: i64,
    #[schema(value_type = String, format = DateTime)]
    pub appended_at: Time,
}

impl From<StoredEvent> for LoggedEventView {
    fn from(stored: StoredEvent) -> Self {
        let (event, topic, partition, position) = EventBody::new(stored.event);
        Self { event, topic, partition, position, appended_at: stored.appended_at }
    }
}

/// An event and the event's status in every group.
#[derive(Serialize, ToSchema)]
#[schema(as = TrackedEvent)]
pub(crate) struct TrackedEventView {
    #[serde(flatten)]
    pub logged: LoggedEventView,
    /// True if Kafka has the event.
    pub relayed: bool,
    pub groups: Vec<GroupStatus>,
}

impl From<EventView> for TrackedEventView {
    fn from(view: EventView) -> Self {
        let EventView { stored, relayed, groups } = view;
        Self { logged: stored.into(), relayed, groups: groups.into_iter().map(Into::into).collect() }
    }
}

/// An event of an order, as shown to the owner.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrderEvent {
    #[schema(value_type = uuid::Uuid)]
    pub id: Id,
    #[serde(rename = "type")]
    pub kind: String,
    pub topic: String,
    pub partition: i32,
    pub position: i64,
    #[schema(value_type = String, format = DateTime)]
    pub occurred_at: Time,
    #[schema(value_type = String, format = DateTime)]
    pub appended_at: Time,
    pub groups: Vec<GroupStatus>,
}

impl From<EventView> for OrderEvent {
    fn from(view: EventView) -> Self {
        let EventView { stored: StoredEvent { event, appended_at }, groups, .. } = view;
        Self {
            id: event.id,
            kind: event.kind,
            topic: event.topic.to_string(),
            partition: event.partition,
            position: event.position,
            occurred_at: event.occurred_at,
            appended_at,
            // why something failed is for administrators
            groups: groups.into_iter().map(|group| GroupStatus { error: None, ..group.into() }).collect(),
        }
    }
}

/// Status of an event in a group.
#[derive(Serialize, ToSchema)]
pub(crate) struct GroupStatus {
    pub group: String,
    #[schema(value_type = texts::EventStatus)]
    pub status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl From<GroupView> for GroupStatus {
    fn from(view: GroupView) -> Self {
        let GroupView { group, status, attempts, error } = view;
        Self { group, status: status.as_str(), attempts, error }
    }
}

/// Position of a group in a partition.
#[derive(Serialize, ToSchema)]
#[schema(as = Consumer)]
pub(crate) struct ConsumerView {
    pub group: String,
    pub topic: String,
    pub partition: i32,
    /// Last handled position; -1 for none.
    pub position: i64,
    /// Position of the last event; -1 for none.
    pub end: i64,
    pub lag: i64,
    #[schema(value_type = texts::ConsumerMode)]
    pub mode: String,
}

impl From<ConsumerLag> for ConsumerView {
    fn from(lag: ConsumerLag) -> Self {
        let ConsumerLag { group, topic, partition, position, end, lag, mode } = lag;
        Self { group, topic, partition, position, end, lag, mode }
    }
}

/// New starting point of a group.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResetRequest {
    #[garde(length(bytes, min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200, example = "payment-completed")]
    pub topic: String,
    #[garde(dive)]
    pub to: ResetPoint,
}

/// `"earliest"`, `"latest"`, `{"position": 0}` or `{"timestamp": "…"}`.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ResetPoint {
    Earliest,
    Latest,
    Position(#[garde(range(min = 0))] i64),
    #[schema(value_type = String)]
    Timestamp(#[garde(skip)] Time),
}

impl From<ResetPoint> for ResetTo {
    fn from(point: ResetPoint) -> Self {
        match point {
            ResetPoint::Earliest => Self::Earliest,
            ResetPoint::Latest => Self::Latest,
            ResetPoint::Position(position) => Self::Position(position),
            ResetPoint::Timestamp(time) => Self::Timestamp(time),
        }
    }
}

/// An event that a group failed to handle.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetter)]
pub(crate) struct DeadLetterView {
    #[schema(value_type = uuid::Uuid)]
    pub id: Id,
    pub group: String,
    pub topic: String,
    pub partition: i32,
    pub position: i64,
    pub key: String,
    #[schema(value_type = uuid::Uuid)]
    pub event_id: Id,
    pub error: String,
    pub attempts: i32,
    /// `replay` and `discarded` mark a request that the group's worker has not executed yet.
    #[schema(value_type = texts::DeadLetterStatus)]
    pub status: String,
    #[schema(value_type = String, format = DateTime)]
    pub failed_at: Time,
}

impl From<DeadLetter> for DeadLetterView {
    fn from(letter: DeadLetter) -> Self {
        let DeadLetter { id, group, topic, partition, position, key, event_id, error, attempts, status, .. } = letter;
        let failed_at = letter.failed_at;
        Self { id, group, topic, partition, position, key, event_id, error, attempts, status, failed_at }
    }
}

/// A dead letter with the event, and the number of parked events.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeadLetterDetail {
    #[serde(flatten)]
    pub letter: DeadLetterView,
    /// The whole event.
    #[schema(value_type = Object)]
    pub event: Value,
    /// Number of events of the key parked behind the dead letter.
    pub parked: i64,
}

impl DeadLetterDetail {
    /// Returns a dead letter with the number of events parked behind.
    pub(crate) fn new(letter: DeadLetter, parked: i64) -> Self {
        let event = serde_json::from_str(&letter.event.0).unwrap_or(Value::Null);
        Self { letter: letter.into(), event, parked }
    }
}

/// Selection of dead letters for a replay.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayRequest {
    #[garde(length(bytes, min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200, example = "settlement")]
    pub group: String,
    #[garde(length(bytes, min = 1, max = 249))]
    #[schema(min_length = 1, max_length = 249)]
    pub topic: Option<String>,
}

/// Number of dead letters to be handled again.
#[derive(Serialize, ToSchema)]
pub(crate) struct Replayed {
    pub replayed: u64,
}

/// A failure that a service reported through an event proxy.
#[derive(Serialize, ToSchema)]
#[schema(as = Incident)]
pub(crate) struct IncidentView {
    #[schema(value_type = uuid::Uuid)]
    pub id: IncidentId,
    #[schema(value_type = uuid::Uuid)]
    pub event_id: Id,
    /// Topic on Kafka.
    pub topic: String,
    #[serde(rename = "type")]
    #[schema(example = "order.payment-failed")]
    pub kind: String,
    /// Subject of the event: the order's id for a failed payment.
    pub key: String,
    pub reason: Option<String>,
    /// The event as posted by the service.
    #[schema(value_type = Object)]
    pub event: Box<RawValue>,
    #[schema(value_type = String, format = DateTime)]
    pub occurred_at: Time,
    #[schema(value_type = String, format = DateTime)]
    pub opened_at: Time,
}

impl From<Incident> for IncidentView {
    fn from(incident: Incident) -> Self {
        let Incident { id, event_id, topic, kind, key, reason, event, occurred_at, opened_at } = incident;
        let event = RawValue::from_string(event.0).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Self { id, event_id, topic, kind, key, reason, event, occurred_at, opened_at }
    }
}
