//! SQLite: one process, one writer that commits units in groups, and readers beside it.

use std::fs::{self, File, TryLockError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::faults::Watched;
use crate::job::{Job, Ran, panic_text};
use crate::unit::control;
use crate::unit::{AfterCommit, Recorder, Staged, run_all};
use crate::{Conn, Options};

/// Units that may wait for the writer; more are told that the database is busy.
const QUEUE: usize = 8192;

/// The file, locked for this process.
pub(crate) struct SqliteFile {
    path: PathBuf,
    lock: File,
}

impl SqliteFile {
    /// Where the file is, from what follows `sqlite:` in the URL.
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

    /// Makes the folder and takes the lock.
    ///
    /// The lock is on a file of its own: closing the database file would drop SQLite's own locks on it. `setting` is
    /// the setting that can name a database for several processes.
    pub(crate) fn lock(path: &Path, setting: Option<&str>) -> Result<Self> {
        let unavailable = |error: std::io::Error| Error::Unavailable(format!("{}: {error}", path.display()));
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(unavailable)?;
        }
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock = File::options().create(true).truncate(false).write(true).open(lock_path).map_err(unavailable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), lock }),
            Err(TryLockError::WouldBlock) => {
                let path = path.display();
                let advice =
                    setting.map_or_else(String::new, |name| format!(" (for several set {name} to postgres://…)"));
                Err(Error::Unavailable(format!(
                    "{path} is in use by another process; SQLite means one process{advice}"
                )))
            }
            Err(TryLockError::Error(error)) => Err(unavailable(error)),
        }
    }

    /// Lets another process have it, or this one again; readers that are still pooled do no harm.
    fn unlock(&self) {
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(path = %self.path.display(), %error, "the lock of the database goes only with the process");
        }
    }

    fn connect(&self) -> Result<SqliteConnection> {
        let path = self.path.to_str().ok_or_else(|| Error::Unavailable("the path is not UTF-8".into()))?;
        SqliteConnection::establish(path).map_err(|error| Error::Unavailable(error.to_string()))
    }

    /// A connection that writes. `synchronous = FULL`: an answered commit survives a power cut. Of pages it keeps few,
    /// for as a rule a COMMIT looks at all of those; the system's cache has the rest.
    pub(crate) fn connect_writer(&self) -> Result<Conn> {
        let mut conn = self.connect()?;
        conn.batch_execute(
            "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 1000;
             PRAGMA journal_size_limit = 67108864;",
        )?;
        Ok(Conn::Sqlite(conn))
    }

    /// A connection that only reads.
    pub(crate) fn connect_reader(&self) -> Result<Conn> {
        let mut conn = self.connect()?;
        conn.batch_execute(
            "PRAGMA busy_timeout = 5000; PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384;
             PRAGMA mmap_size = 268435456;",
        )?;
        Ok(Conn::Sqlite(conn))
    }
}

enum Message {
    Unit(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

impl Message {
    /// Whoever waits for a close learns by the drop that there is nothing left to close.
    fn refuse(self, why: &str) {
        if let Self::Unit(job) = self {
            job.answer(Err(Error::Unavailable(why.into())));
        }
    }
}

/// The queue into the writer thread.
pub(crate) struct GroupWriter {
    queue: mpsc::Sender<Message>,
}

impl GroupWriter {
    pub(crate) fn start(file: Arc<SqliteFile>, options: &Options, recorder: Arc<dyn Recorder>) -> Result<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let conn = Watched::new(file.connect_writer()?);
        let writer = Writer { file, conn: Some(conn), recorder, group_limit: options.group_limit.max(1) };
        thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn(move || writer.run(waiting))
            .map_err(|error| Error::Unavailable(error.to_string()))?;
        Ok(Self { queue })
    }

    pub(crate) fn submit(&self, job: Box<dyn Job>) {
        match self.queue.try_send(Message::Unit(job)) {
            Ok(()) => {}
            Err(TrySendError::Full(message)) => message.refuse("too many units of work wait for the database"),
            Err(TrySendError::Closed(message)) => message.refuse("the database is closed"),
        }
    }

    /// Finishes what was queued, and ends the writer.
    pub(crate) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Message::Close(done)).await.is_ok() {
            // an error means that the writer is gone already
            let _ = closed.await;
        }
    }
}

struct Writer {
    file: Arc<SqliteFile>,
    conn: Option<Watched>,
    recorder: Arc<dyn Recorder>,
    group_limit: usize,
}

/// Why a group as a whole came to nothing.
enum GroupFault {
    /// No unit was run: the file can't be opened or written now.
    NotBegun(Error),
    /// Rolled back; nothing was done.
    RolledBack(Error),
    /// The COMMIT failed: done or not.
    Unknown(String),
}

impl Writer {
    fn run(mut self, mut waiting: mpsc::Receiver<Message>) {
        while let Some(first) = waiting.blocking_recv() {
            let mut group = Vec::new();
            let mut next = Some(first);
            let mut close = None;
            while let Some(message) = next {
                match message {
                    Message::Unit(job) if job.is_abandoned() => {}
                    Message::Unit(job) => group.push(job),
                    Message::Close(done) => close = Some(done),
                }
                next = if group.len() < self.group_limit && close.is_none() { waiting.try_recv().ok() } else { None };
            }
            if !group.is_empty() {
                telemetry::metrics::WRITER_GROUP_UNITS.of([]).record(group.len() as f64);
                self.write_group(group);
            }
            if let Some(done) = close {
                waiting.close();
                while let Some(late) = waiting.blocking_recv() {
                    late.refuse("the database is closed");
                }
                let file = self.file.clone();
                drop(self); // the connection, before anybody is told
                file.unlock();
                // the closer may have given up waiting
                let _ = done.send(());
                return;
            }
        }
    }

    /// Commits the group and answers; after a fault each unit runs again alone.
    fn write_group(&mut self, mut group: Vec<Box<dyn Job>>) {
        // the units' own panics are caught one by one; this is for the recorder's
        let tried = catch_unwind(AssertUnwindSafe(|| self.try_group(&mut group)))
            .unwrap_or_else(|panic| Err(GroupFault::RolledBack(Error::Panicked(panic_text(&*panic)))));
        match tried {
            Ok((answers, after_commit)) => {
                run_all(after_commit);
                for (job, answer) in group.into_iter().zip(answers) {
                    job.answer(answer);
                }
            }
            Err(GroupFault::Unknown(text)) => {
                self.conn = None;
                tracing::error!(units = group.len(), error = text, "a commit failed; its outcome is unknown");
                group.into_iter().for_each(|job| job.answer(Err(Error::UnknownOutcome(text.clone()))));
            }
            Err(GroupFault::NotBegun(error)) => {
                self.conn = None;
                tracing::warn!(units = group.len(), %error, "the database file cannot be written");
                group.into_iter().for_each(|job| job.answer(Err(error.clone())));
            }
            Err(GroupFault::RolledBack(error)) => {
                // dropping the connection rolls back, whatever state SQLite and diesel think it is in
                self.conn = None;
                if group.len() == 1 {
                    group.into_iter().for_each(|job| job.answer(Err(error.clone())));
                } else {
                    tracing::warn!(units = group.len(), %error, "a group of units was rolled back; each runs again alone");
                    group.into_iter().for_each(|job| self.write_group(vec![job]));
                }
            }
        }
    }

    fn try_group(&mut self, group: &mut [Box<dyn Job>]) -> Result<(Vec<Result<()>>, Vec<AfterCommit>), GroupFault> {
        let rolled_back = |error: diesel::result::Error| GroupFault::RolledBack(error.into());
        let conn = match &mut self.conn {
            Some(conn) => conn,
            None => self.conn.insert(Watched::new(self.file.connect_writer().map_err(GroupFault::NotBegun)?)),
        };
        conn.conn.batch_execute("BEGIN IMMEDIATE").map_err(|error| GroupFault::NotBegun(error.into()))?;
        let mut answers = Vec::with_capacity(group.len());
        let (mut staged, mut after_commit) = (Vec::<Staged>::new(), Vec::<AfterCommit>::new());
        for job in group {
            if job.sees_staged() && !staged.is_empty() {
                let earlier = std::mem::take(&mut staged);
                after_commit.push(self.recorder.record(&mut conn.conn, earlier).map_err(GroupFault::RolledBack)?);
            }
            control(&mut conn.conn, "SAVEPOINT unit").map_err(rolled_back)?;
            let (undo, answer) = match job.run(conn) {
                Ran::Done(records, wakes) => {
                    staged.extend(records);
                    after_commit.extend(wakes);
                    (false, Ok(()))
                }
                Ran::Refused => (true, Ok(())),
                Ran::Swallowed(fault) => (true, Err(Error::from(fault))),
                Ran::Fault(fault) => return Err(GroupFault::RolledBack(fault.into())),
                Ran::Panicked(text) => return Err(GroupFault::RolledBack(Error::Panicked(text))),
            };
            if undo {
                control(&mut conn.conn, "ROLLBACK TO SAVEPOINT unit").map_err(rolled_back)?;
            }
            control(&mut conn.conn, "RELEASE SAVEPOINT unit").map_err(rolled_back)?;
            answers.push(answer);
        }
        if !staged.is_empty() {
            after_commit.push(self.recorder.record(&mut conn.conn, staged).map_err(GroupFault::RolledBack)?);
        }
        if let Err(error) = conn.conn.batch_execute("COMMIT") {
            return Err(GroupFault::Unknown(error.to_string()));
        }
        Ok((answers, after_commit))
    }
}
