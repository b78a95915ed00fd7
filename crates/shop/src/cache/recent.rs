//! A small map of recently read values.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;

const SHARDS: usize = 32;
const GENERATIONS: usize = 1024;

/// Caches read values for a short time, and never beyond [`forget`](Recent::forget).
///
/// A value is valid as long as the value is younger than the lifetime, and the generation of the value is current.
/// Forgetting raises the generation, so that a concurrent reader can't put the old value back.
pub(crate) struct Recent<K, V> {
    lifetime: Duration,
    shard_limit: usize,
    hasher: RandomState,
    shards: Vec<RwLock<HashMap<K, Entry<V>>>>,
    generations: Vec<AtomicU64>,
}

struct Entry<V> {
    value: V,
    generation: u64,
    until: Instant,
}

impl<K: Hash + Eq + Copy, V: Clone> Recent<K, V> {
    /// Keeps up to about `capacity` values, each for `lifetime`.
    pub(crate) fn new(lifetime: Duration, capacity: usize) -> Self {
        Self {
            lifetime,
            shard_limit: capacity.div_ceil(SHARDS).max(1),
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            generations: (0..GENERATIONS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Returns the value of `key`: the cached value, or else the result of `read`.
    ///
    /// # Errors
    /// Errors of `read`; nothing is cached then.
    pub(crate) async fn get_or_read<E>(&self, key: K, read: impl Future<Output = Result<V, E>>) -> Result<V, E> {
        let hash = self.hasher.hash_one(key);
        let generation = self.generation(hash).load(Ordering::SeqCst);
        if let Some(value) = self.get(&key, hash, generation) {
            return Ok(value);
        }
        let value = read.await?;
        self.put(key, hash, generation, value.clone());
        Ok(value)
    }

    /// Invalidates `key` (and by chance a few other keys).
    pub(crate) fn forget(&self, key: K) {
        self.generation(self.hasher.hash_one(key)).fetch_add(1, Ordering::SeqCst);
    }

    /// Invalidates all entries.
    pub(crate) fn forget_all(&self) {
        self.generations.iter().for_each(|generation| {
            generation.fetch_add(1, Ordering::SeqCst);
        });
    }

    fn get(&self, key: &K, hash: u64, generation: u64) -> Option<V> {
        let shard = self.shard(hash).read();
        let entry = shard.get(key).filter(|entry| entry.generation == generation)?;
        (entry.until > Instant::now()).then(|| entry.value.clone())
    }

    fn put(&self, key: K, hash: u64, generation: u64, value: V) {
        let now = Instant::now();
        let mut shard = self.shard(hash).write();
        if shard.len() >= self.shard_limit {
            shard.retain(|_, entry| entry.until > now);
            if shard.len() >= self.shard_limit {
                shard.clear();
            }
        }
        shard.insert(key, Entry { value, generation, until: now + self.lifetime });
    }

    fn shard(&self, hash: u64) -> &RwLock<HashMap<K, Entry<V>>> {
        &self.shards[hash as usize % SHARDS]
    }

    fn generation(&self, hash: u64) -> &AtomicU64 {
        &self.generations[(hash >> 32) as usize % GENERATIONS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(cache: &Recent<u8, u8>, value: u8) -> u8 {
        cache.get_or_read(1, async { Ok::<_, ()>(value) }).await.unwrap()
    }

    #[tokio::test]
    async fn a_reader_who_began_before_the_change_cannot_bring_the_old_value_back() {
        let cache = Recent::new(Duration::from_secs(60), 100);
        assert_eq!(read(&cache, 1).await, 1);
        assert_eq!(read(&cache, 2).await, 1);
        cache.forget(1);
        let late = cache.get_or_read(1, async {
            let old = 2;
            cache.forget(1);
            Ok::<_, ()>(old)
        });
        assert_eq!(late.await, Ok(2));
        assert_eq!(read(&cache, 3).await, 3);
    }

    #[tokio::test]
    async fn values_end_with_their_time_and_failures_are_not_kept() {
        let cache = Recent::new(Duration::ZERO, 100);
        assert_eq!(read(&cache, 1).await, 1);
        assert_eq!(read(&cache, 2).await, 2);
        let cache = Recent::new(Duration::from_secs(60), 100);
        assert_eq!(cache.get_or_read(1, async { Err::<u8, _>(()) }).await, Err(()));
        assert_eq!(read(&cache, 3).await, 3);
    }
}
