//! Probes a PostgreSQL server on a separate connection, and distinguishes faults by SQLSTATE.
//!
//! libpq and diesel hand out texts, in the language of the server. The client of this module hands out SQLSTATEs.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use crate::pool::PostgresPlace;
use crate::storage::{REPLACED, Reason, StorageFault};

/// Maximum time of a probe.
const LONGEST: Duration = Duration::from_secs(5);

/// Needs room for a megabyte, freed with the transaction.
const WRITE: &str = "BEGIN; SET LOCAL statement_timeout = '4s'; CREATE TEMPORARY TABLE room ON COMMIT DROP AS
                     SELECT repeat('x', 1000) AS bytes FROM generate_series(1, 1000); COMMIT";

/// Oid of the database, and whether transactions are read-only, as on a standby.
const LOOK: &str = "SELECT (SELECT oid FROM pg_database WHERE datname = current_database()),
                           current_setting('transaction_read_only')::boolean";

impl PostgresPlace {
    /// Writes on a separate connection: a temporary table of a megabyte. A failure outside of the storage, such as a
    /// missing right, is no fault.
    pub(crate) async fn probe(&self) -> Result<(), StorageFault> {
        let silent = || StorageFault { reason: Reason::Away, detail: "the server does not answer".into() };
        timeout(LONGEST, self.on_connection()).await.unwrap_or_else(|_| Err(silent()))
    }

    async fn on_connection(&self) -> Result<(), StorageFault> {
        let away = |error: tokio_postgres::Error| fault(&error, Reason::Away);
        let config: Config = self.url().parse().map_err(away)?;
        let (client, connection) = config.connect(NoTls).await.map_err(away)?;
        tokio::select! {
            probed = self.with_client(&client) => probed,
            ended = connection => Err(match ended {
                Err(error) => fault(&error, Reason::Away),
                Ok(()) => StorageFault { reason: Reason::Away, detail: "the server closed the connection".into() },
            }),
        }
    }

    async fn with_client(&self, client: &Client) -> Result<(), StorageFault> {
        let failing = |error: tokio_postgres::Error| fault(&error, Reason::Failing);
        let row = client.query_one(LOOK, &[]).await.map_err(failing)?;
        if !self.is_same(row.get(0)) {
            return Err(StorageFault { reason: Reason::Replaced, detail: format!("the database {REPLACED}") });
        }
        if row.get(1) {
            let detail = "the server takes read-only transactions alone".into();
            return Err(StorageFault { reason: Reason::ReadOnly, detail });
        }
        match client.batch_execute(WRITE).await {
            Err(error) if is_storage(&error) => Err(failing(error)),
            _ => Ok(()),
        }
    }

    /// Returns true if the URL leads to a pooler that chooses a session for each transaction.
    ///
    /// The first client holds a session in a transaction. If the second client then has a new session, a pooler
    /// chooses sessions. A pooler with a single session gives none, and is not recognised.
    pub(crate) async fn is_pooled_by_transaction(&self) -> bool {
        let looked = async {
            let config: Config = self.url().parse()?;
            let (first, first_connection) = config.connect(NoTls).await?;
            let (second, second_connection) = config.connect(NoTls).await?;
            let look = async {
                let before = session(&first).await?;
                second.batch_execute("BEGIN; SELECT 1").await?;
                let after = session(&first).await?;
                second.batch_execute("ROLLBACK").await?;
                Ok::<_, tokio_postgres::Error>(before != after)
            };
            tokio::select! {
                looked = look => looked,
                ended = first_connection => ended.map(|()| false),
                ended = second_connection => ended.map(|()| false),
            }
        };
        matches!(timeout(LONGEST, looked).await, Ok(Ok(true)))
    }

    /// Returns true if the URL cannot work: a wrong password, a missing role or database, an unknown parameter.
    /// Returns false for an unavailable server and for other failures.
    pub(crate) async fn is_wrong(&self) -> bool {
        let Ok(config) = self.url().parse::<Config>() else { return true };
        match timeout(LONGEST, config.connect(NoTls)).await {
            Ok(Err(error)) => match error.code() {
                Some(code) => [
                    SqlState::INVALID_PASSWORD,
                    SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
                    SqlState::INVALID_CATALOG_NAME,
                ]
                .contains(code),
                None => !error.is_closed() && !error.source().is_some_and(|source| source.is::<io::Error>()),
            },
            _ => false,
        }
    }
}

/// Process id of the server's session, asked without a prepared statement.
async fn session(client: &Client) -> Result<Option<String>, tokio_postgres::Error> {
    let rows = client.simple_query("SELECT pg_backend_pid()").await?;
    Ok(rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}

/// Returns the fault behind an error: by SQLSTATE, or `other`.
fn fault(error: &tokio_postgres::Error, other: Reason) -> StorageFault {
    let reason = match error.code() {
        Some(code) if *code == SqlState::DISK_FULL => Reason::NoRoom,
        Some(code) if *code == SqlState::READ_ONLY_SQL_TRANSACTION => Reason::ReadOnly,
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => Reason::Replaced,
        Some(_) => other,
        None => Reason::Away,
    };
    let detail = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
    StorageFault { reason, detail }
}

/// Returns true if the error is of the server or the connection (classes 25, 53, 57, 58 and XX), and not of the statement.
fn is_storage(error: &tokio_postgres::Error) -> bool {
    let of_server = |code: &SqlState| ["25", "53", "57", "58", "XX"].iter().any(|class| code.code().starts_with(class));
    error.code().is_none_or(of_server)
}
