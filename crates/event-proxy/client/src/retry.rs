//! Choice of the next address and of the time.

use std::time::{Duration, Instant};

use reqwest::Url;

/// Pauses and duration of retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Pause after the first failure; doubled with each further failure, less up to a half by chance, so that many
    /// clients do not come back at once. Default 100 ms.
    pub first_pause: Duration,
    /// The longest pause. Default 30 s.
    pub longest_pause: Duration,
    /// Age at which an undelivered event is given up. Default 10 minutes.
    pub give_up_after: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(30),
            give_up_after: Duration::from_secs(600),
        }
    }
}

impl Retry {
    /// Returns the pause after `failures` in a row, at least one.
    fn pause(&self, failures: u32) -> Duration {
        let doubled = self.first_pause.saturating_mul(1 << (failures - 1).min(20));
        doubled.min(self.longest_pause).mul_f64(rand::random_range(0.5..=1.0))
    }
}

/// Shortest pause for a Retry-After: a Retry-After of 0 is not believed.
const SHORTEST_ASKED: Duration = Duration::from_millis(50);
/// Longest pause for a Retry-After; keeps sums of times from overflowing.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest rest of an address that stays away. A hanging address costs a time-out after each rest.
const LONGEST_REST: Duration = Duration::from_secs(300);

/// Addresses of the proxies, in order of preference.
pub(crate) struct Addresses {
    all: Vec<Address>,
    retry: Retry,
    /// Time without use of an address after the first failure, while there are more addresses.
    failback_after: Duration,
}

struct Address {
    url: Url,
    /// Number of consecutive failures.
    failures: u32,
    /// Time until which other addresses are preferred.
    rests_until: Instant,
    /// Length of the next rest, after another failure.
    rest: Duration,
    /// Time until which nothing is sent.
    ready_at: Instant,
    /// True if the proxy asked for this pause.
    asked: bool,
}

/// Reason of a pause of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The proxy is unavailable; another address may work.
    Away,
    /// The proxy is there, and asks for a later retry.
    Busy,
}

impl Addresses {
    pub(crate) fn new(urls: Vec<Url>, retry: Retry, failback_after: Duration) -> Self {
        let now = Instant::now();
        let (rest, asked) = (failback_after, false);
        let address = |url| Address { url, failures: 0, rests_until: now, rest, ready_at: now, asked };
        Self { all: urls.into_iter().map(address).collect(), retry, failback_after }
    }

    /// Returns the index of the next address and the time of its use: the first address without a rest, or else the
    /// address that is ready first.
    pub(crate) fn next(&self, now: Instant) -> (usize, Instant) {
        let soonest = || (0..self.all.len()).min_by_key(|index| self.all[*index].ready_at);
        // there is at least one
        let index = self.all.iter().position(|address| address.rests_until <= now).or_else(soonest).unwrap_or(0);
        (index, self.all[index].ready_at)
    }

    pub(crate) fn url(&self, index: usize) -> &Url {
        &self.all[index].url
    }

    pub(crate) fn works(&mut self, index: usize, now: Instant) {
        let address = &mut self.all[index];
        (address.failures, address.rests_until, address.rest) = (0, now, self.failback_after);
    }

    /// Returns the pause of the address, and true for the first failure after a success.
    pub(crate) fn failed(
        &mut self,
        index: usize,
        failure: Failure,
        retry_after: Option<Duration>,
        now: Instant,
    ) -> (Duration, bool) {
        let address = &mut self.all[index];
        address.failures = address.failures.saturating_add(1);
        let asked = |pause: Duration| pause.clamp(SHORTEST_ASKED, LONGEST_ASKED).mul_f64(rand::random_range(1.0..=1.1));
        let pause = retry_after.map_or_else(|| self.retry.pause(address.failures), asked);
        address.ready_at = now + pause;
        address.asked = retry_after.is_some();
        if failure == Failure::Away {
            if address.rests_until <= now {
                address.rests_until = now + address.rest;
                address.rest = address.rest.saturating_mul(2).min(LONGEST_REST.max(self.failback_after));
            }
            address.rests_until = address.rests_until.max(address.ready_at);
        }
        (pause, address.failures == 1)
    }

    /// Ends all pauses except those requested by a proxy.
    pub(crate) fn hurry(&mut self) {
        let now = Instant::now();
        self.all.iter_mut().filter(|address| !address.asked).for_each(|address| address.ready_at = now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(30);

    fn two() -> Addresses {
        let url = |port| Url::parse(&format!("http://127.0.0.1:{port}")).unwrap();
        let retry = Retry { longest_pause: Duration::from_secs(1), ..Retry::default() };
        Addresses::new(vec![url(1), url(2)], retry, REST)
    }

    /// Returns the lengths of the first address's rests, in seconds, if the address always fails.
    fn rests(addresses: &mut Addresses, now: &mut Instant, count: usize) -> Vec<u64> {
        let mut rest = || {
            let (index, ready_at) = addresses.next(*now);
            assert!(index == 0 && ready_at <= *now);
            addresses.failed(0, Failure::Away, None, *now);
            let began = *now;
            while addresses.next(*now).0 == 1 {
                *now += Duration::from_secs(1);
            }
            (*now - began).as_secs()
        };
        (0..count).map(|_| rest()).collect()
    }

    #[test]
    fn an_address_that_stays_away_rests_longer_each_time() {
        let (mut addresses, mut now) = (two(), Instant::now());
        assert_eq!(rests(&mut addresses, &mut now, 6), [30, 60, 120, 240, 300, 300]);
        addresses.works(0, now);
        assert_eq!(rests(&mut addresses, &mut now, 2), [30, 60]);
    }

    #[test]
    fn one_that_works_while_all_rest_is_kept() {
        let (mut addresses, now) = (two(), Instant::now());
        addresses.failed(0, Failure::Away, None, now);
        addresses.failed(1, Failure::Away, None, now);
        let later = now + Duration::from_secs(2);
        addresses.works(1, later);
        assert_eq!(addresses.next(later).0, 1);
    }

    #[test]
    fn failures_while_all_rest_do_not_prolong_the_rest() {
        let (mut addresses, now) = (two(), Instant::now());
        for second in 0..20 {
            let now = now + Duration::from_secs(second);
            addresses.failed(0, Failure::Away, None, now);
            addresses.failed(1, Failure::Away, None, now);
        }
        assert_eq!(addresses.next(now + REST).0, 0);
    }
}
