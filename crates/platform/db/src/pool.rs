//! Pools of connections, for PostgreSQL and for SQLite's readers.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Oid};
use r2d2::{ManageConnection, PooledConnection};

use crate::error::{Error, Fault, Result};
use crate::faults::Watched;
use crate::life::Life;
use crate::sqlite_file::SqliteFile;
use crate::storage::{REPLACED, Reason, StorageFault};
use crate::unit::Recorder;
use crate::{Conn, Options, on_each};

/// How long a request waits for a connection before it is told that the database is away.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) type Pool = r2d2::Pool<Connector>;

pub(crate) enum Connector {
    Postgres(Arc<PostgresPlace>, Arc<dyn Recorder>),
    SqliteReader(Arc<SqliteFile>),
}

impl ManageConnection for Connector {
    type Connection = Watched;
    type Error = Error;

    fn connect(&self) -> Result<Watched> {
        match self {
            Self::Postgres(place, recorder) => place.connect_for_units(&**recorder),
            Self::SqliteReader(file) => Ok(Watched::new(file.connect_reader()?, file.life())),
        }
    }

    fn is_valid(&self, watched: &mut Watched) -> Result<()> {
        Ok(watched.conn.batch_execute("SELECT 1")?)
    }

    fn has_broken(&self, watched: &mut Watched) -> bool {
        watched.broken
    }
}

#[derive(QueryableByName)]
struct About {
    #[diesel(sql_type = Bool)]
    recovers: bool,
    #[diesel(sql_type = BigInt)]
    start: i64,
    #[diesel(sql_type = BigInt)]
    database: i64,
    #[diesel(sql_type = BigInt)]
    file: i64,
}

/// Takes a connection that leads to the newest life of the storage.
pub(crate) fn take(pool: &Pool, recorder: &dyn Recorder) -> Result<PooledConnection<Connector>> {
    loop {
        let mut conn = pool.get().map_err(|error| Error::Unavailable(error.to_string()))?;
        conn.broken |= !recorder.is_current(conn.life);
        if !conn.broken {
            return Ok(conn);
        }
    }
}

/// A database on a server.
pub(crate) struct PostgresPlace {
    url: String,
    /// Object id of the database that was opened first.
    opened: OnceLock<u32>,
}

impl PostgresPlace {
    pub(crate) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), opened: OnceLock::new() }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Connects to the database that was opened first, and not to another one that has its name now.
    pub(crate) fn connect(&self) -> Result<Conn> {
        let mut conn = connect_postgres(&self.url)?;
        let oid = sql::<Oid>("SELECT oid FROM pg_database WHERE datname = current_database()");
        let oid: u32 = oid.get_result(&mut conn)?;
        if *self.opened.get_or_init(|| oid) != oid {
            return Err(Error::Unavailable(format!("the database {REPLACED}")));
        }
        Ok(Conn::Pg(conn))
    }

    /// Connects for units, whose commits the [flusher](crate::flusher) makes durable. A server in recovery has nothing for
    /// units.
    fn connect_for_units(&self, recorder: &dyn Recorder) -> Result<Watched> {
        let mut conn = self.connect()?;
        conn.batch_execute("SET synchronous_commit = off; SET default_transaction_isolation = 'read committed'")?;
        let about = format!("SELECT pg_is_in_recovery() AS recovers, {}", Life::columns(recorder.witness()));
        let about = on_each!(&mut conn, |conn| diesel::sql_query(about).get_result::<About>(conn))?;
        if about.recovers {
            return Err(Error::Unavailable("the server is in recovery".into()));
        }
        let life = Life::Server { start: about.start, database: about.database, file: about.file };
        recorder.connected(&mut conn, life)?;
        Ok(Watched::new(conn, life))
    }

    /// Writes on a connection of its own: a table of a megabyte that goes with the transaction. A failure that is not
    /// the storage's, such as a missing right, is no fault.
    pub(crate) fn probe(&self) -> Result<(), StorageFault> {
        let mut conn = self.connect().map_err(|error| match StorageFault::from(error) {
            StorageFault { reason: Reason::Failing, detail } => StorageFault { reason: Reason::Away, detail },
            fault => fault,
        })?;
        let read_only = sql::<Bool>("SELECT current_setting('transaction_read_only')::boolean");
        if let Conn::Pg(conn) = &mut conn
            && read_only.get_result(conn).unwrap_or(false)
        {
            let detail = "the server takes read-only transactions alone".into();
            return Err(StorageFault { reason: Reason::ReadOnly, detail });
        }
        let written = conn.batch_execute(
            "BEGIN; CREATE TEMPORARY TABLE room ON COMMIT DROP AS
             SELECT repeat('x', 1000) AS bytes FROM generate_series(1, 1000); COMMIT",
        );
        match written.as_ref().map_err(Fault::of) {
            Err(Some(fault @ (Fault::Away(_) | Fault::ReadOnly(_)))) => Err(Error::from(fault).into()),
            _ => Ok(()),
        }
    }
}

/// A connection that lets go by itself: a frozen process must not hold rows that others wait for.
fn connect_postgres(url: &str) -> Result<PgConnection> {
    let mut conn = PgConnection::establish(&with_timeouts(url)).map_err(|error| {
        let text = error.to_string();
        if WRONG_URL.iter().any(|wrong| text.contains(wrong)) { Error::Defect(text) } else { Error::Unavailable(text) }
    })?;
    conn.batch_execute(
        "SET idle_in_transaction_session_timeout = '3s'; SET lock_timeout = '5s'; SET statement_timeout = '60s'; \
         SET timezone = 'UTC'",
    )?;
    Ok(conn)
}

/// How libpq and the server say that it is the URL that is wrong. A server that speaks another language than English
/// counts as away.
const WRONG_URL: &[&str] = &[
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist", // the role or the database
    "invalid URI",
    "invalid port",
    "invalid connection option",
    "invalid integer value",
];

/// libpq's own time-outs, unless the URL sets them.
fn with_timeouts(url: &str) -> String {
    let mut url = url.to_owned();
    for (name, value) in [("connect_timeout", "2"), ("tcp_user_timeout", "10000"), ("application_name", "jangteo")] {
        if !url.contains(name) {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(&format!("{name}={value}"));
        }
    }
    url
}

/// Connects when a connection is first asked for: a database that is away at the start is no reason to stop.
pub(crate) fn pool(connector: Connector, options: &Options) -> Pool {
    r2d2::Pool::builder()
        .max_size(options.pool_size.max(1))
        .min_idle(Some(0))
        .connection_timeout(PATIENCE)
        .test_on_check_out(false)
        .error_handler(Box::new(Quiet))
        .build_unchecked(connector)
}

/// r2d2 reports each failed attempt; the caller's time-out says it once, with the reason.
#[derive(Debug)]
struct Quiet;

impl r2d2::HandleError<Error> for Quiet {
    fn handle_error(&self, error: Error) {
        tracing::debug!(%error, "no connection to the database yet");
    }
}
