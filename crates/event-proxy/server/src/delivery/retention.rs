//! Housekeeping: periodic tasks of a proxy.

use std::sync::Arc;
use std::time::Duration;

use db::{Database, Tx};
use messaging::{Log, Purged, purge};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::delivery::{offset_index, quarantine};
use crate::ingest::capacity::Room;
use crate::topics::Topics;

/// Interval of reading changes of other proxies.
const REFRESH_EVERY: Duration = Duration::from_secs(2);
/// Interval of purges of the log.
const PURGE_EVERY: Duration = Duration::from_secs(60);

/// The tasks.
pub(crate) struct Housekeeping {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Housekeeping {
    /// Starts reading changes of other proxies, and purging events delivered longer than `keep` ago.
    pub(crate) fn start(db: &Database, log: &Log, topics: &Arc<Topics>, room: &Arc<Room>, keep: Duration) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (db, log, topics, its_stop) = (db.clone(), log.clone(), topics.clone(), stop.clone());
        let room = room.clone();
        tasks.spawn(async move {
            let mut purged: Option<Instant> = None;
            while !its_stop.is_cancelled() {
                if let Err(error) = topics.refresh().await {
                    tracing::warn!(%error, "what other proxies changed is not known");
                }
                if purged.is_none_or(|purged| purged.elapsed() > PURGE_EVERY) {
                    purged = Some(Instant::now());
                    if let Err(error) = forget(&db, &log, &room, keep).await {
                        tracing::warn!(%error, "what was delivered is not forgotten yet");
                    }
                }
                tokio::select! { () = its_stop.cancelled() => {}, () = sleep(REFRESH_EVERY) => {} }
            }
        });
        tasks.close();
        Self { stop, tasks }
    }

    /// Finishes running tasks.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

/// Deletes events delivered or discarded longer than `keep` ago.
///
/// # Errors
/// Any error of the database.
pub(crate) async fn forget(db: &Database, log: &Log, room: &Room, keep: Duration) -> db::Result<()> {
    let Purged { events, bytes } = purge(db, log, &[], keep).await?;
    room.forgotten(bytes);
    if events > 0 {
        tracing::debug!(events, "old events were cut from the log");
    }
    db.write(move |tx: &mut Tx<'_>| -> db::Result<()> {
        let oldest = tx.now()? - keep;
        offset_index::cut(tx)?;
        quarantine::forget_discarded(tx, oldest)
    })
    .await
}
