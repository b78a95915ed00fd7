//! Commits of PostgreSQL with a common flush: an answered commit is durable, through any failure of the server or of
//! the flusher's connection.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Barrier};

use db::{Conn, Database, Error, Options, Tx};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Integer;
use futures::future::join_all;
use parking_lot::Mutex;
use testkit::PgServer;

use crate::ground::{Book, MIGRATIONS, account, insert, stage};

const WRITERS: usize = 32;
const CRASHES: usize = 4;
/// Number of units answered before a crash.
const BURST: i64 = 200;
const FLUSHER: &str = "application_name = 'jangteo flusher' AND datname = current_database()";

/// Ends all connections except the caller's.
const CUT_ALL: &str =
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = 'postgres'";

async fn server() -> Option<PgServer> {
    tokio::task::spawn_blocking(PgServer::start).await.expect("no panic")
}

/// Starts a server that writes the log to the disk less often, so that crashes lose more.
async fn forgetful_server() -> Option<PgServer> {
    let mut server = server().await?;
    server.set_up("ALTER SYSTEM SET wal_writer_delay = '10s'; ALTER SYSTEM SET wal_writer_flush_after = '1GB'");
    tokio::task::block_in_place(|| {
        server.crash();
        server.restart();
    });
    Some(server)
}

fn account_with_record(tx: &mut Tx<'_>, id: i64) -> db::Result<()> {
    stage(tx, id.to_string());
    insert(tx, id, 0)
}

async fn open(server: &PgServer) -> Database {
    let book = Arc::new(Book::default());
    Database::open(Options::new(server.url()), &MIGRATIONS, book).await.expect("it opens")
}

/// Crashes the server again and again in the middle of a burst of units. Returns the answered accounts and the stored
/// accounts.
async fn crash(server: &mut PgServer, db: &Database, unit: fn(&mut Tx<'_>, i64) -> db::Result<()>) -> Accounts {
    let (next, over) = (Arc::new(AtomicI64::new(0)), AtomicBool::new(false));
    let answered = Mutex::new(BTreeSet::new());
    for _ in 0..CRASHES {
        let before = answered.lock().len() as i64;
        over.store(false, Ordering::SeqCst);
        let writers = join_all((0..WRITERS).map(|_| async {
            while !over.load(Ordering::SeqCst) {
                let id = next.fetch_add(1, Ordering::SeqCst);
                match db.write(move |tx| unit(tx, id)).await {
                    Ok(()) => _ = answered.lock().insert(id),
                    Err(Error::Unavailable(_) | Error::UnknownOutcome(_)) => return,
                    Err(other) => panic!("{other}"),
                }
            }
        }));
        let crashes = async {
            while (answered.lock().len() as i64) < before + BURST {
                tokio::task::yield_now().await;
            }
            tokio::task::block_in_place(|| server.crash());
            over.store(true, Ordering::SeqCst);
        };
        futures::join!(writers, crashes);
        tokio::task::block_in_place(|| server.restart());
    }
    let all = |conn: &mut Conn| Ok::<_, Error>(account::table.select(account::id).load::<i64>(conn)?);
    let there = db.read(all).await.expect("the accounts").into_iter().collect();
    Accounts { answered: answered.into_inner(), there }
}

/// Kills a process of the server again and again, so that the server restarts by itself, while writers go on.
async fn crash_by_itself(server: &PgServer, db: &Database, unit: fn(&mut Tx<'_>, i64) -> db::Result<()>) -> Accounts {
    let (next, over) = (Arc::new(AtomicI64::new(0)), AtomicBool::new(false));
    let answered = Mutex::new(BTreeSet::new());
    let writers = join_all((0..WRITERS).map(|_| async {
        while !over.load(Ordering::SeqCst) {
            let id = next.fetch_add(1, Ordering::SeqCst);
            match db.write(move |tx| unit(tx, id)).await {
                Ok(()) => _ = answered.lock().insert(id),
                Err(Error::Unavailable(_) | Error::UnknownOutcome(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }
    }));
    let crashes = async {
        for _ in 0..CRASHES {
            let before = answered.lock().len() as i64;
            while (answered.lock().len() as i64) < before + BURST {
                tokio::task::yield_now().await;
            }
            tokio::task::block_in_place(|| kill(server, "walwriter"));
        }
        over.store(true, Ordering::SeqCst);
    };
    futures::join!(writers, crashes);
    let all = |conn: &mut Conn| Ok::<_, Error>(account::table.select(account::id).load::<i64>(conn)?);
    let there = db.read(all).await.expect("the accounts").into_iter().collect();
    Accounts { answered: answered.into_inner(), there }
}

/// Kills a process of the server. The server then ends all processes and starts new ones.
fn kill(server: &PgServer, kind: &str) {
    let pid = diesel::dsl::sql::<Integer>(&format!("SELECT pid FROM pg_stat_activity WHERE backend_type = '{kind}'"));
    let mut conn = PgConnection::establish(&server.url()).expect("a connection");
    let pid: i32 = pid.get_result(&mut conn).expect("the process");
    let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill");
    assert!(killed.success());
    while conn.batch_execute("SELECT 1").is_ok() {}
    while PgConnection::establish(&server.url()).is_err() {}
}

struct Accounts {
    answered: BTreeSet<i64>,
    there: BTreeSet<i64>,
}

impl Accounts {
    fn lost(&self) -> usize {
        self.answered.difference(&self.there).count()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_answered_survives_crashes_of_the_server() {
    let Some(mut server) = forgetful_server().await else { return };
    // what a role has by default is not meant for the flush
    server.set_up("ALTER ROLE postgres SET synchronous_commit = off");
    let db = open(&server).await;
    let accounts = crash(&mut server, &db, account_with_record).await;
    assert!(accounts.answered.len() >= CRASHES * BURST as usize);
    assert_eq!(accounts.lost(), 0, "of {}", accounts.answered.len());
}

/// The server then keeps the start time, and comes back while units wait for a flush.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_answered_survives_a_server_that_restarts_by_itself() {
    let Some(server) = forgetful_server().await else { return };
    let db = open(&server).await;
    let accounts = crash_by_itself(&server, &db, account_with_record).await;
    assert!(accounts.answered.len() >= CRASHES * BURST as usize);
    assert_eq!(accounts.lost(), 0, "of {}", accounts.answered.len());
}

/// The same crashes without a flush lose units: this shows that the test before can fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn units_that_may_be_lost_are_lost_in_crashes_of_the_server() {
    let Some(mut server) = forgetful_server().await else { return };
    let db = open(&server).await;
    let accounts = crash(&mut server, &db, |tx, id| {
        tx.may_be_lost();
        insert(tx, id, 0)
    });
    assert!(accounts.await.lost() > 0);
}

/// Opens a database with flushes that wait for an absent standby.
async fn held(server: &PgServer) -> Database {
    open(server).await.close().await;
    server.hold_flushes();
    open(server).await
}

/// Waits for a held flush. Returns the process.
async fn stuck(server: &PgServer, but: Option<i32>) -> i32 {
    loop {
        if let Some(pid) = server.held_flush().filter(|pid| Some(*pid) != but) {
            return pid;
        }
        tokio::task::yield_now().await;
    }
}

/// PostgreSQL reports a cancelled wait for a standby as a success, with a warning.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flush_that_is_cancelled_or_cut_off_is_looked_up() {
    let Some(server) = server().await else { return };
    for end in ["pg_cancel_backend", "pg_terminate_backend"] {
        let db = held(&server).await;
        let mut recorded = pin!(db.write(|tx| {
            stage(tx, "1");
            insert(tx, 1, 0)
        }));
        let first = tokio::select! { biased; _ = &mut recorded => panic!("{end}: not flushed"), pid = stuck(&server, None) => pid };
        server.set_up(&format!("SELECT {end}({first})"));
        // found, and flushed by another connection
        tokio::select! { biased; _ = &mut recorded => panic!("{end}: not flushed"), _ = stuck(&server, Some(first)) => {} }
        let mut plain = pin!(db.write(|tx| insert(tx, 2, 0)));
        assert!(futures::poll!(&mut plain).is_pending());
        server.release_flushes();
        recorded.await.expect(end);
        plain.await.expect(end);
        let clear = |tx: &mut Tx<'_>| Ok::<_, Error>(tx.batch_execute("DELETE FROM account; DELETE FROM recorded")?);
        db.write(clear).await.expect(end);
        db.close().await;
    }
}

/// A lost connection leaves the outcome of a unit without records unknown.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_unit_without_records_whose_flush_fails_is_unknown() {
    let Some(server) = server().await else { return };
    let db = held(&server).await;
    let mut plain = pin!(db.write(|tx| insert(tx, 1, 0)));
    let mut refused = pin!(db.write(|_| Err::<(), _>(Error::NotFound)));
    tokio::select! { biased; _ = &mut plain => panic!("not flushed"), _ = stuck(&server, None) => {} }
    assert!(futures::poll!(&mut refused).is_pending(), "an answer may rest on what others committed");
    server.set_up(CUT_ALL);
    let (plain, refused) = futures::join!(plain, refused);
    assert!(matches!(plain, Err(Error::UnknownOutcome(_))), "{plain:?}");
    assert!(matches!(refused, Err(Error::Unavailable(_))), "nothing was done: {refused:?}");
    server.release_flushes();
    db.write(|tx| insert(tx, 2, 0)).await.expect("the next one");
}

/// An answer of a writing route may rest on very recent commits of other units.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_answer_that_rests_on_a_read_waits_for_a_flush() {
    let Some(server) = server().await else { return };
    let db = held(&server).await;
    let count = |conn: &mut Conn| Ok::<_, Error>(account::table.count().get_result::<i64>(conn)?);
    let mut unflushed = pin!(db.write(|tx| insert(tx, 1, 0)));
    tokio::select! { biased; _ = &mut unflushed => panic!("not flushed"), _ = stuck(&server, None) => {} }
    assert_eq!(db.read(count).await.expect("a read that nothing is answered by"), 1);
    let mut reads = pin!(db::durable(db.read(count)));
    let mut writes = pin!(db::durable(async {
        db.read(count).await?;
        db.write(|tx| insert(tx, 2, 0)).await
    }));
    let reads_nothing = db::durable(async { 1 });
    assert!(matches!(reads_nothing.await, (1, Ok(()))), "it has nothing to wait for");
    // a second unit and the read are queued behind the flush that is stuck
    tokio::select! {
        biased;
        _ = &mut reads => panic!("answered before its flush"),
        _ = &mut writes => panic!("answered before its flush"),
        () = seen(&db, 2) => {}
    }
    assert!(futures::poll!(&mut reads).is_pending());
    server.release_flushes();
    let (reads, writes) = futures::join!(reads, writes);
    assert!(matches!(reads, (Ok(1 | 2), Ok(()))), "{reads:?}");
    assert!(matches!(writes, (Ok(()), Ok(()))), "{writes:?}");
}

/// After a failed flush the data behind the answer may be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_answer_that_rests_on_a_read_is_thrown_away_when_its_flush_fails() {
    let Some(server) = server().await else { return };
    let db = held(&server).await;
    let one = |conn: &mut Conn| Ok::<_, Error>(diesel::select(1.into_sql::<Integer>()).get_result::<i32>(conn)?);
    let mut reads = pin!(db::durable(db.read(one)));
    tokio::select! { biased; _ = &mut reads => panic!("not flushed"), _ = stuck(&server, None) => {} }
    server.set_up(CUT_ALL);
    let (answer, durable) = reads.await;
    assert!(matches!(answer, Ok(1)) && matches!(durable, Err(Error::Unavailable(_))), "{answer:?} {durable:?}");
    server.release_flushes();
}

/// Waits until so many accounts are committed.
async fn seen(db: &Database, accounts: i64) {
    let count = |conn: &mut Conn| Ok::<_, Error>(account::table.count().get_result::<i64>(conn)?);
    while db.read(count).await.expect("the accounts") < accounts {}
}

/// A unit does not wait for a disk or a standby for ever; the committed unit may still be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_outcome_of_a_unit_whose_flush_takes_too_long_is_unknown() {
    let Some(server) = server().await else { return };
    let db = held(&server).await;
    let recorded = db.write(|tx| {
        stage(tx, "1");
        insert(tx, 1, 0)
    });
    let outcome = recorded.await;
    assert!(matches!(outcome, Err(Error::UnknownOutcome(_))), "{outcome:?}");
    server.release_flushes();
    db.write(|tx| insert(tx, 2, 0)).await.expect("the next one");
}

/// Such a unit delays no other unit, and is invisible outside.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_unit_that_may_be_lost_waits_for_no_flush() {
    let Some(server) = server().await else { return };
    let db = held(&server).await;
    let unit = |tx: &mut Tx<'_>| {
        tx.may_be_lost();
        insert(tx, 1, 0)
    };
    db.write(unit).await.expect("it does not wait");
    let wakes = db.write(|tx| {
        tx.may_be_lost();
        tx.after_commit(|| {});
        insert(tx, 2, 0)
    });
    tokio::select! { biased; _ = wakes => panic!("not flushed"), _ = stuck(&server, None) => {} }
    server.release_flushes();
}

/// After the loss of all connections, the records of a unit tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_unit_with_records_is_looked_up_when_all_connections_are_lost() {
    let Some(server) = server().await else { return };
    let db = held(&server).await;
    let mut recorded = pin!(db.write(|tx| {
        stage(tx, "1");
        insert(tx, 1, 0)
    }));
    tokio::select! { biased; _ = &mut recorded => panic!("not flushed"), _ = stuck(&server, None) => {} }
    server.set_up(CUT_ALL);
    server.release_flushes();
    recorded.await.expect("it is there");
}

/// A burst on few connections: the look-up does not wait for connections of waiting units.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cut_connection_of_the_flusher_costs_nobody_an_error() {
    let Some(server) = server().await else { return };
    let options = Options { pool_size: 2, ..Options::new(server.url()) };
    let db = Database::open(options, &MIGRATIONS, Arc::new(Book::default())).await.expect("it opens");
    // a connection that was opened behind a unit cannot tell of the unit
    let both = Arc::new(Barrier::new(2));
    let opened = (0..2).map(|_| {
        let both = both.clone();
        db.write(move |_| Ok::<_, Error>(both.wait().is_leader()))
    });
    assert!(join_all(opened).await.iter().all(Result::is_ok));
    let ids = Arc::new(AtomicI64::new(0));
    let writers = join_all((0..8).map(|_| async {
        for _ in 0..200 {
            let id = ids.fetch_add(1, Ordering::SeqCst);
            db.write(move |tx| insert(tx, id, 0)).await.expect("an account");
        }
    }));
    let cuts = async {
        loop {
            let cut = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {FLUSHER}");
            tokio::task::block_in_place(|| server.set_up(&cut));
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::select! { _ = writers => {}, () = cuts => {} }
}
