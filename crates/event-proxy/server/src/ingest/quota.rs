//! Quota of a key: events and bytes a second, with a burst of one second.
//!
//! Implements the generic cell rate algorithm, instead of `governor`, for two reasons. A batch larger than the burst
//! must be possible: an unused quota takes the batch, and later batches wait the longer; `governor` refuses such a
//! batch. Events and bytes are taken together or not at all; `governor` can't do this.

use std::fmt::Write;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rest::Problem;

use crate::http::problems;

const BURST: Duration = Duration::from_secs(1);

/// Limits of a key, and their use.
pub(crate) struct Quota {
    limits: Mutex<Vec<Limit>>,
}

/// Cost of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    pub events: u64,
    pub bytes: u64,
}

/// Too much of the quota is used up: nothing was taken, and the same goes through after the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    wait: Duration,
}

/// A quota in header fields.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// `RateLimit-Policy`
    pub policy: String,
    /// `RateLimit`
    pub left: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Events,
    Bytes,
}

struct Limit {
    unit: Unit,
    /// A second, and at once.
    rate: u64,
    /// Time at which the whole quota is unused again.
    whole_at: Option<Instant>,
}

impl Quota {
    /// Returns the quota of the limits; `None` without any limit.
    pub(crate) fn new(events_per_second: Option<i64>, bytes_per_second: Option<i64>) -> Option<Self> {
        let limit = |unit, rate: Option<i64>| {
            let rate = u64::try_from(rate?).ok().filter(|rate| *rate > 0)?;
            Some(Limit { unit, rate, whole_at: None })
        };
        let limits = [limit(Unit::Events, events_per_second), limit(Unit::Bytes, bytes_per_second)];
        let limits: Vec<Limit> = limits.into_iter().flatten().collect();
        (!limits.is_empty()).then(|| Self { limits: Mutex::new(limits) })
    }

    /// Takes the whole cost or nothing.
    ///
    /// # Errors
    /// If to come again.
    pub(crate) fn take(&self, cost: Cost, now: Instant) -> Result<(), Exceeded> {
        if cost.events == 0 {
            return Ok(());
        }
        let mut limits = self.limits.lock();
        let wait = limits.iter().map(|limit| limit.wait(cost, now)).max().unwrap_or_default();
        if !wait.is_zero() {
            return Err(Exceeded { wait });
        }
        for limit in limits.iter_mut() {
            limit.whole_at = now.checked_add(limit.used(now) + limit.time_of(cost));
        }
        Ok(())
    }

    /// Gives back an unused cost.
    pub(crate) fn give_back(&self, cost: Cost) {
        for limit in self.limits.lock().iter_mut() {
            limit.whole_at = limit.whole_at.and_then(|at| at.checked_sub(limit.time_of(cost)));
        }
    }

    /// Returns the header fields of draft-ietf-httpapi-ratelimit-headers: for each limit the units left now, and the
    /// seconds until the whole limit is unused.
    pub(crate) fn told(&self, now: Instant) -> Told {
        let limits = self.limits.lock();
        let (mut policy, mut left) = (String::new(), String::new());
        for limit in limits.iter() {
            let (name, unit) = match limit.unit {
                Unit::Events => ("events", "events"),
                Unit::Bytes => ("bytes", "content-bytes"),
            };
            let comma = if policy.is_empty() { "" } else { ", " };
            let (rate, whole_in) = (limit.rate, seconds(limit.used(now)));
            // writing to a String can't fail
            let _ = write!(policy, "{comma}\"{name}\";q={rate};w={};qu=\"{unit}\"", BURST.as_secs());
            let _ = write!(left, "{comma}\"{name}\";r={};t={whole_in}", limit.left(now));
        }
        Told { policy, left }
    }
}

impl Limit {
    /// Returns the time until the whole limit is unused.
    fn used(&self, now: Instant) -> Duration {
        self.whole_at.map(|at| at.saturating_duration_since(now)).unwrap_or_default()
    }

    fn wait(&self, cost: Cost, now: Instant) -> Duration {
        let (used, more) = (self.used(now), self.time_of(cost));
        if more > BURST { used } else { (used + more).saturating_sub(BURST) }
    }

    fn left(&self, now: Instant) -> u64 {
        let free = BURST.saturating_sub(self.used(now));
        u64::try_from(free.as_nanos() * u128::from(self.rate) / BURST.as_nanos()).unwrap_or(self.rate)
    }

    fn time_of(&self, cost: Cost) -> Duration {
        let units = if self.unit == Unit::Events { cost.events } else { cost.bytes };
        let nanos = u128::from(units) * BURST.as_nanos() / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl From<Exceeded> for Problem {
    fn from(exceeded: Exceeded) -> Self {
        Problem::new(&problems::QUOTA_EXCEEDED).retry_after(exceeded.wait)
    }
}

impl Exceeded {
    /// Returns the seconds for `Retry-After`.
    pub fn seconds(self) -> u64 {
        seconds(self.wait)
    }
}

/// Rounds up, so that a client that waits so long is let in.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(events: u64, bytes: u64) -> Cost {
        Cost { events, bytes }
    }

    fn after(wait: Duration) -> Result<(), Exceeded> {
        Err(Exceeded { wait })
    }

    #[test]
    fn a_second_worth_at_once_and_then_as_time_goes() {
        let (quota, start) = (Quota::new(Some(3), None).unwrap(), Instant::now());
        assert_eq!(quota.told(start).policy, "\"events\";q=3;w=1;qu=\"events\"");
        for left in [2, 1, 0] {
            assert_eq!(quota.take(cost(1, 0), start), Ok(()));
            assert_eq!(quota.told(start).left, format!("\"events\";r={left};t=1"));
        }
        let third = Duration::from_nanos(333_333_333);
        let Err(refused) = quota.take(cost(1, 0), start) else { panic!("a fourth") };
        assert!(refused.wait <= third && refused.seconds() == 1, "{refused:?}");
        assert_eq!(quota.take(cost(1, 0), start + third), Ok(()), "a third of a second later there is one");
        assert!(quota.take(cost(1, 0), start + third).is_err());
        assert_eq!(quota.told(start + Duration::from_secs(9)).left, "\"events\";r=3;t=0");
    }

    #[test]
    fn more_than_a_second_worth_is_taken_at_once_and_those_behind_it_wait() {
        let (quota, start) = (Quota::new(Some(10), None).unwrap(), Instant::now());
        let at = |tenths: u64| start + Duration::from_millis(100 * tenths);
        assert_eq!(quota.take(cost(1, 0), start), Ok(()));
        assert_eq!(quota.take(cost(50, 0), start), after(Duration::from_millis(100)), "not while any is used");
        assert_eq!(quota.take(cost(50, 0), at(1)), Ok(()));
        assert_eq!(quota.told(at(1)).left, "\"events\";r=0;t=5");
        assert_eq!(quota.take(cost(1, 0), at(1)), after(Duration::from_millis(4100)));
        assert_eq!(quota.take(cost(1, 0), at(41)), after(Duration::from_millis(100)));
        assert_eq!(quota.take(cost(1, 0), at(42)), Ok(()));
    }

    #[test]
    fn events_and_bytes_are_taken_together_or_not_at_all() {
        let (quota, start) = (Quota::new(Some(10), Some(1_000)).unwrap(), Instant::now());
        assert_eq!(
            quota.told(start).policy,
            "\"events\";q=10;w=1;qu=\"events\", \"bytes\";q=1000;w=1;qu=\"content-bytes\""
        );
        assert_eq!(quota.take(cost(1, 900), start), Ok(()));
        assert_eq!(quota.take(cost(1, 300), start), after(Duration::from_millis(200)));
        assert_eq!(quota.told(start).left, "\"events\";r=9;t=1, \"bytes\";r=100;t=1", "the refused one cost nothing");
        assert_eq!(quota.take(cost(0, 0), start), Ok(()), "what is refused for other reasons costs nothing");
    }

    #[test]
    fn what_was_taken_for_nothing_is_given_back() {
        let (quota, start) = (Quota::new(Some(10), Some(1_000)).unwrap(), Instant::now());
        assert_eq!(quota.take(cost(2, 100), start), Ok(()));
        let before = quota.told(start);
        let later = start + Duration::from_secs(1);
        assert_eq!(quota.take(cost(500, 100_000), later), Ok(()));
        quota.give_back(cost(500, 100_000));
        assert_eq!(quota.told(later).left, "\"events\";r=10;t=0, \"bytes\";r=1000;t=0");
        assert_eq!(quota.take(cost(2, 100), later), Ok(()));
        assert_eq!(quota.told(later), before);
    }
}
