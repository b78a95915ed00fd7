//! Ack waiters: requests that wait for Kafka's acknowledgement.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use db::types::Id;
use messaging::Event;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

/// Place of an event on Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
}

/// Place of an event on Kafka, or the reason why Kafka refused it.
pub(crate) type Delivered = Result<Place, Arc<str>>;

/// A wait for the delivery of events; the request may end earlier.
pub(crate) struct Wait {
    told: HashMap<Id, oneshot::Receiver<Delivered>>,
    waiting: Arc<Waiting>,
}

impl Wait {
    /// Returns the places of delivered events, and the reasons of refusals, known by `deadline`.
    pub(crate) async fn until(
        mut self,
        deadline: Instant,
        ids: impl IntoIterator<Item = Id>,
    ) -> HashMap<Id, Delivered> {
        let mut places = HashMap::new();
        for id in ids {
            if let Some(told) = self.told.get_mut(&id)
                && let Ok(Ok(place)) = timeout_at(deadline, told).await
            {
                places.insert(id, place);
            }
        }
        places
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.waiting.leave(self.told.keys());
    }
}

/// Waiting requests by event.
#[derive(Default)]
pub(crate) struct Waiting {
    count: AtomicUsize,
    /// Notified when a request begins to wait.
    entered: Notify,
    by_event: Mutex<HashMap<Id, oneshot::Sender<Delivered>>>,
}

impl Waiting {
    /// Returns a wait for the delivery of events, from now on.
    pub(crate) fn wait_for(self: &Arc<Self>, ids: impl IntoIterator<Item = Id>) -> Wait {
        Wait { told: self.enter(ids), waiting: self.clone() }
    }

    fn enter(&self, ids: impl IntoIterator<Item = Id>) -> HashMap<Id, oneshot::Receiver<Delivered>> {
        let mut by_event = self.by_event.lock();
        let mut entered = HashMap::new();
        for id in ids {
            // who posts the same event meanwhile is not the one that it is taken from
            if let Entry::Vacant(vacant) = by_event.entry(id) {
                let (told, receiver) = oneshot::channel();
                vacant.insert(told);
                entered.insert(id, receiver);
            }
        }
        self.count.store(by_event.len(), Ordering::Release);
        self.entered.notify_waiters();
        entered
    }

    /// Returns as soon as any request waits.
    pub(crate) async fn anyone(&self) {
        // before the look, so that nobody comes in between
        let entered = self.entered.notified();
        if self.count.load(Ordering::Acquire) == 0 {
            entered.await;
        }
    }

    /// Tells the waiting request that Kafka refused the event.
    pub(crate) fn refuse(&self, id: &Id, reason: &str) {
        let mut by_event = self.by_event.lock();
        if let Some(waits) = by_event.remove(id) {
            drop(waits.send(Err(reason.into()))); // who waited may be gone
        }
        self.count.store(by_event.len(), Ordering::Release);
    }

    fn leave<'i>(&self, ids: impl IntoIterator<Item = &'i Id>) {
        let mut by_event = self.by_event.lock();
        ids.into_iter().for_each(|id| drop(by_event.remove(id)));
        self.count.store(by_event.len(), Ordering::Release);
    }

    /// Tells the waiting requests that Kafka has these events.
    pub(crate) fn tell(&self, events: &[Event], offsets: &[i64]) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut by_event = self.by_event.lock();
        for (event, offset) in events.iter().zip(offsets) {
            if let Some(waits) = by_event.remove(&event.id) {
                let place = Place { topic: event.topic.clone(), partition: event.partition, offset: *offset };
                drop(waits.send(Ok(place))); // who waited may be gone
            }
        }
        self.count.store(by_event.len(), Ordering::Release);
    }
}
