//! Handles one partition for one group, as long as the member holds its lease.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use db::Tx;
use futures::FutureExt;
use rand::RngExt;
use telemetry::TraceContext;
use telemetry::names::outcome;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::consumers::Context;
use crate::dead::{self, Next, Resumable};
use crate::event::Event;
use crate::handler::{EffectHandler, Handler, HandlerError, Lease, TransactionalHandler};
use crate::place::{self, Place};
use crate::{lease, store};

/// The longest pause between two tries while something is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Before the position is read again: whoever moved it may still be moving it.
const STALE_PAUSE: Duration = Duration::from_millis(5);

/// What the member and its worker tell each other.
pub(crate) struct Shared {
    /// The position as the worker knows it.
    pub(crate) position: AtomicI64,
    /// Rung when the database knows better: a reset, a replay, a discard.
    pub(crate) look: Notify,
}

pub(crate) struct Worker {
    pub(crate) context: Arc<Context>,
    pub(crate) place: Place,
    pub(crate) lease: Lease,
    pub(crate) shared: Arc<Shared>,
    /// Until when the lease is good, if it is not renewed.
    pub(crate) valid_until: watch::Receiver<Instant>,
    /// The last holder did not let go: one of the events behind its position may have killed it.
    pub(crate) careful: bool,
    pub(crate) state: Option<State>,
}

/// What the worker knows of the database; dropped and read again whenever that may have changed.
pub(crate) struct State {
    position: i64,
    blocked: HashSet<String>,
    /// Up to here events are handled one by one, with their attempts counted first.
    careful_until: i64,
}

/// Why a round ended early.
enum Stop {
    /// Something is away: pause, then the same again.
    Away(String),
    /// Someone else moved the position, or may have: read again.
    Stale,
}

/// Why a unit of a handler came to nothing.
enum UnitError {
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

impl From<db::Error> for Stop {
    fn from(error: db::Error) -> Self {
        match error {
            db::Error::UnknownOutcome(_) => Self::Stale,
            other => Self::Away(other.to_string()),
        }
    }
}

/// A handled batch, or why it was not: `Err(Ok(_))` is the handler's word that these events cannot be handled.
type Handled = Result<Result<(), String>, Stop>;

impl Worker {
    /// Runs until `stop`. A batch that was begun is finished first.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut pauses = 0_u32;
        while !stop.is_cancelled() {
            match self.round(&stop).await {
                Ok(()) => pauses = 0,
                Err(Stop::Stale) => {
                    self.state = None;
                    sleep(STALE_PAUSE).await;
                }
                Err(Stop::Away(why)) => {
                    self.state = None;
                    let pause = backoff(pauses);
                    pauses += 1;
                    tracing::warn!(
                        group = self.place.group,
                        topic = &*self.place.topic,
                        partition = self.place.partition,
                        ?pause,
                        why,
                        "paused"
                    );
                    tokio::select! { () = stop.cancelled() => {}, () = sleep(pause) => {} }
                }
            }
        }
    }

    async fn round(&mut self, stop: &CancellationToken) -> Result<(), Stop> {
        if self.state.is_none() {
            self.look_up().await?;
        }
        let Some(position) = self.state.as_ref().map(|state| state.position) else { return Ok(()) };
        let context = self.context.clone();
        let (topic, partition) = (self.place.topic.clone(), self.place.partition);
        let fetched = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = self.shared.look.notified() => {
                self.state = None;
                return Ok(());
            }
            fetched = context.bus.fetch(&topic, partition, position, context.options.batch) => fetched,
        };
        let events = fetched.map_err(|error| Stop::Away(error.to_string()))?;
        let events = self.without_gaps(position, events).await?;
        if events.is_empty() || !self.holds_lease(stop).await {
            return Ok(());
        }
        self.handle(events).await
    }

    /// Reads position and blocked keys, lets an effect handler tidy up, and resumes the keys that may go on.
    async fn look_up(&mut self) -> Result<(), Stop> {
        let (place, group) = (self.place.clone(), self.place.group);
        let (position, blocked, resumable) = self
            .context
            .db
            .read(move |conn| -> db::Result<_> {
                let resumable = dead::resumable(conn, group)?;
                Ok((place::position(conn, &place)?, dead::blocked(conn, &place)?, resumable))
            })
            .await?;
        let position = position.ok_or_else(|| Stop::Away("the group is not registered".into()))?;
        if let Handler::Effect(handler) = &self.context.group.handler {
            let taken = guarded(async { handler.taken(&self.lease).await }).await;
            taken.map_err(|error| Stop::Away(error.to_string()))?;
        }
        let careful_until = if self.careful { position + self.context.options.batch as i64 } else { -1 };
        self.careful = false;
        self.shared.position.store(position, Ordering::Relaxed);
        self.state = Some(State { position, blocked, careful_until });
        for key in resumable {
            if *key.topic == *self.place.topic && key.partition == self.place.partition {
                self.resume(&key).await?;
            }
        }
        Ok(())
    }

    /// A member that was frozen finds its lease run out, and waits for a new word from the database.
    async fn holds_lease(&mut self, stop: &CancellationToken) -> bool {
        tokio::select! {
            () = stop.cancelled() => false,
            valid = self.valid_until.wait_for(|until| *until > Instant::now()) => valid.is_ok(),
        }
    }

    /// Skips what is handled already, and fills a gap from the log; events come out numbered without a hole.
    async fn without_gaps(&self, position: i64, fetched: Vec<Event>) -> Result<Vec<Event>, Stop> {
        let mut events: Vec<Event> = Vec::with_capacity(fetched.len());
        for event in fetched.into_iter().filter(|event| event.position > position) {
            let due = events.last().map_or(position, |last| last.position) + 1;
            if event.position < due {
                continue;
            }
            if event.position > due {
                self.context.alarm(&self.place, due, event.position);
                let missing = (event.position - due) as usize;
                let place = &self.place;
                let (db, log) = (&self.context.db, &self.context.log);
                let found = store::read_events(db, log, &place.topic, place.partition, due - 1, missing).await?;
                if !found.iter().map(|event| event.position).eq(due..event.position) {
                    return Err(Stop::Away(format!(
                        "events {due} to {} are neither on the bus nor in the log",
                        event.position - 1
                    )));
                }
                events.extend(found);
            }
            events.push(event);
        }
        Ok(events)
    }

    async fn handle(&mut self, events: Vec<Event>) -> Result<(), Stop> {
        let Some(state) = &self.state else { return Ok(()) };
        let plain = events[0].position > state.careful_until
            && (state.blocked.is_empty() || !events.iter().any(|event| state.blocked.contains(&event.key)));
        let events: Arc<[Event]> = events.into();
        if plain {
            match self.try_events(&events, false).await? {
                Ok(()) => return self.moved(&events, outcome::HANDLED),
                Err(why) => tracing::info!(group = self.place.group, why, "a batch failed; its events go one by one"),
            }
        }
        for event in events.iter() {
            self.handle_alone(event).await?;
        }
        Ok(())
    }

    /// The position moves with what the handler does, or nothing happens.
    async fn try_events(&self, events: &Arc<[Event]>, attempts_counted: bool) -> Handled {
        let (Some(state), Some(first), Some(last)) = (&self.state, events.first(), events.last()) else {
            return Err(Stop::Stale);
        };
        let (expected, new) = (state.position, last.position);
        let trace = first.traceparent.as_deref().and_then(|parent| parent.parse().ok());
        let place = self.place.clone();
        let advance = move |tx: &mut Tx<'_>| -> Result<(), UnitError> {
            if !place::advance(tx, &place, expected, new)? {
                return Err(UnitError::Stale);
            }
            if attempts_counted {
                dead::forget_attempts(tx, &place, new)?;
            }
            Ok(())
        };
        match &self.context.group.handler {
            Handler::Transactional(handler) => self.transact(handler, events, trace, advance).await,
            Handler::Effect(handler) => self.effect(handler, events, trace, advance).await,
        }
    }

    async fn transact(
        &self,
        handler: &Arc<dyn TransactionalHandler>,
        events: &Arc<[Event]>,
        trace: Option<TraceContext>,
        before: impl Fn(&mut Tx<'_>) -> Result<(), UnitError> + Send + 'static,
    ) -> Handled {
        let (handler, events) = (handler.clone(), events.clone());
        let unit = self.context.db.write(move |tx| -> Result<(), UnitError> {
            before(tx)?;
            Ok(handler.handle(tx, &events)?)
        });
        told(traced(trace, unit).await)
    }

    async fn effect(
        &self,
        handler: &Arc<dyn EffectHandler>,
        events: &Arc<[Event]>,
        trace: Option<TraceContext>,
        before: impl Fn(&mut Tx<'_>) -> Result<(), UnitError> + Send + 'static,
    ) -> Handled {
        let work = guarded(async { handler.handle(&self.lease, events).await });
        if let Err(error) = traced(trace, work).await {
            return told(Err(error.into()));
        }
        let (handler, events) = (handler.clone(), events.clone());
        let (group, held) = (self.place.group, self.lease.clone());
        let unit = self.context.db.write(move |tx| -> Result<(), UnitError> {
            if !lease::is_newest(tx, group, &held)? {
                return Err(UnitError::Stale);
            }
            before(tx)?;
            Ok(handler.record(tx, &held, &events)?)
        });
        told(traced(trace, unit).await)
    }

    /// One event, with its attempts counted before each is made; after the last it is a dead letter.
    async fn handle_alone(&mut self, event: &Event) -> Result<(), Stop> {
        let one: Arc<[Event]> = vec![event.clone()].into();
        if self.state.as_ref().is_some_and(|state| state.blocked.contains(&event.key)) {
            return self.park(&one).await;
        }
        loop {
            let (place, position) = (self.place.clone(), event.position);
            let attempt = self.context.db.write(move |tx| dead::count_attempt(tx, &place, position)).await?;
            if attempt > self.context.options.attempts {
                return self.bury(&one, "it ended the process each time", attempt - 1).await;
            }
            match self.try_events(&one, true).await? {
                Ok(()) => return self.moved(&one, outcome::HANDLED),
                Err(why) if attempt >= self.context.options.attempts => return self.bury(&one, &why, attempt).await,
                Err(why) => {
                    self.context.count(&self.place, outcome::FAILED, 1);
                    tracing::warn!(group = self.place.group, event = %event.id, attempt, why, "an event failed");
                    sleep(backoff(attempt as u32)).await;
                }
            }
        }
    }

    async fn park(&mut self, one: &Arc<[Event]>) -> Result<(), Stop> {
        let Some(expected) = self.state.as_ref().map(|state| state.position) else { return Err(Stop::Stale) };
        let (place, events) = (self.place.clone(), one.clone());
        let parked = self.context.db.write(move |tx| -> Result<(), UnitError> {
            if !place::advance(tx, &place, expected, events[0].position)? || !dead::park(tx, &place, &events[0])? {
                return Err(UnitError::Stale);
            }
            Ok(())
        });
        settled(parked.await)?;
        self.moved(one, outcome::PARKED)
    }

    async fn bury(&mut self, one: &Arc<[Event]>, why: &str, attempts: i32) -> Result<(), Stop> {
        let Some(expected) = self.state.as_ref().map(|state| state.position) else { return Err(Stop::Stale) };
        let (place, events, error) = (self.place.clone(), one.clone(), why.to_owned());
        let buried = self.context.db.write(move |tx| -> Result<(), UnitError> {
            if !place::advance(tx, &place, expected, events[0].position)? {
                return Err(UnitError::Stale);
            }
            dead::bury(tx, &place, &events[0], &error, attempts)?;
            Ok(dead::forget_attempts(tx, &place, events[0].position)?)
        });
        settled(buried.await)?;
        tracing::error!(group = self.place.group, event = %one[0].id, key = one[0].key, why, "a dead letter");
        if let Some(state) = &mut self.state {
            state.blocked.insert(one[0].key.clone());
        }
        self.moved(one, outcome::DEAD)
    }

    fn moved(&mut self, events: &Arc<[Event]>, how: &'static str) -> Result<(), Stop> {
        if let (Some(state), Some(last)) = (&mut self.state, events.last()) {
            state.position = last.position;
            self.shared.position.store(last.position, Ordering::Relaxed);
            self.context.count(&self.place, how, events.len() as u64);
            self.context.delay(&self.place, &events[0]);
        }
        Ok(())
    }

    /// Replays the key's dead letter, unless it was discarded, and then what is parked behind it, in order.
    async fn resume(&mut self, key: &Resumable) -> Result<(), Stop> {
        loop {
            let (place, name, id) = (self.place.clone(), key.key.clone(), key.dead_letter);
            let next = self.context.db.read(move |conn| dead::next(conn, &place, &name, id)).await?;
            let (event, from_parked) = match next {
                Next::Free => {
                    let (place, name) = (self.place.clone(), key.key.clone());
                    if self.context.db.write(move |tx| dead::free(tx, &place, &name)).await?
                        && let Some(state) = &mut self.state
                    {
                        state.blocked.remove(&key.key);
                    }
                    return Ok(());
                }
                Next::DeadLetter(event) => (event, false),
                Next::Parked(event) => (event, true),
            };
            if let Err(why) = self.replay(&event, key.dead_letter, from_parked).await? {
                return self.replay_failed(event, key.dead_letter, from_parked, why).await;
            }
            self.context.count(&self.place, outcome::HANDLED, 1);
        }
    }

    /// Taking the row and handling the event are one; no row, nothing done.
    async fn replay(&self, event: &Event, id: db::types::Id, from_parked: bool) -> Handled {
        let one: Arc<[Event]> = vec![event.clone()].into();
        let trace = event.traceparent.as_deref().and_then(|parent| parent.parse().ok());
        let (place, events) = (self.place.clone(), one.clone());
        let take = move |tx: &mut Tx<'_>| -> Result<(), UnitError> {
            let taken = if from_parked { dead::take_parked(tx, &place, &events[0])? } else { dead::take_dead(tx, id)? };
            if taken { Ok(()) } else { Err(UnitError::Stale) }
        };
        match &self.context.group.handler {
            Handler::Transactional(handler) => self.transact(handler, &one, trace, take).await,
            Handler::Effect(handler) => self.effect(handler, &one, trace, take).await,
        }
    }

    async fn replay_failed(
        &mut self,
        event: Event,
        id: db::types::Id,
        from_parked: bool,
        why: String,
    ) -> Result<(), Stop> {
        tracing::error!(group = self.place.group, event = %event.id, why, "a replay failed");
        let place = self.place.clone();
        let rested = self.context.db.write(move |tx| -> Result<(), UnitError> {
            if from_parked {
                if !dead::take_parked(tx, &place, &event)? {
                    return Err(UnitError::Stale);
                }
                dead::bury(tx, &place, &event, &why, 1)?;
                return Ok(());
            }
            Ok(dead::rest_again(tx, id, &why)?)
        });
        settled(rested.await)
    }
}

async fn traced<F: Future>(trace: Option<TraceContext>, work: F) -> F::Output {
    match trace {
        Some(trace) => trace.child().scope(work).await,
        None => work.await,
    }
}

/// A panic of the work outside is its failure, as one in a unit of work is.
async fn guarded(work: impl Future<Output = Result<(), HandlerError>>) -> Result<(), HandlerError> {
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
        Err(UnitError::Handler(HandlerError::Failed(why))) => Ok(Err(why)),
    }
}

/// For units that are the runtime's own: their failure is never the event's fault.
fn settled(unit: Result<(), UnitError>) -> Result<(), Stop> {
    told(unit)?.map_err(Stop::Away)
}

/// Doubles from 50 ms, with jitter, so that a crowd does not come back all at once.
fn backoff(tries: u32) -> Duration {
    let full = Duration::from_millis(50).saturating_mul(1 << tries.min(7)).min(LONGEST_PAUSE);
    full.mul_f64(rand::rng().random_range(0.5..1.0))
}
