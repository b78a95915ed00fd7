//! Events waiting for the proxy, within limits, and the counters.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};
use tokio::time::sleep_until;

use crate::error::SendError;

/// Counts of a client's events. At any time each event taken by [`send`](crate::EventProxy::send) is in exactly one
/// of `queued`, `sent`, `dropped.refused` and `dropped.given_up`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Accepted by a proxy.
    pub sent: u64,
    /// Number of repeated sends of events.
    pub retried: u64,
    /// Waiting, or on the way.
    pub queued: u64,
    /// Length of the queued events as JSON, in bytes.
    pub queued_bytes: u64,
    /// Lost.
    pub dropped: Dropped,
}

/// Lost events, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// The buffer was full.
    pub full: u64,
    /// Events that could not be sent ([`SendError::Invalid`]).
    pub invalid: u64,
    /// Events that a proxy refused for their content. The reason is in the log.
    pub refused: u64,
    /// Events that no proxy took in time ([`Retry::give_up_after`](crate::Retry::give_up_after)).
    pub given_up: u64,
}

impl Dropped {
    /// Returns the sum over all reasons.
    pub fn total(&self) -> u64 {
        self.full + self.invalid + self.refused + self.given_up
    }
}

/// An event on the way to a proxy.
pub(crate) struct Queued {
    /// Sequence number without gaps, in the order of `send`.
    seq: u64,
    pub(crate) since: Instant,
    pub(crate) tried: bool,
    pub(crate) json: Box<[u8]>,
}

/// Final outcome of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Sent,
    Refused,
    GivenUp,
}

pub(crate) struct Limits {
    pub(crate) max_events: usize,
    pub(crate) max_bytes: usize,
    pub(crate) batch_events: usize,
    pub(crate) batch_bytes: usize,
    pub(crate) batch_time: Duration,
}

pub(crate) struct Buffer {
    limits: Limits,
    state: Mutex<State>,
    wake: Notify,
    /// An event was not taken.
    lost: Notify,
    /// Number below which all events are settled.
    settled: watch::Sender<u64>,
    closed: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Queued>,
    waiting_bytes: usize,
    /// The number of the next event.
    next: u64,
    /// Events below this number do not wait for a full batch.
    hurry_to: u64,
    stats: Stats,
    /// Reason of the last invalid event.
    invalid: String,
}

impl Buffer {
    pub(crate) fn new(limits: Limits) -> Self {
        let (state, wake, lost) = (Mutex::default(), Notify::new(), Notify::new());
        Self { limits, state, wake, lost, settled: watch::Sender::new(0), closed: watch::Sender::new(false) }
    }

    /// Locks the state. Code under this lock calls no foreign code, so the lock is never held for long, nor poisoned.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(crate) fn push(&self, json: Box<[u8]>) -> Result<(), SendError> {
        let mut state = self.lock();
        let stats = &mut state.stats;
        let full = stats.queued >= self.limits.max_events as u64
            || stats.queued_bytes + json.len() as u64 > self.limits.max_bytes as u64;
        if full {
            stats.dropped.full += 1;
            self.lost.notify_one();
            return Err(SendError::Full);
        }
        stats.queued += 1;
        stats.queued_bytes += json.len() as u64;
        state.waiting_bytes += json.len();
        let seq = state.next;
        state.next += 1;
        state.waiting.push_back(Queued { seq, since: Instant::now(), tried: false, json });
        let worth_a_look = state.waiting.len() == 1 || self.fills_a_batch(&state);
        drop(state);
        if worth_a_look {
            self.wake.notify_one();
        }
        Ok(())
    }

    pub(crate) fn count_invalid(&self, reason: &SendError) {
        let reason = reason.to_string();
        let mut state = self.lock();
        state.stats.dropped.invalid += 1;
        state.invalid = reason;
        self.lost.notify_one();
    }

    /// Returns the drops so far, and the reason of the last invalid event.
    pub(crate) fn drops(&self) -> (Dropped, String) {
        let state = self.lock();
        (state.stats.dropped, state.invalid.clone())
    }

    /// Returns once an event was not taken since this last did.
    pub(crate) async fn dropped(&self) {
        self.lost.notified().await;
    }

    pub(crate) fn stats(&self) -> Stats {
        self.lock().stats
    }

    pub(crate) fn count_retried(&self, events: u64) {
        self.lock().stats.retried += events;
    }

    /// Waits for the next batch; `None` once the buffer is closed and empty.
    pub(crate) async fn next_batch(&self) -> Option<Vec<Queued>> {
        loop {
            let due = {
                let mut state = self.lock();
                let closed = self.is_closed();
                match state.waiting.front() {
                    None if closed => return None,
                    None => None,
                    Some(first) => {
                        let due = first.since + self.limits.batch_time;
                        let hurried = closed || first.seq < state.hurry_to;
                        if hurried || due <= Instant::now() || self.fills_a_batch(&state) {
                            return Some(self.take(&mut state));
                        }
                        Some(due)
                    }
                }
            };
            match due {
                Some(due) => tokio::select! { () = sleep_until(due.into()) => {}, () = self.wake.notified() => {} },
                None => self.wake.notified().await,
            }
        }
    }

    fn fills_a_batch(&self, state: &State) -> bool {
        state.waiting.len() >= self.limits.batch_events || state.waiting_bytes >= self.limits.batch_bytes
    }

    /// Takes a batch of at least one event; a single event may exceed the batch's size.
    fn take(&self, state: &mut State) -> Vec<Queued> {
        let mut bytes = 0;
        let fits = |event: &&Queued| {
            bytes += event.json.len();
            bytes <= self.limits.batch_bytes
        };
        let events = state.waiting.iter().take(self.limits.batch_events).take_while(fits).count().max(1);
        let batch: Vec<_> = state.waiting.drain(..events).collect();
        state.waiting_bytes -= batch.iter().map(|event| event.json.len()).sum::<usize>();
        batch
    }

    /// Takes out of `batch` each event with a fate, in any order; the rest stays.
    pub(crate) fn settle(&self, batch: &mut Vec<Queued>, mut fate: impl FnMut(&Queued) -> Option<Fate>) {
        let mut state = self.lock();
        let stats = &mut state.stats;
        batch.retain(|event| {
            let Some(fate) = fate(event) else { return true };
            stats.queued -= 1;
            stats.queued_bytes -= event.json.len() as u64;
            match fate {
                Fate::Sent => stats.sent += 1,
                Fate::Refused => stats.dropped.refused += 1,
                Fate::GivenUp => stats.dropped.given_up += 1,
            }
            false
        });
        let oldest = batch.first().or(state.waiting.front()).map_or(state.next, |event| event.seq);
        drop(state);
        self.settled.send_replace(oldest);
    }

    /// Sends the queue without filling batches, and returns when all events queued now are settled.
    pub(crate) fn flush(&self) -> impl Future<Output = ()> + Send + use<> {
        let target = {
            let mut state = self.lock();
            state.hurry_to = state.next;
            state.next
        };
        self.wake.notify_one();
        let mut settled = self.settled.subscribe();
        async move {
            // an error says that the buffer is gone, which can't be while its client is waiting here
            let _ = settled.wait_for(|settled| *settled >= target).await;
        }
    }

    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
        self.wake.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Returns once the buffer is closed.
    pub(crate) async fn closed(&self) {
        // an error says that the sender is gone, and it lives as long as `self`
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }
}
