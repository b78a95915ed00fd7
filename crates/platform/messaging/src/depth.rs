//! How much waits, and for how long: in the log for its groups, in the outbox for its position.

use std::collections::BTreeMap;

use db::types::{Time, UtcTime};
use db::{Conn, Database};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Nullable;
use telemetry::metrics;

use crate::log::Log;
use crate::schema::{event_log, outbox};
use crate::{place, store};

/// What is kept of a topic, and the oldest event that a group has still to handle.
#[derive(Debug, Default)]
struct Depth {
    events: i64,
    oldest: Option<Time>,
}

/// Sets the gauges of depth and age, of all topics and of the outbox.
///
/// # Errors
/// The database's.
pub async fn report_depths(db: &Database, log: &Log) -> db::Result<()> {
    let of = log.clone();
    let (topics, outbox) =
        db.read(move |conn| -> db::Result<_> { Ok((depths(conn, &of)?, outbox_depth(conn)?)) }).await?;
    for (topic, depth) in topics {
        metrics::EVENT_LOG_DEPTH.of([topic.clone().into()]).set(depth.events as f64);
        metrics::EVENT_LOG_AGE_SECONDS.of([topic.into()]).set(age_seconds(depth.oldest));
    }
    metrics::OUTBOX_DEPTH.of([]).set(outbox.events as f64);
    metrics::OUTBOX_AGE_SECONDS.of([]).set(age_seconds(outbox.oldest));
    Ok(())
}

fn age_seconds(oldest: Option<Time>) -> f64 {
    oldest.map_or(0.0, |oldest| (Time::now().micros() - oldest.micros()).max(0) as f64 / 1e6)
}

fn depths(conn: &mut Conn, log: &Log) -> db::Result<BTreeMap<String, Depth>> {
    let mut slowest = BTreeMap::<(String, i32), i64>::new();
    for row in place::all_positions(conn, log.source())? {
        let position = slowest.entry((row.topic, row.partition)).or_insert(i64::MAX);
        *position = row.position.min(*position);
    }
    let mut depths = BTreeMap::<String, Depth>::new();
    for row in store::partitions(conn)? {
        let due = slowest.get(&(row.topic.clone(), row.partition)).map_or(row.next, |position| position + 1);
        let oldest = if due < row.next { appended_at(conn, &row.topic, row.partition, due)? } else { None };
        let events = if log.is_direct(&row.topic) { kept(conn, &row)? } else { row.next - row.floor };
        let depth = depths.entry(row.topic).or_default();
        depth.events += events;
        depth.oldest = [depth.oldest, oldest].into_iter().flatten().min();
    }
    Ok(depths)
}

/// Counted, for positions have holes.
fn kept(conn: &mut Conn, row: &store::PartitionRow) -> db::Result<i64> {
    let of_topic = event_log::table.filter(event_log::topic.eq(&row.topic));
    Ok(of_topic.filter(event_log::partition.eq(row.partition)).count().get_result(conn)?)
}

fn appended_at(conn: &mut Conn, topic: &str, partition: i32, position: i64) -> db::Result<Option<Time>> {
    let of_partition = event_log::table.filter(event_log::topic.eq(topic)).filter(event_log::partition.eq(partition));
    let behind = of_partition.filter(event_log::position.ge(position)).order(event_log::position);
    Ok(behind.select(event_log::appended_at).first(conn).optional()?)
}

/// SQLite has no outbox, for its writer numbers at once.
fn outbox_depth(conn: &mut Conn) -> db::Result<Depth> {
    let Conn::Pg(conn) = conn else { return Ok(Depth::default()) };
    let events = outbox::table.count().get_result(conn)?;
    let oldest = outbox::table.select(sql::<Nullable<UtcTime>>("min(occurred_at)")).get_result(conn)?;
    Ok(Depth { events, oldest })
}
