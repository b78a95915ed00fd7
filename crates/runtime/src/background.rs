//! Background work beside the API: expiry of orders, and deletion of old data.

use std::time::Duration;

use contracts::OrderId;
use db::Database;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::shop::Shop;

/// Orders that expire side by side, a unit each, in a common group commit.
const AT_ONCE: i64 = 32;
/// Pause between two queries for due orders, if nothing was due.
const OFTEN: Duration = Duration::from_millis(100);
const SELDOM: Duration = Duration::from_secs(1);
/// The longest pause while the database is away.
const LONGEST: Duration = Duration::from_secs(30);
/// Interval between two reports of waiting work.
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// Interval between two rounds of deletion.
const PURGE_EVERY: Duration = Duration::from_secs(600);

/// Ends orders not paid in time, until `stop`.
pub(crate) async fn expire_orders(shop: Shop, stop: CancellationToken) {
    let usual = (shop.settings.order.expires_after / 20).clamp(OFTEN, SELDOM);
    let mut pause = usual;
    while !stop.is_cancelled() {
        match expire_due(&shop.db).await {
            Ok(Expired { more: true, .. }) => continue,
            Ok(_) => pause = usual,
            Err(error) => {
                tracing::warn!(%error, ?pause, "orders that are due were not looked up");
                pause = (pause * 2).min(LONGEST);
            }
        }
        tokio::select! { () = stop.cancelled() => {}, () = sleep(pause) => {} }
    }
}

/// Result of a round of expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired {
    /// Number of ended orders.
    pub orders: usize,
    /// True if more orders are due.
    pub more: bool,
}

/// Ends some of the due orders. A failing order is logged, and comes again.
///
/// # Errors
/// If the due orders can't be read.
pub async fn expire_due(db: &Database) -> db::Result<Expired> {
    let due = db.statement(|conn| order::due(conn, AT_ONCE)).await?;
    let full = due.len() as i64 == AT_ONCE;
    let mut units = JoinSet::new();
    for order in due {
        let db = db.clone();
        units.spawn(async move { expire(&db, order).await });
    }
    let ended = units.join_all().await;
    let failed = ended.contains(&None);
    Ok(Expired { orders: ended.into_iter().filter(|ended| *ended == Some(true)).count(), more: full && !failed })
}

/// Returns `None` after an error.
async fn expire(db: &Database, order: OrderId) -> Option<bool> {
    let ended = db.write(move |tx| checkout::expire(tx, order)).await;
    ended.inspect_err(|error| tracing::warn!(%order, %error, "an order did not expire; trying again")).ok()
}

/// Keeps the gauges of the log up to date, until `stop`.
pub(crate) async fn report(shop: Shop, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if let Err(error) = messaging::report_depths(&shop.db, &shop.log).await {
            tracing::debug!(%error, "how much waits was not looked up");
        }
        tokio::select! { () = stop.cancelled() => {}, () = sleep(REPORT_EVERY) => {} }
    }
}

/// Deletes old data periodically, until `stop`.
pub(crate) async fn purge(shop: Shop, stop: CancellationToken) {
    while !stop.is_cancelled() {
        for (what, purge) in &shop.purges {
            loop {
                let unit = purge.clone();
                match shop.db.write(move |tx| unit(tx)).await {
                    Ok(true) if !stop.is_cancelled() => {}
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(what, %error, "not purged; trying again later");
                        break;
                    }
                }
            }
        }
        match messaging::purge(&shop.db, &shop.log, &shop.groups, shop.settings.events.retention).await {
            Ok(messaging::Purged { events: 0, .. }) => {}
            Ok(messaging::Purged { events, .. }) => tracing::info!(events, "old events were deleted from the log"),
            Err(error) => tracing::warn!(%error, "old events were not deleted; trying again later"),
        }
        tokio::select! { () = stop.cancelled() => {}, () = sleep(PURGE_EVERY) => {} }
    }
}
