//! What runs beside the API: expiry of orders, and deletion of what nobody needs any more.

use std::time::Duration;

use contracts::OrderId;
use db::Database;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::shop::Shop;

/// Orders that expire side by side, a unit each, which a group commit takes together.
const AT_ONCE: i64 = 32;
/// Between two looks at what is due, when nothing was.
const OFTEN: Duration = Duration::from_millis(100);
const SELDOM: Duration = Duration::from_secs(1);
/// The longest pause while the database is away.
const LONGEST: Duration = Duration::from_secs(30);
/// Between two looks at how much waits.
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// Between two rounds of deleting.
const PURGE_EVERY: Duration = Duration::from_secs(600);

/// Ends orders that were not paid in time, until `stop`.
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

/// What a round of expiry came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired {
    /// Orders that gave back what they had reserved.
    pub orders: usize,
    /// Others are due as well.
    pub more: bool,
}

/// Ends some of the orders that are due. One that fails is logged, and comes again.
///
/// # Errors
/// If it can't be told which are due.
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

/// `None` when it failed.
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

/// Deletes now and then what nobody needs any more, until `stop`.
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
