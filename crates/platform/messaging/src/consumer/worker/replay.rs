//! Resumes a key behind a dead letter, to be replayed or discarded: one event at a time, in order.

use std::sync::Arc;

use db::Tx;
use telemetry::metrics::outcome;

use crate::consumer::dead_letters::{self, Next, Resumable};
use crate::consumer::group::Handler;
use crate::consumer::worker::batch::{Handled, UnitError, settled};
use crate::consumer::worker::retry::{Failure, Way};
use crate::consumer::worker::{Stop, Worker};
use crate::event::Event;

impl Worker {
    /// Replays the key's dead letter, unless discarded, and then the parked events.
    pub(crate) async fn resume(&mut self, key: &Resumable) -> Result<(), Stop> {
        let id = key.dead_letter;
        while self.holds_lease().await {
            let (place, name) = (self.place.clone(), key.key.clone());
            let next = self.context.db.read(move |conn| dead_letters::next(conn, &place, &name, id)).await?;
            let (event, way) = match next {
                Next::Blocked => return Ok(()),
                Next::Free => return self.free(key).await,
                Next::DeadLetter(event) => (event, Way::DeadLetter(id)),
                Next::Parked(event) => (event, Way::Parked(id)),
            };
            let one: Arc<[Event]> = vec![event].into();
            if let Err(failure) = self.try_alone(&one, way).await? {
                return self.replay_failed(&one, way, failure).await;
            }
            self.context.count(&self.place, outcome::HANDLED, 1);
        }
        Ok(())
    }

    async fn free(&mut self, key: &Resumable) -> Result<(), Stop> {
        let (place, name, id) = (self.place.clone(), key.key.clone(), key.dead_letter);
        if self.context.db.write(move |tx| dead_letters::free(tx, &place, &name, id)).await?
            && let Some(state) = &mut self.state
        {
            state.blocked.remove(&key.key);
        }
        Ok(())
    }

    /// Takes the row and handles the event in one transaction; without the row nothing is done.
    pub(crate) async fn replay(&mut self, one: &Arc<[Event]>, way: Way) -> Handled {
        let trace = one[0].traceparent.as_deref().and_then(|parent| parent.parse().ok());
        let (place, events) = (self.place.clone(), one.clone());
        let take = move |tx: &mut Tx<'_>| -> Result<(), UnitError> {
            let taken = match way {
                Way::InTurn => false,
                Way::DeadLetter(id) => {
                    dead_letters::hold(tx, &place, &events[0].key, id)? && dead_letters::take_dead(tx, id)?
                }
                Way::Parked(id) => dead_letters::take_parked(tx, &place, &events[0], id)?,
            };
            dead_letters::forget_attempts(tx, &place, &events[0])?;
            if taken { Ok(()) } else { Err(UnitError::Stale) }
        };
        match &self.context.group.handler {
            Handler::Transactional(handler) => {
                let handled = self.transact(handler, one, trace, take).await;
                self.judge(one, handled).await
            }
            Handler::Effect(handler) => self.effect(handler, one, trace, way, take).await,
        }
    }

    /// Handles a failed replay: the dead letter is dead again; a parked event becomes a dead letter, and later events
    /// wait behind.
    async fn replay_failed(&mut self, one: &Arc<[Event]>, way: Way, failure: Failure) -> Result<(), Stop> {
        let Failure { why, attempts, .. } = failure;
        tracing::error!(group = self.place.group, event = %one[0].id, why, "a replay failed");
        let (place, events) = (self.place.clone(), one.clone());
        let rested = self.context.db.write(move |tx| -> Result<(), UnitError> {
            let event = &events[0];
            let rests = match way {
                Way::InTurn => false,
                Way::DeadLetter(id) => {
                    dead_letters::hold(tx, &place, &event.key, id)? && dead_letters::rest_again(tx, id, &why, attempts)?
                }
                Way::Parked(id) => dead_letters::take_parked(tx, &place, event, id)?,
            };
            if !rests {
                return Err(UnitError::Stale);
            }
            if let Way::Parked(_) = way {
                dead_letters::bury(tx, &place, event, &why, attempts, true)?;
            }
            Ok(dead_letters::forget_attempts(tx, &place, event)?)
        });
        settled(rested.await)
    }
}
