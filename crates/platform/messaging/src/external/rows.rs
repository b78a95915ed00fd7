//! Positions of groups in external topics.

use std::collections::BTreeSet;

use db::types::Id;
use db::{Conn, Tx};
use diesel::prelude::*;

use crate::admin::ConsumerLag;
use crate::consumer::dead_letters;
use crate::consumer::offsets;
use crate::schema::{consumer_group, group_position};

/// Group, topic, partition.
pub(super) type Part = (String, String, i32);

/// Returns the parts registered under `source`, with their positions.
pub(super) fn positions(conn: &mut Conn, source: Id) -> db::Result<Vec<(Part, i64)>> {
    use group_position as place;
    let rows: Vec<(String, String, i32, i64)> = place::table
        .filter(place::source.eq(source))
        .select((place::grp, place::topic, place::partition, place::position))
        .load(conn)?;
    Ok(rows.into_iter().map(|(group, topic, partition, position)| ((group, topic, partition), position)).collect())
}

/// Registers groups for parts, from the first kept record on.
pub(super) fn register(tx: &mut Tx<'_>, source: Id, parts: &BTreeSet<Part>) -> db::Result<()> {
    parts.iter().try_for_each(|(group, topic, partition)| offsets::begin_at(tx, source, group, topic, *partition, -1))
}

/// Sets groups back to the start, if the groups have not moved since the poll.
pub(super) fn begin_again(tx: &mut Tx<'_>, source: Id, parts: &BTreeSet<(Part, i64)>) -> db::Result<()> {
    for ((group, topic, partition), position) in parts {
        let row = group_position::table.find((group, topic, *partition, source));
        diesel::update(row)
            .filter(group_position::position.eq(position))
            .set(group_position::position.eq(-1))
            .execute(&mut **tx)?;
    }
    Ok(())
}

/// Sets a group to the offset `begins` in each partition, and deletes the group's dead letters in the topic.
pub(super) fn reset(tx: &mut Tx<'_>, group: &str, topic: &str, source: Id, begins: &[i64]) -> db::Result<()> {
    for (partition, begin) in (0..).zip(begins) {
        diesel::update(group_position::table.find((group, topic, partition, source)))
            .set(group_position::position.eq(begin - 1))
            .execute(&mut **tx)?;
    }
    dead_letters::clear(tx, group, topic)
}

/// Returns the positions of groups; ends and lags are not known here.
pub(super) fn lags(conn: &mut Conn, source: Id) -> db::Result<Vec<ConsumerLag>> {
    use group_position as place;
    let rows: Vec<(String, String, i32, i64, String)> = place::table
        .inner_join(consumer_group::table.on(consumer_group::name.eq(place::grp)))
        .filter(place::source.eq(source))
        .order((place::grp, place::topic, place::partition))
        .select((place::grp, place::topic, place::partition, place::position, consumer_group::mode))
        .load(conn)?;
    let lag = |(group, topic, partition, position, mode)| ConsumerLag {
        group,
        topic,
        partition,
        position,
        end: -1,
        lag: 0,
        mode,
    };
    Ok(rows.into_iter().map(lag).collect())
}
