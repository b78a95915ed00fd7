//! Errors of a database, told apart by the next step of the caller.

use std::collections::HashSet;
use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error as Diesel};

use crate::faults;

/// `Result` with the [`enum@Error`] of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error of a unit of work.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Any error of the database except a constraint violation: unavailable, full, overloaded, read-only, locked,
    /// cancelled. Nothing was done, and the same call may succeed later.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// The COMMIT was sent without an answer: the commit may have happened or not.
    #[error("the outcome of the commit is unknown: {0}")]
    UnknownOutcome(String),
    /// A constraint of the schema refused a statement; the unit was rolled back.
    #[error("a constraint refused the change: {0}")]
    Constraint(String),
    /// The row asked for is not there.
    #[error("no such row")]
    NotFound,
    /// The unit of work panicked and was rolled back.
    #[error("the unit of work panicked: {0}")]
    Panicked(String),
    /// A defect: a URL without a database, a row unfit for the type, a record that no log can take.
    #[error("{0}")]
    Defect(String),
}

impl Error {
    /// Returns the time before a useful retry, for a Retry-After header.
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

/// Meaning of a failed statement for its transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The schema said no; this unit alone is lost.
    Constraint(String),
    /// PostgreSQL chose this transaction as a victim (40001, 40P01); run the transaction again.
    Victim(String),
    /// Any other error of the database: a lost connection, a cancelled statement, a lock that does not come, a full disk.
    Away(String),
    /// The file or the server is read-only, or the transaction is.
    ReadOnly(String),
    /// A row unfit for the type.
    Defect(String),
}

impl Fault {
    /// Returns the same fault for a lost connection.
    pub(crate) fn of_lost_connection(self) -> Self {
        match self {
            Self::Victim(text) => Self::Victim(text),
            Self::Constraint(text) | Self::Away(text) | Self::ReadOnly(text) | Self::Defect(text) => Self::Away(text),
        }
    }

    /// Classifies the error; returns `None` for [`Diesel::NotFound`], which is no fault.
    ///
    /// The texts of PostgreSQL and libpq come in any language and decide nothing. Diesel makes kinds of some SQLSTATEs
    /// and hides the others.
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
                    ReadOnlyTransaction => Self::ReadOnly(text),
                    Unknown if text == SQLITE_READONLY => Self::ReadOnly(text),
                    Unknown if info.details().is_some_and(is_cycle) => Self::Victim(text),
                    _ => Self::Away(text),
                }
            }
            Diesel::BrokenTransactionManager => Self::Away("the connection is broken".into()),
            other => Self::Defect(other.to_string()),
        })
    }
}

/// Text of SQLite for `SQLITE_READONLY`, an error without a kind. SQLite has only English texts.
const SQLITE_READONLY: &str = "attempt to write a readonly database";

/// Recognises the detail of a deadlock (40P01) in any language. Each line names a process and the blocking process,
/// and the processes form a cycle. So at least two lines share a process id.
fn is_cycle(detail: &str) -> bool {
    let numbers = |line: &str| -> HashSet<u32> {
        line.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
    };
    let mut lines = detail.lines().map(numbers);
    lines.next().is_some_and(|first| lines.any(|line| !first.is_disjoint(&line)))
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Constraint(text) => Self::Constraint(text),
            Fault::Victim(text) | Fault::Away(text) | Fault::ReadOnly(text) => Self::Unavailable(text),
            Fault::Defect(text) => Self::Defect(text),
        }
    }
}
