//! A bus that brings events at an even pace.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};

use crate::bus::{Bus, BusError, Numbers, Subscriber};
use crate::event::Event;

/// Parts of a second in which events come together, so that a handler still has batches.
const BATCHES_PER_SECOND: u32 = 10;

/// Another bus, slowed down to so many events a second, all groups of this process together.
pub struct Paced {
    bus: Arc<dyn Bus>,
    pace: Arc<Pace>,
}

impl Paced {
    /// At most `per_second` events of `bus` in any second, but for the first batch.
    pub fn new(bus: Arc<dyn Bus>, per_second: NonZeroU32) -> Self {
        Self { bus, pace: Arc::new(Pace { per_second, free: Mutex::new(Instant::now()) }) }
    }
}

impl Bus for Paced {
    fn subscribe(&self, group: &str) -> Arc<dyn Subscriber> {
        Arc::new(PacedSubscriber { subscriber: self.bus.subscribe(group), pace: self.pace.clone() })
    }
}

struct Pace {
    per_second: NonZeroU32,
    /// From when on nobody has a turn.
    free: Mutex<Instant>,
}

impl Pace {
    fn batch(&self) -> usize {
        (self.per_second.get() / BATCHES_PER_SECOND).max(1) as usize
    }

    /// Waits for the turn of so many events. Turns come in the order in which they are asked for, so that a large
    /// batch comes through among small ones.
    async fn turn(&self, events: usize) {
        let takes = Duration::from_secs(events as u64) / self.per_second.get();
        let turn = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*free).max(Instant::now());
            *free = turn + takes;
            turn
        };
        sleep_until(turn).await;
    }
}

struct PacedSubscriber {
    subscriber: Arc<dyn Subscriber>,
    pace: Arc<Pace>,
}

#[async_trait]
impl Subscriber for PacedSubscriber {
    async fn fetch(&self, topic: &str, partition: i32, after: i64, max: usize) -> Result<Vec<Event>, BusError> {
        let events = self.subscriber.fetch(topic, partition, after, max.min(self.pace.batch())).await?;
        self.pace.turn(events.len()).await;
        Ok(events)
    }

    fn release(&self, topic: &str, partition: i32) {
        self.subscriber.release(topic, partition);
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
    use super::*;

    #[tokio::test]
    async fn turns_come_evenly_and_in_order() {
        let pace = Pace { per_second: NonZeroU32::new(100).unwrap(), free: Mutex::new(Instant::now()) };
        assert_eq!(pace.batch(), 10);
        let begun = Instant::now();
        let after = async |events| {
            pace.turn(events).await;
            begun.elapsed()
        };
        let due = [0, 100, 110, 210].map(Duration::from_millis);
        let came = [after(10).await, after(1).await, after(10).await, after(0).await];
        assert!(came.iter().zip(due).all(|(came, due)| *came >= due), "{came:?}");
    }
}
