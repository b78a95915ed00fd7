//! The unit of work: one transaction, with records for the event log.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};

use diesel::backend::Backend;
use diesel::connection::SimpleConnection;
use diesel::deserialize::{self, QueryableByName};
use diesel::row::NamedRow;
use diesel::{QueryResult, RunQueryDsl};
use telemetry::TraceContext;

use crate::error::{Error, Result};
use crate::flusher::IsThere;
use crate::job::panic_text;
use crate::life::Life;
use crate::types::{Id, Time};
use crate::{Conn, Prepare, clock, on_each};

/// A record of a unit for the event log: written with the unit's state, or not at all.
#[derive(Debug, Clone)]
pub struct Staged {
    /// UUID v7.
    pub id: Id,
    pub topic: Cow<'static, str>,
    /// Records of one key keep their order.
    pub key: String,
    pub kind: Cow<'static, str>,
    pub version: i16,
    pub aggregate_version: i64,
    pub occurred_at: Time,
    /// W3C `traceparent`.
    pub traceparent: Option<String>,
    /// JSON.
    pub payload: String,
}

/// Writes staged records, in the transaction of the staging.
///
/// The event log implements `Recorder`; `db` itself knows nothing of events.
pub trait Recorder: Send + Sync + 'static {
    /// Writes `records` in the given order; called at the end of a transaction, and before a unit that must see the
    /// records. `records` is never empty.
    ///
    /// # Errors
    /// Any error rolls the transaction back.
    fn record(&self, conn: &mut Conn, records: Vec<Staged>) -> Result<Recorded>;

    /// Returns the name of a table whose file distinguishes the database from a restored database.
    fn witness(&self) -> Option<&'static str> {
        None
    }

    /// Called before any other statement on each new connection, except SQLite's connections for reads.
    ///
    /// # Errors
    /// The connection is not used.
    fn connected(&self, _conn: &mut Conn, _life: Life) -> Result<()> {
        Ok(())
    }

    /// Returns false if a connection leads to an older life of the storage than the newest connection. Such a connection
    /// is replaced.
    fn is_current(&self, _life: Life) -> bool {
        true
    }
}

/// Result of a recorder.
pub struct Recorded {
    /// Run once the records are committed.
    pub wake: AfterCommit,
    /// Looks up whether the records are there.
    pub is_there: IsThere,
}

/// Run once the transaction is committed and durable, on the database's thread: it must be quick and must not block.
pub type AfterCommit = Box<dyn FnOnce() + Send>;

/// Runs all wakes; a panic of one wake does not stop the rest.
pub(crate) fn run_all(wakes: Vec<AfterCommit>) {
    for wake in wakes {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(wake)) {
            tracing::error!(said = panic_text(&*panic), "what was to be done after a commit panicked");
        }
    }
}

/// A unit of work in progress: the connection inside the transaction, and the staged records.
///
/// `Tx` dereferences to [`Conn`]: query functions take `&mut Conn`, and callers pass a `Tx`.
pub struct Tx<'c> {
    conn: &'c mut Conn,
    life: Life,
    staged: Vec<Staged>,
    now: Option<Time>,
    trace: Option<TraceContext>,
    after_commit: Vec<AfterCommit>,
    may_be_lost: bool,
}

/// A finished unit before the commit.
pub(crate) struct Done {
    pub(crate) staged: Vec<Staged>,
    pub(crate) after_commit: Vec<AfterCommit>,
    /// True if the unit is answered before the flush.
    pub(crate) may_be_lost: bool,
}

impl<'c> Tx<'c> {
    pub(crate) fn new(conn: &'c mut Conn, life: Life, trace: Option<TraceContext>) -> Self {
        Self { conn, life, staged: Vec::new(), now: None, trace, after_commit: Vec::new(), may_be_lost: false }
    }

    /// Answers the unit before the flush, unless the unit stages records or has wakes. A crash of the server may undo
    /// the unit.
    pub fn may_be_lost(&mut self) {
        self.may_be_lost = true;
    }

    /// Leaves a record for the event log, written at the end of the unit.
    pub fn stage(&mut self, record: Staged) {
        self.staged.push(record);
    }

    /// Runs `wake` after the commit of the unit, on the database's thread: `wake` must be quick and must not block.
    pub fn after_commit(&mut self, wake: impl FnOnce() + Send + 'static) {
        self.after_commit.push(Box::new(wake));
    }

    /// Returns the time of this unit by the database's clock; constant within the unit.
    ///
    /// # Errors
    /// Any error of the database.
    pub fn now(&mut self) -> Result<Time> {
        match self.now {
            Some(now) => Ok(now),
            None => {
                let now = clock::now(self.conn)?;
                self.now = Some(now);
                Ok(now)
            }
        }
    }

    /// Returns the life of the storage behind the unit.
    pub fn life(&self) -> Life {
        self.life
    }

    /// What follows belongs to `trace`.
    pub(crate) fn belong_to(&mut self, trace: Option<TraceContext>) {
        self.trace = trace;
    }

    /// Returns the trace of the unit.
    pub fn trace(&self) -> Option<&TraceContext> {
        self.trace.as_ref()
    }

    /// Runs `part` in a savepoint: an error undoes the changes and staged records of `part`, and the unit goes on.
    ///
    /// # Errors
    /// The error of `part`, or the database's.
    pub fn savepoint<T, E: From<Error>>(&mut self, part: impl FnOnce(&mut Tx<'_>) -> Result<T, E>) -> Result<T, E> {
        let (staged, after_commit) = (self.staged.len(), self.after_commit.len());
        control(self.conn, "SAVEPOINT part").map_err(Error::from)?;
        match part(self) {
            Ok(done) => {
                control(self.conn, "RELEASE SAVEPOINT part").map_err(Error::from)?;
                Ok(done)
            }
            Err(refusal) => {
                self.staged.truncate(staged);
                self.after_commit.truncate(after_commit);
                self.conn.batch_execute("ROLLBACK TO SAVEPOINT part; RELEASE SAVEPOINT part").map_err(Error::from)?;
                Err(refusal)
            }
        }
    }

    pub(crate) fn finish(self) -> Done {
        let Self { staged, after_commit, may_be_lost, .. } = self;
        let may_be_lost = may_be_lost && staged.is_empty() && after_commit.is_empty();
        Done { staged, after_commit, may_be_lost }
    }
}

impl Deref for Tx<'_> {
    type Target = Conn;
    fn deref(&self) -> &Conn {
        self.conn
    }
}

impl DerefMut for Tx<'_> {
    fn deref_mut(&mut self) -> &mut Conn {
        self.conn
    }
}

/// Runs a statement about the transaction itself, kept prepared.
pub(crate) fn control(conn: &mut Conn, statement: &'static str) -> QueryResult<()> {
    on_each!(conn, |conn| diesel::sql_query(statement).prepared().load::<NoRow>(conn)).map(drop)
}

/// Result of statements without rows.
struct NoRow;

impl<DB: Backend> QueryableByName<DB> for NoRow {
    fn build<'a>(_: &impl NamedRow<'a, DB>) -> deserialize::Result<Self> {
        Ok(Self)
    }
}
