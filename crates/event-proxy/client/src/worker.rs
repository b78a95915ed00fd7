//! The client's own thread: takes batches out of the buffer and posts the batches, one after the other.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Client;
use tokio::time::{sleep, sleep_until};

use crate::answer::{self, Answer, Item};
use crate::buffer::{Buffer, Dropped, Fate, Queued};
use crate::retry::{Addresses, Failure};

/// Interval between two messages about dropped events.
const DROPS_LOGGED_EVERY: Duration = Duration::from_secs(10);

thread_local! {
    static OURS: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as a thread of clients.
pub(crate) fn mark_thread() {
    OURS.set(true);
}

/// Returns true if clients work on this thread. Log events of such a thread are never shipped, because shipping would
/// log again.
pub(crate) fn is_ours() -> bool {
    OURS.get()
}

pub(crate) struct Worker {
    pub(crate) buffer: Arc<Buffer>,
    pub(crate) client: Client,
    pub(crate) addresses: Addresses,
    pub(crate) give_up_after: Duration,
    /// Time between the end of the client and the end of the thread.
    pub(crate) shutdown_timeout: Duration,
    /// Pauses have been cut short because the buffer is closed.
    pub(crate) hurried: bool,
}

impl Worker {
    /// Returns when the buffer is closed, and empty or out of time.
    pub(crate) async fn run(mut self) {
        let buffer = Arc::clone(&self.buffer);
        let shutdown_timeout = self.shutdown_timeout;
        let overdue = async {
            buffer.closed().await;
            sleep(shutdown_timeout).await;
        };
        let mut logged = Dropped::default();
        tokio::select! {
            () = self.deliver_all() => {}
            () = log_drops(&buffer, &mut logged) => {}
            () = overdue => {
                let events = buffer.stats().queued;
                tracing::warn!(events, "events are lost: no proxy took them before the client ended");
            }
        }
        log_new_drops(&buffer, &mut logged);
    }

    async fn deliver_all(&mut self) {
        while let Some(batch) = self.buffer.next_batch().await {
            self.deliver(batch).await;
        }
    }

    /// Returns when each event of the batch has a fate.
    async fn deliver(&mut self, mut batch: Vec<Queued>) {
        // a request that is refused is halved until it is known for which event; after that they grow again
        let mut at_once = batch.len();
        let mut limit = at_once;
        while let Some(index) = self.ready(&mut batch).await {
            let events = at_once.min(batch.len());
            match self.post(index, &mut batch[..events]).await {
                Answer::Accepted => {
                    self.addresses.works(index, Instant::now());
                    self.settle_first(&mut batch, events, Fate::Sent);
                    at_once = limit.min(events * 2);
                }
                Answer::TooLarge(_) if events > 1 => {
                    limit = events / 2;
                    at_once = limit;
                }
                Answer::Refused(_) if events > 1 => at_once = events / 2,
                Answer::TooLarge(reason) | Answer::Refused(reason) => {
                    self.addresses.works(index, Instant::now());
                    self.settle_first(&mut batch, events, Fate::Refused);
                    log_refused(events, &reason);
                }
                Answer::ByItem(items, retry_after) => self.settle_by_item(index, &mut batch, &items, retry_after),
                Answer::Failed { failure, retry_after, reason } => self.failed(index, failure, retry_after, &reason),
            }
        }
    }

    /// Waits for a usable address. Returns `None` with an empty batch: events that grow too old meanwhile are given
    /// up.
    async fn ready(&mut self, batch: &mut Vec<Queued>) -> Option<usize> {
        while !batch.is_empty() {
            let now = Instant::now();
            let (index, ready_at) = self.addresses.next(now);
            if ready_at <= now {
                return Some(index);
            }
            self.give_up(batch, now);
            if let Some(oldest) = batch.first() {
                let until = ready_at.min(oldest.since + self.give_up_after);
                self.pause(until).await;
            }
        }
        None
    }

    /// Waits until `until`. The end of the client shortens one wait.
    async fn pause(&mut self, until: Instant) {
        tokio::select! {
            () = sleep_until(until.into()) => {}
            () = self.buffer.closed(), if !self.hurried => {
                self.hurried = true;
                self.addresses.hurry();
            }
        }
    }

    fn give_up(&self, batch: &mut Vec<Queued>, now: Instant) {
        let before = batch.len();
        let too_old = |event: &Queued| now.duration_since(event.since) >= self.give_up_after;
        self.buffer.settle(batch, |event| too_old(event).then_some(Fate::GivenUp));
        let events = before - batch.len();
        if events > 0 {
            tracing::warn!(events, "events are lost: no proxy took them in time");
        }
    }

    async fn post(&self, index: usize, events: &mut [Queued]) -> Answer {
        self.buffer.count_retried(events.iter().filter(|event| event.tried).count() as u64);
        events.iter_mut().for_each(|event| event.tried = true);
        let request = self.client.post(self.addresses.url(index).clone()).body(array(events));
        answer::read(request.send().await, events.len()).await
    }

    fn settle_first(&self, batch: &mut Vec<Queued>, events: usize, fate: Fate) {
        let mut left = events;
        self.buffer.settle(batch, |_| {
            let is_first = left > 0;
            left = left.saturating_sub(1);
            is_first.then_some(fate)
        });
    }

    /// Settles accepted and refused events; the remaining events keep their place in the batch.
    fn settle_by_item(&mut self, index: usize, batch: &mut Vec<Queued>, items: &[Item], retry_after: Option<Duration>) {
        let mut fates = items.iter().map(Item::fate);
        self.buffer.settle(batch, |_| fates.next().flatten());
        if items.iter().any(|item| item.fate() == Some(Fate::Sent)) {
            self.addresses.works(index, Instant::now());
        }
        let refused: Vec<_> = items.iter().filter(|item| item.fate() == Some(Fate::Refused)).collect();
        if let Some(first) = refused.first() {
            log_refused(refused.len(), &first.reason());
        }
        if let Some(first) = items.iter().find(|item| item.fate().is_none()) {
            self.failed(index, Failure::Busy, retry_after, &first.reason());
        }
    }

    fn failed(&mut self, index: usize, failure: Failure, retry_after: Option<Duration>, reason: &str) {
        let (pause, first) = self.addresses.failed(index, failure, retry_after, Instant::now());
        let url = self.addresses.url(index);
        if first {
            tracing::warn!(%url, reason, ?pause, "events wait: a proxy did not take them");
        } else {
            tracing::debug!(%url, reason, ?pause, "events still wait");
        }
    }
}

/// Logs dropped events, here instead of in `send`: the caller of `send` may be the log itself. Never returns.
async fn log_drops(buffer: &Buffer, logged: &mut Dropped) {
    loop {
        buffer.dropped().await;
        log_new_drops(buffer, logged);
        sleep(DROPS_LOGGED_EVERY).await;
    }
}

fn log_new_drops(buffer: &Buffer, logged: &mut Dropped) {
    let (dropped, reason) = buffer.drops();
    let (full, invalid) = (dropped.full - logged.full, dropped.invalid - logged.invalid);
    *logged = dropped;
    if full > 0 {
        tracing::warn!(events = full, "events are lost: the buffer was full");
    }
    if invalid > 0 {
        tracing::warn!(events = invalid, reason, "events are lost: they can't be sent as they are");
    }
}

fn log_refused(events: usize, reason: &str) {
    tracing::warn!(events, reason, "events are lost: the proxy refused them");
}

/// Returns the events as a JSON array.
fn array(events: &[Queued]) -> Vec<u8> {
    let length: usize = events.iter().map(|event| event.json.len() + 1).sum();
    let mut body = Vec::with_capacity(length + 2);
    body.push(b'[');
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&event.json);
    }
    body.push(b']');
    body
}
