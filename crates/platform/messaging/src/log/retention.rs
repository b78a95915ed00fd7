//! Retention: deletes old events handled by every group.

use std::time::Duration;

use db::{Database, Tx};
use diesel::prelude::*;

use crate::consumer::group::{Group, Replay};
use crate::log::Log;
use crate::log::rows;
use crate::relay::set_aside;
use crate::schema::{event_log, group_position};

/// Events deleted in one transaction, so that the writer stays available.
const CHUNK: i64 = 1000;

/// Deleted events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Purged {
    pub events: u64,
    /// Size of their payloads.
    pub bytes: u64,
}

/// Deletes events older than `keep` and handled by every registered group. Keeps topics of rebuildable groups whole.
///
/// # Errors
/// Errors of the database; earlier deletions stay.
pub async fn purge(db: &Database, log: &Log, groups: &[Group], keep: Duration) -> db::Result<Purged> {
    let rebuilt = |topic: &str| {
        groups.iter().any(|group| matches!(group.replay, Replay::Rebuildable(_)) && group.topics.contains(&topic))
    };
    let mut purged = Purged::default();
    for topic in log.topics().into_iter().filter(|topic| !rebuilt(topic)) {
        for partition in 0..log.partitions(&topic) {
            loop {
                let topic = topic.clone();
                let deleted = db.write(move |tx| purge_chunk(tx, &topic, partition, keep)).await?;
                purged.events += deleted.events;
                purged.bytes += deleted.bytes;
                if deleted.events < CHUNK as u64 {
                    break;
                }
            }
        }
    }
    Ok(purged)
}

fn purge_chunk(tx: &mut Tx<'_>, topic: &str, partition: i32, keep: Duration) -> db::Result<Purged> {
    let source = rows::source_of(tx)?; // another one when the log was renewed meanwhile
    let oldest = tx.now()? - keep;
    let rows = rows::lock_partitions(tx, topic)?;
    let Some(row) = rows.into_iter().find(|row| row.partition == partition) else { return Ok(Purged::default()) };
    let slowest: Option<i64> = group_position::table
        .filter(group_position::topic.eq(topic))
        .filter(group_position::partition.eq(partition))
        .filter(group_position::source.eq(source))
        .order(group_position::position)
        .select(group_position::position)
        .first(&mut **tx)
        .optional()?;
    let of_partition = event_log::topic.eq(topic).and(event_log::partition.eq(partition));
    let oldest_kept: Option<i64> = event_log::table
        .filter(of_partition)
        .filter(event_log::position.ge(row.floor))
        // no further than this chunk: all that is old would be read for each
        .filter(event_log::position.lt(row.floor + CHUNK))
        .filter(event_log::appended_at.ge(oldest))
        .order(event_log::position)
        .select(event_log::position)
        .first(&mut **tx)
        .optional()?;
    let handled = slowest.map_or(row.next, |slowest| slowest + 1);
    let floor = oldest_kept.unwrap_or(row.next).min(handled).min(row.floor + CHUNK);
    if floor <= row.floor {
        return Ok(Purged::default());
    }
    let old = of_partition.and(event_log::position.lt(floor));
    let bytes: i64 = event_log::table.filter(old).select(rows::payload_bytes()).first(&mut **tx)?;
    let events = diesel::delete(event_log::table.filter(old)).execute(&mut **tx)?;
    rows::set_floor(tx, topic, partition, floor)?;
    set_aside::forget(tx, topic, partition, floor)?;
    Ok(Purged { events: events as u64, bytes: bytes as u64 })
}
