//! A server with Korean messages: the text of an error decides nothing.

use std::sync::Arc;

use db::{Conn, Database, Error, Options, Reason, Tx};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use testkit::PgServer;

use crate::ground::{Book, Gate, MIGRATIONS, account, add, insert};

async fn korean() -> Option<(PgServer, Database)> {
    let server = tokio::task::spawn_blocking(|| PgServer::start_speaking("ko")).await.expect("no panic")?;
    let db = open(&server.url()).await.expect("it opens");
    db.write(|tx| insert(tx, 1, 0).and_then(|()| insert(tx, 2, 0))).await.expect("the accounts");
    Some((server, db))
}

async fn open(url: &str) -> db::Result<Database> {
    Database::open(Options::new(url), &MIGRATIONS, Arc::new(Book::default())).await
}

fn execute(server: &PgServer, sql: &str) {
    let mut conn = PgConnection::establish(&server.url()).expect("a connection");
    sql.split(';').for_each(|statement| conn.batch_execute(statement).expect(statement));
}

async fn balances(db: &Database) -> Vec<i64> {
    let all = |conn: &mut Conn| -> db::Result<Vec<i64>> {
        Ok(account::table.order(account::id).select(account::balance).load(conn)?)
    };
    db.read(all).await.expect("the accounts")
}

/// Returns the error of a unit without a lock, while another unit holds the lock.
async fn refused_lock(db: &Database, lock: &'static str) -> db::Result<bool> {
    let gate = Gate::default();
    let its = gate.clone();
    let holding = db.write(move |tx| {
        tx.batch_execute(lock)?;
        its.pass();
        Ok::<_, Error>(())
    });
    let waiting = async {
        gate.reached().await;
        let unit = |tx: &mut Tx<'_>| -> db::Result<bool> {
            tx.batch_execute("SET LOCAL lock_timeout = '1ms'")?;
            add(tx, 1, 1)
        };
        let answer = db.write(unit).await;
        gate.open();
        answer
    };
    let (held, waited) = futures::join!(holding, waiting);
    held.expect("the holder is not disturbed");
    waited
}

#[tokio::test]
async fn locks_and_cancellations_are_unavailable_in_any_language() {
    let Some((_server, db)) = korean().await else { return };
    let row = refused_lock(&db, "UPDATE account SET note = 'held' WHERE id = 1").await;
    let table = refused_lock(&db, "LOCK TABLE account").await;
    let late = |tx: &mut Tx<'_>| -> db::Result<()> {
        Ok(tx.batch_execute("SET LOCAL statement_timeout = '1ms'; SELECT pg_sleep(60)")?)
    };
    let cancelled = |conn: &mut Conn| -> db::Result<()> {
        Ok(conn.batch_execute("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(60)")?)
    };
    let wrong = |tx: &mut Tx<'_>| -> db::Result<()> { Ok(tx.batch_execute("SELECT nothing FROM nowhere")?) };
    let answers = [
        row.map(drop),
        table.map(drop),
        db.write(late).await,
        db.write(move |tx| cancelled(tx)).await,
        db.read(cancelled).await,
        db.write(wrong).await,
    ];
    for (n, answer) in answers.into_iter().enumerate() {
        let Err(Error::Unavailable(why)) = &answer else { panic!("{n}: {answer:?}") };
        assert!(!why.is_ascii(), "{n}: {why} is English");
    }
    assert_eq!(balances(&db).await, [0, 0]);
}

#[tokio::test]
async fn a_deadlock_is_run_again_in_any_language() {
    let Some((_server, db)) = korean().await else { return };
    let met = Gate::default();
    let units = [(1, 2), (2, 1)].map(|(first, second)| {
        let met = met.clone();
        db.write(move |tx| -> db::Result<bool> {
            add(tx, first, 1)?;
            met.pass(); // each has its first row
            add(tx, second, 1)
        })
    });
    let both = async {
        met.reached_by(2).await;
        met.open();
    };
    let (answers, ()) = futures::join!(futures::future::join_all(units), both);
    answers.into_iter().for_each(|answer| assert!(answer.expect("both succeed")));
    assert_eq!(balances(&db).await, [2, 2]);
}

#[tokio::test]
async fn constraints_stay_constraints_in_any_language() {
    let Some((_server, db)) = korean().await else { return };
    let twice = db.write(|tx| insert(tx, 1, 0)).await;
    assert!(matches!(&twice, Err(Error::Constraint(why)) if !why.is_ascii()), "{twice:?}");
}

#[tokio::test]
async fn a_read_only_server_is_named_in_any_language() {
    let Some((server, db)) = korean().await else { return };
    let read_only = |is_so: &str| {
        execute(&server, &format!("ALTER SYSTEM SET default_transaction_read_only = {is_so}; SELECT pg_reload_conf()"));
    };
    let reason = || db.storage_fault().map(|fault| fault.reason);
    read_only("on");
    while reason() != Some(Reason::ReadOnly) {
        match db.write(|tx| add(tx, 1, 0)).await {
            Ok(_) => {} // the server has not taken the setting
            Err(Error::Unavailable(_)) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    }
    read_only("off");
    while reason().is_some() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(db.write(|tx| add(tx, 1, 1)).await.expect("the server can be written again"));
}

#[tokio::test]
async fn a_url_that_the_server_refuses_is_a_defect_in_any_language() {
    let Some((server, _db)) = korean().await else { return };
    let url = server.url();
    let ((folder, _), (_, place)) = (url.rsplit_once('/').expect("a database"), url.split_once('@').expect("a host"));
    for wrong in [format!("{folder}/nowhere"), format!("postgres://postgres:wrong@{place}"), format!("{url}?nothing=1")]
    {
        let refused = open(&wrong).await.err();
        assert!(matches!(refused, Some(Error::Defect(_))), "{wrong}: {refused:?}");
    }
}
