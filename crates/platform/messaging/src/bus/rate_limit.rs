//! Rate limit: a bus that delivers events at an even pace.

use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::Mutex;

use crate::bus::{Bus, BusError, Numbers, Silence, Subscriber};
use crate::event::Event;

/// Batches for each second, so that a handler still gets batches.
const BATCHES_PER_SECOND: u32 = 10;

/// A bus with a rate limit in events a second, for all groups of this process together.
pub struct Paced {
    bus: Arc<dyn Bus>,
    pace: Arc<Pace>,
}

impl Paced {
    /// Limits `bus` to `per_second` events in any second, except for the first batch.
    pub fn new(bus: Arc<dyn Bus>, per_second: NonZeroU32) -> Self {
        Self { bus, pace: Arc::new(Pace::new(per_second)) }
    }
}

impl Bus for Paced {
    fn subscribe(&self, group: &str) -> Arc<dyn Subscriber> {
        Arc::new(PacedSubscriber { subscriber: self.bus.subscribe(group), pace: self.pace.clone() })
    }
}

/// A rate for all subscribers together.
struct Pace {
    limiter: DefaultDirectRateLimiter,
    batch: NonZeroU32,
    /// Serves subscribers in the order of requests, so that a large batch is not starved by small batches.
    queue: Mutex<()>,
}

impl Pace {
    fn new(per_second: NonZeroU32) -> Self {
        let batch = NonZeroU32::new(per_second.get() / BATCHES_PER_SECOND).unwrap_or(NonZeroU32::MIN);
        let limiter = RateLimiter::direct(Quota::per_second(per_second).allow_burst(batch));
        Self { limiter, batch, queue: Mutex::new(()) }
    }

    /// Waits until the rate allows so many events.
    async fn turn(&self, mut events: usize) {
        let _first = self.queue.lock().await;
        while let Some(part) = NonZeroU32::new(events.min(self.batch.get() as usize) as u32) {
            let ready = self.limiter.until_n_ready(part).await;
            debug_assert!(ready.is_ok(), "a batch fits into the burst");
            events -= part.get() as usize;
        }
    }
}

struct PacedSubscriber {
    subscriber: Arc<dyn Subscriber>,
    pace: Arc<Pace>,
}

#[async_trait]
impl Subscriber for PacedSubscriber {
    async fn fetch(&self, topic: &str, partition: i32, after: i64, max: usize) -> Result<Vec<Event>, BusError> {
        let events = self.subscriber.fetch(topic, partition, after, max.min(self.pace.batch.get() as usize)).await?;
        self.pace.turn(events.len()).await;
        Ok(events)
    }

    fn release(&self, topic: &str, partition: i32) {
        self.subscriber.release(topic, partition);
    }

    fn dropped(&self, topic: &str, partition: i32, after: i64) {
        self.subscriber.dropped(topic, partition, after);
    }

    async fn silence(&self, topic: &str, partition: i32) -> Silence {
        self.subscriber.silence(topic, partition).await
    }

    fn waiting(&self, topic: &str, partition: i32, after: i64) -> Option<i64> {
        self.subscriber.waiting(topic, partition, after)
    }

    fn numbers(&self, topic: &str) -> Numbers {
        self.subscriber.numbers(topic)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn turns_come_evenly_and_in_order() {
        let pace = Pace::new(NonZeroU32::new(100).unwrap());
        assert_eq!(pace.batch.get(), 10);
        let (begun, mut events) = (Instant::now(), 0.0);
        for turn in [10, 1, 25, 10, 3] {
            pace.turn(turn).await;
            events += turn as f64;
            let most = 10.0 + 100.0 * begun.elapsed().as_secs_f64();
            assert!(events <= most, "{events} events, and at most {most:.1} so far");
        }
    }

    #[tokio::test]
    async fn a_large_batch_is_served_before_later_small_ones() {
        let pace = Pace::new(NonZeroU32::new(100).unwrap());
        pace.turn(10).await;
        let order = parking_lot::Mutex::new(Vec::new());
        let turn = async |events| {
            pace.turn(events).await;
            order.lock().push(events);
        };
        tokio::join!(turn(10), turn(1), turn(2));
        assert_eq!(order.into_inner(), [10, 1, 2]);
    }
}
