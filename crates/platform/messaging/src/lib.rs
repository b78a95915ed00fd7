//! Events: emitted in a unit of work, numbered in a log, brought to every consumer group once and in order.
mod event;
mod handler;
pub use event::{DomainEvent, Event, MAX_PAYLOAD_BYTES, emit};
pub use handler::{EffectHandler, Group, Handler, HandlerError, Lease, Replay, Start, TransactionalHandler};
