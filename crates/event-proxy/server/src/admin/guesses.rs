//! Delay after wrong passwords. Nobody is refused for the guesses of others behind the same address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Wrong passwords of one address without a delay: typing errors.
const FREE: u32 = 3;
/// Delay after the next one, doubled by each more.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(3);
/// An address without a wrong password for this long begins anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// Addresses that are remembered.
const MAX_ADDRESSES: usize = 10_000;

/// Counts wrong passwords by address.
#[derive(Default)]
pub(super) struct Guesses(Mutex<HashMap<IpAddr, Wrong>>);

#[derive(Clone, Copy)]
struct Wrong {
    count: u32,
    last: Instant,
}

impl Wrong {
    fn is_recent(&self) -> bool {
        self.last.elapsed() < FORGOTTEN_AFTER
    }
}

impl Guesses {
    /// Counts a wrong password and returns the number of the address's recent ones.
    pub(super) fn wrong(&self, from: IpAddr) -> u32 {
        let mut all = self.0.lock();
        if all.len() >= MAX_ADDRESSES {
            all.retain(|_, wrong| wrong.is_recent());
        }
        if all.len() >= MAX_ADDRESSES {
            all.clear();
        }
        let before = all.get(&from).filter(|wrong| wrong.is_recent()).map_or(0, |wrong| wrong.count);
        let count = before.saturating_add(1);
        all.insert(from, Wrong { count, last: Instant::now() });
        count
    }

    /// Time until an answer to the address, whatever the password is.
    pub(super) fn delay(&self, from: IpAddr) -> Duration {
        let wrong = self.0.lock().get(&from).copied().filter(Wrong::is_recent);
        let over = wrong.and_then(|wrong| wrong.count.checked_sub(FREE + 1));
        over.map_or(Duration::ZERO, |over| FIRST.saturating_mul(1 << over.min(16)).min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_by_address_up_to_its_limit() {
        let (guesses, address, other) = (Guesses::default(), [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let delays: Vec<u128> = (0..12)
            .map(|n| {
                assert_eq!(guesses.wrong(address), n + 1);
                guesses.delay(address).as_millis()
            })
            .collect();
        assert_eq!(delays, [0, 0, 0, 100, 200, 400, 800, 1600, 3000, 3000, 3000, 3000]);
        assert_eq!(guesses.delay(other), Duration::ZERO);
    }
}
