//! Pausing partitions, with time and reason, for readiness and metrics.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use telemetry::metrics::CONSUMER_PAUSED_SECONDS;
use tokio::time::sleep;

use crate::consumer::offsets::Place;

/// Time after which unfinished work counts as a pause.
const MOMENT: Duration = Duration::from_secs(5);

/// Duration of a wait for events that excludes a statement waiting for a lock.
const IDLE: Duration = Duration::from_secs(10);

/// Pausing partitions of this process.
#[derive(Clone, Default)]
pub(crate) struct Pauses(Arc<Mutex<BTreeMap<Place, (Instant, String)>>>);

impl Pauses {
    /// Returns a line for each group with a partition paused for `at_least` this time.
    pub(crate) fn lines(&self, at_least: Duration) -> Vec<String> {
        let mut groups: BTreeMap<&'static str, (usize, Duration, String)> = BTreeMap::new();
        for (place, (since, why)) in &*self.0.lock() {
            let paused = since.elapsed();
            if paused >= at_least {
                let (partitions, longest, its_why) = groups.entry(place.group).or_default();
                *partitions += 1;
                if paused >= *longest {
                    (*longest, *its_why) = (paused, why.lines().next().unwrap_or_default().to_owned());
                }
            }
        }
        let line = |(group, (partitions, longest, why)): (&str, (usize, Duration, String))| {
            format!("group {group}: {partitions} partitions paused, for up to {} s: {why}", longest.as_secs())
        };
        groups.into_iter().map(line).collect()
    }

    /// Begins the watch over a worker's partition.
    pub(crate) fn watch(&self, place: &Place) -> Watch {
        Watch { pauses: self.clone(), place: place.clone() }
    }
}

/// Watch over one partition. The pause ends with the watch.
pub(crate) struct Watch {
    pauses: Pauses,
    place: Place,
}

impl Watch {
    /// Notes that the partition pauses.
    pub(crate) fn pause(&self, why: &str) {
        let mut pauses = self.pauses.0.lock();
        let (since, its_why) = pauses.entry(self.place.clone()).or_insert_with(|| (Instant::now(), String::new()));
        why.clone_into(its_why);
        self.measure(since.elapsed());
    }

    /// Waits for `work`, and notes a pause for as long as `work` takes more than a moment.
    pub(crate) async fn over<T>(&self, why: &str, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = sleep(MOMENT) => self.pause(why),
            }
        }
    }

    /// Waits for the next events. A wait of some time without an error shows that nothing is left to do, and ends the pause.
    pub(crate) async fn idle<T>(&self, next: impl Future<Output = T>) -> T {
        let mut next = pin!(next);
        tokio::select! {
            biased;
            done = &mut next => return done,
            () = sleep(IDLE) => self.resume(),
        }
        next.await
    }

    /// Notes that the partition goes on.
    pub(crate) fn resume(&self) {
        if self.pauses.0.lock().remove(&self.place).is_some() {
            self.measure(Duration::ZERO);
        }
    }

    fn measure(&self, paused: Duration) {
        let Place { group, topic, partition, .. } = &self.place;
        let series = [(*group).into(), topic.clone().into(), partition.to_string().into()];
        CONSUMER_PAUSED_SECONDS.of(series).set(paused.as_secs_f64());
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.resume();
    }
}
