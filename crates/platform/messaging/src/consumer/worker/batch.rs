//! Handles a batch of a partition: runs the handler, and moves the position.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use db::{Conn, Tx};
use futures::FutureExt;
use telemetry::TraceContext;
use tokio::time::sleep_until;

use crate::consumer::dead_letters;
use crate::consumer::group::{EffectHandler, Handler, HandlerError, Refused, TransactionalHandler};
use crate::consumer::leases;
use crate::consumer::marks;
use crate::consumer::offsets;
use crate::consumer::worker::retry::Way;
use crate::consumer::worker::{Stop, Worker};
use crate::event::Event;
use crate::log::epochs;
use crate::log::repartition;
use crate::relay::RELAY;

/// Handled batches to be recorded together.
pub(crate) struct Unrecorded {
    /// The position in the database.
    expected: i64,
    /// The last batch.
    events: Arc<[Event]>,
    /// Latest time of the record.
    due: Instant,
}

/// Failure of a handler's unit.
pub(crate) enum UnitError {
    Stale,
    Handler(HandlerError),
}

impl From<db::Error> for UnitError {
    fn from(error: db::Error) -> Self {
        match error {
            // it may have been committed: the position tells
            db::Error::UnknownOutcome(_) => Self::Stale,
            other => Self::Handler(other.into()),
        }
    }
}

impl From<HandlerError> for UnitError {
    fn from(error: HandlerError) -> Self {
        Self::Handler(error)
    }
}

/// A handled batch, or the failure: `Err(Ok(_))` means that the handler cannot handle these events.
pub(crate) type Handled = Result<Result<(), String>, Stop>;

impl Worker {
    /// Handles events: the position moves together with the handler's changes, or nothing happens.
    pub(crate) async fn try_events(&mut self, events: &Arc<[Event]>, attempts_counted: bool) -> Handled {
        let (Some(state), Some(first)) = (&self.state, events.first()) else { return Err(Stop::Stale) };
        let (position, has_fence) = (state.position, state.fence.is_some());
        let trace = first.traceparent.as_deref().and_then(|parent| parent.parse().ok());
        let expected = self.unrecorded.as_ref().map_or(position, |unrecorded| unrecorded.expected);
        let advance = self.advance(expected, events, attempts_counted)?;
        let handled = match &self.context.group.handler {
            Handler::Transactional(handler) => {
                let handled = self.transact(handler, events, trace, advance).await;
                self.judge(events, handled).await
            }
            Handler::Effect(handler) => {
                let handler = handler.clone();
                match self.outside(&handler, events, trace, Way::InTurn).await? {
                    Ok(()) if !has_fence && self.puts_off(&handler, expected, events) => Ok(Ok(())),
                    Ok(()) => {
                        self.unrecorded = None;
                        self.record(&handler, events, trace, advance).await
                    }
                    failed => Ok(failed),
                }
            }
        }?;
        match handled {
            Err(why) if !self.context.group.handler.gives_up() => Err(Stop::Away(why)),
            handled => Ok(handled),
        }
    }

    /// Checks epoch, lease, and position or row of the replay immediately before an effect, on a state that a crash does not
    /// undo. The relay needs no check: readers see what is sent twice, and orphans.
    async fn may_act(&self, events: &Arc<[Event]>, way: Way) -> Result<(), Stop> {
        if self.place.group == RELAY {
            return Ok(());
        }
        let (Some(state), Some(first)) = (&self.state, events.first().cloned()) else { return Err(Stop::Stale) };
        let expected = self.unrecorded.as_ref().map_or(state.position, |unrecorded| unrecorded.expected);
        let (place, held, standing) = (self.place.clone(), self.lease.clone(), self.context.log.standing());
        let look = move |conn: &mut Conn| -> db::Result<bool> {
            let is_due = match way {
                Way::InTurn => offsets::position(conn, &place)? == Some(expected),
                Way::DeadLetter(id) | Way::Parked(id) => dead_letters::is_next(conn, &place, &first, id)?,
            };
            Ok(is_due
                && Some(epochs::standing(conn)?) == standing
                && leases::number(conn, place.group, &held)? == Some(held.number))
        };
        let is_good = self.context.db.read_durable(look, |is_good| *is_good).await?;
        if is_good && (!self.is_of_log() || self.context.log.owns(events)) { Ok(()) } else { Err(Stop::Stale) }
    }

    /// Returns true if the batch is recorded later.
    fn puts_off(&mut self, handler: &Arc<dyn EffectHandler>, expected: i64, events: &Arc<[Event]>) -> bool {
        let within = handler.records_within(&self.lease);
        if handler.gives_up() || within.is_zero() {
            return false;
        }
        let due = self.unrecorded.as_ref().map_or_else(|| Instant::now() + within, |unrecorded| unrecorded.due);
        self.unrecorded = Some(Unrecorded { expected, events: events.clone(), due });
        Instant::now() < due
    }

    /// Waits until handled events are due to be recorded, even without later events.
    pub(crate) async fn is_to_record(&self) {
        match &self.unrecorded {
            Some(unrecorded) => sleep_until(unrecorded.due.into()).await,
            None => std::future::pending().await,
        }
    }

    /// Records handled events with a delayed record.
    pub(crate) async fn record_now(&mut self) -> Result<(), Stop> {
        if let Some(mark) = self.shared.mark(&self.place, &self.lease) {
            let position = mark.position;
            marks::record(&self.context.db, vec![mark]).await?;
            self.shared.recorded(position);
        }
        let Some(Unrecorded { expected, events, .. }) = self.unrecorded.take() else { return Ok(()) };
        let Handler::Effect(handler) = &self.context.group.handler else { return Ok(()) };
        let advance = self.advance(expected, &events, false)?;
        self.record(handler, &events, None, advance).await?.map_err(Stop::Away)?;
        if let Some(last) = events.last() {
            self.shared.position.store(last.position, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Returns the function that moves the position from `expected` past the last of `events`.
    fn advance(
        &self,
        expected: i64,
        events: &Arc<[Event]>,
        attempts_counted: bool,
    ) -> Result<impl Fn(&mut Tx<'_>) -> Result<(), UnitError> + Send + use<>, Stop> {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return Err(Stop::Stale) };
        let has_fence = self.state.as_ref().is_some_and(|state| state.fence.is_some());
        let (place, one, new) = (self.place.clone(), first.clone(), last.position);
        let step = self.step(expected, events);
        Ok(move |tx: &mut Tx<'_>| -> Result<(), UnitError> {
            if !step(tx)? {
                return Err(UnitError::Stale);
            }
            // a reset may have set the others back behind it, and left this one where it was
            if has_fence && repartition::ahead(tx, &place)?.is_some_and(|fence| fence <= new) {
                return Err(UnitError::Stale);
            }
            if attempts_counted {
                dead_letters::forget_attempts(tx, &place, &one)?;
            }
            Ok(())
        })
    }

    /// Returns true if the log gave the positions; positions of an external topic may have holes.
    pub(crate) fn is_of_log(&self) -> bool {
        self.place.source == self.context.log.source()
    }

    /// What moves the position from `expected` past `events`: nothing if someone else has moved it, or the log has lost
    /// them.
    pub(crate) fn step(
        &self,
        expected: i64,
        events: &Arc<[Event]>,
    ) -> impl Fn(&mut Tx<'_>) -> db::Result<bool> + Send + use<> {
        let (place, log, events) = (self.place.clone(), self.context.log.clone(), events.clone());
        let is_of_log = self.is_of_log();
        move |tx| {
            // before the list is asked: the database has another epoch than this one if the list changes in between
            let (Some(standing), Some(last)) = (log.standing_in(tx.life()), events.last()) else { return Ok(false) };
            Ok((!is_of_log || log.owns(&events)) && offsets::advance(tx, &place, expected, last.position, standing)?)
        }
    }

    pub(crate) async fn transact(
        &self,
        handler: &Arc<dyn TransactionalHandler>,
        events: &Arc<[Event]>,
        trace: Option<TraceContext>,
        before: impl Fn(&mut Tx<'_>) -> Result<(), UnitError> + Send + 'static,
    ) -> Handled {
        let (handler, events) = (handler.clone(), events.clone());
        let unit = self.context.db.write(move |tx| -> Result<(), UnitError> {
            before(tx)?;
            tx.may_be_lost(); // with the position
            Ok(handler.handle(tx, &events)?)
        });
        told(traced(trace, unit).await)
    }

    pub(crate) async fn effect(
        &self,
        handler: &Arc<dyn EffectHandler>,
        events: &Arc<[Event]>,
        trace: Option<TraceContext>,
        way: Way,
        before: impl Fn(&mut Tx<'_>) -> Result<(), UnitError> + Send + 'static,
    ) -> Handled {
        match self.outside(handler, events, trace, way).await? {
            Ok(()) => self.record(handler, events, trace, before).await,
            failed => Ok(failed),
        }
    }

    /// Has the handler act, if it may.
    async fn outside(
        &self,
        handler: &Arc<dyn EffectHandler>,
        events: &Arc<[Event]>,
        trace: Option<TraceContext>,
        way: Way,
    ) -> Handled {
        self.may_act(events, way).await?;
        let work = guarded(async { handler.handle(&self.lease, events).await });
        told(traced(trace, work).await.map_err(UnitError::from))
    }

    async fn record(
        &self,
        handler: &Arc<dyn EffectHandler>,
        events: &Arc<[Event]>,
        trace: Option<TraceContext>,
        before: impl Fn(&mut Tx<'_>) -> Result<(), UnitError> + Send + 'static,
    ) -> Handled {
        let (handler, events) = (handler.clone(), events.clone());
        let (group, held) = (self.place.group, self.lease.clone());
        let unit = self.context.db.write(move |tx| -> Result<(), UnitError> {
            if !leases::is_newest(tx, group, &held)? {
                return Err(UnitError::Stale);
            }
            before(tx)?;
            Ok(handler.record(tx, &held, &events)?)
        });
        told(traced(trace, unit).await)
    }
}

pub(crate) async fn traced<F: Future>(trace: Option<TraceContext>, work: F) -> F::Output {
    match trace {
        Some(trace) => trace.child().scope(work).await,
        None => work.await,
    }
}

/// Runs work outside of a unit; a panic counts as a failure, like a panic in a unit of work.
pub(crate) async fn guarded(work: impl Future<Output = Result<(), HandlerError>>) -> Result<(), HandlerError> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| Err(HandlerError::Failed(format!("it panicked: {}", db::panic_text(&*panic)))))
}

fn told(unit: Result<(), UnitError>) -> Handled {
    match unit {
        Ok(()) => Ok(Ok(())),
        Err(UnitError::Stale) => Err(Stop::Stale),
        Err(UnitError::Handler(HandlerError::Unavailable(why))) => Err(Stop::Away(why)),
        Err(UnitError::Handler(HandlerError::Failed(why) | HandlerError::Refused(Refused { why, .. }))) => Ok(Err(why)),
    }
}

/// Returns the outcome of a unit of the runtime: a failure is never the event's fault.
pub(crate) fn settled(unit: Result<(), UnitError>) -> Result<(), Stop> {
    told(unit)?.map_err(Stop::Away)
}
