//! Positions of a member's partitions recorded together.

use std::sync::Arc;

use db::types::Id;
use db::{Conn, Database};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Text};

use crate::consumer::group::Lease;
use crate::consumer::leases;
use crate::consumer::offsets::Place;
use crate::schema::group_position;

/// A handled position, and the lease at the handling.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    pub(crate) place: Place,
    pub(crate) lease: Lease,
    pub(crate) position: i64,
    /// Epoch of the event at the position.
    pub(crate) epoch: Id,
}

/// Leases and positions are locked in order, and positions never fall. A holder that waits for a lease sees the
/// position of the holder before. A position that the log has lost, or that another epoch owns, stays unchanged.
const RECORD: &str = r#"WITH mark AS (
    SELECT mark.* FROM unnest($2::text[], $3::integer[], $4::uuid[], $5::bigint[], $6::bigint[], $7::uuid[])
        AS mark (topic, partition, source, number, position, epoch)
    JOIN log_epoch epoch ON epoch.id = mark.epoch
    WHERE NOT EXISTS (
        SELECT FROM log_epoch_start later WHERE later.topic = mark.topic AND later.partition = mark.partition
            AND later.ordinal > epoch.ordinal AND later.first <= mark.position)
), held AS MATERIALIZED (
    SELECT mark.* FROM mark JOIN group_lease lease
        ON lease.grp = $1 AND lease.topic = mark.topic AND lease.partition = mark.partition AND lease.number = mark.number
    ORDER BY mark.topic COLLATE "C", mark.partition FOR SHARE OF lease
), locked AS MATERIALIZED (
    SELECT held.* FROM held JOIN group_position place
        ON place.grp = $1 AND place.topic = held.topic AND place.partition = held.partition
        AND place.source = held.source
    ORDER BY held.topic COLLATE "C", held.partition FOR NO KEY UPDATE OF place
)
UPDATE group_position place SET position = locked.position FROM locked
WHERE place.grp = $1 AND place.topic = locked.topic AND place.partition = locked.partition
    AND place.source = locked.source AND place.position < locked.position"#;

/// Records higher positions of partitions with the newest lease. A crash of the server may undo the record.
pub(crate) async fn record(db: &Database, marks: Vec<Mark>) -> db::Result<()> {
    let marks: Arc<[Mark]> = marks.into();
    if db.is_shared() {
        return db.statement(move |conn| record_all(conn, &marks)).await;
    }
    db.write(move |tx| marks.iter().try_for_each(|mark| record_one(tx, mark))).await
}

fn record_all(conn: &mut Conn, marks: &[Mark]) -> db::Result<()> {
    let (Conn::Pg(conn), Some(first)) = (conn, marks.first()) else { return Ok(()) };
    let all = |of: fn(&Mark) -> i64| marks.iter().map(of).collect::<Vec<_>>();
    diesel::sql_query(RECORD)
        .bind::<Text, _>(first.place.group)
        .bind::<Array<Text>, _>(marks.iter().map(|mark| &*mark.place.topic).collect::<Vec<_>>())
        .bind::<Array<Integer>, _>(marks.iter().map(|mark| mark.place.partition).collect::<Vec<_>>())
        .bind::<Array<db::types::Uuid>, _>(marks.iter().map(|mark| mark.place.source).collect::<Vec<_>>())
        .bind::<Array<BigInt>, _>(all(|mark| mark.lease.number))
        .bind::<Array<BigInt>, _>(all(|mark| mark.position))
        .bind::<Array<db::types::Uuid>, _>(marks.iter().map(|mark| mark.epoch).collect::<Vec<_>>())
        .execute(conn)?;
    Ok(())
}

fn record_one(conn: &mut Conn, mark: &Mark) -> db::Result<()> {
    let place = &mark.place;
    if leases::is_newest(conn, place.group, &mark.lease)? {
        let key = (place.group, &*place.topic, place.partition, place.source);
        diesel::update(group_position::table.find(key))
            .filter(group_position::position.lt(mark.position))
            .set(group_position::position.eq(mark.position))
            .execute(conn)?;
    }
    Ok(())
}
