//! Wakes the streams of members whose notifications were just committed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use contracts::MemberId;
use db::Database;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::store;

/// Time between two looks at the database for what other processes notified.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Number of the last notification that a member is known to have.
type Listeners = HashMap<MemberId, watch::Sender<i64>>;

/// A handle; clones wake the same streams, which are those of this process.
#[derive(Clone, Default)]
pub struct Hub {
    listeners: Arc<Mutex<Listeners>>,
}

impl Hub {
    /// Nobody listens yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Listens for a member's notifications. First listen, then look what is there: so nothing is missed.
    pub fn listen(&self, member: MemberId) -> Listener {
        let wake = self.lock().entry(member).or_insert_with(|| watch::Sender::new(0)).subscribe();
        Listener { hub: self.clone(), member, wake: Some(wake) }
    }

    /// Wakes the streams of members whose last number is new. Call it after the commit.
    pub(super) fn wake(&self, numbers: impl IntoIterator<Item = (MemberId, i64)>) {
        let listeners = self.lock();
        if listeners.is_empty() {
            return;
        }
        for (member, number) in numbers {
            if let Some(listener) = listeners.get(&member) {
                listener.send_if_modified(|known| std::mem::replace(known, number.max(*known)) < number);
            }
        }
    }

    /// Wakes the streams of a member whose session may be over.
    pub fn wake_member(&self, member: MemberId) {
        if let Some(listener) = self.lock().get(&member) {
            listener.send_modify(|_| {});
        }
    }

    /// Wakes streams for notifications of other processes, until `stop`: one look at the database for all streams.
    pub async fn follow(self, db: Database, stop: CancellationToken) {
        while stop.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
            let members: Vec<MemberId> = self.lock().keys().copied().collect();
            if members.is_empty() {
                continue;
            }
            match db.read(move |conn| store::last_numbers(conn, &members)).await {
                Ok(numbers) => self.wake(numbers),
                Err(error) => tracing::debug!(%error, "new notifications were not looked for"),
            }
        }
    }

    /// Nothing can panic while it is held.
    fn lock(&self) -> MutexGuard<'_, Listeners> {
        self.listeners.lock()
    }
}

/// A stream's ear.
pub struct Listener {
    hub: Hub,
    member: MemberId,
    wake: Option<watch::Receiver<i64>>,
}

impl Listener {
    /// Waits until the member may have something new.
    pub async fn wait(&mut self) {
        if let Some(wake) = &mut self.wake {
            // the sender lives as long as one listens
            let _ = wake.changed().await;
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
