//! One flush for many commits of PostgreSQL.
//!
//! Units commit with `synchronous_commit = off`: COMMIT waits for no disk, and locks are short. The flusher makes one
//! synchronous commit on a separate connection for all waiting units. The write-ahead log is a prefix: this commit
//! makes all earlier commits durable, also on synchronous standbys. Only then are units answered.
//!
//! A flush counts for a unit only if the flusher's connection was open before the unit began, to the same server. A
//! server after a crash would otherwise confirm lost commits. A connection through a pooler that survives a crash of
//! the server proves nothing.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use futures::{Stream, StreamExt, stream};
use r2d2::PooledConnection;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Statement};

use crate::Conn;
use crate::error::{Error, Result};
use crate::life::Life;
use crate::pool::{Connector, Lanes, PATIENCE, Pool};
use crate::progress::Progress;
use crate::storage::Storage;

/// Maximum time of a flush; after this time the flusher closes the connection. A cancelled flush would seem to
/// succeed.
const LONGEST: Duration = Duration::from_secs(10);
/// Pause between two tries to connect.
const REST: Duration = Duration::from_millis(100);
const APPLICATION: &str = "jangteo flusher";
/// An empty transaction; returns the mode of the COMMIT's wait.
const FLUSH: &str = "SELECT current_setting('synchronous_commit'), pg_logical_emit_message(true, 'jangteo', '')::text";

/// Looks up whether a unit is in the database.
pub type IsThere = Box<dyn Fn(&mut Conn) -> Result<bool> + Send>;

/// The flusher's connection at the beginning of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// Process of the server behind the connection; changes after a crash.
    process: i32,
    /// Number of the connection.
    connection: u64,
    life: Life,
}

/// A refused unit, or a unit with an answered COMMIT.
pub(crate) struct Waiting {
    pub(crate) ticket: Ticket,
    /// Time before the COMMIT.
    pub(crate) ended: Instant,
    /// `None` if nothing can be looked up.
    pub(crate) is_there: Option<IsThere>,
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
    /// Rung when the flusher is connected to another server than a unit, or by a bad path.
    elsewhere: Arc<Notify>,
    runtime: Handle,
}

impl Flusher {
    /// Connects and starts the task. Failures make `storage` suspect, and look-ups run on `pool`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the flusher cannot connect.
    pub(crate) async fn start(
        url: String,
        witness: Option<&'static str>,
        lanes: Arc<Lanes>,
        storage: Arc<Storage>,
    ) -> Result<Self> {
        let first = Connection::open(&url, witness, 0).await;
        let first =
            first.map_err(|error| Error::Unavailable(format!("no connection for the flush of commits: {error}")))?;
        let (queue, waiting) = mpsc::unbounded_channel();
        let (open, is_open) = watch::channel(Some(first.ticket));
        let elsewhere = Arc::new(Notify::new());
        let task = Task { url, witness, lanes, storage, waiting, open, elsewhere: elsewhere.clone(), connections: 1 };
        tokio::spawn(task.run(first));
        Ok(Self { queue, open: is_open, elsewhere, runtime: Handle::current() })
    }

    /// Returns a ticket for a unit that is about to begin on a connection to the server of `life`. Blocks while the
    /// flusher connects.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub(crate) fn ticket(&self, life: Life) -> Result<Ticket> {
        let mut open = self.open.clone();
        let is_ours = |open: &Option<Ticket>| open.is_some_and(|ticket| ticket.life == life);
        if let Some(ticket) = open.borrow().filter(|ticket| ticket.life == life) {
            return Ok(ticket);
        }
        if open.borrow().is_some() {
            self.elsewhere.notify_one();
        }
        let found = self.runtime.block_on(timeout(PATIENCE, open.wait_for(is_ours)));
        let ticket = found.ok().and_then(Result::ok).and_then(|open| *open);
        ticket.ok_or_else(|| Error::Unavailable("no connection for the flush of commits".into()))
    }

    /// Connects anew, because the path to the server swallows data.
    pub(crate) fn reconnect(&self) {
        self.elsewhere.notify_one();
    }

    /// Answers `waiting` after a flush with a later begin.
    pub(crate) fn submit(&self, waiting: Waiting) {
        if let Err(late) = self.queue.send(waiting) {
            late.0.fail("the flusher has ended");
        }
    }

    /// Returns the state to note before a read, for a later flush.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub(crate) fn before(&self) -> Result<Before> {
        let ticket = self.open.borrow().ok_or_else(|| Error::Unavailable("the flusher is not connected".into()))?;
        Ok(Before { ticket, time: Instant::now() })
    }

    /// Waits until everything read since `before` is durable.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub(crate) async fn flush(&self, Before { ticket, time: ended }: Before) -> Result<()> {
        let (done, flushed) = oneshot::channel();
        let done = Box::new(move |outcome| drop(done.send(outcome)));
        self.submit(Waiting { ticket, ended, is_there: None, done });
        let outcome = flushed.await.unwrap_or_else(|_| Err(Error::Unavailable("the flusher has ended".into())));
        outcome.map_err(|error| Error::Unavailable(error.to_string()))
    }
}

/// A moment before a read.
pub(crate) struct Before {
    ticket: Ticket,
    time: Instant,
}

struct Task {
    url: String,
    witness: Option<&'static str>,
    lanes: Arc<Lanes>,
    storage: Arc<Storage>,
    waiting: mpsc::UnboundedReceiver<Waiting>,
    open: watch::Sender<Option<Ticket>>,
    elsewhere: Arc<Notify>,
    /// Connections so far.
    connections: u64,
}

impl Task {
    async fn run(mut self, first: Connection) {
        let mut last = first.ticket;
        let mut doubtful = self.serve(first, Vec::new()).await;
        while !(self.waiting.is_closed() && self.waiting.is_empty()) {
            self.open.send_replace(None);
            match timeout(PATIENCE, Connection::open(&self.url, self.witness, self.connections)).await {
                Ok(Ok(mut connection)) => {
                    self.connections += 1;
                    connection.end(last).await;
                    last = connection.ticket;
                    doubtful = self.serve(connection, doubtful).await;
                }
                failed => {
                    let why = failed.map_or("the server does not answer".into(), |failed| {
                        failed.err().map_or_else(String::new, |error| error.to_string())
                    });
                    self.storage.suspect();
                    tracing::debug!(error = why, "the flusher is not connected");
                    while let Ok(late) = self.waiting.try_recv() {
                        doubtful.push(late); // it began with the last connection
                    }
                    let (young, old): (Vec<_>, Vec<Waiting>) =
                        doubtful.into_iter().partition(|waiting| waiting.ended.elapsed() < LONGEST);
                    old.into_iter().for_each(|waiting| waiting.fail(&why));
                    doubtful = young;
                    sleep(REST).await;
                }
            }
        }
        doubtful.into_iter().for_each(|waiting| waiting.fail("the database is closed"));
    }

    /// Flushes for all waiting units until the connection is lost. Returns the units with an unknown outcome.
    async fn serve(&mut self, mut connection: Connection, doubtful: Vec<Waiting>) -> Vec<Waiting> {
        // before the look-up, which may need a connection that a unit holds until the flusher is connected
        self.open.send_replace(Some(connection.ticket));
        let mut batch = self.look_up(connection.ticket, doubtful).await;
        loop {
            if batch.is_empty() {
                tokio::select! {
                    first = self.waiting.recv() => match first {
                        Some(first) => batch.push(first),
                        None => return Vec::new(),
                    },
                    () = self.elsewhere.notified() => return Vec::new(),
                    lost = connection.lost() => {
                        tracing::debug!(error = lost, "the connection of the flusher was lost");
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
                    let why = failed.map_or("it takes too long".into(), |failed| failed.err().unwrap_or_default());
                    tracing::warn!(error = why, units = batch.len(), "commits were not flushed; they are looked up");
                    self.storage.suspect();
                    return batch;
                }
            }
            let (flushed, older): (Vec<_>, Vec<_>) =
                batch.drain(..).partition(|waiting| waiting.ticket == connection.ticket);
            flushed.into_iter().for_each(|waiting| waiting.end(Ok(())));
            batch = self.look_up(connection.ticket, older).await;
        }
    }

    /// Decides about units with a failed flush; returns the units that are in the database and wait for another
    /// flush.
    async fn look_up(&self, ticket: Ticket, doubtful: Vec<Waiting>) -> Vec<Waiting> {
        if doubtful.is_empty() {
            return doubtful;
        }
        // connections are tried first, so that a path that swallows what is sent takes no unit along
        let found = loop {
            let (lane, progress) = (self.lanes.current(), Arc::new(Progress::default()));
            let (its_lane, its_progress) = (lane.clone(), progress.clone());
            let finding = spawn_blocking(move || its_progress.follow(|| good(&its_lane.pool, ticket)));
            tokio::select! {
                biased;
                found = finding => break found.unwrap_or_default(),
                () = progress.stuck(|| lane.is_lost()) => self.lanes.replace(&lane),
            }
        };
        let progress = Arc::new(Progress::default());
        let its_progress = progress.clone();
        let looked_up = spawn_blocking(move || its_progress.follow(|| look_up(found, ticket, doubtful)));
        tokio::select! {
            biased;
            // after a panic nobody answers, and callers that hear nothing have an unknown outcome
            looked_up = looked_up => looked_up.unwrap_or_default(),
            () = progress.stuck(|| true) => Vec::new(),
        }
    }
}

/// Decides by connections: a crash of the server ends all connections, so a good connection from before a unit's
/// COMMIT shows that nothing was lost. Otherwise the records of the unit decide.
fn look_up(mut found: Vec<PooledConnection<Connector>>, ticket: Ticket, doubtful: Vec<Waiting>) -> Vec<Waiting> {
    let oldest = found.iter().map(|conn| conn.opened).min();
    let mut look = |waiting: Waiting| {
        if waiting.ended.elapsed() > LONGEST * 2 {
            waiting.fail("the commit is not durable in time");
            return None;
        }
        let is_same = waiting.ticket.life == ticket.life;
        let is_there = if is_same && oldest.is_some_and(|oldest| oldest < waiting.ended) {
            Some(Ok(true))
        } else {
            let conn = found.first_mut().filter(|_| is_same);
            waiting.is_there.as_ref().zip(conn).map(|(is_there, conn)| is_there(&mut conn.conn))
        };
        match is_there {
            Some(Ok(true)) => return Some(Waiting { ticket, ..waiting }),
            Some(Ok(false)) => waiting.end(Err(Error::Unavailable("the commit was lost before it was durable".into()))),
            Some(Err(error)) => waiting.fail(&error.to_string()),
            None => waiting.fail("the server was lost before the commit was durable"),
        }
        None
    };
    doubtful.into_iter().filter_map(&mut look).collect()
}

/// Returns the good connections to the server of `ticket`.
fn good(pool: &Pool, ticket: Ticket) -> Vec<PooledConnection<Connector>> {
    let is_good = |mut conn: PooledConnection<Connector>| {
        conn.broken = conn.life != ticket.life || conn.conn.batch_execute("SELECT 1").is_err();
        (!conn.broken).then_some(conn)
    };
    let mut found: Vec<_> = std::iter::from_fn(|| pool.try_get()).filter_map(is_good).collect();
    if found.is_empty() {
        found.extend(pool.get().ok().and_then(is_good));
    }
    found
}

type Messages = Pin<Box<dyn Stream<Item = Result<AsyncMessage, tokio_postgres::Error>> + Send>>;

/// The flusher's connection.
struct Connection {
    client: Client,
    messages: Messages,
    flush: Statement,
    ticket: Ticket,
}

impl Connection {
    async fn open(url: &str, witness: Option<&str>, number: u64) -> Result<Self, tokio_postgres::Error> {
        let mut config: Config = url.parse()?;
        config.application_name(APPLICATION).connect_timeout(PATIENCE).tcp_user_timeout(LONGEST);
        config.keepalives_idle(LONGEST).keepalives_interval(PATIENCE).keepalives_retries(3);
        let (client, mut connection) = config.connect(NoTls).await?;
        let mut messages: Messages = Box::pin(stream::poll_fn(move |cx| connection.poll_message(cx)));
        let prepare = async {
            client.batch_execute("SET statement_timeout = 0; SET client_min_messages = warning").await?;
            let about = format!(
                "SELECT pg_backend_pid(), current_setting('synchronous_commit') = 'off', {}",
                Life::columns(witness)
            );
            let row = client.query_one(&about, &[]).await?;
            let life = Life::Server { start: row.get(2), database: row.get(3), file: row.get(4) };
            let ticket = Ticket { process: row.get(0), connection: number, life };
            if row.get(1) {
                // the default of a role or a database is not meant for the flush
                client.batch_execute("SET synchronous_commit = 'on'").await?;
            }
            Ok((client.prepare(FLUSH).await?, ticket))
        };
        let (flush, ticket) = driven(&mut messages, prepare).await.0?;
        Ok(Self { client, messages, flush, ticket })
    }

    /// Ends the backend of the previous connection; the backend may wait for a standby without end, even without a
    /// client.
    async fn end(&mut self, before: Ticket) {
        if before.life == self.ticket.life {
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND application_name = $2";
            let client = &self.client;
            let ended = async { client.query(end, &[&before.process, &APPLICATION]).await };
            match timeout(PATIENCE, driven(&mut self.messages, ended)).await {
                Ok((Ok(_), _)) => {}
                failed => tracing::debug!(?failed, "the last connection of the flusher was not ended"),
            }
        }
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

    /// Makes all earlier commits durable.
    async fn flush(&mut self) -> Result<(), String> {
        let (row, warning) = driven(&mut self.messages, self.client.query_one(&self.flush, &[])).await;
        let waited: String = row.map_err(|error| error.to_string())?.get(0);
        match warning {
            // the wait for a standby was cancelled: on the disk here, and perhaps nowhere else
            Some(warning) => Err(warning),
            None if waited == "off" => Err("synchronous_commit is off".into()),
            None => Ok(()),
        }
    }
}

/// Runs `work` of a client together with the messages of the client's connection. Returns the last warning with the
/// result.
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
