//! Failures of PostgreSQL: deadlocks, cut connections, a server that goes and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use db::{Conn, Database, Error, Options, Tx};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use testkit::PgServer;

use crate::ground::{Book, Gate, MIGRATIONS, add, insert, postgres, stage};

/// Ends the connection of the calling unit, like an operator or a crash of the backend.
fn cut(conn: &mut Conn) -> db::Result<()> {
    Ok(conn.batch_execute("SELECT pg_terminate_backend(pg_backend_pid())")?)
}

/// Counts the runs; returns the number of earlier runs.
fn counted(runs: &Arc<AtomicUsize>) -> usize {
    runs.fetch_add(1, Ordering::SeqCst)
}

#[tokio::test]
async fn a_deadlock_is_run_again() {
    let Some(ground) = postgres(10).await else { return };
    ground.db.write(|tx| insert(tx, 1, 0).and_then(|()| insert(tx, 2, 0))).await.expect("the accounts");
    let (met, runs) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
    let units = [(1, 2), (2, 1)].map(|(first, second)| {
        let (met, runs) = (met.clone(), runs.clone());
        ground.db.write(move |tx| -> db::Result<()> {
            counted(&runs);
            add(tx, first, 1)?;
            met.pass(); // each has its first row
            add(tx, second, 1)?;
            stage(tx, first.to_string());
            Ok(())
        })
    });
    let both = async {
        met.reached_by(2).await;
        met.open();
    };
    let (answers, ()) = futures::join!(futures::future::join_all(units), both);
    answers.into_iter().for_each(|answer| answer.expect("both succeed"));
    // three, or more: a victim that is quick gets its row back before the other wakes, and they deadlock once more
    assert!(runs.load(Ordering::SeqCst) >= 3, "one of them was run again");
    assert_eq!(ground.accounts().await, [(1, 2), (2, 2)]);
    assert_eq!(ground.recorded().await.len(), 2);
}

#[tokio::test]
async fn a_unit_whose_connection_is_cut_is_run_again_on_another() {
    let Some(ground) = postgres(2).await else { return };
    let runs = Arc::new(AtomicUsize::new(0));
    let its = runs.clone();
    let unit = move |tx: &mut Tx<'_>| -> db::Result<()> {
        insert(tx, 1, 0)?;
        stage(tx, "1");
        if counted(&its) == 0 { cut(tx) } else { Ok(()) }
    };
    ground.db.write(unit).await.expect("the second run is committed");
    assert_eq!((runs.load(Ordering::SeqCst), ground.accounts().await), (2, vec![(1, 0)]));
    assert_eq!(ground.recorded().await, ["1"]);
}

#[tokio::test]
async fn a_cut_that_is_swallowed_is_run_again_as_well() {
    let Some(ground) = postgres(2).await else { return };
    let runs = Arc::new(AtomicUsize::new(0));
    let unit = move |tx: &mut Tx<'_>| -> db::Result<()> {
        insert(tx, 1, 0)?;
        if counted(&runs) == 0 {
            let _ = cut(tx);
        }
        Ok(())
    };
    ground.db.write(unit).await.expect("the second run is committed");
    assert_eq!(ground.accounts().await, [(1, 0)]);
}

#[tokio::test]
async fn a_unit_that_is_cut_each_time_is_given_up() {
    let Some(ground) = postgres(2).await else { return };
    let cut_each_time = ground.db.write(|tx| insert(tx, 1, 0).and_then(|()| cut(tx))).await;
    assert!(matches!(cut_each_time, Err(Error::Unavailable(_))), "{cut_each_time:?}");
    assert!(ground.accounts().await.is_empty());
}

#[tokio::test]
async fn a_pool_of_cut_connections_is_replaced() {
    let Some(ground) = postgres(4).await else { return };
    let all = (0..4).map(|id| ground.db.write(move |tx| insert(tx, id, 0)));
    futures::future::join_all(all).await.into_iter().for_each(|answer| answer.expect("an account"));
    let cut_others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                      WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let others = ground.db.read(move |conn| Ok::<_, Error>(conn.batch_execute(cut_others)?));
    others.await.expect("the others' connections are cut");
    for id in 4..12 {
        ground.db.write(move |tx| insert(tx, id, 0)).await.expect("on a new connection");
        assert_eq!(ground.accounts().await.len() as i64, id + 1);
    }
}

#[tokio::test]
async fn a_connection_lost_during_the_commit_is_unknown_and_not_run_again() {
    let Some(ground) = postgres(2).await else { return };
    // the server ends while it works on the COMMIT
    let deadly = "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS \
                  $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$; \
                  CREATE CONSTRAINT TRIGGER deadly AFTER INSERT ON account DEFERRABLE INITIALLY DEFERRED \
                  FOR EACH ROW WHEN (NEW.id = 13) EXECUTE FUNCTION die()";
    ground.db.write(move |tx| Ok::<_, Error>(tx.batch_execute(deadly)?)).await.expect("a trigger");
    let runs = Arc::new(AtomicUsize::new(0));
    let its = runs.clone();
    let lost = ground.db.write(move |tx| {
        counted(&its);
        insert(tx, 13, 0)
    });
    let lost = lost.await;
    assert!(matches!(lost, Err(Error::UnknownOutcome(_))), "{lost:?}");
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    ground.db.write(|tx| insert(tx, 1, 0)).await.expect("the next unit");
}

#[tokio::test]
async fn a_lock_that_does_not_come_is_unavailable() {
    let Some(ground) = postgres(4).await else { return };
    ground.db.write(|tx| insert(tx, 1, 0)).await.expect("an account");
    let gate = Gate::default();
    let its = gate.clone();
    let holding = ground.db.write(move |tx| {
        add(tx, 1, 1)?;
        its.pass();
        Ok::<_, Error>(())
    });
    let runs = Arc::new(AtomicUsize::new(0));
    let its_runs = runs.clone();
    let waiting = async {
        gate.reached().await;
        let unit = move |tx: &mut Tx<'_>| -> db::Result<bool> {
            counted(&its_runs);
            tx.batch_execute("SET LOCAL lock_timeout = '1ms'")?;
            add(tx, 1, 1)
        };
        let answer = ground.db.write(unit).await;
        gate.open();
        answer
    };
    let (held, waited) = futures::join!(holding, waiting);
    held.expect("the holder is not disturbed");
    assert!(matches!(waited, Err(Error::Unavailable(_))), "{waited:?}");
    assert_eq!(runs.load(Ordering::SeqCst), 1, "waiting longer is for the caller to decide");
    assert_eq!(ground.accounts().await, [(1, 1)]);
}

#[tokio::test]
async fn a_deferred_constraint_is_a_constraint_at_the_commit() {
    let Some(ground) = postgres(2).await else { return };
    let table = "CREATE TABLE pledge (account bigint REFERENCES account (id) DEFERRABLE INITIALLY DEFERRED)";
    ground.db.write(move |tx| Ok::<_, Error>(tx.batch_execute(table)?)).await.expect("a table");
    let broken = ground.db.write(|tx| Ok::<_, Error>(tx.batch_execute("INSERT INTO pledge VALUES (1)")?)).await;
    assert!(matches!(broken, Err(Error::Constraint(_))), "{broken:?}");
}

#[tokio::test]
async fn whoever_finds_every_connection_busy_is_told_so() {
    let Some(ground) = postgres(1).await else { return };
    let gate = Gate::default();
    let its = gate.clone();
    let busy = ground.db.write(move |_| {
        its.pass();
        Ok::<_, Error>(())
    });
    let others = async {
        gate.reached().await;
        let (written, read) =
            futures::join!(ground.db.write(|tx| insert(tx, 1, 0)), ground.db.read(|_| Ok::<_, Error>(())));
        gate.open();
        (written, read)
    };
    let (busy, (written, read)) = futures::join!(busy, others);
    busy.expect("the one that has it");
    assert!(matches!(written, Err(Error::Unavailable(_))) && matches!(read, Err(Error::Unavailable(_))));
    assert!(ground.accounts().await.is_empty());
}

#[tokio::test]
async fn a_server_that_is_gone_is_unavailable_until_it_is_back() {
    let Some(mut server) = tokio::task::spawn_blocking(PgServer::start).await.expect("no panic") else { return };
    let open = |url: String| Database::open(Options::new(url), &MIGRATIONS, Arc::new(Book::default()));
    let db = open(server.url()).await.expect("it opens");
    let all = (0..10).map(|id| db.write(move |tx| insert(tx, id, 0)));
    futures::future::join_all(all).await.into_iter().for_each(|answer| answer.expect("an account"));

    // one of them is in the middle of its work
    let gate = Gate::default();
    let its = gate.clone();
    let mut caught = Box::pin(db.write(move |tx| {
        its.pass();
        insert(tx, 10, 0)
    }));
    assert!(futures::poll!(&mut caught).is_pending());
    gate.reached().await;
    server.crash();
    gate.open();
    let caught = caught.await;
    assert!(matches!(caught, Err(Error::Unavailable(_))), "{caught:?}");
    let written = futures::future::join_all((20..40).map(|id| db.write(move |tx| insert(tx, id, 0)))).await;
    assert!(written.iter().all(|answer| matches!(answer, Err(Error::Unavailable(_)))), "{written:?}");
    let read = db.read(|conn| Ok::<_, Error>(conn.batch_execute("SELECT 1")?)).await;
    assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
    assert!(written[0].as_ref().err().and_then(Error::retry_after).is_some());
    let opened = open(server.url()).await;
    assert!(matches!(opened.err(), Some(Error::Unavailable(_))));

    server.restart();
    db.write(|tx| insert(tx, 10, 0)).await.expect("it works again, without being opened again");
    let count = |conn: &mut Conn| -> db::Result<i64> { Ok(crate::ground::account::table.count().get_result(conn)?) };
    assert_eq!(db.read(count).await.expect("a read"), 11);
}
