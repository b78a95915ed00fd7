//! Wakes the streams of members whose notifications were just committed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use contracts::MemberId;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

/// A handle; clones wake the same streams. It reaches streams of its own process only.
#[derive(Clone, Default)]
pub struct Hub {
    listeners: Arc<Mutex<HashMap<MemberId, watch::Sender<()>>>>,
}

impl Hub {
    /// Nobody listens yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Listens for a member's notifications. First listen, then look what is there: so nothing is missed.
    pub fn listen(&self, member: MemberId) -> Listener {
        let wake = self.lock().entry(member).or_insert_with(|| watch::Sender::new(())).subscribe();
        Listener { hub: self.clone(), member, wake: Some(wake) }
    }

    /// Call it after the commit.
    pub(super) fn wake(&self, members: impl IntoIterator<Item = MemberId>) {
        let listeners = self.lock();
        if listeners.is_empty() {
            return;
        }
        for member in members {
            if let Some(listener) = listeners.get(&member) {
                listener.send_replace(());
            }
        }
    }

    /// Nothing can panic while it is held.
    fn lock(&self) -> MutexGuard<'_, HashMap<MemberId, watch::Sender<()>>> {
        self.listeners.lock()
    }
}

/// A stream's ear.
pub struct Listener {
    hub: Hub,
    member: MemberId,
    wake: Option<watch::Receiver<()>>,
}

impl Listener {
    /// Waits until the member may have something new, at most `at_most`: another process may have handled the event,
    /// and then nobody is woken here.
    pub async fn wait(&mut self, at_most: Duration) {
        if let Some(wake) = &mut self.wake {
            // the sender lives as long as one listens
            let _ = tokio::time::timeout(at_most, wake.changed()).await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.wake = None;
        let mut listeners = self.hub.lock();
        if listeners.get(&self.member).is_some_and(|listener| listener.receiver_count() == 0) {
            listeners.remove(&self.member);
        }
    }
}
