//! Login throttle: slows down guesses at passwords by account and by network, and locks no member out.
//!
//! **The rule.** An attempt waits for two turns, and the password is compared after both:
//!
//! 1. The network (an IPv4 address or an IPv6 /64) has `NETWORK`: 60 attempts at once, then one each 3 s, across all
//!    accounts.
//! 2. The account has a queue for the first attempts of all networks, a queue for the second attempts, and a queue
//!    for the third attempts, each with `EARLY`: 5 at once, then one each second. All further attempts share a queue
//!    with `LATE`: 5 at once, then one each 3 s. A network with an earlier right password skips these queues.
//!
//! At most `WAITING` attempts wait in a queue, thus at most 15 s; more are refused with `Retry-After`. A right password
//! costs no turn.
//!
//! The result: one account has 20 guesses a minute, and three more for each guessing network. One network has 20
//! guesses a minute. A right password from a new network competes only with first attempts: while `n` networks guess,
//! their first attempts are over after `n` seconds. Clients of one network share the network's turns.
//!
//! Counts are in the memory of one process, for `MOST` networks of accounts: about 10 MB at most.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::sleep;

use crate::kinds;
use crate::problem::Problem;

/// Pace of turns: a number of turns at once, then one at a time.
struct Pace {
    at_once: u32,
    every: Duration,
}

const NETWORK: Pace = Pace { at_once: 60, every: Duration::from_secs(3) };
const EARLY: Pace = Pace { at_once: 5, every: Duration::from_secs(1) };
const LATE: Pace = Pace { at_once: 5, every: Duration::from_secs(3) };
/// Early attempts of a network at an account.
const EARLY_ATTEMPTS: u32 = 3;
/// Maximum number of attempts waiting in a queue.
const WAITING: u32 = 5;
/// Time without an attempt until a network is new to an account again.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Entries of each table. Of a full table the older half is dropped.
const MOST: usize = 100_000;

/// Key of a table: hash of an entry's subject. Memory holds only this number of all client input.
type Key = u64;

/// Turns of all accounts and networks.
pub struct LoginThrottle {
    is_on: bool,
    hasher: RandomState,
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    /// Networks of accounts.
    known: HashMap<Key, Known>,
    /// Time at which all given turns are used up, by queue.
    queues: HashMap<Key, Instant>,
}

#[derive(Clone, Copy)]
struct Known {
    /// The right password came from this network.
    is_home: bool,
    last: Instant,
    /// Attempts since the last right password.
    attempts: u32,
}

/// Attempt at its turn. Without [`right`](Self::right) the attempt counts as a guess.
pub struct Attempt<'a> {
    throttle: &'a LoginThrottle,
    known: Key,
    queues: Vec<(Key, &'static Pace)>,
    number: u32,
}

impl LoginThrottle {
    /// Returns a throttle; without `is_on` the throttle lets every attempt through.
    pub fn new(is_on: bool) -> Self {
        Self { is_on, hasher: RandomState::new(), tables: Mutex::default() }
    }

    /// Waits until a password of the account may be compared.
    ///
    /// # Errors
    /// `too-many-requests` if too many attempts wait.
    pub async fn turn(&self, account: &str, from: IpAddr) -> Result<Attempt<'_>, Problem> {
        let refused = |wait| {
            let detail = "too many wrong passwords for this account, or from this address";
            Problem::new(&kinds::TOO_MANY_REQUESTS).detail(detail).retry_after(wait)
        };
        let (attempt, wait) = self.reserve(account, from, Instant::now()).map_err(refused)?;
        if self.is_on && !wait.is_zero() {
            sleep(wait).await;
        }
        Ok(attempt)
    }

    /// Returns an attempt and the time until its turn, or as an error the time until there is room in the queues.
    fn reserve(&self, account: &str, from: IpAddr, now: Instant) -> Result<(Attempt<'_>, Duration), Duration> {
        let mut tables = self.tables.lock();
        let key = self.hasher.hash_one((account, from));
        let new = Known { is_home: false, last: now, attempts: 0 };
        let known = tables.known.get(&key).filter(|known| now.duration_since(known.last) < FORGOTTEN_AFTER);
        let known = known.copied().unwrap_or(new);
        let mut queues = vec![(self.hasher.hash_one(from), &NETWORK)];
        if !known.is_home {
            let stage = known.attempts.min(EARLY_ATTEMPTS);
            let pace = if stage < EARLY_ATTEMPTS { &EARLY } else { &LATE };
            queues.push((self.hasher.hash_one((account, stage)), pace));
        }
        let waits = queues.iter().map(|(queue, pace)| pace.wait(tables.queues.get(queue), now));
        let (waits, too_long): (Vec<_>, Vec<_>) = waits.unzip();
        let too_long = too_long.into_iter().max().unwrap_or_default();
        if self.is_on && !too_long.is_zero() {
            return Err(too_long);
        }
        make_room(&mut tables.queues, |used_up| *used_up);
        for (queue, pace) in &queues {
            let used_up = tables.queues.entry(*queue).or_insert(now);
            *used_up = now.max(*used_up) + pace.every;
        }
        make_room(&mut tables.known, |known| (known.is_home, known.last));
        let number = known.attempts.saturating_add(1);
        tables.known.insert(key, Known { attempts: number, last: now, ..known });
        let wait = waits.into_iter().max().unwrap_or_default();
        Ok((Attempt { throttle: self, known: key, queues, number }, wait))
    }
}

impl Attempt<'_> {
    /// Gives the turns back: the password was right, and the network is known from now on.
    pub fn right(self) {
        let mut tables = self.throttle.tables.lock();
        for (queue, pace) in &self.queues {
            if let Some(used_up) = tables.queues.get_mut(queue) {
                *used_up -= pace.every;
            }
        }
        if let Some(known) = tables.known.get_mut(&self.known) {
            *known = Known { is_home: true, attempts: 0, ..*known };
        }
    }

    /// Returns the number of attempts of this network at the account since the last right password.
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl Pace {
    /// Returns the time until the next turn, and the excess over the allowed time.
    fn wait(&self, used_up: Option<&Instant>, now: Instant) -> (Duration, Duration) {
        let given = used_up.map_or(Duration::ZERO, |used_up| used_up.saturating_duration_since(now));
        let wait = given.saturating_sub(self.every * (self.at_once - 1));
        (wait, wait.saturating_sub(self.every * WAITING))
    }
}

/// Drops the lower-ranking half of a full table.
fn make_room<V, R: Ord + Copy>(table: &mut HashMap<Key, V>, rank: impl Fn(&V) -> R) {
    if table.len() >= MOST {
        let mut ranks: Vec<R> = table.values().map(&rank).collect();
        let middle = *ranks.select_nth_unstable(MOST / 2).1;
        table.retain(|_, entry| rank(entry) > middle);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const KIM: &str = "kim@example.com";
    const SECOND: Duration = Duration::from_secs(1);

    fn network(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    /// Returns the number of passwords compared in an hour, if `guess` makes ten attempts a second; `guess` gets the
    /// attempt's number.
    fn compared_in_an_hour(guess: impl Fn(u32) -> (String, IpAddr)) -> u32 {
        let (throttle, begun) = (LoginThrottle::new(true), Instant::now());
        let is_compared = |attempt: &u32| {
            let (account, from) = guess(*attempt);
            throttle.reserve(&account, from, begun + SECOND * *attempt / 10).is_ok()
        };
        (0..36_000).filter(is_compared).count() as u32
    }

    #[test]
    fn guesses_at_one_account_are_slowed_down_from_one_network_and_from_many() {
        let of_one = compared_in_an_hour(|_| (KIM.to_owned(), network(1)));
        assert!((1_200..1_220).contains(&of_one), "{of_one}: 20 a minute");
        let networks = 300;
        let of_many = compared_in_an_hour(|attempt| (KIM.to_owned(), network(attempt % networks)));
        let most = 1_200 + 3 * networks;
        assert!((most - 100..most + 20).contains(&of_many), "{of_many}: 20 a minute, and 3 by network");
    }

    #[test]
    fn guesses_of_one_network_at_many_accounts_are_slowed_down() {
        let made = compared_in_an_hour(|attempt| (attempt.to_string(), network(1)));
        assert!((1_260..1_270).contains(&made), "{made}: 60, then 20 a minute");
    }

    #[test]
    fn others_guesses_keep_nobody_out() {
        let (throttle, begun) = (LoginThrottle::new(true), Instant::now());
        let home = network(1_000);
        throttle.reserve(KIM, home, begun).unwrap().0.right();
        let networks = 200;
        let mut guessed = HashSet::new();
        // every network of the attack tries ten times a second, always before the member does
        let entered = (0..).find(|tenth| {
            let now = begun + SECOND * *tenth / 10;
            guessed.extend((0..networks).filter(|from| throttle.reserve(KIM, network(*from), now).is_ok()));
            let (_, wait) = throttle.reserve(KIM, home, now).ok().map(|(home, wait)| (home.right(), wait)).unwrap();
            assert_eq!(wait, Duration::ZERO, "at home nobody waits for others");
            throttle.reserve(KIM, network(2_000), now).is_ok()
        });
        assert_eq!(guessed.len(), networks as usize, "first attempts of the attack come first");
        assert!(entered.unwrap() <= networks * 10, "in at {entered:?} tenths of a second");
    }

    #[test]
    fn right_passwords_cost_no_turn() {
        let (throttle, now) = (LoginThrottle::new(true), Instant::now());
        for _ in 0..1_000 {
            let (attempt, wait) = throttle.reserve(KIM, network(1), now).unwrap();
            assert_eq!((attempt.number(), wait), (1, Duration::ZERO));
            attempt.right();
        }
    }

    #[test]
    fn a_full_table_keeps_networks_of_right_passwords() {
        let (throttle, begun) = (LoginThrottle::new(true), Instant::now());
        throttle.reserve(KIM, network(0), begun).unwrap().0.right();
        let most = u32::try_from(MOST).unwrap();
        for guess in 1..=most * 2 {
            let now = begun + SECOND * guess;
            throttle.reserve(&guess.to_string(), network(guess), now).unwrap();
        }
        let tables = throttle.tables.lock();
        assert!(tables.known.len() <= MOST && tables.queues.len() <= MOST + 1);
        assert!(tables.known.values().any(|known| known.is_home));
    }
}
