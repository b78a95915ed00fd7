//! SQLite: one process, a single writer that commits units in groups, and concurrent readers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use diesel::connection::SimpleConnection;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;

use crate::Options;
use crate::error::{Error, Result};
use crate::faults::Watched;
use crate::job::{Job, Ran, panic_text};
use crate::sqlite_file::SqliteFile;
use crate::storage::{Reason, Storage, StorageFault};
use crate::unit::control;
use crate::unit::{AfterCommit, Recorder, Staged, run_all};

/// Maximum number of units waiting for the writer; further units get an error.
const QUEUE: usize = 8192;

enum Message {
    Unit(Box<dyn Job>),
    /// Looks at the storage.
    Look,
    Close(oneshot::Sender<()>),
}

impl Message {
    /// Answers the message without work. The drop of a sender ends the wait for a close.
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
    pub(crate) fn start(
        file: Arc<SqliteFile>,
        storage: Arc<Storage>,
        options: &Options,
        recorder: Arc<dyn Recorder>,
    ) -> Result<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let mut writer = Writer { file, storage, conn: None, recorder, group_limit: options.group_limit.max(1) };
        writer.connect()?;
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

    /// Asks the writer to check the storage.
    pub(crate) fn look(&self) {
        // with a full queue the next group looks; a closed one has nothing to look at
        let _ = self.queue.try_send(Message::Look);
    }

    /// Finishes queued work, and ends the writer.
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
    storage: Arc<Storage>,
    conn: Option<Watched>,
    recorder: Arc<dyn Recorder>,
    group_limit: usize,
}

/// Failure of a group as a whole.
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
                    Message::Look => self.look(),
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
                file.forget_wal();
                drop(self); // the connection, before anybody is told
                file.unlock();
                // the closer may have given up waiting
                let _ = done.send(());
                return;
            }
        }
    }

    fn connect(&mut self) -> Result<&mut Watched> {
        if self.conn.is_none() {
            let mut conn = self.file.connect_writer()?;
            self.recorder.connected(&mut conn, self.file.life())?;
            self.conn = Some(Watched::new(conn, self.file.life()));
            self.file.note_wal();
        }
        self.conn.as_mut().ok_or_else(|| Error::Unavailable("no connection".into())) // there is one now
    }

    fn disconnect(&mut self) {
        self.file.forget_wal();
        self.conn = None;
    }

    /// Probes the storage if there is a fault, old or new.
    fn look(&mut self) {
        if self.storage.needs_probe() || self.file.check().is_err() {
            self.probe();
        }
    }

    fn probe(&mut self) {
        let probed = self.file.probe();
        if let (Err(StorageFault { reason: Reason::Replaced, .. }), Some(conn)) = (&probed, &mut self.conn) {
            // what is in a deleted log goes into the database before the process ends; a failure changes nothing
            let _ = conn.conn.batch_execute("PRAGMA wal_checkpoint");
        }
        self.storage.probed(probed);
    }

    /// Commits the group and answers; after a fault each unit runs again alone.
    fn write_group(&mut self, mut group: Vec<Box<dyn Job>>) {
        if self.file.check().is_err() {
            self.probe();
        }
        if let Err(error) = self.storage.check() {
            return group.into_iter().for_each(|job| job.answer(Err(error.clone())));
        }
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
                tracing::error!(units = group.len(), error = text, "a commit failed; its outcome is unknown");
                // the connection of a deleted file has what is to be saved
                if self.file.check_same().is_ok() {
                    self.disconnect();
                }
                self.probe();
                group.into_iter().for_each(|job| job.answer(Err(Error::UnknownOutcome(text.clone()))));
            }
            Err(GroupFault::NotBegun(error)) => {
                self.disconnect();
                self.probe();
                group.into_iter().for_each(|job| job.answer(Err(error.clone())));
            }
            Err(GroupFault::RolledBack(error)) => {
                // dropping the connection rolls back, whatever state SQLite and diesel think it is in
                self.disconnect();
                if matches!(error, Error::Unavailable(_)) {
                    self.probe();
                }
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
        let recorder = self.recorder.clone();
        let conn = self.connect().map_err(GroupFault::NotBegun)?;
        conn.conn.batch_execute("BEGIN IMMEDIATE").map_err(|error| GroupFault::NotBegun(error.into()))?;
        let mut answers = Vec::with_capacity(group.len());
        let (mut staged, mut after_commit) = (Vec::<Staged>::new(), Vec::<AfterCommit>::new());
        for job in group {
            if job.sees_staged() && !staged.is_empty() {
                let earlier = std::mem::take(&mut staged);
                after_commit.push(recorder.record(&mut conn.conn, earlier).map_err(GroupFault::RolledBack)?.wake);
            }
            control(&mut conn.conn, "SAVEPOINT unit").map_err(rolled_back)?;
            let (undo, answer) = match job.run(conn) {
                Ran::Done(done) => {
                    staged.extend(done.staged);
                    after_commit.extend(done.after_commit);
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
            after_commit.push(recorder.record(&mut conn.conn, staged).map_err(GroupFault::RolledBack)?.wake);
        }
        if let Err(error) = conn.conn.batch_execute("COMMIT") {
            return Err(failed_commit(conn, error));
        }
        // a commit into a file that was deleted meanwhile is gone with the process
        self.file.check_same().map_err(|fault| GroupFault::Unknown(fault.detail))?;
        Ok((answers, after_commit))
    }
}

/// Distinguishes a commit without effect from a commit of unknown outcome.
///
/// If the transaction is still open, its ROLLBACK succeeds. Otherwise SQLite has undone the transaction by itself. By
/// SQLITE_FULL and SQLITE_READONLY the frame of the commit is not in the log. After an I/O error, such as a failed
/// fsync, the frame may be there and count at the next start.
fn failed_commit(conn: &mut Watched, error: diesel::result::Error) -> GroupFault {
    let text = error.to_string();
    let is_open = conn.conn.batch_execute("ROLLBACK").is_ok();
    if is_open || matches!(Reason::of(&text), Reason::NoRoom | Reason::ReadOnly) {
        GroupFault::RolledBack(Error::Unavailable(text))
    } else {
        GroupFault::Unknown(text)
    }
}
