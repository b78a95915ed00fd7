//! Fixtures: databases with accounts, a failing recorder, and gates that hold a unit.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use db::types::{Id, Time};
use db::{Conn, Database, Error, Migrations, Options, Recorded, Recorder, Staged, Tx};
use diesel::prelude::*;
use diesel_migrations::embed_migrations;
use parking_lot::{Condvar, Mutex};
use testkit::{Place, places};

diesel::table! { account (id) { id -> BigInt, balance -> BigInt, note -> Text } }
diesel::table! { recorded (number) { number -> BigInt, key -> Text } }

pub(crate) static MIGRATIONS: Migrations = Migrations {
    sqlite: embed_migrations!("tests/db/migrations/sqlite"),
    postgres: embed_migrations!("tests/db/migrations/postgres"),
};

/// Migrations of a later version of this program.
pub(crate) static NEWER: Migrations = Migrations {
    sqlite: embed_migrations!("tests/db/newer/sqlite"),
    postgres: embed_migrations!("tests/db/newer/postgres"),
};

/// Keeps the keys of staged records in the table `recorded`.
#[derive(Default)]
pub(crate) struct Book {
    /// Number of writes: one for each transaction.
    pub calls: AtomicUsize,
    /// Number of noted commits.
    pub commits: Arc<AtomicUsize>,
}

/// A record that every book refuses.
pub(crate) const UNWRITABLE: &str = "unwritable";
/// A record that makes the book panic.
pub(crate) const ALARMING: &str = "alarming";

impl Recorder for Book {
    fn record(&self, conn: &mut Conn, records: Vec<Staged>) -> db::Result<Recorded> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let first = records.first().map(|record| record.key.clone());
        for record in records {
            assert_ne!(record.key, ALARMING, "a test panics on purpose");
            if record.key == UNWRITABLE {
                return Err(Error::Defect("nobody can write this".into()));
            }
            diesel::insert_into(recorded::table).values(recorded::key.eq(record.key)).execute(conn)?;
        }
        let commits = self.commits.clone();
        let wake = Box::new(move || _ = commits.fetch_add(1, Ordering::SeqCst));
        let is_there = Box::new(move |conn: &mut Conn| {
            let found = recorded::table
                .filter(recorded::key.nullable().eq(first.as_deref()))
                .count()
                .get_result::<i64>(conn)?;
            Ok(found > 0)
        });
        Ok(Recorded { wake, is_there })
    }
}

/// An open database of one test.
pub(crate) struct Ground {
    pub name: &'static str,
    pub url: String,
    pub db: Database,
    pub book: Arc<Book>,
    place: Place,
}

impl Ground {
    pub(crate) async fn open(place: Place, options: Options) -> Self {
        let book = Arc::new(Book::default());
        let db = Database::open(options, &MIGRATIONS, book.clone()).await.expect("the database opens");
        Self { name: place.name, url: place.url.clone(), db, book, place }
    }

    /// Closes the database and keeps the data.
    pub(crate) async fn closed(self) -> Place {
        self.db.close().await;
        self.place
    }

    /// Closes the database and opens the database again, like the next process.
    pub(crate) async fn reopened(self) -> Self {
        let place = self.closed().await;
        let options = Options::new(place.url.clone());
        Self::open(place, options).await
    }

    /// Ids and balances, by id.
    pub(crate) async fn accounts(&self) -> Vec<(i64, i64)> {
        let all = |conn: &mut Conn| -> db::Result<Vec<(i64, i64)>> {
            Ok(account::table.order(account::id).select((account::id, account::balance)).load(conn)?)
        };
        self.db.read(all).await.expect("the accounts")
    }

    /// Returns the keys of the records, in order.
    pub(crate) async fn recorded(&self) -> Vec<String> {
        let all = |conn: &mut Conn| -> db::Result<Vec<String>> {
            Ok(recorded::table.order(recorded::number).select(recorded::key).load(conn)?)
        };
        self.db.read(all).await.expect("the records")
    }

    /// Polls all units once behind a gate, and then opens the gate: on SQLite the units form one group.
    pub(crate) async fn together<F: Future>(&self, units: impl IntoIterator<Item = F>) -> Vec<F::Output> {
        let gate = Gate::default();
        let its = gate.clone();
        let first = tokio::spawn({
            let db = self.db.clone();
            async move {
                db.write(move |_| -> db::Result<()> {
                    its.pass();
                    Ok(())
                })
                .await
            }
        });
        gate.reached().await;
        let mut all = Box::pin(futures::future::join_all(units));
        assert!(futures::poll!(&mut all).is_pending(), "nobody is answered before the gate opens");
        gate.open();
        first.await.expect("no panic").expect("the gate's own unit");
        all.await
    }
}

/// Returns a database of each available kind.
pub(crate) async fn grounds() -> Vec<Ground> {
    let mut grounds = Vec::new();
    for place in places().await {
        let options = Options::new(place.url.clone());
        grounds.push(Ground::open(place, options).await);
    }
    grounds
}

pub(crate) async fn sqlite() -> Ground {
    let place = places().await.into_iter().find(|place| place.name == "SQLite").expect("SQLite is always there");
    let options = Options::new(place.url.clone());
    Ground::open(place, options).await
}

/// Returns a PostgreSQL database; `None` without a server.
pub(crate) async fn postgres(pool_size: u32) -> Option<Ground> {
    let place = places().await.into_iter().find(|place| place.name == "PostgreSQL")?;
    let options = Options { pool_size, ..Options::new(place.url.clone()) };
    Some(Ground::open(place, options).await)
}

pub(crate) fn insert(conn: &mut Conn, id: i64, balance: i64) -> db::Result<()> {
    diesel::insert_into(account::table).values((account::id.eq(id), account::balance.eq(balance))).execute(conn)?;
    Ok(())
}

/// Adds to an account's balance; false when there is no such account.
pub(crate) fn add(conn: &mut Conn, id: i64, amount: i64) -> db::Result<bool> {
    let changed =
        diesel::update(account::table.find(id)).set(account::balance.eq(account::balance + amount)).execute(conn)?;
    Ok(changed == 1)
}

pub(crate) fn stage(tx: &mut Tx<'_>, key: impl Into<String>) {
    tx.stage(Staged {
        id: Id::new(),
        topic: "tests".into(),
        key: key.into(),
        kind: "test".into(),
        version: 1,
        aggregate_version: 1,
        occurred_at: Time::now(),
        traceparent: None,
        payload: "{}".into(),
    });
}

/// Refusal by the rule of a test's unit.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("refused")]
    Refused,
    #[error(transparent)]
    Database(#[from] Error),
}

/// Holds a database thread until opened.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<Passing>, Condvar)>);

#[derive(Default)]
struct Passing {
    waiting: usize,
    open: bool,
}

impl Gate {
    /// Waits on this thread.
    pub(crate) fn pass(&self) {
        let (passing, changed) = &*self.0;
        let mut passing = passing.lock();
        passing.waiting += 1;
        changed.notify_all();
        changed.wait_while(&mut passing, |passing| !passing.open);
    }

    pub(crate) fn open(&self) {
        let (passing, changed) = &*self.0;
        passing.lock().open = true;
        changed.notify_all();
    }

    /// Waits until a thread waits at the gate.
    pub(crate) async fn reached(&self) {
        self.reached_by(1).await;
    }

    pub(crate) async fn reached_by(&self, count: usize) {
        let gate = self.clone();
        let reached = move || {
            let (passing, changed) = &*gate.0;
            changed.wait_while(&mut passing.lock(), |passing| passing.waiting < count);
        };
        tokio::task::spawn_blocking(reached).await.expect("no panic");
    }
}
