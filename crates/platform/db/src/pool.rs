//! Pools of connections, for PostgreSQL and for SQLite's readers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Oid};
use parking_lot::Mutex;
use r2d2::{ManageConnection, PooledConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::error::{Error, Result};
use crate::faults::Watched;
use crate::life::Life;
use crate::sqlite_file::SqliteFile;
use crate::storage::{LOOK_EVERY, REPLACED};
use crate::unit::Recorder;
use crate::{Conn, Options, on_each};

/// Maximum wait for a connection, before a request gets an error.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) type Pool = r2d2::Pool<Connector>;

#[derive(Clone)]
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

/// Takes a connection to the newest life of the storage.
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
    /// Object id of the first opened database.
    opened: OnceLock<u32>,
}

impl PostgresPlace {
    pub(crate) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), opened: OnceLock::new() }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Connects to the first opened database; refuses another database of the same name.
    pub(crate) fn connect(&self) -> Result<Conn> {
        let mut conn = connect_postgres(&self.url)?;
        let oid = sql::<Oid>("SELECT oid FROM pg_database WHERE datname = current_database()");
        let oid: u32 = oid.get_result(&mut conn)?;
        if !self.is_same(oid) {
            return Err(Error::Unavailable(format!("the database {REPLACED}")));
        }
        Ok(Conn::Pg(conn))
    }

    /// Returns true if `oid` is the first opened database's.
    pub(crate) fn is_same(&self, oid: u32) -> bool {
        *self.opened.get_or_init(|| oid) == oid
    }

    /// Connects for units; the [flusher](crate::flusher) makes the commits durable. Refuses a server in recovery.
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
}

/// Connects with time-outs of the server: a frozen process must not hold row locks.
fn connect_postgres(url: &str) -> Result<PgConnection> {
    let mut conn =
        PgConnection::establish(&with_timeouts(url)).map_err(|error| Error::Unavailable(error.to_string()))?;
    conn.batch_execute(
        "SET idle_in_transaction_session_timeout = '3s'; SET lock_timeout = '5s'; SET statement_timeout = '60s'; \
         SET timezone = 'UTC'",
    )?;
    Ok(conn)
}

/// Adds libpq's time-outs, unless the URL sets them.
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

/// Connections to one database, and a permit for each, so that waiting requests hold no threads.
pub(crate) struct Lane {
    pub(crate) pool: Pool,
    pub(crate) permits: Arc<Semaphore>,
    lost: AtomicBool,
}

impl Lane {
    fn new(connector: Connector, size: u32) -> Self {
        let pool = pool(connector, size);
        let permits = Arc::new(Semaphore::new(pool.max_size() as usize));
        Self { pool, permits, lost: AtomicBool::new(false) }
    }

    /// Waits for a permit.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the database is closed or every connection is busy.
    pub(crate) async fn permit(&self) -> Result<OwnedSemaphorePermit> {
        match timeout(PATIENCE, self.permits.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::Unavailable("the database is closed".into())),
            Err(_) => Err(Error::Unavailable("every connection is busy".into())),
        }
    }

    /// Waits until the path to the server swallows a statement.
    pub(crate) async fn lost(&self) {
        while !self.is_lost() {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Returns true if the path to the server swallowed a statement.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

/// The current lane. The threads of a lost lane end with the connections of the lane.
pub(crate) struct Lanes {
    connector: Connector,
    size: u32,
    current: Mutex<Arc<Lane>>,
}

impl Lanes {
    pub(crate) fn new(connector: Connector, options: &Options) -> Arc<Self> {
        let size = options.pool_size.max(1);
        let current = Mutex::new(Arc::new(Lane::new(connector.clone(), size)));
        Arc::new(Self { connector, size, current })
    }

    pub(crate) fn current(&self) -> Arc<Lane> {
        self.current.lock().clone()
    }

    /// Replaces `lost` and all connections of the lane, unless already replaced.
    pub(crate) fn replace(&self, lost: &Arc<Lane>) {
        lost.lost.store(true, Ordering::Relaxed);
        let mut current = self.current.lock();
        if Arc::ptr_eq(&current, lost) && !lost.permits.is_closed() {
            tracing::warn!(
                connections = lost.pool.state().connections,
                "the server does not answer a statement; all connections are replaced"
            );
            *current = Arc::new(Lane::new(self.connector.clone(), self.size));
        }
    }
}

/// Connects when a connection is first asked for: a database that is away at the start is no reason to stop.
fn pool(connector: Connector, size: u32) -> Pool {
    r2d2::Pool::builder()
        .max_size(size)
        .min_idle(Some(0))
        .connection_timeout(PATIENCE)
        .test_on_check_out(false)
        .error_handler(Box::new(Quiet))
        .build_unchecked(connector)
}

/// Silences r2d2's reports of failed attempts; the caller's time-out reports the reason once.
#[derive(Debug)]
struct Quiet;

impl r2d2::HandleError<Error> for Quiet {
    fn handle_error(&self, error: Error) {
        tracing::debug!(%error, "no connection to the database yet");
    }
}
