//! One flush for many commits of PostgreSQL.
//!
//! Units commit with `synchronous_commit = off`: COMMIT waits for no disk, and locks are short. The flusher makes one
//! synchronous commit on a connection of its own for all units that wait. The write-ahead log is a prefix, so that this
//! commit makes all commits before it durable, on synchronous standbys too. Only then are units answered.
//!
//! A flush counts for a unit only if its connection was open before the unit began, to the same run of the server: a
//! server that crashed in between would confirm commits that it has lost.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use futures::{Stream, StreamExt, stream};
use r2d2::PooledConnection;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Statement};

use crate::Conn;
use crate::error::{Error, Result};
use crate::pool::{Connector, LIFE, PATIENCE, Pool};
use crate::storage::Storage;

/// Maximum time of a flush; after that its connection is closed. A flush that is cancelled would seem to succeed.
const LONGEST: Duration = Duration::from_secs(10);
/// Pause between two tries to connect.
const REST: Duration = Duration::from_millis(100);
const APPLICATION: &str = "jangteo flusher";
/// A transaction of its own with nothing in it, and how its COMMIT waits.
const FLUSH: &str = "SELECT current_setting('synchronous_commit'), pg_logical_emit_message(true, 'jangteo', '')::text";

/// Looks up whether a unit is in the database.
pub type IsThere = Box<dyn FnOnce(&mut Conn) -> Result<bool> + Send>;

/// A connection of the flusher, as a unit sees it when the unit begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// Number of the connection.
    connection: u64,
    /// Start of the server, in microseconds.
    life: i64,
}

/// A unit whose COMMIT was answered, or which was refused.
pub(crate) struct Waiting {
    pub(crate) ticket: Ticket,
    /// Time before the COMMIT.
    pub(crate) ended: Instant,
    /// `None` if nothing can be looked up, or was looked up already.
    pub(crate) is_there: Option<IsThere>,
    /// The flush failed once.
    pub(crate) is_doubtful: bool,
    /// Called with the outcome.
    pub(crate) done: Box<dyn FnOnce(Result<()>) + Send>,
}

impl Waiting {
    fn end(self, outcome: Result<()>) {
        (self.done)(outcome);
    }

    fn fail(self, why: &str) {
        self.end(Err(Error::UnknownOutcome(why.to_owned())));
    }
}

/// Handle of a task that flushes until the handle is dropped.
pub(crate) struct Flusher {
    queue: mpsc::UnboundedSender<Waiting>,
    open: watch::Receiver<Option<Ticket>>,
    runtime: Handle,
}

impl Flusher {
    /// Starts the task. Failures make `storage` suspect, and look-ups run on `pool`.
    pub(crate) fn start(url: String, pool: Pool, storage: Arc<Storage>) -> Self {
        let (queue, waiting) = mpsc::unbounded_channel();
        let (open, is_open) = watch::channel(None);
        tokio::spawn(Task { url, pool, storage, waiting, open, connections: 0 }.run());
        Self { queue, open: is_open, runtime: Handle::current() }
    }

    /// Returns a ticket for a unit that is about to begin on a connection to the server of `life`. Blocks while the
    /// flusher connects.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub(crate) fn ticket(&self, life: i64) -> Result<Ticket> {
        let mut open = self.open.clone();
        let is_ours = |open: &Option<Ticket>| open.is_some_and(|ticket| ticket.life == life);
        if let Some(ticket) = open.borrow().filter(|ticket| ticket.life == life) {
            return Ok(ticket);
        }
        let found = self.runtime.block_on(timeout(PATIENCE, open.wait_for(is_ours)));
        let ticket = found.ok().and_then(Result::ok).and_then(|open| *open);
        ticket.ok_or_else(|| Error::Unavailable("no connection for the flush of commits".into()))
    }

    /// Answers `waiting` after a flush that begins later than now.
    pub(crate) fn submit(&self, waiting: Waiting) {
        if let Err(late) = self.queue.send(waiting) {
            late.0.fail("the flusher has ended");
        }
    }

    /// Waits until everything that is committed now is durable.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub(crate) async fn flush(&self) -> Result<()> {
        let ticket = self.open.borrow().ok_or_else(|| Error::Unavailable("the flusher is not connected".into()))?;
        let (done, flushed) = tokio::sync::oneshot::channel();
        let done = Box::new(move |outcome| drop(done.send(outcome)));
        self.submit(Waiting { ticket, ended: Instant::now(), is_there: None, is_doubtful: false, done });
        let outcome = flushed.await.unwrap_or_else(|_| Err(Error::Unavailable("the flusher has ended".into())));
        outcome.map_err(|error| Error::Unavailable(error.to_string()))
    }
}

struct Task {
    url: String,
    pool: Pool,
    storage: Arc<Storage>,
    waiting: mpsc::UnboundedReceiver<Waiting>,
    open: watch::Sender<Option<Ticket>>,
    /// Connections so far.
    connections: u64,
}

impl Task {
    async fn run(mut self) {
        let mut doubtful = Vec::new();
        while !(self.waiting.is_closed() && self.waiting.is_empty()) {
            match timeout(PATIENCE, Connection::open(&self.url, self.connections)).await {
                Ok(Ok(connection)) => {
                    self.connections += 1;
                    doubtful = self.serve(connection, doubtful).await;
                    self.open.send_replace(None);
                }
                failed => {
                    let why = match failed {
                        Ok(Err(error)) => error.to_string(),
                        _ => "the server does not answer".into(),
                    };
                    self.storage.suspect();
                    tracing::debug!(error = why, "commits are not flushed");
                    // units that began with the last connection
                    while let Ok(late) = self.waiting.try_recv() {
                        doubtful.push(late);
                    }
                    doubtful.drain(..).for_each(|waiting: Waiting| waiting.fail(&why));
                    sleep(REST).await;
                }
            }
        }
    }

    /// Flushes for all that wait until the connection is lost. Returns the units whose outcome is not known then.
    async fn serve(&mut self, mut connection: Connection, doubtful: Vec<Waiting>) -> Vec<Waiting> {
        let mut batch = self.look_up(connection.ticket, doubtful).await;
        self.open.send_replace(Some(connection.ticket));
        loop {
            if batch.is_empty() {
                tokio::select! {
                    first = self.waiting.recv() => match first {
                        Some(first) => batch.push(first),
                        None => return Vec::new(),
                    },
                    lost = connection.lost() => {
                        tracing::debug!(error = lost, "the connection for flushes was lost");
                        return Vec::new();
                    }
                }
            }
            while let Ok(more) = self.waiting.try_recv() {
                batch.push(more);
            }
            match timeout(LONGEST, connection.flush()).await {
                Ok(Ok(())) => {}
                failed => {
                    let why = failed
                        .map_or_else(|_| "it takes too long".to_owned(), |failed| failed.err().unwrap_or_default());
                    tracing::warn!(error = why, units = batch.len(), "commits were not flushed; they are looked up");
                    self.storage.suspect();
                    return batch;
                }
            }
            let (flushed, older): (Vec<_>, Vec<_>) =
                batch.drain(..).partition(|waiting| waiting.ticket == connection.ticket);
            flushed.into_iter().for_each(|waiting| waiting.end(Ok(())));
            if !older.is_empty() {
                batch = self.look_up(connection.ticket, older).await;
            }
        }
    }

    /// Tells the fate of units whose flush failed, and returns those that are in the database and wait for another flush.
    async fn look_up(&self, ticket: Ticket, doubtful: Vec<Waiting>) -> Vec<Waiting> {
        if doubtful.is_empty() {
            return doubtful;
        }
        let pool = self.pool.clone();
        let looked_up = spawn_blocking(move || look_up(&pool, ticket, doubtful));
        // after a panic nobody answers, and callers that hear nothing have an unknown outcome
        looked_up.await.unwrap_or_default()
    }
}

/// A crash of the server ends all connections: one that was open before a unit's COMMIT and is good now shows that
/// nothing was lost. Otherwise the records of the unit tell.
fn look_up(pool: &Pool, ticket: Ticket, doubtful: Vec<Waiting>) -> Vec<Waiting> {
    let is_good = |conn: &mut PooledConnection<Connector>| {
        conn.broken = conn.life != ticket.life || conn.conn.batch_execute("SELECT 1").is_err();
        !conn.broken
    };
    let idle = std::iter::from_fn(|| pool.try_get());
    let mut good: Vec<_> = idle.filter_map(|mut conn| is_good(&mut conn).then_some(conn)).collect();
    let oldest = good.iter().map(|conn| conn.opened).min();
    if good.is_empty() {
        good.extend(pool.get().ok().filter(|conn| conn.life == ticket.life));
    }
    let mut look = |mut waiting: Waiting| {
        if waiting.is_doubtful {
            waiting.fail("the commit is not durable in time");
            return None;
        }
        let is_same = waiting.ticket.life == ticket.life;
        let is_there = if is_same && oldest.is_some_and(|oldest| oldest < waiting.ended) {
            Some(Ok(true))
        } else {
            let conn = good.first_mut().filter(|_| is_same);
            waiting.is_there.take().zip(conn).map(|(is_there, conn)| is_there(&mut conn.conn))
        };
        match is_there {
            Some(Ok(true)) => return Some(Waiting { ticket, is_doubtful: true, ..waiting }),
            Some(Ok(false)) => waiting.end(Err(Error::Unavailable("the commit was lost before it was durable".into()))),
            Some(Err(error)) => waiting.fail(&error.to_string()),
            None => waiting.fail("the server was lost before the commit was durable"),
        }
        None
    };
    doubtful.into_iter().filter_map(&mut look).collect()
}

type Messages = Pin<Box<dyn Stream<Item = Result<AsyncMessage, tokio_postgres::Error>> + Send>>;

/// The connection that flushes.
struct Connection {
    client: Client,
    messages: Messages,
    flush: Statement,
    ticket: Ticket,
    /// The setting under which COMMIT waits.
    synchronous_commit: String,
}

impl Connection {
    async fn open(url: &str, number: u64) -> Result<Self, tokio_postgres::Error> {
        let mut config: Config = url.parse()?;
        config.application_name(APPLICATION);
        let (client, mut connection) = config.connect(NoTls).await?;
        let mut messages: Messages = Box::pin(stream::poll_fn(move |cx| connection.poll_message(cx)));
        let prepare = async {
            client.batch_execute("SET statement_timeout = 0; SET client_min_messages = warning").await?;
            let life = format!("SELECT {LIFE}, current_setting('synchronous_commit')");
            let row = client.query_one(&life, &[]).await?;
            let (life, mut waits): (i64, String) = (row.get(0), row.get(1));
            if waits == "off" {
                waits = "on".into(); // the default of a role or a database is not meant for the flush
            }
            client.batch_execute(&format!("SET synchronous_commit = '{waits}'")).await?;
            Ok((client.prepare(FLUSH).await?, life, waits))
        };
        let (flush, life, synchronous_commit) = driven(&mut messages, prepare).await.0?;
        Ok(Self { client, messages, flush, ticket: Ticket { connection: number, life }, synchronous_commit })
    }

    /// Waits for the end of the connection.
    async fn lost(&mut self) -> String {
        loop {
            match self.messages.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return error.to_string(),
                None => return "the server closed it".into(),
            }
        }
    }

    /// Makes everything durable that was committed before.
    async fn flush(&mut self) -> Result<(), String> {
        let (row, warning) = driven(&mut self.messages, self.client.query_one(&self.flush, &[])).await;
        let waited: String = row.map_err(|error| error.to_string())?.get(0);
        match warning {
            // the wait for a standby was cancelled: on the disk here, and perhaps nowhere else
            Some(warning) => Err(warning),
            None if waited != self.synchronous_commit => Err(format!("synchronous_commit is {waited}")),
            None => Ok(()),
        }
    }
}

/// Runs `work` of a client together with the messages of its connection. Returns the last warning with the result.
async fn driven<T>(
    messages: &mut Messages,
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> (Result<T, tokio_postgres::Error>, Option<String>) {
    let (mut work, mut warning) = (pin!(work), None);
    loop {
        tokio::select! {
            biased;
            message = messages.next() => match message {
                Some(Ok(AsyncMessage::Notice(notice))) => warning = Some(notice.to_string()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return (Err(error), warning),
                // the client says why
                None => return (work.await, warning),
            },
            done = &mut work => return (done, warning),
        }
    }
}
