//! Waiting for a request to be decided.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contracts::RequestId;
use coupon::IssueRequest;
use db::Database;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

/// How soon the database is asked again, when the issuer may run in another process; twice as long each time.
const FIRST_LOOK: Duration = Duration::from_millis(100);
/// And never longer than this.
const LAST_LOOK: Duration = Duration::from_secs(1);

type Waiting = HashMap<RequestId, Vec<oneshot::Sender<IssueRequest>>>;

/// Hands results to those in this process who wait for them; clones share the list of who waits.
#[derive(Clone, Default)]
pub struct IssuerWake(Arc<Mutex<Waiting>>);

impl IssuerWake {
    /// Tells each of these results to whoever waits for it.
    pub(super) fn tell(&self, results: Vec<IssueRequest>) {
        let mut waiting = self.waiting();
        if waiting.is_empty() {
            return;
        }
        for result in results {
            for waiter in waiting.remove(&result.request_id).unwrap_or_default() {
                // whoever is gone needs no answer
                let _ = waiter.send(result.clone());
            }
        }
    }

    fn wait_for(&self, request: RequestId) -> Waiter {
        let (sender, decided) = oneshot::channel();
        self.waiting().entry(request).or_default().push(sender);
        Waiter { wake: self.clone(), request, decided }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // every change of the map is one call, so that a panic elsewhere leaves it whole
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits; leaves the list when dropped.
struct Waiter {
    wake: IssuerWake,
    request: RequestId,
    decided: oneshot::Receiver<IssueRequest>,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.decided.close();
        let mut waiting = self.wake.waiting();
        if let Some(waiters) = waiting.get_mut(&self.request) {
            waiters.retain(|waiter| !waiter.is_closed());
            if waiters.is_empty() {
                waiting.remove(&self.request);
            }
        }
    }
}

/// How a request ended, waiting up to `wait` for it; `None` while it is not decided.
///
/// It is answered at once when the issuer runs in this process, and by asking the database now and then when it runs
/// in another.
///
/// # Errors
/// Whatever the database says.
pub async fn outcome(
    db: &Database,
    wake: &IssuerWake,
    request: RequestId,
    wait: Duration,
) -> db::Result<Option<IssueRequest>> {
    let look = || db.read(move |conn| coupon::request(conn, request));
    let deadline = Instant::now() + wait;
    // before the first look, so that no result falls between the two
    let mut waiter = wake.wait_for(request);
    let mut pause = FIRST_LOOK;
    loop {
        if let Some(result) = look().await? {
            return Ok(Some(result));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        match timeout(pause.min(left), &mut waiter.decided).await {
            Ok(Ok(result)) => return Ok(Some(result)),
            // the list lets go of a sender only with a result; if it ever did without, the database knows
            Ok(Err(_)) => return look().await,
            Err(_) => pause = (pause * 2).min(LAST_LOOK),
        }
    }
}
