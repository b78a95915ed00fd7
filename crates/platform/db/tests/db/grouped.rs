//! Small units that are written together: one transaction, and a failure of one is no other's.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use db::{Error, Grouped, Tx};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};

use crate::ground::{ALARMING, Gate, Ground, UNWRITABLE, grounds, insert, stage};

type Written = BoxFuture<'static, db::Result<()>>;

fn written(grouped: &Arc<Grouped>, unit: impl Fn(&mut Tx<'_>) -> db::Result<()> + Send + Sync + 'static) -> Written {
    let grouped = grouped.clone();
    async move { grouped.write(unit).await }.boxed()
}

/// Opens account `id` and records it under `key`.
fn account(grouped: &Arc<Grouped>, id: i64, key: &str) -> Written {
    let key = key.to_owned();
    written(grouped, move |tx| {
        stage(tx, key.clone());
        insert(tx, id, 0)
    })
}

/// Polls all the units once behind a unit that is held, so that they make one group.
async fn together(grouped: &Arc<Grouped>, units: Vec<Written>) -> Vec<db::Result<()>> {
    let gate = Gate::default();
    let its = gate.clone();
    let first = tokio::spawn(written(grouped, move |_| {
        its.pass();
        Ok(())
    }));
    gate.reached().await;
    let mut all = Box::pin(join_all(units));
    assert!(futures::poll!(&mut all).is_pending(), "nobody is answered before the gate opens");
    gate.open();
    first.await.expect("no panic").expect("the gate's own unit");
    all.await
}

async fn ids(ground: &Ground) -> Vec<i64> {
    ground.accounts().await.into_iter().map(|(id, _)| id).collect()
}

#[tokio::test]
async fn units_that_wait_are_one_transaction_in_their_order() {
    for ground in grounds().await {
        let grouped = Arc::new(Grouped::start(ground.db.clone()));
        let units = (0..1000).map(|id| account(&grouped, id, &id.to_string())).collect();
        let answers = together(&grouped, units).await;
        assert!(answers.iter().all(Result::is_ok), "{}: {answers:?}", ground.name);
        assert_eq!(ground.book.calls.load(Ordering::SeqCst), 1, "{}: one transaction", ground.name);
        let in_order: Vec<_> = (0..1000).map(|id| id.to_string()).collect();
        assert_eq!(ground.recorded().await, in_order, "{}", ground.name);
    }
}

#[tokio::test]
async fn a_unit_that_fails_is_refused_alone() {
    for ground in grounds().await {
        let grouped = Arc::new(Grouped::start(ground.db.clone()));
        // by its own statement, by its record, and by a panic; the others keep their order
        for (round, bad) in ["twice", UNWRITABLE, ALARMING].into_iter().enumerate() {
            let first = round as i64 * 10;
            let units = (first..first + 7).map(|id| match id - first {
                4 if bad == "twice" => account(&grouped, first, bad),
                4 => account(&grouped, id, bad),
                _ => account(&grouped, id, &id.to_string()),
            });
            let mut answers = together(&grouped, units.collect()).await;
            let refused = answers.remove(4).expect_err("the bad one is refused");
            let is_right = match bad {
                UNWRITABLE => matches!(refused, Error::Defect(_)),
                ALARMING => matches!(refused, Error::Panicked(_)),
                _ => matches!(refused, Error::Constraint(_)),
            };
            assert!(is_right, "{}: {bad}: {refused}", ground.name);
            assert!(answers.iter().all(Result::is_ok), "{}: {bad}: {answers:?}", ground.name);
        }
        let good: Vec<i64> = (0..30).filter(|id| id % 10 < 7 && id % 10 != 4).collect();
        assert_eq!(ids(&ground).await, good, "{}", ground.name);
        assert_eq!(ground.recorded().await, good.iter().map(i64::to_string).collect::<Vec<_>>(), "{}", ground.name);
    }
}

#[tokio::test]
async fn a_caller_who_leaves_takes_only_its_own_unit_along() {
    for ground in grounds().await {
        let grouped = Arc::new(Grouped::start(ground.db.clone()));
        let mut leaving = account(&grouped, 2, "2");
        // it is queued behind the gate, and its caller leaves before the gate opens
        let leaves = async move {
            assert!(futures::poll!(&mut leaving).is_pending());
            drop(leaving);
            Ok(())
        };
        let units = vec![account(&grouped, 1, "1"), leaves.boxed(), account(&grouped, 3, "3")];
        let answers = together(&grouped, units).await;
        assert!(answers.iter().all(Result::is_ok), "{}: {answers:?}", ground.name);
        assert_eq!(ids(&ground).await, [1, 3], "{}", ground.name);

        // one whose unit has begun is written all the same
        let gate = Gate::default();
        let its = gate.clone();
        let begun = tokio::spawn(written(&grouped, move |tx| {
            its.pass();
            insert(tx, 4, 0)
        }));
        gate.reached().await;
        begun.abort();
        gate.open();
        account(&grouped, 5, "5").await.expect("its neighbour");
        assert_eq!(ids(&ground).await, [1, 3, 4, 5], "{}", ground.name);
    }
}
