//! Turns: sequential work of one client.

use std::hash::{BuildHasher, Hash, RandomState};
use std::marker::PhantomData;

use tokio::sync::{Mutex, MutexGuard};

const STRIPES: usize = 256;

/// Turns by key. Keys share stripes by chance. Turns do not span processes.
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
    /// Waits for the turn of `key`; the turn lasts as long as the guard.
    pub async fn of(&self, key: K) -> MutexGuard<'_, ()> {
        self.stripes[self.hasher.hash_one(key) as usize % STRIPES].lock().await
    }
}
