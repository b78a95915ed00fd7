//! Migrations: handed in, embedded in the binary, run at the start under a lock.

use diesel::backend::Backend;
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::migration::{Migration, MigrationSource, MigrationVersion};
use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

use crate::Conn;
use crate::error::{Error, Result};

/// The same migrations for both databases, with equal names in equal order.
pub struct Migrations {
    pub sqlite: EmbeddedMigrations,
    pub postgres: EmbeddedMigrations,
}

/// Key of PostgreSQL's advisory lock: any number without another use.
const LOCK: i64 = 0x006a_616e_6774_656f; // "jangteo"

impl Migrations {
    /// Runs pending migrations. Two processes that start together run each migration once. SQLite's file is locked by
    /// one process; on PostgreSQL each migration runs in a transaction behind an advisory lock. The lock ends with
    /// the transaction, also where a pooler keeps the session.
    pub(crate) fn run(&self, conn: &mut Conn) -> Result<()> {
        match conn {
            Conn::Pg(pg) => while pg.transaction(|pg| locked(pg).and_then(|()| self.run_next(pg)))? {},
            Conn::Sqlite(sqlite) => {
                check_known(&self.sqlite, sqlite)?;
                sqlite.run_pending_migrations(Borrowed(&self.sqlite)).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Runs the first pending migration. Returns false without one.
    fn run_next(&self, pg: &mut PgConnection) -> Result<bool> {
        check_known(&self.postgres, pg)?;
        let is_pending = pg.has_pending_migration(Borrowed(&self.postgres)).map_err(failed)?;
        if is_pending {
            pg.run_next_migration(Borrowed(&self.postgres)).map_err(failed)?;
        }
        Ok(is_pending)
    }
}

/// Locks out other processes for the rest of the transaction. To wait for their migrations, and to run ours, takes as long
/// as it takes.
fn locked(pg: &mut PgConnection) -> Result<()> {
    pg.batch_execute(
        "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0;
         SET LOCAL idle_in_transaction_session_timeout = 0",
    )?;
    let at_once = diesel::select(sql::<Bool>(&format!("pg_try_advisory_xact_lock({LOCK})")));
    if !at_once.get_result(pg)? {
        tracing::info!("the start waits for the migrations of another process");
        pg.batch_execute(&format!("SELECT pg_advisory_xact_lock({LOCK})"))?;
    }
    Ok(())
}

/// Checks that this program knows each migration of the database.
fn check_known<C: MigrationHarness<DB>, DB: Backend>(known: &EmbeddedMigrations, conn: &mut C) -> Result<()>
where
    EmbeddedMigrations: MigrationSource<DB>,
{
    let (known, applied) = (names::<DB>(known)?, applied(conn)?);
    match applied.iter().find(|version| !known.contains(version)) {
        None => Ok(()),
        Some(newer) => Err(Error::Defect(format!(
            "the database has migration {newer}, which this version does not know: it was made by a newer version"
        ))),
    }
}

fn failed(error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Defect(format!("a migration failed: {error}"))
}

/// Borrowed migrations: [`EmbeddedMigrations`] can't be cloned, and a harness takes ownership of a source.
struct Borrowed<'m>(&'m EmbeddedMigrations);

impl<DB: Backend> MigrationSource<DB> for Borrowed<'_>
where
    EmbeddedMigrations: MigrationSource<DB>,
{
    fn migrations(&self) -> diesel::migration::Result<Vec<Box<dyn Migration<DB>>>> {
        self.0.migrations()
    }
}

fn names<DB: Backend>(source: &impl MigrationSource<DB>) -> Result<Vec<String>> {
    let all: Vec<Box<dyn Migration<DB>>> =
        source.migrations().map_err(|error| Error::Defect(format!("the embedded migrations: {error}")))?;
    Ok(all.iter().map(|migration| migration.name().version().to_string()).collect())
}

fn applied<C: MigrationHarness<DB>, DB: diesel::backend::Backend>(conn: &mut C) -> Result<Vec<String>> {
    let versions: Vec<MigrationVersion<'static>> =
        conn.applied_migrations().map_err(|error| Error::Unavailable(format!("the schema's version: {error}")))?;
    Ok(versions.iter().map(ToString::to_string).collect())
}
