//! What a consumer group is and what it does.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use db::Tx;
use db::types::Id;

use crate::event::Event;

/// Why a batch was not handled.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// A sink or a database is away: the partition waits for as long as it takes, and nothing is dead-lettered.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// This event cannot be handled: it becomes a dead letter after a few tries.
    #[error("failed: {0}")]
    Failed(String),
}

impl From<db::Error> for HandlerError {
    fn from(error: db::Error) -> Self {
        match error {
            db::Error::Unavailable(_) | db::Error::UnknownOutcome(_) => Self::Unavailable(error.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Changes the shop's own state: the group's position moves in the same transaction, so each event counts once.
pub trait TransactionalHandler: Send + Sync + 'static {
    /// Handles `events`: some of one partition, in order, of one topic. All of them or none.
    ///
    /// It may be called again with the same events, and then its earlier changes were rolled back. When a batch
    /// fails it is called with each event alone.
    ///
    /// # Errors
    /// As [`HandlerError`] says; the transaction is rolled back.
    fn handle(&self, tx: &mut Tx<'_>, events: &[Event]) -> Result<(), HandlerError>;
}

/// The right to handle a partition, held by one member of a group at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub topic: Arc<str>,
    pub partition: i32,
    /// Grows each time the partition changes hands: whoever has a lower one is late.
    pub number: i64,
    /// The member that holds it.
    pub holder: Id,
}

/// Acts on the world outside: at least once, with the event id as idempotency key.
#[async_trait]
pub trait EffectHandler: Send + Sync + 'static {
    /// Handles `events`: some of the lease's partition, in order. When it fails, it is called with each event alone.
    ///
    /// # Errors
    /// As [`HandlerError`] says; what was already done is done again.
    async fn handle(&self, lease: &Lease, events: &[Event]) -> Result<(), HandlerError>;

    /// What to keep in the transaction that moves the position past `events`, once they are handled.
    ///
    /// # Errors
    /// The position stays, and the events come again.
    fn record(&self, _tx: &mut Tx<'_>, _lease: &Lease, _events: &[Event]) -> db::Result<()> {
        Ok(())
    }

    /// How long what was handled may wait to be recorded, with what follows: if the process is killed before, it is
    /// handled again. [`record`](Self::record) is then called with the last of the batches. Of a handler that
    /// [gives up](Self::gives_up) nothing is put off.
    fn records_within(&self, _lease: &Lease) -> Duration {
        Duration::ZERO
    }

    /// Returns true if the positions of what was handled are recorded twice a second, for all partitions of the member
    /// together: if the process is killed before, events are handled again. [`record`](Self::record) is not called then,
    /// and the handler must not [give up](Self::gives_up).
    fn records_together(&self) -> bool {
        false
    }

    /// Returns true if an event that fails again and again becomes a dead letter. Else its partition waits.
    fn gives_up(&self) -> bool {
        true
    }

    /// Called when all there was is handled, and may take a little so that what comes next comes together. It may be
    /// dropped before its end.
    async fn rest(&self) {}

    /// Called when the partition was taken, before its first event: cut back what was not recorded. It may be dropped
    /// before its end, when the member is asked to stop.
    ///
    /// # Errors
    /// The partition waits, and it is called again.
    async fn taken(&self, _lease: &Lease) -> Result<(), HandlerError> {
        Ok(())
    }
}

/// How a group handles.
#[derive(Clone)]
pub enum Handler {
    Transactional(Arc<dyn TransactionalHandler>),
    Effect(Arc<dyn EffectHandler>),
}

impl Handler {
    pub(crate) fn gives_up(&self) -> bool {
        match self {
            Self::Transactional(_) => true,
            Self::Effect(handler) => handler.gives_up(),
        }
    }

    pub(crate) fn records_together(&self) -> bool {
        match self {
            Self::Transactional(_) => false,
            Self::Effect(handler) => handler.records_together(),
        }
    }
}

/// What a reset does to a group.
#[derive(Clone, Copy)]
pub enum Replay {
    /// A projection of the log: reset clears it by this function, and it is built anew. Its handler emits no events.
    Rebuildable(fn(&mut Tx<'_>) -> db::Result<()>),
    /// An export: reset sends again, with the same ids.
    Resendable,
    /// Must not repeat; reset is refused for this reason.
    Once(&'static str),
}

/// Where a group begins when it is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With all that is kept.
    Floor,
    /// With what comes next.
    Now,
    /// With what was not relayed yet.
    Relayed,
}

/// A consumer group: a name, what it reads, and what it does.
#[derive(Clone)]
pub struct Group {
    pub name: &'static str,
    pub topics: Vec<&'static str>,
    pub replay: Replay,
    pub start: Start,
    pub handler: Handler,
}
