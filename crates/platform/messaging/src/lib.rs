//! Events: emitted in a unit of work, numbered in a log, brought to every consumer group once and in order.
//!
//! - [`emit`] adds an event to a unit of work; the [`Log`] gives the event a position.
//! - A [`Bus`] delivers events to groups: [`InProcess`] reads the log; the [`relay_group`] feeds an external bus.
//! - [`Consumers`] hosts [`Group`]s; each group has a position in each partition, moved in the handler's transaction.
//! - [`admin`] is for operators; [`raise_partitions`] adds partitions to a topic; [`purge`] deletes old events.

pub mod admin;
mod alone;
mod bus;
mod consumers;
mod dead;
mod depth;
mod ends;
mod event;
mod failing;
mod fence;
mod foreign;
mod handler;
mod handling;
mod lease;
mod log;
mod log_epochs;
mod marks;
pub mod moved;
mod paced;
mod partition;
mod pauses;
mod place;
mod relay;
mod resume;
mod retention;
mod schema;
mod set_aside;
mod setting_aside;
mod store;
mod tail;
mod worker;

pub use bus::{Bus, BusError, ByTopic, InProcess, Numbers, Published, Publisher, Silence, Subscriber};
pub use consumers::{ConsumerOptions, Consumers};
pub use depth::report_depths;
pub use ends::follow_log;
pub use event::{DomainEvent, Event, FIRST_EPOCH, MAX_PAYLOAD_BYTES, emit, emit_because};
pub use fence::{MAX_PARTITIONS, RaiseError, raise_partitions};
pub use foreign::{Foreign, ForeignBus, Subscription};
pub use handler::{EffectHandler, Group, Handler, HandlerError, Lease, Refused, Replay, Start, TransactionalHandler};
pub use log::{Log, TopicSpec};
pub use log_epochs::{LogEpoch, log_epochs};
pub use paced::Paced;
pub use partition::partition_of;
pub use relay::{
    RELAY, RefusedKey, begin_relaying, end_relaying, oldest_unrelayed, relay_group, relay_group_by, unrelayed_bytes,
};
pub use retention::{Purged, purge};
pub use store::log_bytes;
