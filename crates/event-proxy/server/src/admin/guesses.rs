//! How often a password may be guessed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
use rest::{Problem, kinds};

/// Wrong ones from one address; a program that knows the password may ask as often as it likes.
const PER_MINUTE: NonZeroU32 = NonZeroU32::new(10).expect("not 0");
/// Addresses that are remembered before those that have been quiet are forgotten.
const TIDY_ABOVE: usize = 10_000;

/// Counts wrong passwords.
pub struct Guesses {
    wrong: DefaultKeyedRateLimiter<IpAddr>,
    /// Addresses that made too many, and until when nothing they send is looked at: a right one would tell.
    shut: Mutex<HashMap<IpAddr, Instant>>,
}

impl Guesses {
    pub fn new() -> Self {
        Self { wrong: RateLimiter::keyed(Quota::per_minute(PER_MINUTE)), shut: Mutex::default() }
    }

    /// # Errors
    /// `too-many-requests`
    pub fn check(&self, from: IpAddr) -> Result<(), Problem> {
        let shut = self.shut.lock();
        let wait = shut.get(&from).map(|until| until.saturating_duration_since(Instant::now()));
        match wait.filter(|wait| !wait.is_zero()) {
            Some(wait) => Err(Problem::new(&kinds::TOO_MANY_REQUESTS).retry_after(wait)),
            None => Ok(()),
        }
    }

    /// Notes one.
    pub fn wrong(&self, from: IpAddr) {
        let not_until = self.wrong.check_key(&from);
        if self.wrong.len() > TIDY_ABOVE {
            self.wrong.retain_recent();
            let now = Instant::now();
            self.shut.lock().retain(|_, until| *until > now);
        }
        let Err(not_until) = not_until else { return };
        let (now, wait) = (Instant::now(), not_until.wait_time_from(DefaultClock::default().now()));
        let mut shut = self.shut.lock();
        shut.insert(from, now + wait.max(Duration::from_secs(1)));
        tracing::warn!(%from, "too many wrong passwords of the admin");
    }
}
