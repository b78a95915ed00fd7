//! Passwords: argon2id with the parameters OWASP recommends (19 MiB, 2 passes), away from the HTTP threads.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use db::text::typed;
use rest::turns::Turns;
use telemetry::metrics::SIGN_IN_FAILURES;
use tokio::sync::Semaphore;

use crate::http::problem::{Problem, unavailable};

/// Maximum wait of a request for a turn to hash.
const PATIENCE: Duration = Duration::from_secs(10);

/// Hashes and verifies passwords, few at a time: each takes 19 MiB and some milliseconds of a core. A network waits
/// with one password at a time, so that a busy network does not delay other networks.
#[derive(Clone)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    networks: Arc<Turns<IpAddr>>,
    /// Hash of a random password, for unknown e-mail addresses: both cases take the same time.
    decoy: Arc<str>,
}

impl Passwords {
    /// Allows at most `at_once` hashes at the same time.
    pub fn new(at_once: usize) -> Self {
        let decoy = hash(&rand::random::<u128>().to_string()).expect("argon2 takes any password of 38 bytes");
        let turns = Arc::new(Semaphore::new(at_once.max(1)));
        Self { turns, networks: Arc::default(), decoy: decoy.into() }
    }

    /// Returns the hash to store, as a PHC string.
    ///
    /// # Errors
    /// If the turn does not come in time.
    pub async fn hash(&self, password: String, from: IpAddr) -> Result<String, Problem> {
        self.in_turn(from, move || hash(&password)).await?.map_err(Problem::internal)
    }

    /// Returns true if `password` matches `stored`; without a hash returns false after the same time.
    ///
    /// # Errors
    /// If the turn does not come in time.
    pub async fn verify(&self, password: String, stored: Option<String>, from: IpAddr) -> Result<bool, Problem> {
        let decoy = self.decoy.clone();
        self.in_turn(from, move || {
            let hash = stored.as_deref().unwrap_or(&decoy);
            let is_of = |password: &str| Argon2::default().verify_password(password.as_bytes(), hash).is_ok();
            let typed = typed(&password);
            // earlier versions hashed a password as it was sent
            let right = is_of(&typed) || (typed != password && is_of(&password));
            right && stored.is_some()
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        from: IpAddr,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = async {
            let _of_network = self.networks.of(from).await;
            self.turns.clone().acquire_owned().await
        };
        let Ok(Ok(turn)) = tokio::time::timeout(PATIENCE, turn).await else {
            return Err(unavailable("too many sign-ins at once"));
        };
        let task = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        task.await.map_err(Problem::internal)
    }
}

/// Counts and logs a wrong password.
pub(crate) fn note_wrong_password(from: IpAddr) {
    SIGN_IN_FAILURES.of([]).increment(1);
    tracing::warn!(%from, "sign-in failed: wrong e-mail address or password");
}

/// Returns the hash of `password` as a PHC string, on this thread.
pub(crate) fn hash(password: &str) -> Result<String, argon2::password_hash::Error> {
    Ok(Argon2::default().hash_password(typed(password).as_bytes())?.to_string())
}
