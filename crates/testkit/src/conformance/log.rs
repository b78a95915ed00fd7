//! The log: positions, order, retention.

use std::collections::HashMap;
use std::time::Duration;

use messaging::admin::{self, EventQuery};
use messaging::{purge, run_sequencer};
use tokio_util::sync::CancellationToken;

use super::{Bed, Complaints, PARTITIONS, Ticked, following, tick, until};

/// Every event in the log, by topic, partition and position.
async fn all_events(bed: &Bed) -> Vec<messaging::Event> {
    let read = |conn: &mut db::Conn| admin::events(conn, &EventQuery::default(), 1_000_000);
    let mut events: Vec<_> =
        bed.database.db.read(read).await.expect("the log").into_iter().map(|stored| stored.event).collect();
    events.sort_by_key(|event| (event.partition, event.position));
    events
}

async fn until_numbered(bed: &Bed, count: usize) {
    until("all events are numbered", async || {
        let ends = (0..PARTITIONS).map(|n| *bed.database.log.end(super::TICKS, n).expect("a partition").borrow());
        ends.sum::<i64>() == count as i64
    })
    .await;
}

/// No hole in the positions of a partition, and within a key the numbers rise.
async fn assert_gap_free_and_in_order(bed: &Bed, count: usize) {
    until_numbered(bed, count).await;
    let mut next = HashMap::new();
    let mut numbers = HashMap::new();
    for event in all_events(bed).await {
        let due = next.entry(event.partition).or_insert(0);
        assert_eq!(event.position, *due, "{}: partition {}", bed.name, event.partition);
        *due += 1;
        let ticked: Ticked = event.decode().expect("a tick");
        let number = numbers.entry(event.key.clone()).or_insert(0);
        assert_eq!(ticked.number, *number, "{}: {}", bed.name, event.key);
        *number += 1;
    }
    assert_eq!(next.values().sum::<i64>(), count as i64, "{}", bed.name);
}

/// Units side by side, a third of them rolled back: positions have no gaps, and a rolled-back unit left nothing.
pub async fn positions_have_no_gaps_under_concurrent_and_rolled_back_units(bed: Bed) {
    let db = &bed.database.db;
    let units = futures::stream::iter(0..600_usize);
    futures::StreamExt::for_each_concurrent(units, 32, |n| async move {
        let unit = move |tx: &mut db::Tx<'_>| -> Result<(), db::Error> {
            tick(tx, &format!("key-{}", n % 7))?;
            if n % 3 == 0 { Err(db::Error::NotFound) } else { Ok(()) }
        };
        let done = db.write(unit).await;
        assert_eq!(done.is_err(), n % 3 == 0, "{done:?}");
    })
    .await;
    assert_gap_free_and_in_order(&bed, 400).await;
}

/// What a savepoint rolled back is not in the log, and the rest of its unit is.
pub async fn a_rolled_back_savepoint_drops_its_events(bed: Bed) {
    let unit = |tx: &mut db::Tx<'_>| -> db::Result<()> {
        tick(tx, "kept")?;
        let refused = tx.savepoint(|tx| -> db::Result<()> {
            tick(tx, "dropped")?;
            Err(db::Error::NotFound)
        });
        assert!(refused.is_err());
        tick(tx, "kept")
    };
    bed.database.db.write(unit).await.expect("the unit");
    until_numbered(&bed, 2).await;
    let keys: Vec<_> = all_events(&bed).await.into_iter().map(|event| event.key).collect();
    assert_eq!(keys, ["kept", "kept"], "{}", bed.name);
}

/// Four sequencers at once, where there are sequencers: no gap and no inversion.
pub async fn several_sequencers_leave_no_gap_and_no_inversion(bed: Bed) {
    let stop = CancellationToken::new();
    let (db, log) = (&bed.database.db, &bed.database.log);
    let others: Vec<_> = (0..4).map(|_| tokio::spawn(run_sequencer(db.clone(), log.clone(), stop.clone()))).collect();
    bed.tick_all(10, 150, 16).await;
    assert_gap_free_and_in_order(&bed, 1500).await;
    stop.cancel();
    for other in others {
        other.await.expect("a sequencer");
    }
}

/// The log is cut up to the slowest group and no further, and not at all under a rebuildable group.
pub async fn retention_never_passes_a_slow_group(bed: Bed) {
    let complaints = Complaints::default();
    let mut group = following("follower", &complaints);
    bed.tick_all(5, 20, 8).await;
    let consumers = bed.host(vec![group.clone()]).await;
    bed.until_handled("follower", 5, 20).await;
    consumers.stop().await;
    // nobody handles these
    bed.tick_all(5, 10, 8).await;
    until_numbered(&bed, 150).await;
    let (db, log) = (&bed.database.db, &bed.database.log);
    let none = purge(db, log, &[group.clone()], Duration::ZERO).await.expect("a purge");
    assert_eq!(none, 0, "{}: a rebuildable group needs the whole log", bed.name);
    group.replay = messaging::Replay::Resendable;
    let young = purge(db, log, &[group.clone()], Duration::from_secs(3600)).await.expect("a purge");
    assert_eq!(young, 0, "{}: all of it is young", bed.name);
    let purged = purge(db, log, &[group.clone()], Duration::ZERO).await.expect("a purge");
    assert_eq!(purged, 100, "{}", bed.name);
    let consumers = bed.host(vec![group]).await;
    bed.until_handled("follower", 5, 30).await;
    consumers.stop().await;
    complaints.assert_none();
}
