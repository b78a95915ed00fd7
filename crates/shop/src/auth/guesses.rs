//! Login throttle: wrong passwords slow an account down.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use telemetry::metrics::SIGN_IN_FAILURES;
use tokio::time::sleep;

use crate::http::kinds;
use crate::http::problem::Problem;

/// Attempts without a right password before an account slows down.
const FREE: u32 = 5;
/// Pause after the first attempt that is not free; each further attempt doubles the pause.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Longest time that an attempt waits for its turn; an attempt with a longer wait is refused.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time without an attempt after which attempts are free again.
const RECOVERED_AFTER: Duration = Duration::from_secs(15 * 60);
/// Time without an attempt after which an account is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// Accounts that are kept; with more, all accounts are forgotten that owe no pause.
const MOST: usize = 100_000;

/// Attempts by account. Attempts from the network of the last right password do not wait, so that the guesses of others
/// shut nobody out; the rate limit of addresses bounds these attempts.
pub struct Guesses {
    is_on: bool,
    accounts: Mutex<HashMap<String, Account>>,
}

struct Account {
    /// Attempts since the last right password.
    attempts: u32,
    last: Instant,
    /// Time of the next attempt that is not free.
    next: Instant,
    /// Network of the last right password.
    home: Option<IpAddr>,
}

impl Guesses {
    /// A throttle that lets every attempt through unless `is_on`.
    pub fn new(is_on: bool) -> Self {
        Self { is_on, accounts: Mutex::default() }
    }

    /// Waits until a password of the account may be tried.
    ///
    /// # Errors
    /// `too-many-requests` if the wait is too long.
    pub async fn turn(&self, account: &str, from: IpAddr) -> Result<(), Problem> {
        let wait = if self.is_on { self.reserve(account, from, Instant::now()) } else { Ok(Duration::ZERO) };
        match wait {
            Ok(Duration::ZERO) => Ok(()),
            Ok(wait) => {
                sleep(wait).await;
                Ok(())
            }
            Err(wait) => {
                let detail = "too many wrong passwords for this account";
                Err(Problem::new(&kinds::TOO_MANY_REQUESTS).detail(detail).retry_after(wait))
            }
        }
    }

    /// Returns the wait of an attempt, or as an error a wait that is too long.
    fn reserve(&self, account: &str, from: IpAddr, now: Instant) -> Result<Duration, Duration> {
        let mut accounts = self.accounts.lock();
        if accounts.len() >= MOST && !accounts.contains_key(account) {
            accounts.retain(|_, account| account.next > now);
        }
        let new = Account { attempts: 0, last: now, next: now, home: None };
        let account = accounts.entry(account.to_owned()).or_insert(new);
        if now.duration_since(account.last) > RECOVERED_AFTER {
            account.attempts = 0;
        }
        account.last = now;
        if account.home == Some(from) {
            return Ok(Duration::ZERO);
        }
        let wait = account.next.saturating_duration_since(now);
        if wait > PATIENCE {
            return Err(wait);
        }
        account.attempts = account.attempts.saturating_add(1);
        account.next = now + wait + pause_after(account.attempts);
        Ok(wait)
    }

    /// Notes a wrong password.
    pub fn wrong(&self, from: IpAddr) {
        SIGN_IN_FAILURES.of([]).increment(1);
        tracing::warn!(%from, "sign-in failed: wrong e-mail address or password");
    }

    /// Notes a right password.
    pub fn right(&self, account: &str, from: IpAddr) {
        if let Some(account) = self.accounts.lock().get_mut(account) {
            *account = Account { attempts: 0, last: account.last, next: account.last, home: Some(from) };
        }
    }

    /// Forgets accounts without an attempt for a day.
    pub fn tidy(&self) {
        self.accounts.lock().retain(|_, account| account.last.elapsed() < FORGOTTEN_AFTER);
    }
}

fn pause_after(attempts: u32) -> Duration {
    match attempts.checked_sub(FREE) {
        None | Some(0) => Duration::ZERO,
        Some(over) => FIRST_PAUSE.saturating_mul(1 << (over - 1).min(10)).min(LONGEST_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const AWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    /// Attempts that go through until `seconds` later, if each is made as soon as it may be.
    fn attempts_within(guesses: &Guesses, seconds: u64, begun: Instant) -> u32 {
        let (mut now, mut made) = (begun, 0);
        let end = begun + Duration::from_secs(seconds);
        while now < end {
            match guesses.reserve("kim@example.com", AWAY, now) {
                Ok(wait) => {
                    made += 1;
                    now += wait;
                }
                Err(wait) => now += wait,
            }
        }
        made
    }

    #[test]
    fn guesses_slow_down_and_others_do_not_shut_a_member_out() {
        let (guesses, begun) = (Guesses::new(true), Instant::now());
        guesses.reserve("kim@example.com", HOME, begun).unwrap();
        guesses.right("kim@example.com", HOME);
        let hour = 3_600;
        let made = attempts_within(&guesses, hour, begun);
        assert!((100..200).contains(&made), "{made} in an hour, one each half minute");
        let later = begun + Duration::from_secs(hour);
        assert_eq!(guesses.reserve("kim@example.com", HOME, later), Ok(Duration::ZERO), "at home");
        assert_eq!(guesses.reserve("lee@example.com", AWAY, later), Ok(Duration::ZERO), "another account");
        let quiet = later + RECOVERED_AFTER * 2;
        assert_eq!(guesses.reserve("kim@example.com", AWAY, quiet), Ok(Duration::ZERO), "after a while");
    }
}
