//! Concurrent units of work: effects of a unit on itself and on other units.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use db::{Database, Error, Tx};
use diesel::connection::SimpleConnection;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::ground::{ALARMING, Gate, Ground, Refusal, UNWRITABLE, add, grounds, insert, sqlite, stage};

/// Opens and records account `id`.
fn good(db: &Database, id: i64) -> BoxFuture<'static, Result<(), Refusal>> {
    unit(db, move |tx| {
        insert(tx, id, 0)?;
        stage(tx, id.to_string());
        Ok(())
    })
}

fn unit(
    db: &Database,
    work: impl Fn(&mut Tx<'_>) -> Result<(), Refusal> + Send + 'static,
) -> BoxFuture<'static, Result<(), Refusal>> {
    let db = db.clone();
    async move { db.write(work).await }.boxed()
}

/// Runs a unit between four good units, checks that each good unit is stored once, and returns the refusal.
async fn among_good_ones(
    ground: &Ground,
    bad: impl Fn(&mut Tx<'_>) -> Result<(), Refusal> + Send + 'static,
) -> Refusal {
    let db = &ground.db;
    let units = [good(db, 1), good(db, 2), unit(db, bad), good(db, 3), good(db, 4)];
    let mut answers = ground.together(units).await;
    let answer = answers.remove(2).expect_err("the bad one is refused");
    answers.into_iter().for_each(|answer| answer.expect("its neighbours are not"));
    assert_eq!(ground.accounts().await, [(1, 0), (2, 0), (3, 0), (4, 0)], "{}", ground.name);
    let mut recorded = ground.recorded().await;
    recorded.sort();
    assert_eq!(recorded, ["1", "2", "3", "4"], "{}", ground.name);
    answer
}

#[tokio::test]
async fn a_unit_that_refuses_is_undone_alone() {
    for ground in grounds().await {
        let refused = among_good_ones(&ground, |tx| {
            insert(tx, 10, 0)?;
            stage(tx, "10");
            Err(Refusal::Refused)
        });
        assert!(matches!(refused.await, Refusal::Refused), "{}", ground.name);
    }
}

#[tokio::test]
async fn a_group_is_one_transaction_with_a_refusal_inside() {
    let ground = sqlite().await;
    among_good_ones(&ground, |_| Err(Refusal::Refused)).await;
    assert_eq!(ground.book.calls.load(Ordering::SeqCst), 1, "the records of a group are written at once");
}

#[tokio::test]
async fn a_unit_that_violates_a_constraint_is_undone_alone() {
    for ground in grounds().await {
        let answer = among_good_ones(&ground, |tx| {
            insert(tx, 10, 0)?;
            stage(tx, "10");
            Ok(insert(tx, 10, 0)?)
        });
        let answer = answer.await;
        assert!(matches!(answer, Refusal::Database(Error::Constraint(_))), "{}: {answer}", ground.name);
    }
}

#[tokio::test]
async fn a_check_is_a_constraint_also_when_rows_are_returned() {
    for ground in grounds().await {
        let answer = among_good_ones(&ground, |tx| {
            use crate::ground::account;
            use diesel::prelude::*;
            insert(tx, 10, 5)?;
            let taken = diesel::update(account::table.find(10)).set(account::balance.eq(account::balance - 6));
            let _left: i64 = taken.returning(account::balance).get_result(&mut **tx).map_err(Error::from)?;
            Ok(())
        });
        let answer = answer.await;
        assert!(matches!(answer, Refusal::Database(Error::Constraint(_))), "{}: {answer}", ground.name);
    }
}

#[tokio::test]
async fn a_unit_may_give_a_constraint_a_name_of_its_own() {
    for ground in grounds().await {
        let answer = among_good_ones(&ground, |tx| {
            insert(tx, 10, 0)?;
            insert(tx, 10, 0).map_err(|_| Refusal::Refused)
        });
        assert!(matches!(answer.await, Refusal::Refused), "{}", ground.name);
    }
}

#[tokio::test]
async fn a_swallowed_error_poisons_the_unit_alike_on_both() {
    type Work = fn(&mut Tx<'_>) -> Result<(), Refusal>;
    let swallowing: [(&str, Work); 5] = [
        ("at the end", |tx| {
            insert(tx, 10, 0)?;
            let _ = insert(tx, 10, 0);
            Ok(())
        }),
        ("and goes on", |tx| {
            insert(tx, 10, 0)?;
            let _ = insert(tx, 10, 0);
            Ok(insert(tx, 11, 0)?)
        }),
        ("of rows that are returned", |tx| {
            use crate::ground::account;
            use diesel::prelude::*;
            let row = (account::id.eq(10), account::balance.eq(-1));
            let inserted = diesel::insert_into(account::table).values(row).returning(account::id);
            let _ = inserted.get_result::<i64>(&mut **tx).map_err(Error::from);
            Ok(())
        }),
        ("within a savepoint", |tx| {
            tx.savepoint(|tx| {
                insert(tx, 10, 0)?;
                let _ = insert(tx, 10, 0);
                Ok(())
            })
        }),
        ("of a savepoint", |tx| {
            insert(tx, 10, 0)?;
            let _ = tx.savepoint(|tx| insert(tx, 10, 0));
            Ok(insert(tx, 11, 0)?)
        }),
    ];
    for (how, work) in swallowing {
        for ground in grounds().await {
            let answer = among_good_ones(&ground, work).await;
            assert!(matches!(answer, Refusal::Database(Error::Constraint(_))), "{}, {how}: {answer}", ground.name);
        }
    }
}

#[tokio::test]
async fn sql_that_does_not_run_undoes_its_unit_alone_and_may_be_tried_again() {
    for ground in grounds().await {
        let answer = among_good_ones(&ground, |tx| {
            insert(tx, 10, 0)?;
            Ok(tx.batch_execute("SELECT nothing FROM nowhere").map_err(Error::from)?)
        });
        let answer = answer.await;
        assert!(matches!(answer, Refusal::Database(Error::Unavailable(_))), "{}: {answer}", ground.name);
    }
}

#[tokio::test]
async fn the_others_of_a_group_with_a_panic_succeed_once_each() {
    for ground in grounds().await {
        ground.db.write(|tx| insert(tx, 0, 0)).await.expect("an account");
        let units = (0..40).map(|n| {
            unit(&ground.db, move |tx| {
                add(tx, 0, 1)?;
                stage(tx, n.to_string());
                assert!(n % 13 != 7, "a test panics on purpose");
                Ok(())
            })
        });
        let answers = ground.together(units).await;
        for (n, answer) in answers.iter().enumerate() {
            match answer {
                Ok(()) => assert_ne!(n % 13, 7, "{}", ground.name),
                Err(Refusal::Database(Error::Panicked(text))) => {
                    assert!(n % 13 == 7 && text.contains("on purpose"), "{}: {n}: {text}", ground.name);
                }
                Err(other) => panic!("{}: {n}: {other}", ground.name),
            }
        }
        assert_eq!(ground.accounts().await, [(0, 37)], "{}", ground.name);
        assert_eq!(ground.recorded().await.len(), 37, "{}", ground.name);
    }
}

#[tokio::test]
async fn savepoints_nest() {
    for ground in grounds().await {
        let nested = |tx: &mut Tx<'_>| -> Result<(), Refusal> {
            insert(tx, 1, 0)?;
            stage(tx, "1");
            tx.savepoint(|tx| -> Result<(), Refusal> {
                insert(tx, 2, 0)?;
                stage(tx, "2");
                let refused = tx.savepoint(|tx| -> Result<(), Refusal> {
                    insert(tx, 3, 0)?;
                    stage(tx, "3");
                    Err(Refusal::Refused)
                });
                assert!(matches!(refused, Err(Refusal::Refused)));
                insert(tx, 4, 0)?;
                stage(tx, "4");
                Ok(())
            })?;
            let refused = tx.savepoint(|tx| -> Result<(), Refusal> {
                tx.savepoint(|tx| -> Result<(), Refusal> {
                    insert(tx, 5, 0)?;
                    stage(tx, "5");
                    Ok(())
                })?;
                Err(Refusal::Refused)
            });
            assert!(matches!(refused, Err(Refusal::Refused)));
            insert(tx, 3, 1)?;
            stage(tx, "6");
            Ok(())
        };
        ground.db.write(nested).await.expect("the unit");
        assert_eq!(ground.accounts().await, [(1, 0), (2, 0), (3, 1), (4, 0)], "{}", ground.name);
        assert_eq!(ground.recorded().await, ["1", "2", "4", "6"], "{}", ground.name);
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_written_undoes_its_unit_alone() {
    for ground in grounds().await {
        let answer = among_good_ones(&ground, |tx| {
            insert(tx, 10, 0)?;
            stage(tx, UNWRITABLE);
            Ok(())
        });
        let answer = answer.await;
        assert!(matches!(&answer, Refusal::Database(Error::Defect(text)) if text.contains("nobody can write this")));
    }
}

#[tokio::test]
async fn a_record_that_violates_a_constraint_undoes_its_unit_alone() {
    for ground in grounds().await {
        let answer = among_good_ones(&ground, |tx| {
            insert(tx, 10, 0)?;
            stage(tx, "twice");
            stage(tx, "twice");
            Ok(())
        });
        let answer = answer.await;
        assert!(matches!(answer, Refusal::Database(Error::Constraint(_))), "{}: {answer}", ground.name);
    }
}

#[tokio::test]
async fn a_recorder_that_panics_undoes_its_unit_alone() {
    for ground in grounds().await {
        let answer = among_good_ones(&ground, |tx| {
            insert(tx, 10, 0)?;
            stage(tx, ALARMING);
            Ok(())
        });
        let answer = answer.await;
        assert!(matches!(answer, Refusal::Database(Error::Panicked(_))), "{}: {answer}", ground.name);
        // whatever connection comes next begins anew
        for id in 20..40 {
            ground.db.write(move |tx| insert(tx, id, 0)).await.expect("an account");
        }
        assert_eq!(ground.accounts().await.len(), 24, "{}", ground.name);
    }
}

#[tokio::test]
async fn a_refusal_is_answered_only_when_what_it_rests_on_is_committed() {
    let ground = sqlite().await;
    let (before, within) = (Gate::default(), Gate::default());
    let (its_before, its_within) = (before.clone(), within.clone());
    let mut first = unit(&ground.db, move |_| {
        its_before.pass();
        Ok(())
    });
    assert!(futures::poll!(&mut first).is_pending());
    before.reached().await;
    // these three make one group
    let mut neighbour = good(&ground.db, 1);
    let mut refused = unit(&ground.db, |tx| {
        assert!(add(tx, 1, 0)?, "its neighbour's account is there");
        Err(Refusal::Refused)
    });
    let mut last = unit(&ground.db, move |_| {
        its_within.pass();
        Ok(())
    });
    for unit in [&mut neighbour, &mut refused, &mut last] {
        assert!(futures::poll!(unit).is_pending());
    }
    before.open();
    within.reached().await;
    assert!(futures::poll!(&mut refused).is_pending(), "it is decided, but on rows that are not committed yet");
    within.open();
    assert!(matches!(refused.await, Err(Refusal::Refused)));
    assert_eq!(ground.accounts().await, [(1, 0)], "at the answer they are");
}

#[tokio::test]
async fn a_unit_that_nobody_waits_for_is_not_begun() {
    let ground = sqlite().await;
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let mut unit = unit(&ground.db, move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let given_up = async move {
        assert!(futures::poll!(&mut unit).is_pending());
        Ok(())
    };
    let answers = ground.together([given_up.boxed(), good(&ground.db, 1)]).await;
    answers.into_iter().for_each(|answer| answer.expect("an answer"));
    assert_eq!((runs.load(Ordering::SeqCst), ground.accounts().await), (0, vec![(1, 0)]));
}

#[tokio::test]
async fn a_unit_that_was_begun_is_finished_though_nobody_waits() {
    for ground in grounds().await {
        let gate = Gate::default();
        let its = gate.clone();
        let begun = ground.db.write(move |tx| {
            its.pass();
            insert(tx, 1, 0)
        });
        tokio::select! {
            _ = begun => unreachable!("the gate is closed"),
            () = gate.reached() => {}
        }
        gate.open();
        let ground = ground.reopened().await;
        assert_eq!(ground.accounts().await, [(1, 0)], "{}", ground.name);
    }
}

#[tokio::test]
async fn more_units_than_the_queue_holds_are_told_to_come_again() {
    let ground = sqlite().await;
    let units = (0..8200).map(|id| unit(&ground.db, move |tx| Ok(insert(tx, id, 0)?)));
    let answers = ground.together(units).await;
    let busy = |answer: &&Result<(), Refusal>| matches!(answer, Err(Refusal::Database(Error::Unavailable(_))));
    let refused = answers.iter().filter(busy).count();
    assert!(refused > 0 && answers.iter().filter(|answer| answer.is_ok()).count() + refused == 8200);
    assert_eq!(ground.accounts().await.len(), 8200 - refused);
}

#[tokio::test]
async fn the_time_stands_still_within_a_unit() {
    for ground in grounds().await {
        let twice = |tx: &mut Tx<'_>| -> db::Result<_> { Ok((tx.now()?, tx.now()?)) };
        let (first, second) = ground.db.write(twice).await.expect("the time");
        assert_eq!(first, second, "{}", ground.name);
        assert!(ground.db.write(|tx| tx.now()).await.expect("the time") > first, "{}", ground.name);
    }
}
