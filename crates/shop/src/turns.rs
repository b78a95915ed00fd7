//! Turns of members.

use std::hash::{BuildHasher, RandomState};

use contracts::MemberId;
use tokio::sync::{Mutex, MutexGuard};

const STRIPES: usize = 256;

/// Lets a member's orders be placed one after the other, so that each counts the unpaid orders before it. Members share
/// stripes by chance. Another shop process has turns of its own.
pub struct Turns {
    hasher: RandomState,
    stripes: Vec<Mutex<()>>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { hasher: RandomState::new(), stripes: (0..STRIPES).map(|_| Mutex::new(())).collect() }
    }
}

impl Turns {
    /// Waits for the member's turn, which lasts as long as the guard.
    pub async fn of(&self, member: MemberId) -> MutexGuard<'_, ()> {
        self.stripes[self.hasher.hash_one(member) as usize % STRIPES].lock().await
    }
}
