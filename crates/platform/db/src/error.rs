//! What can go wrong with a database, told apart by what the caller may do about it.

use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error as Diesel};

use crate::faults;

/// `Result` with the [`enum@Error`] of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a unit of work gave no result of its own.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The database is away, full or overloaded; nothing was done, and the same call may go through later.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// The COMMIT was sent and no answer came: it may have happened or not.
    #[error("the outcome of the commit is unknown: {0}")]
    UnknownOutcome(String),
    /// A constraint of the schema refused it; the unit was rolled back.
    #[error("a constraint refused the change: {0}")]
    Constraint(String),
    /// The row asked for is not there.
    #[error("no such row")]
    NotFound,
    /// The unit of work panicked and was rolled back.
    #[error("the unit of work panicked: {0}")]
    Panicked(String),
    /// A defect: SQL that does not run, a row that does not fit its type, a record that no log can take.
    #[error("{0}")]
    Defect(String),
}

impl Error {
    /// When it makes sense to try again, for a Retry-After header.
    pub fn retry_after(&self) -> Option<Duration> {
        matches!(self, Self::Unavailable(_)).then_some(Duration::from_secs(1))
    }
}

impl From<Diesel> for Error {
    fn from(error: Diesel) -> Self {
        match Fault::of(&error) {
            None => Self::NotFound,
            Some(fault) => {
                faults::note(&fault);
                fault.into()
            }
        }
    }
}

/// What a failed statement means for the transaction around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The schema said no; this unit alone is lost.
    Constraint(String),
    /// PostgreSQL chose this transaction as a victim (40001, 40P01); running it again is right.
    Victim(String),
    /// The connection is gone, the statement was cancelled, or the disk is full.
    Away(String),
    /// The file or the server is read-only, or the transaction is.
    ReadOnly(String),
    /// Anything else.
    Defect(String),
}

impl Fault {
    /// The same, of a connection that turned out to be gone.
    pub(crate) fn of_lost_connection(self) -> Self {
        match self {
            Self::Victim(text) => Self::Victim(text),
            Self::Constraint(text) | Self::Away(text) | Self::ReadOnly(text) | Self::Defect(text) => Self::Away(text),
        }
    }

    /// `None` for [`Diesel::NotFound`], which is an answer and no fault.
    pub(crate) fn of(error: &Diesel) -> Option<Self> {
        use DatabaseErrorKind::*;
        Some(match error {
            Diesel::NotFound => return None,
            Diesel::DatabaseError(kind, info) => {
                let text = info.message().to_owned();
                match kind {
                    UniqueViolation | ForeignKeyViolation | NotNullViolation | CheckViolation | RestrictViolation
                    | ExclusionViolation => Self::Constraint(text),
                    SerializationFailure => Self::Victim(text),
                    ClosedConnection | UnableToSendCommand => Self::Away(text),
                    ReadOnlyTransaction => Self::ReadOnly(text),
                    // diesel has no kind for these, and hands no SQLSTATE out
                    _ if text.contains("deadlock detected") => Self::Victim(text),
                    _ if text.contains("readonly database") => Self::ReadOnly(text),
                    _ if AWAY.iter().any(|away| text.contains(away)) => Self::Away(text),
                    _ => Self::Defect(text),
                }
            }
            Diesel::BrokenTransactionManager => Self::Away("the connection is broken".into()),
            other => Self::Defect(other.to_string()),
        })
    }
}

/// How PostgreSQL, libpq and SQLite say that it is not the statement's fault.
const AWAY: &[&str] = &[
    "server closed the connection",
    "terminating connection",
    "connection to server",
    "no connection to the server",
    "could not receive data",
    "could not send data",
    "SSL connection has been closed",
    "the database system is",
    "too many clients",
    "canceling statement due to",
    "could not extend file",
    "No space left",
    "database or disk is full",
    "disk I/O error",
    "database is locked",
    "unable to open database file",
];

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Constraint(text) => Self::Constraint(text),
            Fault::Victim(text) | Fault::Away(text) | Fault::ReadOnly(text) => Self::Unavailable(text),
            Fault::Defect(text) => Self::Defect(text),
        }
    }
}
