//! Commits of PostgreSQL that are flushed together: what was answered is durable, whatever happens to the server or to the
//! connection that flushes.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use db::{Conn, Database, Error, Options, Tx};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Integer, Nullable};
use futures::future::join_all;
use parking_lot::Mutex;
use testkit::PgServer;

use crate::ground::{Book, MIGRATIONS, account, insert, stage};

const WRITERS: usize = 32;
const CRASHES: usize = 4;
/// Units that are answered before a crash is worth it.
const BURST: i64 = 200;
const FLUSHER: &str = "application_name = 'jangteo flusher' AND datname = current_database()";

/// Ends all connections but the one that says so.
const CUT_ALL: &str =
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = 'postgres'";

async fn server() -> Option<PgServer> {
    tokio::task::spawn_blocking(PgServer::start).await.expect("no panic")
}

/// A server that writes its log to the disk by itself less often, so that crashes lose more.
async fn forgetful_server() -> Option<PgServer> {
    let mut server = server().await?;
    set_up(&server, "ALTER SYSTEM SET wal_writer_delay = '10s'; ALTER SYSTEM SET wal_writer_flush_after = '1GB'");
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

/// Sets the server up by a connection of its own, as a superuser does outside of a transaction.
fn set_up(server: &PgServer, sql: &str) {
    let mut conn = PgConnection::establish(&server.url()).expect("a connection");
    sql.split(';').for_each(|statement| conn.batch_execute(statement).expect(statement));
}

/// Crashes the server again and again in the middle of a burst of units. Returns the accounts that were answered and
/// those that are there.
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

/// Has a process of the server killed again and again, so that the server restarts by itself, while writers go on.
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

/// Kills a process of the server. After that the server ends the others and starts them again.
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
    set_up(&server, "ALTER ROLE postgres SET synchronous_commit = off");
    let db = open(&server).await;
    let accounts = crash(&mut server, &db, account_with_record).await;
    assert!(accounts.answered.len() >= CRASHES * BURST as usize);
    assert_eq!(accounts.lost(), 0, "of {}", accounts.answered.len());
}

/// The server keeps its start then, and comes back while units wait for their flush.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_answered_survives_a_server_that_restarts_by_itself() {
    let Some(server) = forgetful_server().await else { return };
    let db = open(&server).await;
    let accounts = crash_by_itself(&server, &db, account_with_record).await;
    assert!(accounts.answered.len() >= CRASHES * BURST as usize);
    assert_eq!(accounts.lost(), 0, "of {}", accounts.answered.len());
}

/// The same without a flush: this shows that the test before can fail.
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

/// Has the flush wait for a standby that there is not.
async fn held(server: &PgServer) -> Database {
    open(server).await.close().await;
    set_up(server, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'; SELECT pg_reload_conf()");
    let is_set = "SELECT 1 / (current_setting('synchronous_standby_names') = 'nobody')::integer";
    // connections that are opened after this one have the setting
    while PgConnection::establish(&server.url()).expect("a connection").batch_execute(is_set).is_err() {}
    open(server).await
}

fn release(server: &PgServer) {
    set_up(server, "ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()");
}

/// Waits for a flush that waits for the standby. Returns its process.
async fn stuck(db: &Database, but: Option<i32>) -> i32 {
    let query = format!("(SELECT min(pid) FROM pg_stat_activity WHERE {FLUSHER} AND wait_event = 'SyncRep')");
    loop {
        let query = query.clone();
        let pid = move |conn: &mut Conn| {
            Ok::<_, Error>(diesel::select(diesel::dsl::sql::<Nullable<Integer>>(&query)).get_result(conn)?)
        };
        let pid: Option<i32> = db.read(pid).await.expect("the activity");
        if let Some(pid) = pid.filter(|pid| Some(*pid) != but) {
            return pid;
        }
    }
}

/// PostgreSQL calls it a success, with a warning, when a wait for a standby is cancelled.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flush_that_is_cancelled_or_cut_off_is_looked_up() {
    let Some(server) = server().await else { return };
    for end in ["pg_cancel_backend", "pg_terminate_backend"] {
        let db = held(&server).await;
        let mut recorded = pin!(db.write(|tx| {
            stage(tx, "1");
            insert(tx, 1, 0)
        }));
        let first =
            tokio::select! { biased; _ = &mut recorded => panic!("{end}: not flushed"), pid = stuck(&db, None) => pid };
        set_up(&server, &format!("SELECT {end}({first})"));
        // found, and flushed by another connection
        tokio::select! { biased; _ = &mut recorded => panic!("{end}: not flushed"), _ = stuck(&db, Some(first)) => {} }
        let mut plain = pin!(db.write(|tx| insert(tx, 2, 0)));
        assert!(futures::poll!(&mut plain).is_pending());
        release(&server);
        recorded.await.expect(end);
        plain.await.expect(end);
        let clear = |tx: &mut Tx<'_>| Ok::<_, Error>(tx.batch_execute("DELETE FROM account; DELETE FROM recorded")?);
        db.write(clear).await.expect(end);
        db.close().await;
    }
}

/// Nothing tells whether a unit without records was committed, once all connections are lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_unit_without_records_whose_flush_fails_is_unknown() {
    let Some(server) = server().await else { return };
    let db = held(&server).await;
    let mut plain = pin!(db.write(|tx| insert(tx, 1, 0)));
    let mut refused = pin!(db.write(|_| Err::<(), _>(Error::NotFound)));
    tokio::select! { biased; _ = &mut plain => panic!("not flushed"), _ = stuck(&db, None) => {} }
    assert!(futures::poll!(&mut refused).is_pending(), "an answer may rest on what others committed");
    set_up(&server, CUT_ALL);
    let (plain, refused) = futures::join!(plain, refused);
    assert!(matches!(plain, Err(Error::UnknownOutcome(_))), "{plain:?}");
    assert!(matches!(refused, Err(Error::Unavailable(_))), "nothing was done: {refused:?}");
    release(&server);
    db.write(|tx| insert(tx, 2, 0)).await.expect("the next one");
}

/// It holds up nobody, and nothing outside hears of it.
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
    tokio::select! { biased; _ = wakes => panic!("not flushed"), _ = stuck(&db, None) => {} }
    release(&server);
}

/// Once all connections are lost, the records of a unit tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_unit_with_records_is_looked_up_when_all_connections_are_lost() {
    let Some(server) = server().await else { return };
    let db = held(&server).await;
    let mut recorded = pin!(db.write(|tx| {
        stage(tx, "1");
        insert(tx, 1, 0)
    }));
    tokio::select! { biased; _ = &mut recorded => panic!("not flushed"), _ = stuck(&db, None) => {} }
    set_up(&server, CUT_ALL);
    release(&server);
    recorded.await.expect("it is there");
}

/// A burst on few connections: the look-up does not wait for connections of units that wait for the flusher.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cut_connection_of_the_flusher_costs_nobody_an_error() {
    let Some(server) = server().await else { return };
    let options = Options { pool_size: 2, ..Options::new(server.url()) };
    let db = Database::open(options, &MIGRATIONS, Arc::new(Book::default())).await.expect("it opens");
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
            tokio::task::block_in_place(|| set_up(&server, &cut));
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::select! { _ = writers => {}, () = cuts => {} }
}
