//! Storage without writes: errors of units, and begin and end of the fault.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use db::{Database, Error, Options, Reason, Tx};
use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};

use crate::ground::{Book, Ground, insert, postgres, sqlite};

fn file_of(ground: &Ground) -> PathBuf {
    ground.url.strip_prefix("sqlite:").expect("a file").into()
}

/// Waits for a fault of this reason, or for the end of the fault.
async fn becomes(db: &Database, reason: Option<Reason>) {
    let is = || db.storage_fault().map(|fault| fault.reason);
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while is() != reason {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{:?} instead of {reason:?}", is()));
}

async fn is_refused(ground: &Ground, id: i64) {
    let refused = ground.db.write(move |tx| insert(tx, id, 0)).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{id}: {refused:?}");
}

async fn is_taken(ground: &Ground, id: i64) {
    ground.db.write(move |tx| insert(tx, id, 0)).await.expect("an account");
}

#[tokio::test]
async fn a_deleted_file_takes_no_write_until_the_file_is_back() {
    let ground = sqlite().await;
    is_taken(&ground, 1).await;
    let (file, away) = (file_of(&ground), file_of(&ground).with_extension("away"));
    fs::rename(&file, &away).expect("the file goes");
    is_refused(&ground, 2).await;
    becomes(&ground.db, Some(Reason::Replaced)).await;
    fs::copy(&away, &file).expect("a copy in its place");
    is_refused(&ground, 3).await;
    fs::remove_file(&file).expect("the copy goes");
    is_refused(&ground, 4).await;
    assert!(!file.exists(), "no empty database is made");
    fs::rename(&away, &file).expect("the file is back");
    becomes(&ground.db, None).await;
    is_taken(&ground, 5).await;
    assert_eq!(ground.reopened().await.accounts().await, [(1, 0), (5, 0)]);
}

#[tokio::test]
async fn a_deleted_file_is_noticed_without_a_write() {
    let ground = sqlite().await;
    fs::remove_file(file_of(&ground)).expect("the file goes");
    becomes(&ground.db, Some(Reason::Replaced)).await;
}

#[tokio::test]
async fn a_deleted_write_ahead_log_takes_no_write_and_loses_nothing() {
    let ground = sqlite().await;
    is_taken(&ground, 1).await;
    let (file, wal) = (file_of(&ground), format!("{}-wal", file_of(&ground).display()));
    fs::remove_file(wal).expect("the log goes");
    is_refused(&ground, 2).await;
    becomes(&ground.db, Some(Reason::Replaced)).await;
    // as after kill -9: only the database file is left
    let copy = file.with_extension("copy");
    fs::copy(&file, &copy).expect("a copy");
    let options = Options::new(format!("sqlite:{}", copy.display()));
    let copied = Database::open(options, &crate::ground::MIGRATIONS, ground.book.clone()).await.expect("it opens");
    let again = copied.write(|tx| insert(tx, 1, 0)).await;
    assert!(matches!(again, Err(Error::Constraint(_))), "account 1 is in the file: {again:?}");
}

#[tokio::test]
async fn a_deleted_write_ahead_log_is_noticed_behind_a_link() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, link) = (folder.path().join("real.db"), folder.path().join("shop.db"));
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    let options = Options::new(format!("sqlite:{}", link.display()));
    let db = Database::open(options, &crate::ground::MIGRATIONS, Arc::new(Book::default())).await.expect("it opens");
    db.write(|tx| insert(tx, 1, 0)).await.expect("an account");
    fs::remove_file(folder.path().join("real.db-wal")).expect("the log goes");
    becomes(&db, Some(Reason::Replaced)).await;
}

/// Makes a file read-only, also for root; returns `None` if impossible.
fn read_only(file: &Path, is_so: bool) -> Option<()> {
    let is_open = || rustix::fs::access(file, rustix::fs::Access::WRITE_OK).is_ok();
    let run = |program: &str, argument: &str| Command::new(program).arg(argument).arg(file).output();
    if is_so {
        run("chmod", "a-w").ok()?;
        run("chattr", "+i").ok()?;
    } else {
        run("chattr", "-i").ok()?;
        run("chmod", "u+w").ok()?;
    }
    (is_open() != is_so).then_some(())
}

#[tokio::test]
async fn a_read_only_file_takes_no_write_until_it_can_be_written() {
    let ground = sqlite().await;
    is_taken(&ground, 1).await;
    let file = file_of(&ground);
    if read_only(&file, true).is_none() {
        eprintln!("not run: a read-only file: root writes here, and chattr does nothing");
        return;
    }
    is_refused(&ground, 2).await;
    becomes(&ground.db, Some(Reason::ReadOnly)).await;
    assert_eq!(ground.accounts().await, [(1, 0)], "what is there can be read");
    read_only(&file, false).expect("as before");
    becomes(&ground.db, None).await;
    is_taken(&ground, 3).await;
}

/// Runs SQL on the server, and not in the database of the test.
fn on_server(ground: &Ground, sql: &str) {
    let (base, name) = ground.url.rsplit_once('/').expect("a URL");
    let mut conn = PgConnection::establish(&format!("{base}/postgres")).expect("the server");
    for statement in sql.replace("{name}", name).split(';') {
        conn.batch_execute(statement).expect("the server does it");
    }
}

const CUT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'";

#[tokio::test]
async fn a_server_that_is_read_only_takes_no_write_until_it_can_be_written() {
    let Some(ground) = postgres(2).await else { return };
    is_taken(&ground, 1).await;
    on_server(&ground, &format!("ALTER DATABASE {{name}} SET default_transaction_read_only = on; {CUT}"));
    is_refused(&ground, 2).await;
    becomes(&ground.db, Some(Reason::ReadOnly)).await;
    assert_eq!(ground.accounts().await, [(1, 0)], "what is there can be read");
    on_server(&ground, "ALTER DATABASE {name} RESET default_transaction_read_only");
    becomes(&ground.db, None).await;
    is_refused_once_at_most(&ground, 3).await;
}

/// Checks that a session from the time of the fault is read-only once more, and then closed.
async fn is_refused_once_at_most(ground: &Ground, id: i64) {
    if let Err(error) = ground.db.write(move |tx| insert(tx, id, 0)).await {
        assert!(matches!(error, Error::Unavailable(_)), "{error}");
        is_taken(ground, id).await;
    }
}

#[tokio::test]
async fn a_renamed_or_replaced_database_takes_no_write_until_it_is_back() {
    let Some(ground) = postgres(2).await else { return };
    is_taken(&ground, 1).await;
    on_server(&ground, &format!("{CUT}; ALTER DATABASE {{name}} RENAME TO {{name}}_away"));
    is_refused(&ground, 2).await;
    becomes(&ground.db, Some(Reason::Replaced)).await;
    on_server(&ground, "CREATE DATABASE {name}");
    is_refused(&ground, 3).await;
    becomes(&ground.db, Some(Reason::Replaced)).await;
    on_server(&ground, &format!("{CUT}; DROP DATABASE {{name}}; ALTER DATABASE {{name}}_away RENAME TO {{name}}"));
    becomes(&ground.db, None).await;
    is_taken(&ground, 4).await;
    assert_eq!(ground.accounts().await, [(1, 0), (4, 0)]);
}

#[tokio::test]
async fn a_cancelled_statement_is_unavailable() {
    let Some(ground) = postgres(2).await else { return };
    let cancelled = ground.db.write(|tx| -> db::Result<()> {
        insert(tx, 1, 0)?;
        Ok(tx.batch_execute("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(60)")?)
    });
    let cancelled = cancelled.await;
    assert!(matches!(cancelled, Err(Error::Unavailable(_))), "{cancelled:?}");
    assert!(ground.accounts().await.is_empty());
    becomes(&ground.db, None).await;
}

#[tokio::test]
async fn a_commit_that_the_server_refuses_is_undone() {
    let Some(ground) = postgres(2).await else { return };
    let full = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS \
                $$ BEGIN RAISE disk_full USING MESSAGE = 'could not extend file'; END $$; \
                CREATE CONSTRAINT TRIGGER full_disk AFTER INSERT ON account DEFERRABLE INITIALLY DEFERRED \
                FOR EACH ROW WHEN (NEW.id = 13) EXECUTE FUNCTION full_disk()";
    ground.db.write(move |tx| Ok::<_, Error>(tx.batch_execute(full)?)).await.expect("a trigger");
    is_refused(&ground, 13).await;
    is_taken(&ground, 1).await;
    assert_eq!(ground.accounts().await, [(1, 0)]);
}

/// Runs this test again in a process with a private mount.
const ALONE: &str = "DB_TEST_SMALL_DISK";

#[test]
#[cfg(target_os = "linux")]
fn a_commit_on_a_full_disk_is_undone_and_the_fault_ends_with_room() {
    if let Some(folder) = std::env::var_os(ALONE) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        return runtime.block_on(fill_small_disk(Path::new(&folder)));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let unshare = |command: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--map-root-user", "--mount", "sh", "-c", command]).arg(std::env::current_exe().expect("a test"));
        unshare.env(ALONE, folder.path()).output().expect("unshare, of util-linux")
    };
    let mount = format!("mount -t tmpfs -o size=8m tmpfs {}", folder.path().display());
    if !unshare(&mount).status.success() {
        eprintln!("not run: a small disk: mounts are not permitted");
        return;
    }
    let name = "storage::a_commit_on_a_full_disk_is_undone_and_the_fault_ends_with_room";
    let output = unshare(&format!("{mount} && exec \"$0\" --exact {name} --nocapture"));
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[cfg(target_os = "linux")]
async fn fill_small_disk(folder: &Path) {
    let options = Options::new(format!("sqlite:{}", folder.join("shop.db").display()));
    let book = std::sync::Arc::<crate::ground::Book>::default();
    let db = Database::open(options, &crate::ground::MIGRATIONS, book).await.expect("the database opens");
    let (ballast, mut taken) = (folder.join("ballast"), Vec::new());
    for round in 0..3 {
        fs::write(&ballast, vec![0; 4 << 20]).expect("room for half of the disk");
        for id in round * 10_000.. {
            let unit = move |tx: &mut Tx<'_>| -> db::Result<()> {
                insert(tx, id, 0)?;
                let note = format!("UPDATE account SET note = '{}' WHERE id = {id}", "x".repeat(20_000));
                Ok(tx.batch_execute(&note)?)
            };
            match db.write(unit).await {
                Ok(()) => taken.push(id),
                // each is told that nothing was done: the outcome of none is unknown
                Err(Error::Unavailable(_)) if db.storage_fault().is_some() => break,
                // SQLite made room: it emptied the write-ahead log
                Err(Error::Unavailable(_)) => {}
                Err(other) => panic!("{id}: {other}"),
            }
        }
        assert_eq!(db.storage_fault().map(|fault| fault.reason), Some(Reason::NoRoom));
        let before = taken.len();
        for id in 0..20 {
            let refused = db.write(move |tx| insert(tx, -1 - id, 0)).await;
            assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
        }
        fs::remove_file(&ballast).expect("room again");
        becomes(&db, None).await;
        let thin = "UPDATE account SET note = ''";
        db.write(move |tx| Ok::<_, Error>(tx.batch_execute(thin)?)).await.expect("room for it");
        assert_eq!(taken.len(), before);
    }
    let there = db.read(|conn| -> db::Result<Vec<i64>> {
        use diesel::prelude::*;
        Ok(crate::ground::account::table
            .order(crate::ground::account::id)
            .select(crate::ground::account::id)
            .load(conn)?)
    });
    assert_eq!(there.await.expect("the accounts"), taken);
}
