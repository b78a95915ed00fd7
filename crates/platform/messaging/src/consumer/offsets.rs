//! Committed offsets: the position of each group in each partition, for each source.

use std::ops::Range;
use std::sync::Arc;

use db::types::{Id, Uuid};
use db::{Conn, Prepare, Tx, on_each};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};

use crate::consumer::group::{Group, Replay, Start};
use crate::log::Log;
use crate::log::epochs::{self, Standing};
use crate::log::rows;
use crate::schema::{consumer_group, group_lease, group_position};

/// A partition from the view of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) group: &'static str,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) source: Id,
}

/// Returns the position up to which the group has handled the partition; `None` if the group is not registered.
pub(crate) fn position(conn: &mut Conn, place: &Place) -> db::Result<Option<i64>> {
    let key = (place.group, &*place.topic, place.partition, place.source);
    Ok(group_position::table.find(key).select(group_position::position).first(conn).optional()?)
}

/// Moves the group from `expected` to `new`; false when someone else has moved it, or the log is not as `standing` says.
pub(crate) fn advance(conn: &mut Conn, place: &Place, expected: i64, new: i64, standing: Standing) -> db::Result<bool> {
    let key = (place.group, &*place.topic, place.partition, place.source);
    let stands = sql::<Bool>("(SELECT id FROM log_epoch ORDER BY ordinal DESC LIMIT 1) = ")
        .bind::<Uuid, _>(standing.epoch)
        .sql(" AND ")
        .sql(epochs::file_column(conn))
        .sql(" = ")
        .bind::<BigInt, _>(standing.file);
    let moved = diesel::update(group_position::table.find(key))
        .filter(group_position::position.eq(expected))
        .filter(stands)
        .set(group_position::position.eq(new))
        .returning(group_position::position)
        .prepared();
    let moved: Option<i64> = on_each!(conn, |conn| moved.get_result(conn).optional())?;
    Ok(moved.is_some())
}

/// Inserts the group's missing rows: at the log start or at the end, by the group's declaration.
pub(crate) fn register(tx: &mut Tx<'_>, log: &Log, group: &Group) -> db::Result<()> {
    let mode = match group.replay {
        Replay::Rebuildable(_) => "rebuildable",
        Replay::Resendable => "re-sendable",
        Replay::Once(_) => "once",
    };
    let row = (consumer_group::name.eq(group.name), consumer_group::mode.eq(mode));
    on_each!(&mut **tx, |conn| diesel::insert_into(consumer_group::table)
        .values(row)
        .on_conflict(consumer_group::name)
        .do_update()
        .set(consumer_group::mode.eq(mode))
        .execute(conn))?;
    begin(tx, log, group.name, group.start, &group.topics)
}

/// Inserts the missing rows of `group` in `topics`.
pub(crate) fn begin(tx: &mut Tx<'_>, log: &Log, group: &str, start: Start, topics: &[&str]) -> db::Result<()> {
    let mut topics = topics.to_vec();
    topics.sort_unstable();
    lock(tx, group, &topics)?;
    for topic in topics {
        let partitions = rows::lock_partitions(tx, topic)?;
        let is_new = reads_nothing_yet(tx, group, topic, log.source())?;
        for partition in partitions {
            let begin = match start {
                Start::Now if is_new => partition.next - 1,
                Start::Relayed => partition.relayed.max(partition.floor - 1),
                // also where the topic gained partitions: what is in them came after the group had begun
                Start::Floor | Start::Now => partition.floor - 1,
            };
            begin_at(tx, log.source(), group, topic, partition.partition, begin)?;
        }
    }
    Ok(())
}

/// Locks the positions of `group` until the unit ends. Handlers lock theirs first and partitions last, and so does
/// everybody who locks both.
pub(crate) fn lock(tx: &mut Tx<'_>, group: &str, topics: &[&str]) -> db::Result<()> {
    if let Conn::Pg(conn) = &mut **tx {
        group_position::table
            .filter(group_position::grp.eq(group))
            .filter(group_position::topic.eq_any(topics))
            .order((group_position::topic, group_position::partition))
            .select(group_position::position)
            .for_update()
            .load::<i64>(conn)?;
    }
    Ok(())
}

/// Registers all groups of the topic for the added partitions, from the first event on.
pub(crate) fn gain(tx: &mut Tx<'_>, log: &Log, topic: &str, gained: Range<i32>) -> db::Result<()> {
    let groups: Vec<String> = group_position::table
        .filter(group_position::topic.eq(topic))
        .filter(group_position::source.eq(log.source()))
        .select(group_position::grp)
        .distinct()
        .order(group_position::grp)
        .load(&mut **tx)?;
    for group in groups {
        gained.clone().try_for_each(|partition| begin_at(tx, log.source(), &group, topic, partition, -1))?;
    }
    Ok(())
}

/// Registers the group for the partition; keeps an existing row.
pub(crate) fn begin_at(
    tx: &mut Tx<'_>,
    source: Id,
    group: &str,
    topic: &str,
    partition: i32,
    position: i64,
) -> db::Result<()> {
    let position = (
        group_position::grp.eq(group),
        group_position::topic.eq(topic),
        group_position::partition.eq(partition),
        group_position::source.eq(source),
        group_position::position.eq(position),
    );
    let lease = (group_lease::grp.eq(group), group_lease::topic.eq(topic), group_lease::partition.eq(partition));
    on_each!(&mut **tx, |conn| {
        diesel::insert_into(group_position::table).values(position).on_conflict_do_nothing().execute(conn)?;
        diesel::insert_into(group_lease::table).values(lease).on_conflict_do_nothing().execute(conn)
    })?;
    Ok(())
}

/// Deletes the positions and leases of `group` in `topic`. Returns the partitions and positions.
pub(crate) fn forget(conn: &mut Conn, group: &str, topic: &str) -> db::Result<Vec<(i32, i64)>> {
    // the lease first, as whoever handles takes them
    let leases = group_lease::table.filter(group_lease::grp.eq(group)).filter(group_lease::topic.eq(topic));
    diesel::delete(leases).execute(conn)?;
    let positions = group_position::table.filter(group_position::grp.eq(group)).filter(group_position::topic.eq(topic));
    let forgotten = diesel::delete(positions).returning((group_position::partition, group_position::position));
    Ok(on_each!(conn, |conn| forgotten.get_results(conn))?)
}

fn reads_nothing_yet(conn: &mut Conn, group: &str, topic: &str, source: Id) -> db::Result<bool> {
    let of_topic = group_position::table
        .filter(group_position::grp.eq(group))
        .filter(group_position::topic.eq(topic))
        .filter(group_position::source.eq(source));
    Ok(of_topic.count().get_result::<i64>(conn)? == 0)
}

/// A group's position in a partition.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub(crate) struct PositionRow {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) position: i64,
}

/// Returns the group's positions, with their sources.
pub(crate) fn positions_by_source(conn: &mut Conn, group: &str) -> db::Result<Vec<(Id, PositionRow)>> {
    use group_position as place;
    Ok(place::table
        .filter(place::grp.eq(group))
        .select((place::source, (place::grp, place::topic, place::partition, place::position)))
        .load(conn)?)
}

/// Returns the group's positions in the log `source`.
pub(crate) fn positions(conn: &mut Conn, group: &str, source: Id) -> db::Result<Vec<PositionRow>> {
    let all = all_positions(conn, source)?;
    Ok(all.into_iter().filter(|row| row.group == group).collect())
}

/// Returns all groups' positions in the log `source`, by group, topic and partition.
pub(crate) fn all_positions(conn: &mut Conn, source: Id) -> db::Result<Vec<PositionRow>> {
    use group_position as place;
    Ok(place::table
        .filter(place::source.eq(source))
        .order((place::grp, place::topic, place::partition))
        .select((place::grp, place::topic, place::partition, place::position))
        .load(conn)?)
}
