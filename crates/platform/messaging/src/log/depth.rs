//! Depth of the log: number of waiting events and their age.

use std::collections::{BTreeMap, HashMap};

use db::types::Time;
use db::{Conn, Database};
use diesel::dsl::min;
use diesel::prelude::*;
use telemetry::metrics;

use crate::log::Log;
use crate::log::rows;
use crate::schema::{event_log, group_position};

/// Kept events of a topic, and the oldest event that a group has still to handle.
#[derive(Debug, Default)]
struct Depth {
    events: i64,
    oldest: Option<Time>,
}

/// Sets the gauges of depth and age of all topics.
///
/// # Errors
/// Any error of the database.
pub async fn report_depths(db: &Database, log: &Log) -> db::Result<()> {
    let of = log.clone();
    for (topic, depth) in db.read(move |conn| depths(conn, &of)).await? {
        metrics::EVENT_LOG_DEPTH.of([topic.clone().into()]).set(depth.events as f64);
        metrics::EVENT_LOG_AGE_SECONDS.of([topic.into()]).set(age_seconds(depth.oldest));
    }
    Ok(())
}

fn age_seconds(oldest: Option<Time>) -> f64 {
    oldest.map_or(0.0, |oldest| (Time::now().micros() - oldest.micros()).max(0) as f64 / 1e6)
}

fn depths(conn: &mut Conn, log: &Log) -> db::Result<BTreeMap<String, Depth>> {
    let slowest: Vec<(String, i32, Option<i64>)> = group_position::table
        .filter(group_position::source.eq(log.source()))
        .group_by((group_position::topic, group_position::partition))
        .select((group_position::topic, group_position::partition, min(group_position::position)))
        .load(conn)?;
    let slowest: HashMap<_, _> =
        slowest.iter().map(|(topic, partition, slowest)| ((&**topic, *partition), *slowest)).collect();
    let mut depths = BTreeMap::<String, Depth>::new();
    for row in rows::partitions(conn)? {
        let handled = slowest.get(&(&*row.topic, row.partition)).copied().flatten();
        let due = handled.map_or(row.next, |position| position + 1);
        let oldest = if due < row.next { appended_at(conn, &row.topic, row.partition, due)? } else { None };
        let depth = depths.entry(row.topic).or_default();
        depth.events += row.next - row.floor;
        depth.oldest = [depth.oldest, oldest].into_iter().flatten().min();
    }
    Ok(depths)
}

fn appended_at(conn: &mut Conn, topic: &str, partition: i32, position: i64) -> db::Result<Option<Time>> {
    let of_partition = event_log::table.filter(event_log::topic.eq(topic)).filter(event_log::partition.eq(partition));
    let behind = of_partition.filter(event_log::position.ge(position)).order(event_log::position);
    Ok(behind.select(event_log::appended_at).first(conn).optional()?)
}
