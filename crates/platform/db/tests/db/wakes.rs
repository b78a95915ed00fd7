//! Actions after a commit, and data after the close of a database.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use db::{Error, Tx};

use crate::ground::{Gate, Refusal, grounds, insert, sqlite, stage};

#[tokio::test]
async fn what_waits_for_the_commit_is_done_once_and_only_then() {
    for ground in grounds().await {
        let done = Arc::new(AtomicUsize::new(0));
        let wake = |tx: &mut Tx<'_>, done: &Arc<AtomicUsize>, amount: usize| {
            let done = done.clone();
            tx.after_commit(move || _ = done.fetch_add(amount, Ordering::SeqCst));
        };
        let (its, refusing) = (done.clone(), done.clone());
        let unit = move |tx: &mut Tx<'_>| -> Result<(), Refusal> {
            wake(tx, &its, 1);
            let refused = tx.savepoint(|tx| -> Result<(), Refusal> {
                wake(tx, &its, 10);
                Err(Refusal::Refused)
            });
            assert!(refused.is_err() && its.load(Ordering::SeqCst) == 0);
            Ok(())
        };
        ground.db.write(unit).await.expect("the unit");
        let refused = ground.db.write(move |tx| -> Result<(), Refusal> {
            wake(tx, &refusing, 100);
            Err(Refusal::Refused)
        });
        assert!(refused.await.is_err());
        assert_eq!(done.load(Ordering::SeqCst), 1, "{}", ground.name);
    }
}

#[tokio::test]
async fn a_panic_after_the_commit_does_no_harm() {
    for ground in grounds().await {
        let done = Arc::new(AtomicUsize::new(0));
        let its = done.clone();
        let unit = move |tx: &mut Tx<'_>| -> db::Result<()> {
            insert(tx, 1, 0)?;
            tx.after_commit(|| panic!("a test panics on purpose"));
            let its = its.clone();
            tx.after_commit(move || _ = its.fetch_add(1, Ordering::SeqCst));
            Ok(())
        };
        ground.db.write(unit).await.expect("it was committed");
        ground.db.write(|tx| insert(tx, 2, 0)).await.expect("the next");
        assert_eq!((done.load(Ordering::SeqCst), ground.accounts().await.len()), (1, 2), "{}", ground.name);
    }
}

#[tokio::test]
async fn nothing_is_recorded_where_nothing_was_staged() {
    for ground in grounds().await {
        ground.db.write(|tx| insert(tx, 1, 0)).await.expect("a unit");
        assert_eq!(ground.book.calls.load(Ordering::SeqCst), 0, "{}", ground.name);
        ground
            .db
            .write(|tx| -> db::Result<()> {
                stage(tx, "1");
                Ok(())
            })
            .await
            .expect("a unit");
        assert_eq!(ground.book.commits.load(Ordering::SeqCst), 1, "{}", ground.name);
    }
}

#[tokio::test]
async fn a_closed_database_says_so() {
    for ground in grounds().await {
        ground.db.write(|tx| insert(tx, 1, 0)).await.expect("a unit");
        ground.db.close().await;
        let written = ground.db.write(|tx| insert(tx, 2, 0)).await;
        assert!(matches!(&written, Err(Error::Unavailable(why)) if why.contains("closed")), "{written:?}");
        let read = ground.db.read(|_| -> db::Result<()> { Ok(()) }).await;
        assert!(matches!(&read, Err(Error::Unavailable(why)) if why.contains("closed")), "{read:?}");
        ground.db.close().await;
        assert_eq!(ground.reopened().await.accounts().await, [(1, 0)]);
    }
}

#[tokio::test]
async fn a_close_finishes_what_was_queued_and_refuses_what_comes_behind() {
    let ground = sqlite().await;
    let gate = Gate::default();
    let its = gate.clone();
    let mut before = Box::pin(ground.db.write(move |tx| {
        its.pass();
        insert(tx, 1, 0)
    }));
    assert!(futures::poll!(&mut before).is_pending());
    gate.reached().await;
    let mut queued = Box::pin(ground.db.write(|tx| insert(tx, 2, 0)));
    assert!(futures::poll!(&mut queued).is_pending());
    let mut close = Box::pin(ground.db.close());
    assert!(futures::poll!(&mut close).is_pending());
    let mut late = Box::pin(ground.db.write(|tx| insert(tx, 3, 0)));
    assert!(futures::poll!(&mut late).is_pending());
    gate.open();
    let (before, queued, late, ()) = futures::join!(before, queued, late, close);
    assert!(before.is_ok() && queued.is_ok());
    assert!(matches!(late, Err(Error::Unavailable(_))), "nothing was done, and that is known: {late:?}");
    assert_eq!(ground.reopened().await.accounts().await, [(1, 0), (2, 0)]);
}
