//! PostgreSQL's sequencer: moves what is visible in the outbox into the log, with gap-free positions. And, on both
//! databases, how a process learns of positions that it did not give.
//!
//! Any number may run. Numbering is two statements, the first of which locks: one statement that counts and locks
//! at once sees counters from before it waited, and leaves gaps.

use std::time::Duration;

use db::{Conn, Database, Heard, Tx};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Text};
use telemetry::names;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::log::Log;
use crate::store;

/// Events moved in one transaction at the most.
const BATCH: i64 = 5000;
/// How often the outbox is looked at though nobody rang, in case the one who should have was killed.
const POLL: Duration = Duration::from_millis(500);
/// The same where others look.
const SELDOM: Duration = Duration::from_secs(5);
/// How often the ends are read though nobody notified.
const ENDS_POLL: Duration = Duration::from_secs(1);
const CHANNEL: &str = "event_log";
/// Partitions told of in one notification, whose payload must stay under 8000 bytes.
const SAID_AT_ONCE: usize = 50;

/// Runs until `stop`. On SQLite the writer numbers, and all that is left is to see the events of a commit that went
/// through although it was reported to have failed.
pub async fn run_sequencer(db: Database, log: Log, stop: CancellationToken) {
    run(&db, &log, POLL, stop).await;
}

/// The same in a process beside others that run the sequencer: numbers at once what this process left in the outbox,
/// and leaves the rest to them.
pub async fn follow_log(db: Database, log: Log, stop: CancellationToken) {
    run(&db, &log, SELDOM, stop).await;
}

async fn run(db: &Database, log: &Log, poll: Duration, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = number(db, log, poll) => {}
        () = follow_ends(db, log) => {}
    }
}

async fn number(db: &Database, log: &Log, poll: Duration) {
    if !db.is_shared() {
        std::future::pending::<()>().await;
    }
    let mut poll = interval(poll);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! { () = log.outbox_rung() => {}, _ = poll.tick() => {} }
        if let Err(error) = sequence_all(db, log).await {
            tracing::warn!(%error, "the outbox was not sequenced; trying again");
        }
    }
}

/// Moves all that is in the outbox into the log.
///
/// # Errors
/// The database's; what was moved before it stays moved.
pub async fn sequence_all(db: &Database, log: &Log) -> db::Result<()> {
    loop {
        let topics: Vec<String> = log.topics().iter().map(ToString::to_string).collect();
        let waiting: Vec<String> = db.read(move |conn| waiting_topics(conn, &topics)).await?;
        if waiting.is_empty() {
            return Ok(());
        }
        let mut failed = Ok(());
        for topic in waiting {
            let name = topic.clone();
            match db.write(move |tx| sequence(tx, &name)).await {
                Ok(ends) => {
                    let moved: i64 = ends.iter().map(|end| end.count).sum();
                    metrics::counter!(names::EVENT_LOG_EVENTS, "topic" => topic.clone()).increment(moved as u64);
                    ends.iter().for_each(|end| log.rise(&topic, end.partition, end.next));
                }
                // the other topics don't wait for this one
                Err(error) => failed = Err(error),
            }
        }
        failed?;
    }
}

#[derive(QueryableByName)]
struct Waiting {
    #[diesel(sql_type = Text)]
    topic: String,
}

fn waiting_topics(conn: &mut Conn, topics: &[String]) -> db::Result<Vec<String>> {
    let Conn::Pg(conn) = conn else { return Ok(Vec::new()) };
    let waiting: Vec<Waiting> = diesel::sql_query(
        "SELECT topic FROM unnest($1) AS known (topic) \
         WHERE EXISTS (SELECT FROM outbox WHERE outbox.topic = known.topic)",
    )
    .bind::<Array<Text>, _>(topics)
    .load(conn)?;
    Ok(waiting.into_iter().map(|waiting| waiting.topic).collect())
}

#[derive(QueryableByName)]
struct End {
    #[diesel(sql_type = Integer)]
    partition: i32,
    #[diesel(sql_type = BigInt)]
    next: i64,
    #[diesel(sql_type = BigInt)]
    count: i64,
}

fn sequence(tx: &mut Tx<'_>, topic: &str) -> db::Result<Vec<End>> {
    store::lock_partitions(tx, topic)?;
    let Conn::Pg(conn) = &mut **tx else { return Ok(Vec::new()) };
    let ends: Vec<End> = diesel::sql_query(MOVE).bind::<Text, _>(topic).bind::<BigInt, _>(BATCH).load(conn)?;
    for ends in ends.chunks(SAID_AT_ONCE) {
        let said: Vec<String> = ends.iter().map(|end| format!("{topic} {} {}", end.partition, end.next)).collect();
        diesel::sql_query("SELECT pg_notify($1, $2)")
            .bind::<Text, _>(CHANNEL)
            .bind::<Text, _>(said.join("\n"))
            .execute(conn)?;
    }
    Ok(ends)
}

/// The left join makes an event of a partition that is not there an error, and not lost.
const MOVE: &str = "
    WITH moved AS (
        DELETE FROM outbox
        WHERE topic = $1 AND seq IN (SELECT seq FROM outbox WHERE topic = $1 ORDER BY seq LIMIT $2)
        RETURNING *
    ), numbered AS (
        SELECT moved.*, place.next + row_number() OVER (PARTITION BY moved.partition ORDER BY seq) - 1 AS position
        FROM moved LEFT JOIN topic_partition place USING (topic, partition)
    ), appended AS (
        INSERT INTO event_log (topic, partition, position, id, key, kind, version, aggregate_version, occurred_at,
                               appended_at, traceparent, payload)
        SELECT topic, partition, position, id, key, kind, version, aggregate_version, occurred_at,
               clock_timestamp(), traceparent, payload
        FROM numbered
        RETURNING partition
    )
    UPDATE topic_partition place
    SET next = next + moved.count
    FROM (SELECT partition, count(*) AS count FROM appended GROUP BY partition) moved
    WHERE place.topic = $1 AND place.partition = moved.partition
    RETURNING place.partition, place.next, moved.count";

/// Learns how far the log has come by what others numbered.
async fn follow_ends(db: &Database, log: &Log) {
    let mut listener = db.listen(CHANNEL);
    let mut poll = interval(ENDS_POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next = async {
            match &mut listener {
                Some(listener) => listener.next().await,
                None => std::future::pending().await,
            }
        };
        let heard = tokio::select! { heard = next => Some(heard), _ = poll.tick() => None };
        match heard {
            Some(Heard::Payload(said)) => said.lines().for_each(|line| rise(log, line)),
            Some(Heard::Connected) | None => match db.read(store::partitions).await {
                Ok(rows) => rows.iter().for_each(|row| log.rise(&row.topic, row.partition, row.next)),
                Err(error) => tracing::debug!(%error, "the ends of the log were not read"),
            },
        }
    }
}

fn rise(log: &Log, line: &str) {
    let mut words = line.split(' ');
    if let (Some(topic), Some(Ok(partition)), Some(Ok(next))) =
        (words.next(), words.next().map(str::parse), words.next().map(str::parse))
    {
        log.rise(topic, partition, next);
    }
}
