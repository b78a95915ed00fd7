//! PostgreSQL's sequencer: moves what is visible in the outbox into the log, with gap-free positions. And, on both
//! databases, how a process learns of positions that it did not give.
//!
//! Any number may run. Numbering is two statements, the first of which locks: one statement that counts and locks
//! at once sees counters from before it waited, and leaves gaps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use db::{Conn, Database, Heard, Prepare, Tx};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Array, Integer, Text};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::event::Event;
use crate::log::Log;
use crate::schema::event_log;
use crate::store::{self, LogRow};

/// Events moved in one transaction at the most; it is in [`MOVE`], too.
const BATCH: usize = 5000;
/// How often the outbox is looked at though nobody rang, in case the one who should have was killed.
const POLL: Duration = Duration::from_millis(500);
/// The same where others look.
const SELDOM: Duration = Duration::from_secs(5);
/// How often it is looked whether the outbox is to be cleared, and of how many rows it is worth it.
const CLEARING: Duration = Duration::from_secs(1);
const DEAD_ROWS: usize = 1000;
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
        () = clear_outbox(db, log) => {}
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
        let moved = tokio::select! {
            topics = log.outbox_rung() => sequence_topics(db, log, topics).await,
            _ = poll.tick() => sequence_all(db, log).await,
        };
        if let Err(error) = moved {
            tracing::warn!(%error, "the outbox was not sequenced; trying again");
        }
    }
}

/// Moves all that is in the outbox into the log.
///
/// # Errors
/// The database's; what was moved before it stays moved.
pub async fn sequence_all(db: &Database, log: &Log) -> db::Result<()> {
    let known = log.topics();
    let waiting = db.read(move |conn| waiting_topics(conn, &known)).await?;
    sequence_topics(db, log, waiting).await
}

/// A batch of each in turn, until nothing is left of any.
async fn sequence_topics(db: &Database, log: &Log, mut topics: Vec<Arc<str>>) -> db::Result<()> {
    let mut failed = Ok(());
    while !topics.is_empty() {
        let mut unfinished = Vec::new();
        for topic in topics {
            match sequence_batch(db, log, topic.clone()).await {
                Ok(moved) if moved == BATCH => unfinished.push(topic),
                Ok(_) => {}
                // the other topics don't wait for this one
                Err(error) => failed = Err(error),
            }
        }
        // what came meanwhile does not wait until the others are done
        let more = log.left_in_outbox().into_iter().filter(|topic| !unfinished.contains(topic)).collect::<Vec<_>>();
        topics = [more, unfinished].concat();
    }
    failed
}

/// Has the rows that were moved out leave no trace: a batch would step over them to find its first.
async fn clear_outbox(db: &Database, log: &Log) {
    let mut look = interval(CLEARING);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut cleared = log.moved(0);
    loop {
        look.tick().await;
        let moved = log.moved(0);
        if moved - cleared < DEAD_ROWS {
            continue;
        }
        match db.vacuum("outbox").await {
            Ok(()) => cleared = moved,
            Err(error) => tracing::debug!(%error, "the outbox was not cleared of what was moved"),
        }
    }
}

/// Returns how many events were moved.
async fn sequence_batch(db: &Database, log: &Log, topic: Arc<str>) -> db::Result<usize> {
    let log = log.clone();
    let unit = move |tx: &mut Tx<'_>| -> db::Result<usize> {
        let (partitions, appended) = sequence(tx, &log, &topic)?;
        let moved = appended.values().map(Vec::len).sum();
        let (log, topic) = (log.clone(), topic.clone());
        tx.after_commit(move || {
            log.moved(moved);
            log.gain(&topic, partitions);
            appended.into_iter().for_each(|(partition, events)| log.appended(&topic, partition, events));
        });
        Ok(moved)
    };
    db.write(unit).await
}

#[derive(QueryableByName)]
struct Waiting {
    #[diesel(sql_type = Text)]
    topic: String,
}

fn waiting_topics(conn: &mut Conn, topics: &[Arc<str>]) -> db::Result<Vec<Arc<str>>> {
    let Conn::Pg(conn) = conn else { return Ok(Vec::new()) };
    let topics: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
    let waiting: Vec<Waiting> = diesel::sql_query(
        "SELECT topic FROM unnest($1) AS known (topic) \
         WHERE EXISTS (SELECT FROM outbox WHERE outbox.topic = known.topic)",
    )
    .bind::<Array<Text>, _>(topics)
    .load(conn)?;
    Ok(waiting.into_iter().map(|waiting| waiting.topic.into()).collect())
}

diesel::define_sql_function! {
    /// What it returns is void, which reads as an empty text.
    fn pg_notify(channel: Text, payload: Text) -> Text;
}

/// How many partitions the topic has, and the events that got a position, by partition and in order.
fn sequence(tx: &mut Tx<'_>, log: &Log, topic: &Arc<str>) -> db::Result<(i32, BTreeMap<i32, Vec<Event>>)> {
    store::lock_topic(tx, topic)?;
    let source = log.source();
    let mut appended = BTreeMap::<i32, Vec<Event>>::new();
    let Conn::Pg(conn) = &mut **tx else { return Ok((0, appended)) };
    let counting = sql::<(Integer, Text, Text)>(COUNT_AND_SET).bind::<Text, _>(&**topic);
    let (partitions, _, _): (i32, String, String) = counting.prepared().get_result(conn)?;
    let (before, between, after) = MOVE;
    let moving = sql::<event_log::SqlType>(before).bind::<Text, _>(&**topic);
    let moving = moving.sql(between).bind::<Integer, _>(partitions).sql(after);
    let rows: Vec<LogRow> = moving.prepared().load(conn)?;
    for row in rows {
        appended.entry(row.partition).or_default().push(row.into_event(source, topic.clone()));
    }
    let mut said = Vec::with_capacity(appended.len());
    for (partition, events) in &mut appended {
        // they come so, but SQL does not promise it
        events.sort_unstable_by_key(|event| event.position);
        said.extend(events.last().map(|last| format!("{topic} {partition} {} {partitions}", last.position + 1)));
    }
    for said in said.chunks(SAID_AT_ONCE) {
        let said = format!("{}\n{}", log.name(), said.join("\n"));
        diesel::select(pg_notify(CHANNEL, said)).execute(conn)?;
    }
    Ok((partitions, appended))
}

/// Counts the partitions, as they are once they are locked. And has the outbox read by its index, from the front: what
/// PostgreSQL knows of its size is out of date as a rule, and then it would read and sort the whole of it for each batch.
/// The other sort, which it cannot avoid, makes the statement look so dear to it that it would compile it first.
const COUNT_AND_SET: &str = "SELECT count(*)::integer, set_config('enable_sort', 'off', true), \
                             set_config('jit', 'off', true) FROM topic_partition WHERE topic = ";

/// Moves a batch of a topic with its number of partitions, which stand between the texts, and returns the rows of the
/// log.
///
/// Rows of the outbox are never changed, and deleted only under the lock, so that a row's address serves to find it
/// again: by `seq` the server reads the whole outbox for each batch. The left join makes an event of a partition that
/// is not there an error, and not lost.
const MOVE: (&str, &str, &str) = (
    "WITH moved AS (
        DELETE FROM outbox
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM outbox WHERE topic = ",
    " ORDER BY seq LIMIT 5000))
        RETURNING *, key_hash % ",
    " AS partition
    ), appended AS (
        INSERT INTO event_log (topic, partition, position, id, key, kind, version, aggregate_version, occurred_at,
                               appended_at, traceparent, payload)
        SELECT topic, partition, place.next + row_number() OVER (PARTITION BY partition ORDER BY seq) - 1,
               id, key, kind, version, aggregate_version, occurred_at, clock_timestamp(), traceparent, payload
        FROM moved LEFT JOIN topic_partition place USING (topic, partition)
        RETURNING *
    ), advanced AS (
        UPDATE topic_partition place
        SET next = next + moved.count
        FROM (SELECT topic, partition, count(*) AS count FROM appended GROUP BY topic, partition) moved
        WHERE place.topic = moved.topic AND place.partition = moved.partition
    )
    SELECT topic, partition, position, id, key, kind, version, aggregate_version, occurred_at, appended_at,
           traceparent, payload
    FROM appended",
);

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
            // our own come before the events are kept in memory, and would have them read from the database
            Some(Heard::Payload(said)) if said.starts_with(log.name()) => {}
            Some(Heard::Payload(said)) => said.lines().for_each(|line| rise(log, line)),
            Some(Heard::Connected) | None => match db.read(store::partitions).await {
                Ok(rows) => log.learn(&rows),
                Err(error) => tracing::debug!(%error, "the ends of the log were not read"),
            },
        }
    }
}

fn rise(log: &Log, line: &str) {
    let mut words = line.split(' ');
    if let (Some(topic), Some(Ok(partition)), Some(Ok(next)), Some(Ok(partitions))) =
        (words.next(), words.next().map(str::parse), words.next().map(str::parse), words.next().map(str::parse))
    {
        log.gain(topic, partitions);
        log.rise(topic, partition, next);
    }
}
