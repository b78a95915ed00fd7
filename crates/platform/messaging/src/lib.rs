//! Events: emitted in a unit of work, numbered in a log, brought to every consumer group once and in order.
//!
//! - [`emit`] adds an event to a unit of work; the [`Log`] gives the event a position.
//! - A [`Bus`] delivers events to groups: [`InProcess`] reads the log; the [`relay_group`] feeds an external bus.
//! - [`Consumers`] hosts [`Group`]s; each group has a position in each partition, moved in the handler's transaction.
//! - [`admin`] is for operators; [`raise_partitions`] adds partitions to a topic; [`purge`] deletes old events.

pub mod admin;
mod bus;
mod consumer;
mod event;
mod external;
mod log;
mod relay;
mod schema;

pub use bus::rate_limit::Paced;
pub use bus::{Bus, BusError, ByTopic, InProcess, Numbers, Published, Publisher, Silence, Subscriber};
pub use consumer::group::{
    EffectHandler, Group, Handler, HandlerError, Lease, Refused, Replay, Start, TransactionalHandler,
};
pub use consumer::host::{ConsumerOptions, Consumers};
pub use event::{DomainEvent, Event, FIRST_EPOCH, MAX_PAYLOAD_BYTES, emit, emit_because};
pub use external::{Foreign, ForeignBus, Subscription};
pub use log::depth::report_depths;
pub use log::epochs::{LogEpoch, log_epochs};
pub use log::follow::follow_log;
pub use log::partitioner::partition_of;
pub use log::repartition::{MAX_PARTITIONS, RaiseError, raise_partitions};
pub use log::retention::{Purged, purge};
pub use log::rows::log_bytes;
pub use log::{Log, TopicSpec, tombstone};
pub use relay::{
    RELAY, RefusedKey, begin_relaying, end_relaying, oldest_unrelayed, relay_group, relay_group_by, unrelayed_bytes,
};
