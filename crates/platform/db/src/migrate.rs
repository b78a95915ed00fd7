//! Migrations: handed in, embedded in the binary, run at the start under a lock.

use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource, MigrationVersion};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

use crate::Conn;
use crate::error::{Error, Result};

/// The same migrations for both databases, with the same names in the same order.
pub struct Migrations {
    pub sqlite: EmbeddedMigrations,
    pub postgres: EmbeddedMigrations,
}

/// Of PostgreSQL's advisory lock: any number that nobody else takes.
const LOCK: i64 = 0x006a_616e_6774_656f; // "jangteo"

impl Migrations {
    /// Runs what is pending. Two processes that start together run them once: SQLite's file is locked by one
    /// process, and PostgreSQL has an advisory lock that the second waits for.
    pub(crate) fn run(&self, conn: &mut Conn) -> Result<Vec<String>> {
        if let Conn::Pg(pg) = conn {
            // to wait for another's migrations, and to run ours, takes as long as it takes
            pg.batch_execute("SET lock_timeout = 0; SET statement_timeout = 0")?;
            pg.batch_execute(&format!("SELECT pg_advisory_lock({LOCK})"))?;
        }
        let names = match conn {
            Conn::Pg(pg) => names::<diesel::pg::Pg>(&self.postgres).map(|known| (known, applied(pg))),
            Conn::Sqlite(sqlite) => names::<diesel::sqlite::Sqlite>(&self.sqlite).map(|known| (known, applied(sqlite))),
        };
        let (known, applied) = names?;
        if let Some(newer) = applied?.iter().find(|version| !known.contains(version)) {
            return Err(Error::Defect(format!(
                "the database has migration {newer}, which this version does not know: it was made by a newer version"
            )));
        }
        let ran = match conn {
            Conn::Pg(pg) => pg.run_pending_migrations(Borrowed(&self.postgres)),
            Conn::Sqlite(sqlite) => sqlite.run_pending_migrations(Borrowed(&self.sqlite)),
        };
        let ran = ran.map(|ran| ran.iter().map(ToString::to_string).collect());
        ran.map_err(|error| Error::Defect(format!("a migration failed: {error}")))
    }
}

/// [`EmbeddedMigrations`] can't be cloned, and a harness wants a source of its own.
struct Borrowed<'m>(&'m EmbeddedMigrations);

impl<DB: diesel::backend::Backend> MigrationSource<DB> for Borrowed<'_>
where
    EmbeddedMigrations: MigrationSource<DB>,
{
    fn migrations(&self) -> diesel::migration::Result<Vec<Box<dyn Migration<DB>>>> {
        self.0.migrations()
    }
}

fn names<DB: diesel::backend::Backend>(source: &impl MigrationSource<DB>) -> Result<Vec<String>> {
    let all: Vec<Box<dyn Migration<DB>>> =
        source.migrations().map_err(|error| Error::Defect(format!("the embedded migrations: {error}")))?;
    Ok(all.iter().map(|migration| migration.name().version().to_string()).collect())
}

fn applied<C: MigrationHarness<DB>, DB: diesel::backend::Backend>(conn: &mut C) -> Result<Vec<String>> {
    let versions: Vec<MigrationVersion<'static>> =
        conn.applied_migrations().map_err(|error| Error::Unavailable(format!("the schema's version: {error}")))?;
    Ok(versions.iter().map(ToString::to_string).collect())
}
