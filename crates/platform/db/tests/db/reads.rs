//! Reads: snapshots without changes.

use db::{Conn, Error};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use crate::ground::{Gate, account, grounds, insert};

fn count(conn: &mut Conn) -> db::Result<i64> {
    Ok(account::table.count().get_result(conn)?)
}

#[tokio::test]
async fn a_read_is_a_snapshot() {
    for ground in grounds().await {
        ground.db.write(|tx| insert(tx, 1, 0)).await.expect("an account");
        let gate = Gate::default();
        let its = gate.clone();
        let reading = ground.db.read(move |conn| -> db::Result<_> {
            let before = count(conn)?;
            its.pass();
            Ok((before, count(conn)?))
        });
        let writing = async {
            gate.reached().await;
            ground.db.write(|tx| insert(tx, 2, 0)).await.expect("an account, while the read goes on");
            gate.open();
        };
        let (counted, ()) = futures::join!(reading, writing);
        assert_eq!(counted.expect("the read"), (1, 1), "{}", ground.name);
        assert_eq!(ground.db.read(count).await.expect("the next read"), 2, "{}", ground.name);
    }
}

#[tokio::test]
async fn a_read_cannot_write() {
    for ground in grounds().await {
        let written = ground.db.read(|conn| insert(conn, 1, 0)).await;
        assert!(matches!(written, Err(Error::Defect(_))), "{}: {written:?}", ground.name);
        let made = ground.db.read(|conn| Ok(conn.batch_execute("CREATE TABLE made (id integer)")?)).await;
        assert!(matches!(made, Err(Error::Defect(_))), "{}: {made:?}", ground.name);
        assert!(ground.accounts().await.is_empty(), "{}", ground.name);
    }
}

#[tokio::test]
async fn a_read_that_passes_over_an_error_has_no_answer() {
    for ground in grounds().await {
        let passed_over = ground.db.read(|conn| -> db::Result<i64> {
            let _ = conn.batch_execute("SELECT nothing FROM nowhere");
            Ok(1)
        });
        let answer = passed_over.await;
        assert!(matches!(answer, Err(Error::Unavailable(_))), "{}: {answer:?}", ground.name);
        assert_eq!(ground.db.read(count).await.expect("the next read"), 0, "{}", ground.name);
    }
}

#[tokio::test]
async fn a_read_that_panics_harms_nobody_else() {
    for ground in grounds().await {
        for _ in 0..20 {
            let panicked = ground.db.read(|_| -> db::Result<()> { panic!("a test panics on purpose") }).await;
            assert!(matches!(panicked, Err(Error::Panicked(_))), "{}: {panicked:?}", ground.name);
        }
        assert_eq!(ground.db.read(count).await.expect("the next read"), 0, "{}", ground.name);
    }
}

#[tokio::test]
async fn a_row_that_is_not_there_is_no_failure() {
    for ground in grounds().await {
        let missing =
            |conn: &mut Conn| -> db::Result<i64> { Ok(account::table.find(1).select(account::id).first(conn)?) };
        assert!(matches!(ground.db.read(missing).await, Err(Error::NotFound)), "{}", ground.name);
        let unit = move |tx: &mut db::Tx<'_>| -> db::Result<()> {
            assert!(matches!(missing(tx), Err(Error::NotFound)));
            insert(tx, 1, 0)
        };
        ground.db.write(unit).await.expect("a unit may look for what is not there");
    }
}
