//! Faults of the storage: why a database cannot be written, for answers, readiness, metrics and logs.
//!
//! A failed write makes the storage suspect, and only a probe decides: a small transaction of our own, repeated once a
//! second until the probe succeeds. So a fault ends by itself, also without a client's write.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use telemetry::metrics::STORAGE_UNWRITABLE;

use crate::error::{Error, Result};

/// Interval of looks at the storage.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Error text for a database other than the opened one.
pub(crate) const REPLACED: &str = "was deleted or replaced while the program runs; restart the program";

/// Kind of a fault of the storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The disk or the database is full.
    NoRoom,
    /// The file, the file system or the server is read-only.
    ReadOnly,
    /// The file or the database was deleted, renamed or replaced.
    Replaced,
    /// The server cannot be reached, or the file cannot be opened.
    Away,
    /// Any other failure, such as an I/O error.
    Failing,
}

impl Reason {
    const ALL: [Self; 5] = [Self::NoRoom, Self::ReadOnly, Self::Replaced, Self::Away, Self::Failing];

    /// Reads the reason from an error text of this crate or of SQLite; SQLite has only English texts.
    pub(crate) fn of(text: &str) -> Self {
        match text {
            text if text.contains("database or disk is full") => Self::NoRoom,
            text if text.contains("readonly database") => Self::ReadOnly,
            text if text.contains(REPLACED) => Self::Replaced,
            text if text.contains("unable to open database file") => Self::Away,
            _ => Self::Failing,
        }
    }

    /// Returns the value of the label `reason`.
    fn label(self) -> &'static str {
        match self {
            Self::NoRoom => "no-room",
            Self::ReadOnly => "read-only",
            Self::Replaced => "replaced",
            Self::Away => "away",
            Self::Failing => "failing",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRoom => "no room for writes",
            Self::ReadOnly => "read-only",
            Self::Replaced => "deleted or replaced",
            Self::Away => "away",
            Self::Failing => "writes fail",
        })
    }
}

/// Fault of the storage. The display has the reason alone and is fit for readiness; `detail` is for logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageFault {
    pub reason: Reason,
    /// Error text of the system or the database, in the language of the origin.
    pub detail: String,
}

impl fmt::Display for StorageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl From<Error> for StorageFault {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        Self { reason: Reason::of(&detail), detail }
    }
}

/// State of the storage of one database.
pub(crate) struct Storage {
    /// File name or database name.
    database: String,
    is_suspect: AtomicBool,
    fault: Mutex<Option<StorageFault>>,
}

impl Storage {
    pub(crate) fn of(url: &str) -> Self {
        let path = url.split('?').next().unwrap_or_default();
        let database = path.rsplit(['/', ':']).next().unwrap_or_default().to_owned();
        let storage = Self { database, is_suspect: AtomicBool::new(false), fault: Mutex::new(None) };
        Reason::ALL.into_iter().for_each(|reason| storage.measure(reason, false));
        storage
    }

    pub(crate) fn fault(&self) -> Option<StorageFault> {
        self.fault.lock().clone()
    }

    /// Requests a probe of the storage at the next check.
    pub(crate) fn suspect(&self) {
        self.is_suspect.store(true, Ordering::Relaxed);
    }

    pub(crate) fn needs_probe(&self) -> bool {
        self.is_suspect.load(Ordering::Relaxed) || self.fault.lock().is_some()
    }

    /// Takes the result of a probe: logs each change once.
    pub(crate) fn probed(&self, probed: Result<(), StorageFault>) {
        self.is_suspect.store(false, Ordering::Relaxed);
        let (mut known, database) = (self.fault.lock(), &*self.database);
        let (before, after) = (known.as_ref().map(|fault| fault.reason), probed.as_ref().err().map(|it| it.reason));
        if before != after {
            before.into_iter().for_each(|reason| self.measure(reason, false));
            after.into_iter().for_each(|reason| self.measure(reason, true));
            match &probed {
                Ok(()) => tracing::info!(database, "the database can be written again"),
                Err(fault) => {
                    tracing::error!(database, reason = %fault, error = fault.detail, "the database cannot be written");
                }
            }
        }
        *known = probed.err();
    }

    /// Refuses a write while the storage has a fault.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with the fault.
    pub(crate) fn check(&self) -> Result<()> {
        match &*self.fault.lock() {
            None => Ok(()),
            Some(fault) => {
                Err(Error::Unavailable(format!("{} cannot be written: {fault}: {}", self.database, fault.detail)))
            }
        }
    }

    fn measure(&self, reason: Reason, is_so: bool) {
        let series = [self.database.clone().into(), reason.label().into()];
        STORAGE_UNWRITABLE.of(series).set(f64::from(u8::from(is_so)));
    }
}
