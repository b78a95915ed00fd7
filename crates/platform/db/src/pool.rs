//! Pools of connections, for PostgreSQL and for SQLite's readers.

use std::sync::Arc;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};
use r2d2::ManageConnection;

use crate::error::{Error, Result};
use crate::faults::Watched;
use crate::sqlite::SqliteFile;
use crate::{Conn, Options};

/// How long a request waits for a connection before it is told that the database is away.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) type Pool = r2d2::Pool<Connector>;

pub(crate) enum Connector {
    Postgres { url: String },
    SqliteReader(Arc<SqliteFile>),
}

impl ManageConnection for Connector {
    type Connection = Watched;
    type Error = Error;

    fn connect(&self) -> Result<Watched> {
        let conn = match self {
            Self::Postgres { url } => connect_postgres(url)?,
            Self::SqliteReader(file) => file.connect_reader()?,
        };
        Ok(Watched::new(conn))
    }

    fn is_valid(&self, watched: &mut Watched) -> Result<()> {
        Ok(watched.conn.batch_execute("SELECT 1")?)
    }

    fn has_broken(&self, watched: &mut Watched) -> bool {
        watched.broken
    }
}

/// A connection that lets go by itself: a frozen process must not hold rows that others wait for.
pub(crate) fn connect_postgres(url: &str) -> Result<Conn> {
    let mut conn = PgConnection::establish(&with_timeouts(url)).map_err(|error| {
        let text = error.to_string();
        if WRONG_URL.iter().any(|wrong| text.contains(wrong)) { Error::Defect(text) } else { Error::Unavailable(text) }
    })?;
    conn.batch_execute(
        "SET idle_in_transaction_session_timeout = '10s'; SET lock_timeout = '5s'; SET statement_timeout = '60s'; \
         SET timezone = 'UTC'",
    )?;
    Ok(Conn::Pg(conn))
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
