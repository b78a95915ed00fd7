//! SQLite's file: the lock for one process, connections, and damage to the open file.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use parking_lot::Mutex;
use rustix::fs::{Access, access};
use uuid::Uuid;

use crate::Conn;
use crate::error::{Error, Result};
use crate::life::Life;
use crate::storage::{REPLACED, Reason, StorageFault};

/// Room requested by a probe, in bytes: the need of a large group of units.
const ROOM: u32 = 1 << 20;

/// Byte of the file that a process locks. SQLite locks bytes near 1 GiB; a lock needs no byte to be there.
const LOCKED_BYTE: libc::off_t = 1 << 40;

/// Device and inode.
type FileId = (u64, u64);

/// The file, locked for this process.
pub(crate) struct SqliteFile {
    path: PathBuf,
    /// The database file itself. The path must lead to this file for as long as the process lives.
    lock: File,
    life: Life,
    opened: FileId,
    /// Write-ahead log and its file, while the writer has the log open.
    wal: (PathBuf, Mutex<Option<FileId>>),
}

impl SqliteFile {
    /// Returns the path of the file, from the part of the URL after `sqlite:`.
    pub(crate) fn path(of_url: &str) -> Result<PathBuf> {
        let path = of_url.strip_prefix("//").unwrap_or(of_url);
        // SQLite would take these for a database that is gone with its connection, or for a URI
        if path.is_empty() || path.starts_with(':') || path.starts_with("file:") {
            return Err(Error::Defect(
                "the database URL wants the path of a file, as in sqlite:path/to/file.db".into(),
            ));
        }
        Ok(path.into())
    }

    /// Makes the folder and the file, and takes the lock.
    ///
    /// The lock is on the database file itself, so that no other path leads around the lock and no deletion undoes
    /// the lock. The locked file stays open as long as connections do, because closing the file drops SQLite's locks.
    /// `setting` is the setting that can name a database for several processes.
    pub(crate) fn lock(path: &Path, setting: Option<&str>) -> Result<Self> {
        let unavailable = |error: io::Error| Error::Unavailable(format!("{}: {error}", path.display()));
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(unavailable)?;
        }
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path);
        let lock = file.map_err(unavailable)?;
        if !set_lock(&lock, libc::F_WRLCK as _).map_err(unavailable)? {
            let path = path.display();
            let advice = setting.map_or_else(String::new, |name| format!(" (for several set {name} to postgres://…)"));
            return Err(Error::Unavailable(format!(
                "{path} is in use by another process; SQLite means one process{advice}"
            )));
        }
        let opened = id(&lock.metadata().map_err(unavailable)?);
        // SQLite has its log beside the file that links lead to
        let mut wal = fs::canonicalize(path).map_err(unavailable)?.into_os_string();
        wal.push("-wal");
        Ok(Self {
            path: path.to_owned(),
            lock,
            life: Life::Run(Uuid::new_v4()),
            opened,
            wal: (wal.into(), Mutex::new(None)),
        })
    }

    /// Returns the life since the opening of the file.
    pub(crate) fn life(&self) -> Life {
        self.life
    }

    /// Releases the lock for another process, or for this process again; pooled readers do no harm.
    pub(crate) fn unlock(&self) {
        if let Err(error) = set_lock(&self.lock, libc::F_UNLCK as _) {
            tracing::warn!(path = %self.path.display(), %error, "the lock of the database goes only with the process");
        }
    }

    fn connect(&self) -> Result<SqliteConnection> {
        // SQLite would make an empty file in place of a deleted one, or open a replacement
        self.check_same().map_err(|fault| Error::Unavailable(fault.detail))?;
        let path = self.path.to_str().ok_or_else(|| Error::Unavailable("the path is not UTF-8".into()))?;
        SqliteConnection::establish(path).map_err(|error| Error::Unavailable(error.to_string()))
    }

    /// Connects for writing. `synchronous = FULL`: an answered commit survives a power cut. The page cache is small,
    /// because a COMMIT usually scans all cached pages; the system's cache has the rest.
    pub(crate) fn connect_writer(&self) -> Result<Conn> {
        let mut conn = self.connect()?;
        conn.batch_execute(
            "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 1000;
             PRAGMA journal_size_limit = 67108864;",
        )?;
        Ok(Conn::Sqlite(conn))
    }

    /// Connects for reading only.
    pub(crate) fn connect_reader(&self) -> Result<Conn> {
        let mut conn = self.connect()?;
        conn.batch_execute(
            "PRAGMA busy_timeout = 5000; PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384;
             PRAGMA mmap_size = 268435456;",
        )?;
        Ok(Conn::Sqlite(conn))
    }

    /// Checks that the paths lead to the open files, and that the database may be written. An open file does not
    /// notice a deletion, and writes to the log succeed on a read-only database.
    pub(crate) fn check(&self) -> Result<(), StorageFault> {
        self.check_same()?;
        access(&self.path, Access::WRITE_OK).map_err(|error| StorageFault {
            reason: Reason::ReadOnly,
            detail: format!("{}: {error}", self.path.display()),
        })
    }

    pub(crate) fn check_same(&self) -> Result<(), StorageFault> {
        let (wal, its_wal) = (&self.wal.0, *self.wal.1.lock());
        for (path, opened) in [(&self.path, Some(self.opened)), (wal, its_wal)] {
            if opened.is_some() && opened != there(path) {
                let detail = format!("{} {REPLACED}", path.display());
                return Err(StorageFault { reason: Reason::Replaced, detail });
            }
        }
        Ok(())
    }

    /// Writes on a separate connection. With a small cache the pages of the table spill, so that SQLite claims the
    /// room at once, and are rolled back. The unused version is written and synced even without a change; an UPDATE
    /// to the same value writes nothing.
    pub(crate) fn probe(&self) -> Result<(), StorageFault> {
        self.check()?;
        let probe = format!(
            "PRAGMA busy_timeout = 100; PRAGMA synchronous = FULL; PRAGMA cache_size = 1;
             BEGIN IMMEDIATE; CREATE TABLE room AS SELECT zeroblob({ROOM}) AS bytes; ROLLBACK;
             PRAGMA user_version = 0"
        );
        Ok(self.connect()?.batch_execute(&probe).map_err(Error::from)?)
    }

    /// Notes the write-ahead log that the writer has open.
    pub(crate) fn note_wal(&self) {
        *self.wal.1.lock() = there(&self.wal.0);
    }

    /// Forgets the log: SQLite deletes it with the last connection.
    pub(crate) fn forget_wal(&self) {
        *self.wal.1.lock() = None;
    }
}

/// Returns the current file of a path.
fn there(path: &Path) -> Option<FileId> {
    fs::metadata(path).ok().map(|file| id(&file))
}

fn id(file: &Metadata) -> FileId {
    (file.dev(), file.ino())
}

/// Sets or removes the lock of an open file; returns false if another open file has the lock. Unlike a process's
/// lock, this lock survives SQLite's closing of the same file.
fn set_lock(file: &File, kind: libc::c_short) -> io::Result<bool> {
    let lock = libc::flock { l_type: kind, l_whence: libc::SEEK_SET as _, l_start: LOCKED_BYTE, l_len: 1, l_pid: 0 };
    // SAFETY: the file is open and the lock outlives the call
    #[allow(unsafe_code)]
    let is_set = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } == 0;
    if is_set {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    let is_taken = error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::EACCES);
    if is_taken { Ok(false) } else { Err(error) }
}
