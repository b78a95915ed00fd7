//! Handles events one by one: events of a failed batch, events that may have killed the last holder, and events
//! resumed behind a dead letter.

use std::sync::Arc;

use db::types::Id;
use telemetry::metrics::outcome;
use tokio::time::sleep;

use crate::consumer::dead_letters;
use crate::consumer::worker::batch::{UnitError, settled};
use crate::consumer::worker::{Stop, Worker, backoff};
use crate::event::Event;

/// Origin of a single event.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// The event comes by position.
    InTurn,
    /// The event is a dead letter under replay.
    DeadLetter(Id),
    /// The event was parked behind this dead letter.
    Parked(Id),
}

/// A failed event: the error, and the number of attempts.
pub(crate) struct Failure {
    pub(crate) why: String,
    pub(crate) attempts: i32,
    /// Later events of the key wait behind the dead letter.
    pub(crate) key_waits: bool,
}

impl Worker {
    pub(crate) async fn handle_alone(&mut self, event: &Event) -> Result<(), Stop> {
        let one: Arc<[Event]> = vec![event.clone()].into();
        if self.state.as_ref().is_some_and(|state| state.blocked.contains(&event.key)) {
            return self.park(&one).await;
        }
        match self.try_alone(&one, Way::InTurn).await? {
            Ok(()) => self.moved(&one, outcome::HANDLED),
            Err(failure) => self.bury(&one, failure).await,
        }
    }

    /// Tries one event. Each attempt is counted beforehand, so that an event that kills the process also comes to an
    /// end. A replayed dead letter has a single attempt; other events get several.
    pub(crate) async fn try_alone(&mut self, one: &Arc<[Event]>, way: Way) -> Result<Result<(), Failure>, Stop> {
        let most = self.context.options.attempts;
        loop {
            let attempt = self.begin_attempt(one).await?;
            if attempt > most {
                self.counted = None;
                let why = "it ended the process each time".into();
                return Ok(Err(Failure { why, attempts: attempt - 1, key_waits: true }));
            }
            let tried = match way {
                Way::InTurn => self.try_events(one, true).await,
                Way::DeadLetter(_) | Way::Parked(_) => self.replay(one, way).await,
            };
            let Ok(tried) = tried else {
                // nothing was said of the event itself
                self.take_back_attempt(one).await;
                return tried.map(|_| Ok(()));
            };
            self.counted = None;
            match tried {
                Ok(()) => return Ok(Ok(())),
                Err(why) if attempt >= most || matches!(way, Way::DeadLetter(_)) => {
                    return Ok(Err(Failure { why, attempts: attempt, key_waits: true }));
                }
                Err(why) => {
                    self.context.count(&self.place, outcome::FAILED, 1);
                    tracing::warn!(group = self.place.group, event = %one[0].id, attempt, why, "an event failed");
                    sleep(backoff(attempt as u32)).await;
                }
            }
        }
    }

    async fn begin_attempt(&mut self, one: &Arc<[Event]>) -> Result<i32, Stop> {
        let id = one[0].id;
        if let Some((_, attempts)) = self.counted.filter(|counted| counted.0 == id) {
            return Ok(attempts);
        }
        let (place, events) = (self.place.clone(), one.clone());
        let attempts = self.context.db.write(move |tx| dead_letters::count_attempt(tx, &place, &events[0])).await?;
        self.counted = Some((id, attempts));
        Ok(attempts)
    }

    async fn take_back_attempt(&mut self, one: &Arc<[Event]>) {
        let (place, events) = (self.place.clone(), one.clone());
        if self.context.db.write(move |tx| dead_letters::uncount_attempt(tx, &place, &events[0])).await.is_ok() {
            self.counted = None;
        }
    }

    pub(crate) async fn park(&mut self, one: &Arc<[Event]>) -> Result<(), Stop> {
        let Some(expected) = self.state.as_ref().map(|state| state.position) else { return Err(Stop::Stale) };
        let (place, events, step) = (self.place.clone(), one.clone(), self.step(expected, one));
        let parked = self.context.db.write(move |tx| -> Result<(), UnitError> {
            if step(tx)? && dead_letters::park(tx, &place, &events[0])? { Ok(()) } else { Err(UnitError::Stale) }
        });
        settled(parked.await)?;
        self.moved(one, outcome::PARKED)
    }

    pub(crate) async fn bury(&mut self, one: &Arc<[Event]>, failure: Failure) -> Result<(), Stop> {
        let Some(expected) = self.state.as_ref().map(|state| state.position) else { return Err(Stop::Stale) };
        let Failure { why, attempts, key_waits } = failure;
        let (place, events, error, step) = (self.place.clone(), one.clone(), why.clone(), self.step(expected, one));
        let buried = self.context.db.write(move |tx| -> Result<(), UnitError> {
            if !step(tx)? {
                return Err(UnitError::Stale);
            }
            dead_letters::bury(tx, &place, &events[0], &error, attempts, key_waits)?;
            Ok(dead_letters::forget_attempts(tx, &place, &events[0])?)
        });
        settled(buried.await)?;
        let (group, topic, Event { id, partition, position, key, .. }) =
            (self.place.group, &*self.place.topic, &one[0]);
        tracing::error!(group, topic, partition, position, event = %id, key, why, "a dead letter");
        if let Some(state) = self.state.as_mut().filter(|_| key_waits) {
            state.blocked.insert(one[0].key.clone());
        }
        self.moved(one, outcome::DEAD)
    }
}
