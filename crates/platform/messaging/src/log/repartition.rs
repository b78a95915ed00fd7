//! Repartitioning: more partitions for a topic, with the order of each key kept.
//!
//! Old events stay in their partition, and later events of the key may go to another partition. So the repartitioning
//! records the ends of the partitions as barriers. A group handles nothing behind a barrier before the group has
//! passed all barriers.

use std::collections::BTreeMap;

use db::{Conn, Tx};
use diesel::prelude::*;

use crate::consumer::offsets::{self, Place};
use crate::log::Log;
use crate::log::rows::{self, PartitionRow};
use crate::schema::{group_position, topic_fence};

/// Maximum number of partitions of a topic; more are never useful to one program.
pub const MAX_PARTITIONS: i32 = 1_000;

/// Refusal of more partitions.
#[derive(Debug, thiserror::Error)]
pub enum RaiseError {
    #[error("there is no topic {0}")]
    NoSuchTopic(String),
    #[error("{topic} has {there} partitions, and can't have fewer")]
    Fewer { topic: String, there: i32 },
    #[error("a topic has {MAX_PARTITIONS} partitions at the most")]
    TooMany,
    #[error(transparent)]
    Database(#[from] db::Error),
}

/// Raises a topic to `count` partitions, while processes run. Returns the earlier number; an equal number changes
/// nothing. Raise the partitions on an external bus as well.
///
/// # Errors
/// As [`RaiseError`] says.
pub fn raise_partitions(tx: &mut Tx<'_>, log: &Log, topic: &str, count: i32) -> Result<i32, RaiseError> {
    let rows = rows::lock_partitions(tx, topic)?;
    let there = rows.len() as i32;
    match () {
        () if there == 0 => Err(RaiseError::NoSuchTopic(topic.into())),
        () if count < there => Err(RaiseError::Fewer { topic: topic.into(), there }),
        () if count > MAX_PARTITIONS => Err(RaiseError::TooMany),
        () if count == there => Ok(there),
        () => {
            raise(tx, log, topic, &rows, count)?;
            Ok(there)
        }
    }
}

fn raise(tx: &mut Tx<'_>, log: &Log, topic: &str, rows: &[PartitionRow], count: i32) -> db::Result<()> {
    use topic_fence as fence;
    for row in rows {
        let at = (fence::topic.eq(topic), fence::partitions.eq(count), fence::partition.eq(row.partition));
        diesel::insert_into(fence::table).values((at, fence::next.eq(row.next))).execute(&mut **tx)?;
    }
    let gained = rows.len() as i32..count;
    rows::insert_partitions(tx, topic, gained.clone())?;
    offsets::gain(tx, log, topic, gained)?;
    log.set_gaining();
    let (log, topic) = (log.clone(), topic.to_owned());
    tx.after_commit(move || log.gain(&topic, count));
    Ok(())
}

/// Returns the first position in the partition that the group may not handle yet, `i64::MAX` without a limit; `None`
/// if the topic never gained a partition.
pub(crate) fn ahead(conn: &mut Conn, place: &Place) -> db::Result<Option<i64>> {
    use topic_fence as fence;
    let fences: Vec<(i32, i32, i64)> = fence::table
        .filter(fence::topic.eq(&*place.topic))
        .order((fence::partitions, fence::partition))
        .select((fence::partitions, fence::partition, fence::next))
        .load(conn)?;
    if fences.is_empty() {
        return Ok(None);
    }
    let positions: Vec<(i32, i64)> = group_position::table
        .filter(group_position::grp.eq(place.group))
        .filter(group_position::topic.eq(&*place.topic))
        .filter(group_position::source.eq(place.source))
        .select((group_position::partition, group_position::position))
        .load(conn)?;
    let positions: BTreeMap<_, _> = positions.into_iter().collect();
    let is_ahead = |partition, next| positions.get(partition).is_none_or(|position| position + 1 < next);
    let Some((raise, ..)) = fences.iter().find(|(_, partition, next)| is_ahead(partition, *next)) else {
        return Ok(Some(i64::MAX));
    };
    let own = fences.iter().find(|(of, partition, _)| of == raise && *partition == place.partition);
    Ok(Some(own.map_or(0, |(_, _, next)| *next))) // the raise or a later one has made the partition
}
