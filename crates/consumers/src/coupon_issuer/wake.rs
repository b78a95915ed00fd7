//! Waiting for a request to be decided.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use contracts::RequestId;
use coupon::IssueRequest;
use db::Database;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

/// First pause between two queries, if the issuer may run in another process; the pause doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between two queries.
const LAST_PAUSE: Duration = Duration::from_secs(1);

type Waiting = HashMap<RequestId, Vec<oneshot::Sender<IssueRequest>>>;

/// Hands results to waiters in this process; clones share the list of waiters.
#[derive(Clone, Default)]
pub struct IssuerWake(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Start of the last query; locked during a query.
    looked: tokio::sync::Mutex<Option<Instant>>,
}

impl IssuerWake {
    /// Sends each result to the waiter for the request.
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
        self.0.waiting.lock()
    }

    /// Looks into the database now and then, until `deadline`.
    async fn keep_looking(&self, db: &Database, deadline: Instant) -> db::Result<()> {
        let (mut last, mut pause) = (Ok(()), FIRST_PAUSE);
        while let Ok(looked) = timeout_at(deadline, self.look(db)).await {
            last = looked;
            sleep_until(deadline.min(Instant::now() + pause)).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
        last
    }

    /// Asks the database for all waiters in one query: there may be thousands of waiters, and there are few
    /// connections.
    async fn look(&self, db: &Database) -> db::Result<()> {
        let asked = Instant::now();
        let mut looked = self.0.looked.lock().await;
        if looked.is_some_and(|began| began >= asked) {
            // somebody else's look has covered this one
            return Ok(());
        }
        let began = Instant::now();
        let ids: Vec<RequestId> = self.waiting().keys().copied().collect();
        self.tell(db.read(move |conn| coupon::requests(conn, &ids)).await?);
        *looked = Some(began);
        Ok(())
    }
}

/// Entry in the list of waiters; removed when dropped.
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

/// Returns the outcome of a request, after a wait of up to `wait`; `None` for an undecided request.
///
/// The outcome arrives at once if the issuer runs in this process. Otherwise `outcome` polls the database. Failures
/// of the database within the time are waited out.
///
/// # Errors
/// The last error of the database.
pub async fn outcome(
    db: &Database,
    wake: &IssuerWake,
    request: RequestId,
    wait: Duration,
) -> db::Result<Option<IssueRequest>> {
    if wait.is_zero() {
        return db.read(move |conn| coupon::request(conn, request)).await;
    }
    let deadline = Instant::now() + wait;
    // on the list before the first look, so that no result falls between the two
    let mut waiter = wake.wait_for(request);
    tokio::select! {
        biased;
        Ok(result) = &mut waiter.decided => return Ok(Some(result)),
        looked = wake.keep_looking(db, deadline) => looked?,
    }
    Ok(waiter.decided.try_recv().ok())
}
