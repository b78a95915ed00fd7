//! Consumer groups and their handlers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use db::Tx;
use db::types::Id;

use crate::event::Event;

/// Failure to handle a batch.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// A sink or a database is away: the partition waits for as long as it takes, and nothing is dead-lettered.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The event cannot be handled: it becomes a dead letter after several attempts.
    #[error("failed: {0}")]
    Failed(String),
    /// A bus refuses an event for its content.
    #[error("refused: {}", .0.why)]
    Refused(Refused),
}

/// An event of a batch that a bus refuses for its content. If [positions are recorded
/// together](EffectHandler::records_together), the event becomes a dead letter at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Number of events before the refused one, which are handled.
    pub handled: usize,
    pub why: String,
    /// Later events of the key wait behind the dead letter.
    pub key_waits: bool,
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
    /// Handles `events`: events of one partition of a topic, in order. All of them or none.
    ///
    /// The same events may come again after a rollback of the earlier changes. After the failure of a batch, each
    /// event comes alone.
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
    /// Fencing number, raised each time the partition changes hands: a member with a lower number is late.
    pub number: i64,
    /// Member with the lease.
    pub holder: Id,
}

/// Acts on the world outside: at least once, with the event id as idempotency key.
#[async_trait]
pub trait EffectHandler: Send + Sync + 'static {
    /// Handles `events`: events of the lease's partition, in order. After a failure, each event comes alone.
    ///
    /// # Errors
    /// [`HandlerError`]; the same work is then repeated.
    async fn handle(&self, lease: &Lease, events: &[Event]) -> Result<(), HandlerError>;

    /// Records state in the transaction that moves the position past `events`, after the handling.
    ///
    /// # Errors
    /// The position stays, and the events come again.
    fn record(&self, _tx: &mut Tx<'_>, _lease: &Lease, _events: &[Event]) -> db::Result<()> {
        Ok(())
    }

    /// Returns the maximum delay of the record, which then covers later batches as well: after a kill the events are
    /// handled again. [`record`](Self::record) is then called with the last of the batches. A handler that
    /// [gives up](Self::gives_up) records at once.
    fn records_within(&self, _lease: &Lease) -> Duration {
        Duration::ZERO
    }

    /// Returns true if the positions of what was handled are recorded twice a second, for all partitions of the member
    /// together: if the process is killed before, events are handled again. [`record`](Self::record) is not called then,
    /// and the handler must not [give up](Self::gives_up). An event that a bus [refuses](HandlerError::Refused) is a dead
    /// letter all the same.
    fn records_together(&self) -> bool {
        false
    }

    /// Returns true if an event that fails again and again becomes a dead letter. Otherwise the partition waits.
    fn gives_up(&self) -> bool {
        true
    }

    /// Called after all events are handled; may take a little time, so that the next events come together. The future
    /// may be dropped early.
    async fn rest(&self) {}

    /// Called on the assignment of the partition, before the first event: cut back unrecorded work. The future may be
    /// dropped early, at a stop of the member.
    ///
    /// # Errors
    /// An error pauses the partition; the call is then repeated.
    async fn taken(&self, _lease: &Lease) -> Result<(), HandlerError> {
        Ok(())
    }
}

/// Handler of a group.
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

    /// Returns the handler if its positions are recorded together.
    pub(crate) fn recorded_together(&self) -> Option<&Arc<dyn EffectHandler>> {
        match self {
            Self::Effect(handler) if handler.records_together() => Some(handler),
            Self::Transactional(_) | Self::Effect(_) => None,
        }
    }
}

/// Effect of a reset on a group.
#[derive(Clone, Copy)]
pub enum Replay {
    /// A projection of the log: a reset clears the projection by this function, and the group rebuilds it. The
    /// handler emits no events.
    Rebuildable(fn(&mut Tx<'_>) -> db::Result<()>),
    /// An export: reset sends again, with the same ids.
    Resendable,
    /// Must not repeat; reset is refused for this reason.
    Once(&'static str),
}

/// Start of a new group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// First kept event.
    Floor,
    /// Next new event.
    Now,
    /// First event not relayed yet.
    Relayed,
}

/// A consumer group: name, topics, and handler.
#[derive(Clone)]
pub struct Group {
    pub name: &'static str,
    pub topics: Vec<&'static str>,
    pub replay: Replay,
    pub start: Start,
    pub handler: Handler,
}
