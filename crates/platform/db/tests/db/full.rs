//! A full disk.

use std::collections::BTreeSet;
use std::process::Command;

use db::{Error, Tx};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use futures::FutureExt;

use crate::ground::{Ground, Refusal, account, insert, sqlite, stage};

/// Inserts and records an account with a note of `bytes`.
fn heavy(tx: &mut Tx<'_>, id: i64, bytes: usize) -> db::Result<()> {
    let row = (account::id.eq(id), account::balance.eq(0), account::note.eq("x".repeat(bytes)));
    diesel::insert_into(account::table).values(row).execute(&mut **tx)?;
    stage(tx, id.to_string());
    Ok(())
}

/// SQLite itself undoes the whole transaction when there is no page left, neighbours and all.
#[tokio::test]
async fn a_unit_that_fills_the_database_is_undone_alone() {
    let ground = sqlite().await;
    let small = |id: i64| {
        let db = ground.db.clone();
        async move { db.write(move |tx| -> Result<(), Refusal> { Ok(heavy(tx, id, 10)?) }).await }.boxed()
    };
    let db = ground.db.clone();
    let filling = async move {
        let unit = |tx: &mut Tx<'_>| -> Result<(), Refusal> {
            tx.batch_execute("PRAGMA max_page_count = 1").map_err(Error::from)?; // no more than there are
            Ok(heavy(tx, 10, 1 << 20)?)
        };
        db.write(unit).await
    };
    let answers = ground.together([small(1), small(2), filling.boxed(), small(3), small(4)]).await;
    for (n, answer) in answers.into_iter().enumerate() {
        match (n, answer) {
            (2, Err(Refusal::Database(Error::Unavailable(why)))) => assert!(why.contains("full"), "{why}"),
            (0 | 1 | 3 | 4, Ok(())) => {}
            (n, other) => panic!("{n}: {other:?}"),
        }
    }
    let mut recorded = ground.recorded().await;
    recorded.sort();
    assert_eq!(recorded, ["1", "2", "3", "4"]);
    ground.db.write(|tx| heavy(tx, 10, 1 << 20)).await.expect("the connection is a new one, without the limit");
    assert_eq!(ground.accounts().await.len(), 5);
}

/// Runs this test again in a process of its own, where a limit on the size of files is an error and no signal.
const ALONE: &str = "DB_TEST_ALONE";

#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_is_full_loses_nothing_that_was_answered_and_recovers() {
    if std::env::var_os(ALONE).is_some() {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        return runtime.block_on(fill_and_make_room());
    }
    let test = std::env::current_exe().expect("this program");
    let name = "full::a_disk_that_is_full_loses_nothing_that_was_answered_and_recovers";
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(test).args(["--exact", name, "--nocapture"]);
    let output = shell.env(ALONE, "1").output().expect("a shell");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// Answers to units.
#[derive(Default)]
struct Answered {
    done: BTreeSet<i64>,
    unknown: BTreeSet<i64>,
    undone: usize,
}

/// Limits the size of files to `bytes`, or removes the limit with `unlimited`.
#[cfg(target_os = "linux")]
fn limit_files(bytes: &str) {
    let (pid, limit) = (std::process::id().to_string(), format!("--fsize={bytes}:"));
    let limited = Command::new("prlimit").args(["--pid", &pid, &limit]).status().expect("prlimit, of util-linux");
    assert!(limited.success());
}

#[cfg(target_os = "linux")]
async fn fill_and_make_room() {
    let ground = sqlite().await;
    let mut answered = Answered::default();
    write_batch(&ground, &mut answered, 0).await;
    assert_eq!(answered.done.len(), 20, "while there is room all goes well");
    for round in 1..4 {
        limit_files("400000");
        let mut batch = 0;
        while answered.undone + answered.unknown.len() < 60 * round {
            batch += 1;
            write_batch(&ground, &mut answered, (round * 1000 + batch) as i64).await;
        }
        let accounts = ground.accounts().await.len();
        assert!(accounts >= answered.done.len(), "what is there can be read all the while");
        limit_files("unlimited");
        while ground.db.storage_fault().is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let before = answered.done.len();
        write_batch(&ground, &mut answered, (round * 1000) as i64).await;
        assert_eq!(answered.done.len(), before + 20, "with room again all goes well");
    }
    let ground = check(ground, &answered).await.reopened().await;
    check(ground, &answered).await;
}

/// Writes twenty units, in groups of any size.
#[cfg(target_os = "linux")]
async fn write_batch(ground: &Ground, answered: &mut Answered, batch: i64) {
    let units = (0..20).map(|n| {
        let id = batch * 20 + n;
        async move { (id, ground.db.write(move |tx| heavy(tx, id, 5000)).await) }
    });
    for (id, answer) in futures::future::join_all(units).await {
        match answer {
            Ok(()) => drop(answered.done.insert(id)),
            Err(Error::UnknownOutcome(_)) => drop(answered.unknown.insert(id)),
            Err(Error::Unavailable(_)) => answered.undone += 1,
            Err(other) => panic!("{id}: {other}"),
        }
    }
}

/// Checks that each answered unit is stored, no refused unit is stored, and each unit has its record.
#[cfg(target_os = "linux")]
async fn check(ground: Ground, answered: &Answered) -> Ground {
    let there: BTreeSet<i64> = ground.accounts().await.into_iter().map(|(id, _)| id).collect();
    assert!(answered.done.is_subset(&there), "lost: {:?}", answered.done.difference(&there));
    let unexplained: Vec<_> = there.iter().filter(|id| !answered.done.contains(id)).collect();
    assert!(unexplained.iter().all(|id| answered.unknown.contains(id)), "{unexplained:?}");
    let recorded: Vec<i64> = ground.recorded().await.iter().map(|key| key.parse().expect("a number")).collect();
    assert_eq!(recorded.len(), there.len());
    assert_eq!(recorded.into_iter().collect::<BTreeSet<_>>(), there);
    insert_one_more(&ground, there.last().map_or(0, |last| last + 1)).await;
    ground
}

#[cfg(target_os = "linux")]
async fn insert_one_more(ground: &Ground, id: i64) {
    ground.db.write(move |tx| insert(tx, id, 0)).await.expect("an account");
    let undo =
        move |tx: &mut Tx<'_>| -> db::Result<usize> { Ok(diesel::delete(account::table.find(id)).execute(&mut **tx)?) };
    assert_eq!(ground.db.write(undo).await.expect("a deletion"), 1);
}
