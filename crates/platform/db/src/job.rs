//! A unit of work on the way to a database thread, and the answer on the way back.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use telemetry::TraceContext;
use tokio::sync::oneshot;

use crate::error::{Error, Fault, Result};
use crate::faults::{self, Watched};
use crate::unit::{Done, Tx};

/// A unit of work with an erased result type, so that all units share a queue.
pub(crate) trait Job: Send {
    /// Runs the unit in the transaction of `conn`. Keeps the result for [`answer`](Self::answer).
    fn run(&mut self, conn: &mut Watched) -> Ran;

    /// Answers the caller: with the unit's result after `Ok`, or with the outcome of the transaction.
    fn answer(self: Box<Self>, transaction: Result<()>);

    /// Returns true if the caller no longer waits for the answer.
    fn is_abandoned(&self) -> bool;

    /// Returns true if the unit must see earlier staged events in the event log.
    fn sees_staged(&self) -> bool;
}

/// End of a unit, before the end of the transaction.
pub(crate) enum Ran {
    /// To be committed.
    Done(Done),
    /// To be rolled back: the unit or a constraint refused. The unit's result is the answer.
    Refused,
    /// The unit went on after a failed statement as if nothing had been; the fault is the answer.
    Swallowed(Fault),
    /// A statement failed by a fault; the transaction cannot be trusted.
    Fault(Fault),
    /// The unit panicked; the connection cannot be trusted.
    Panicked(String),
}

pub(crate) struct UnitJob<T, E, F> {
    unit: F,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
    trace: Option<TraceContext>,
    sees_staged: bool,
}

impl<T, E, F> UnitJob<T, E, F>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
    F: Fn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
{
    pub(crate) fn with_answer(unit: F, sees_staged: bool) -> (Box<dyn Job>, oneshot::Receiver<Result<T, E>>) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Self { unit, result: None, reply, trace: TraceContext::current(), sees_staged }), answer)
    }
}

impl<T, E, F> Job for UnitJob<T, E, F>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
    F: Fn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
{
    fn run(&mut self, conn: &mut Watched) -> Ran {
        faults::clear();
        let mut tx = Tx::new(&mut conn.conn, conn.life, self.trace);
        let result = match catch_unwind(AssertUnwindSafe(|| (self.unit)(&mut tx))) {
            Ok(result) => result,
            Err(panic) => return Ran::Panicked(panic_text(&*panic)),
        };
        let unit = tx.finish();
        let done = result.is_ok();
        self.result = Some(result);
        // on PostgreSQL a statement after a failed one fails as well, and what it says is of no use to anybody
        let went_on = faults::are_several();
        match (faults::take(), done) {
            (None, true) => Ran::Done(unit),
            (None, false) => Ran::Refused,
            (Some(Fault::Constraint(_)), false) if !went_on => Ran::Refused,
            (Some(fault @ Fault::Constraint(_)), _) => Ran::Swallowed(fault),
            (Some(fault), _) => Ran::Fault(fault),
        }
    }

    fn answer(self: Box<Self>, transaction: Result<()>) {
        let result = match (transaction, self.result) {
            (Err(error), _) => Err(error.into()),
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(Error::Unavailable("the unit was not run".into()).into()),
        };
        // nobody listens when the request was given up; the work is done all the same
        let _ = self.reply.send(result);
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn sees_staged(&self) -> bool {
        self.sees_staged
    }
}

/// Returns the message of a panic.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
