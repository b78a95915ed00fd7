//! The log: positions, order, retention.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use db::Database;
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use messaging::admin::{self, EventQuery, ResetTo};
use messaging::{Group, Handler, HandlerError, Log, Replay, Start, TopicSpec, TransactionalHandler, follow_log, purge};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Bed, Complaints, TICKS, Ticked, following, tick};
use crate::places;

/// Returns every event in the log, by topic, partition and position.
async fn all_events(bed: &Bed) -> Vec<messaging::Event> {
    let read = |conn: &mut db::Conn| admin::events(conn, &EventQuery::default(), 1_000_000);
    let mut events: Vec<_> =
        bed.database.db.read(read).await.expect("the log").into_iter().map(|stored| stored.event).collect();
    events.sort_by_key(|event| (event.partition, event.position));
    events
}

/// Checks that positions of a partition have no gap, and numbers of a key rise.
async fn assert_gap_free_and_in_order(bed: &Bed, count: usize) {
    bed.until_numbered(count).await;
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

/// A rolled-back savepoint leaves no events; the rest of the unit does.
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
    bed.until_numbered(2).await;
    let keys: Vec<_> = all_events(&bed).await.into_iter().map(|event| event.key).collect();
    assert_eq!(keys, ["kept", "kept"], "{}", bed.name);
}

/// Units of several processes, where there may be several: no gap and no inversion.
pub async fn units_of_several_processes_leave_no_gap_and_no_inversion(bed: Bed) {
    let processes = if bed.database.db.is_shared() { 3 } else { 0 };
    let mut others = Vec::new();
    for _ in 0..processes {
        let (db, log) = opened(&bed.database.url, &[]).await;
        others.push(tokio::spawn(async move {
            let _says = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(follow_log(
                db.clone(),
                log,
                CancellationToken::new(),
            )));
            for n in 0..150 {
                db.write(move |tx| tick(tx, &format!("key-{}", n % 10))).await.expect("a tick");
            }
        }));
    }
    bed.tick_all(10, 150, 16).await;
    for other in others {
        other.await.expect("a process");
    }
    assert_gap_free_and_in_order(&bed, 1500 + processes * 150).await;
}

/// The relay's position outlives the relay: a relay of a returning topic resumes there.
pub async fn the_mark_of_what_was_relayed_outlives_the_relay(bed: Bed) {
    if !bed.is_relayed() {
        return;
    }
    bed.tick_all(5, 20, 8).await;
    bed.until_relayed(100).await;
    let log = bed.database.log.clone();
    let unit = move |tx: &mut db::Tx<'_>| -> db::Result<_> {
        let before = relayed(tx)?;
        messaging::end_relaying(tx, &[TICKS])?;
        let meanwhile = relayed(tx)?;
        messaging::begin_relaying(tx, &log, &[TICKS])?;
        let again = admin::consumers(tx)?.into_iter().filter(|row| row.group == messaging::RELAY);
        Ok((before, meanwhile, again.map(|row| row.position).collect::<Vec<_>>()))
    };
    let (before, meanwhile, again) = bed.database.db.write(unit).await.expect("a unit");
    assert_eq!((&meanwhile, &again), (&before, &before), "{}", bed.name);
    assert_eq!(before.iter().map(|position| position + 1).sum::<i64>(), 100, "{}", bed.name);
}

fn relayed(tx: &mut db::Tx<'_>) -> db::Result<Vec<i64>> {
    Ok(admin::partitions(tx)?.into_iter().map(|row| row.relayed).collect())
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
    bed.until_relayed(150).await;
    let (db, log) = (&bed.database.db, &bed.database.log);
    let none = purge(db, log, &[group.clone()], Duration::ZERO).await.expect("a purge");
    assert_eq!(none.events, 0, "{}: a rebuildable group needs the whole log", bed.name);
    group.replay = messaging::Replay::Resendable;
    let young = purge(db, log, &[group.clone()], Duration::from_secs(3600)).await.expect("a purge");
    assert_eq!(young.events, 0, "{}: all of it is young", bed.name);
    let purged = purge(db, log, &[group.clone()], Duration::ZERO).await.expect("a purge");
    assert_eq!(purged.events, 100, "{}", bed.name);
    let consumers = bed.host(vec![group]).await;
    bed.until_handled("follower", 5, 30).await;
    consumers.stop().await;
    complaints.assert_none();
}

/// Purges a long log in chunks; positions continue after the purge.
pub async fn a_long_log_is_cut_to_its_end(bed: Bed) {
    let (db, log) = (&bed.database.db, &bed.database.log);
    let many = |tx: &mut db::Tx<'_>| (0..500).try_for_each(|_| tick(tx, "key"));
    for _ in 0..5 {
        db.write(many).await.expect("ticks");
    }
    bed.until_relayed(2500).await;
    let purged = purge(db, log, &[], Duration::ZERO).await.expect("a purge");
    assert_eq!(purged.events, 2500, "{}", bed.name);
    db.write(|tx| tick(tx, "key")).await.expect("a tick");
    bed.until_numbered(2501).await;
    let left: Vec<_> = all_events(&bed).await.into_iter().map(|event| event.position).collect();
    assert_eq!(left, [2500], "{}", bed.name);
}

/// A topic may have more partitions than fit into one notification.
pub async fn a_topic_of_many_partitions_is_numbered(bed: Bed) {
    assert!(bed.database.log.partitions(super::TICKS) > 300);
    let wide = |tx: &mut db::Tx<'_>| (0..2000).try_for_each(|n| tick(tx, &format!("key-{n}")));
    bed.database.db.write(wide).await.expect("ticks");
    assert_gap_free_and_in_order(&bed, 2000).await;
}

/// Positions given by another process, or by a commit with a lost answer, are noticed: a commit may succeed although
/// the client sees an error.
pub async fn events_that_nobody_told_of_are_handled(bed: Bed) {
    let complaints = Complaints::default();
    let consumers = bed.host(vec![following("watchful", &complaints)]).await;
    bed.tick_all(1, 1, 1).await;
    bed.until_handled("watchful", 1, 1).await;
    let behind_our_back = |tx: &mut db::Tx<'_>| -> db::Result<()> {
        let id = if tx.is_pg() { "gen_random_uuid()" } else { "randomblob(16)" };
        Ok(tx.batch_execute(&format!(
            "INSERT INTO event_log (topic, partition, position, id, key, kind, version, aggregate_version, occurred_at,
                                    appended_at, payload, epoch)
             SELECT topic, partition, position + 1, {id}, key, kind, version, 1, occurred_at, appended_at,
                    '{{\"key\":\"key-0\",\"number\":1}}', epoch
             FROM event_log;
             UPDATE topic_partition SET next = 2 WHERE next = 1"
        ))?)
    };
    bed.database.db.write(behind_our_back).await.expect("an event");
    bed.until_handled("watchful", 1, 2).await;
    consumers.stop().await;
    complaints.assert_none();
}

/// Units and flushes with connections cut at any moment leave no gap and no inversion, and each answered unit is in
/// the log.
pub async fn units_that_are_cut_off_leave_no_gap(bed: Bed) {
    if !bed.database.db.is_shared() {
        return; // a file has no connections
    }
    let (db, _log) = opened(&bed.database.url, &[]).await;
    let (done, unknown) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.2";
    let ticks = async {
        let units = futures::stream::iter(0..2000_usize);
        futures::StreamExt::for_each_concurrent(units, 16, |n| {
            let (db, done, unknown) = (&db, &done, &unknown);
            async move {
                match db.write(move |tx| tick(tx, &format!("key-{}", n % 10))).await {
                    Ok(()) => done.fetch_add(1, Ordering::Relaxed),
                    Err(db::Error::UnknownOutcome(_)) => unknown.fetch_add(1, Ordering::Relaxed),
                    Err(db::Error::Unavailable(_)) => 0,
                    Err(other) => panic!("{other}"),
                };
            }
        })
        .await;
    };
    let cuts = async {
        loop {
            // the one who cuts may be cut off as well
            let _ = bed.database.db.read(move |conn| Ok::<_, db::Error>(conn.batch_execute(cut)?)).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! { () = ticks => {}, () = cuts => {} }
    let count = all_events(&bed).await.len();
    assert_gap_free_and_in_order(&bed, count).await;
    let (done, unknown) = (done.into_inner(), unknown.into_inner());
    assert!((done..=done + unknown).contains(&count), "{count} events of {done} done and {unknown} unknown");
}

/// Emits an event for each tick, except for echoed ticks.
struct Echo;

impl TransactionalHandler for Echo {
    fn handle(&self, tx: &mut db::Tx<'_>, events: &[messaging::Event]) -> Result<(), HandlerError> {
        for event in events.iter().filter(|event| !event.key.starts_with("echo")) {
            tick(tx, &format!("echo-{}", event.key))?;
        }
        Ok(())
    }
}

/// Registration, reset and purge run beside emitting handlers: all lock positions and partitions in one order.
pub async fn nothing_deadlocks(bed: Bed) {
    const TICKED: usize = 400;
    if !bed.database.db.is_shared() || bed.is_relayed() {
        return; // one writer, or the same units
    }
    let echo = || Group {
        name: "echo",
        topics: vec![TICKS],
        replay: Replay::Once("it emits"),
        start: Start::Floor,
        handler: Handler::Transactional(Arc::new(Echo)),
    };
    let complaints = Complaints::default();
    let follower = following("follower", &complaints);
    let consumers = bed.host(vec![echo(), follower.clone()]).await;
    let (db, log) = (&bed.database.db, &bed.database.log);
    let ticks = async {
        bed.tick_all(10, TICKED / 10, 16).await;
        bed.until_numbered(2 * TICKED).await;
    };
    let registrations = async {
        loop {
            bed.host(vec![echo()]).await.stop().await;
        }
    };
    let resets = async {
        loop {
            let groups = vec![follower.clone()];
            let reset = move |tx: &mut db::Tx<'_>| admin::reset(tx, &groups, "follower", TICKS, ResetTo::Earliest);
            db.write(reset).await.expect("a reset");
        }
    };
    let purges = async {
        loop {
            purge(db, log, &[echo()], Duration::ZERO).await.expect("a purge");
        }
    };
    tokio::select! { () = ticks => {}, () = registrations => {}, () = resets => {}, () = purges => {} }
    consumers.stop().await;
    db.close().await;
    assert_eq!(deadlocks(&bed.database.url).await, 0, "{}", bed.name);
}

/// Returns the deadlocks of an unused database: connections report deadlocks at their end.
async fn deadlocks(url: &str) -> i64 {
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
               AND application_name = 'jangteo' AND pid <> pg_backend_pid()";
    let counted = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database() AND NOT EXISTS
                   (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'jangteo')";
    let url = url.to_owned();
    let count = move || {
        let mut conn = PgConnection::establish(&url).expect("a connection");
        conn.batch_execute(end).expect("connections end");
        loop {
            let found = diesel::sql_query(counted).get_result::<Deadlocks>(&mut conn).optional().expect("statistics");
            if let Some(found) = found {
                return found.deadlocks;
            }
        }
    };
    tokio::task::spawn_blocking(count).await.expect("no panic")
}

#[derive(QueryableByName)]
struct Deadlocks {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    deadlocks: i64,
}

/// A process frozen between the numbering and the COMMIT of a unit holds up the unit's partitions for some seconds.
/// Then the server ends the connection, and the unit runs again.
pub async fn a_unit_that_is_frozen_with_its_numbers_is_cut_off(bed: Bed) {
    if !bed.database.db.is_shared() {
        return; // one writer
    }
    let (thaws, frozen) = std::sync::mpsc::channel::<()>();
    let (runs, frozen) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(frozen)));
    let (its, numbered) = (runs.clone(), Arc::new(Notify::new()));
    let told = numbered.clone();
    let late = move |tx: &mut db::Tx<'_>| -> db::Result<()> {
        tick(tx, "key")?;
        if its.fetch_add(1, Ordering::SeqCst) == 0 {
            // the locks that numbers take
            tx.batch_execute("SELECT FROM topic_partition FOR NO KEY UPDATE")?;
            told.notify_one();
            let _ = frozen.lock().recv();
        }
        Ok(())
    };
    let late = bed.database.db.write(late);
    let others = async {
        numbered.notified().await;
        let other = |tx: &mut db::Tx<'_>| tick(tx, "other");
        while let Err(error) = bed.database.db.write(other).await {
            assert!(matches!(error, db::Error::Unavailable(_)), "{error}");
        }
        drop(thaws);
    };
    let (late, ()) = tokio::join!(late, others);
    late.expect("it ran again");
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    assert_gap_free_and_in_order(&bed, 2).await;
}

/// A dump of the database holds a snapshot for long. Numbering goes on beside the dump and leaves no dead rows for
/// later units to step over.
pub async fn a_long_dump_costs_numbering_nothing(bed: Bed) {
    if !bed.database.db.is_shared() {
        return; // one writer
    }
    let mut dump = PgConnection::establish(&bed.database.url).expect("a connection");
    dump.batch_execute(
        "BEGIN ISOLATION LEVEL REPEATABLE READ; LOCK TABLE topic_partition, event_log IN ACCESS SHARE MODE; \
         SELECT FROM topic_partition",
    )
    .expect("a snapshot");
    let size = || async {
        let size = |conn: &mut db::Conn| -> db::Result<i64> {
            Ok(diesel::select(sql::<BigInt>("pg_relation_size('topic_partition')")).get_result(conn)?)
        };
        bed.database.db.read(size).await.expect("a size")
    };
    let before = size().await;
    bed.tick_all(10, 100, 32).await;
    assert_eq!(size().await, before, "bytes of topic_partition");
    drop(dump);
    assert_gap_free_and_in_order(&bed, 1000).await;
}

/// Opens a database and the log like a second process.
pub(super) async fn opened(url: &str, topics: &[TopicSpec]) -> (Database, Log) {
    let log = Log::new();
    let db = Database::open(db::Options::new(url), &contracts::MIGRATIONS, log.recorder()).await.expect("it opens");
    log.open(&db, topics).await.expect("the log opens");
    (db, log)
}

/// Processes that start together on a new database agree on one log for all their topics.
///
/// # Panics
/// If the processes don't agree.
pub async fn processes_that_start_together_make_one_log() {
    let Some(place) = places().await.into_iter().find(|place| place.name == "PostgreSQL") else { return };
    opened_nothing(&place.url).await;
    let topics = ["one", "two", "three", "four"].map(|name| [TopicSpec { name: name.into(), partitions: 2 }]);
    let all = futures::future::join_all(topics.iter().map(|topics| opened(&place.url, topics))).await;
    let first = all[0].1.source();
    assert!(all.iter().all(|(_, log)| log.source() == first));
}

/// Creates only the schema.
async fn opened_nothing(url: &str) {
    let log = Log::new();
    let opened = Database::open(db::Options::new(url), &contracts::MIGRATIONS, log.recorder()).await;
    opened.expect("it opens").close().await;
}

/// The view of an event shows the event's progress by the positions of the groups.
pub async fn the_view_of_an_event_follows_its_groups(bed: Bed) {
    let complaints = Complaints::default();
    let group = following("reader", &complaints);
    bed.host(vec![group.clone()]).await.stop().await;
    bed.tick_all(1, 1, 1).await;
    bed.until_numbered(1).await;
    let id = all_events(&bed).await[0].id;
    let view =
        async || bed.database.db.read(move |conn| admin::event(conn, id)).await.expect("a view").expect("the event");
    let pending = view().await;
    assert_eq!((pending.groups.len(), pending.groups[0].status), (1, admin::EventStatus::Pending), "{}", bed.name);
    assert!(!pending.relayed || bed.is_relayed(), "{}", bed.name);
    let consumers = bed.host(vec![group]).await;
    bed.until_handled("reader", 1, 1).await;
    assert_eq!(view().await.groups[0].status, admin::EventStatus::Handled, "{}", bed.name);
    consumers.stop().await;
    let unknown = bed.database.db.read(|conn| admin::event(conn, db::types::Id::new())).await.expect("a view");
    assert_eq!(unknown, None, "{}", bed.name);
}
