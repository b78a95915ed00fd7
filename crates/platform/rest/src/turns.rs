//! Turns: work of one client, one after the other.

use std::hash::{BuildHasher, Hash, RandomState};
use std::marker::PhantomData;

use tokio::sync::{Mutex, MutexGuard};

const STRIPES: usize = 256;

/// Turns by key. Keys share stripes by chance. Another process has turns of its own.
pub struct Turns<K> {
    hasher: RandomState,
    stripes: Vec<Mutex<()>>,
    key: PhantomData<fn(K)>,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        let stripes = (0..STRIPES).map(|_| Mutex::new(())).collect();
        Self { hasher: RandomState::new(), stripes, key: PhantomData }
    }
}

impl<K: Hash> Turns<K> {
    /// Waits for the turn of `key`, which lasts as long as the guard.
    pub async fn of(&self, key: K) -> MutexGuard<'_, ()> {
        self.stripes[self.hasher.hash_one(key) as usize % STRIPES].lock().await
    }
}
