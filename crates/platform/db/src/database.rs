//! A database of either kind.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

use crate::error::{Error, Fault, Result};
use crate::faults::{self, Watched};
use crate::flusher::Flusher;
use crate::job::{UnitJob, panic_text};
use crate::listen::Listener;
use crate::migrate::Migrations;
use crate::pool::{Connector, Lanes, Pool, PostgresPlace, take};
use crate::postgres::Units;
use crate::progress::{self, Progress};
use crate::sqlite::GroupWriter;
use crate::sqlite_file::SqliteFile;
use crate::storage::{LOOK_EVERY, Storage, StorageFault};
use crate::unit::{Recorder, Tx};
use crate::{Conn, answer, on_each, postgres};

/// Options for opening a database.
#[derive(Clone)]
pub struct Options {
    /// `sqlite:path/to/file.db` or `postgres://user:password@host:port/name`.
    pub url: String,
    /// Connections at the most: of PostgreSQL, or of SQLite's readers.
    pub pool_size: u32,
    /// Maximum units of work in one commit of SQLite.
    pub group_limit: usize,
    /// Name of the program's setting with the URL, for error texts. `None` if the URL is not a setting.
    pub setting: Option<&'static str>,
}

impl Options {
    /// Returns the defaults for a URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), pool_size: 10, group_limit: 256, setting: None }
    }
}

/// A handle; clones share the database.
#[derive(Clone)]
pub struct Database {
    shared: Arc<Shared>,
}

struct Shared {
    kind: Kind,
    storage: Arc<Storage>,
    lanes: Arc<Lanes>,
    recorder: Arc<dyn Recorder>,
}

/// Error text for a pooler in transaction mode, such as PgBouncer with `pool_mode = transaction`.
const POOLED_BY_TRANSACTION: &str = "the database URL leads to a pooler in transaction mode, which mixes up the settings \
    and notifications of sessions; set the pooler to session mode (pool_mode = session), or name the server itself";

/// Refuses a PostgreSQL database that cannot keep every text, as one in SQL_ASCII cannot.
fn check_encoding(conn: &mut Conn) -> Result<()> {
    use diesel::dsl::sql;
    let encoding: String = diesel::select(sql::<Text>("current_setting('server_encoding')")).get_result(conn)?;
    if encoding == "UTF8" {
        return Ok(());
    }
    let remedy = "make one with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0";
    Err(Error::Defect(format!("the encoding of the database is {encoding}, which cannot keep every text; {remedy}")))
}

enum Kind {
    Sqlite(GroupWriter),
    Postgres { units: Arc<Units>, place: Arc<PostgresPlace> },
}

impl Database {
    /// Opens the database and migrates the schema to the current version.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it is away or in use by another process, [`Error::Defect`] when the URL is of
    /// neither kind, leads to no database or does not let us in, or the schema is newer than this binary.
    pub async fn open(options: Options, migrations: &'static Migrations, recorder: Arc<dyn Recorder>) -> Result<Self> {
        let (storage, runtime) = (Arc::new(Storage::of(&options.url)), Handle::current());
        let opened = spawn_blocking(move || match options.url.split_once(':') {
            Some(("sqlite", path)) => {
                let file = Arc::new(SqliteFile::lock(&SqliteFile::path(path)?, options.setting)?);
                migrations.run(&mut file.connect_writer()?)?;
                let writer = GroupWriter::start(file.clone(), storage.clone(), &options, recorder.clone())?;
                let lanes = Lanes::new(Connector::SqliteReader(file), &options);
                Ok(Shared { kind: Kind::Sqlite(writer), storage, lanes, recorder })
            }
            Some(("postgres" | "postgresql", _)) => {
                let place = Arc::new(PostgresPlace::new(&options.url));
                let mut conn = match place.connect() {
                    Err(Error::Unavailable(why)) if runtime.block_on(place.is_wrong()) => Err(Error::Defect(why)),
                    connected => connected,
                }?;
                if runtime.block_on(place.is_pooled_by_transaction()) {
                    return Err(Error::Defect(POOLED_BY_TRANSACTION.into()));
                }
                check_encoding(&mut conn)?;
                migrations.run(&mut conn)?;
                drop(conn);
                let lanes = Lanes::new(Connector::Postgres(place.clone(), recorder.clone()), &options);
                let flusher = Flusher::start(options.url.clone(), recorder.witness(), lanes.clone(), storage.clone());
                let flusher = runtime.block_on(flusher)?;
                let units = Arc::new(Units { recorder: recorder.clone(), storage: storage.clone(), flusher });
                Ok(Shared { kind: Kind::Postgres { units, place }, storage, lanes, recorder })
            }
            _ => Err(Error::Defect("the database URL begins neither with sqlite: nor with postgres://".into())),
        });
        let shared = Arc::new(opened.await.map_err(|error| Error::Panicked(error.to_string()))??);
        tokio::spawn(watch(Arc::downgrade(&shared)));
        Ok(Self { shared })
    }

    /// Returns true for PostgreSQL, a database for several processes.
    pub fn is_shared(&self) -> bool {
        matches!(self.shared.kind, Kind::Postgres { .. })
    }

    /// Returns the fault of the storage while writes fail.
    pub fn storage_fault(&self) -> Option<StorageFault> {
        self.shared.storage.fault()
    }

    /// Runs one transaction: commits everything done by `unit`, with the staged events, or nothing.
    ///
    /// `unit` may run more than once (a victim of a deadlock, a panic of another unit in the group), so `unit` must
    /// act on nothing but the database. Any failed statement rolls the transaction back, for any result of `unit`.
    ///
    /// # Errors
    /// The error of `unit`, after a complete rollback, or an error of this crate.
    pub async fn write<T, E>(&self, unit: impl Fn(&mut Tx<'_>) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.submit(unit, false).await
    }

    /// Runs a transaction like [`write`](Self::write); the unit sees earlier staged events in the event log, also
    /// within a common commit.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn write_after_staged<T, E>(
        &self,
        unit: impl Fn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.submit(unit, true).await
    }

    async fn submit<T, E>(
        &self,
        unit: impl Fn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        sees_staged: bool,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (job, answer) = UnitJob::with_answer(unit, sees_staged);
        let answer = match &self.shared.kind {
            Kind::Sqlite(writer) => {
                writer.submit(job);
                answer.await
            }
            Kind::Postgres { units, .. } => {
                let units = units.clone();
                self.on_thread(move |pool| units.run(pool, job), async |_| answer.await).await?
            }
        };
        match answer {
            Ok(result) => {
                if result.is_ok() {
                    answer::flushed();
                }
                result
            }
            Err(_) => Err(Error::UnknownOutcome("the database thread ended".into()).into()),
        }
    }

    /// Runs `query` in a snapshot.
    ///
    /// # Errors
    /// The error of `query`, or an error of this crate.
    pub async fn read<T, E>(&self, query: impl Fn(&mut Conn) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let begin = if self.is_shared() { "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" } else { "BEGIN" };
        self.look(Some(begin), query).await
    }

    /// Runs one statement: on PostgreSQL in a transaction of its own, without BEGIN and COMMIT. A crash of the server
    /// may undo the statement, and the statement may run more than once. On SQLite the statement must only read.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn statement<T: Send + 'static>(
        &self,
        statement: impl Fn(&mut Conn) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.look(None, statement).await
    }

    async fn look<T, E>(
        &self,
        begin: Option<&'static str>,
        query: impl Fn(&mut Conn) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        if let Kind::Postgres { units, .. } = &self.shared.kind {
            answer::reads(units)?;
        }
        let recorder = self.shared.recorder.clone();
        let read =
            self.on_thread(move |pool| read(pool, &*recorder, begin, query), async |thread| thread.await).await?;
        read.map_err(|error| E::from(Error::Panicked(error.to_string())))?
    }

    /// Reads without a snapshot: each statement of `query` sees everything committed before the statement. If
    /// `counts` returns true for the result, waits until everything read is durable.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_durable<T: Send + 'static>(
        &self,
        query: impl Fn(&mut Conn) -> Result<T> + Send + 'static,
        counts: impl Fn(&T) -> bool,
    ) -> Result<T> {
        let Kind::Postgres { units, .. } = &self.shared.kind else { return self.statement(query).await };
        let before = units.flusher.before()?;
        let result = self.statement(query).await?;
        if counts(&result) {
            units.flusher.flush(before).await?;
        }
        Ok(result)
    }

    /// Notifies processes that [`listen`](Self::listen) on `channel`. Does nothing on SQLite.
    ///
    /// # Errors
    /// An error of this crate.
    pub async fn notify(&self, channel: &'static str, payload: String) -> Result<()> {
        let Kind::Postgres { .. } = self.shared.kind else { return Ok(()) };
        let recorder = self.shared.recorder.clone();
        let tell = move |pool: &Pool| {
            let mut conn = take(pool, &*recorder)?;
            progress::begins(); // it takes as little
            let notify = diesel::select(pg_notify(channel, payload));
            let told = on_each!(&mut conn.conn, |conn| notify.execute(conn));
            conn.broken = told.is_err();
            told.map(drop).map_err(Error::from)
        };
        let told = self.on_thread(tell, async |thread| thread.await).await?;
        told.map_err(|error| Error::Panicked(error.to_string()))?
    }

    /// Listens to notifications of other processes on `channel`. `None` on SQLite, a database of one process.
    pub fn listen(&self, channel: &'static str) -> Option<Listener> {
        match &self.shared.kind {
            Kind::Sqlite(_) => None,
            Kind::Postgres { place, .. } => Some(Listener::start(place.url().to_owned(), channel)),
        }
    }

    /// Finishes running and queued work, and refuses later work.
    pub async fn close(&self) {
        if let Kind::Sqlite(writer) = &self.shared.kind {
            writer.close().await;
        }
        // whoever has a permit, or waited for one before, comes first; an error means that it is closed already
        loop {
            let lane = self.shared.lanes.current();
            tokio::select! {
                all = lane.permits.acquire_many(lane.pool.max_size()) => {
                    lane.permits.close();
                    drop(all);
                    break;
                }
                // its permits do not come back
                () = lane.lost() => {}
            }
        }
        // units that were committed just now are answered; a failure is theirs
        let _ = self.read_durable(|_| Ok(()), |()| true).await;
    }

    /// Runs `work` on a thread, and `wait` with the thread until `work` is stuck in a statement.
    async fn on_thread<T, R>(
        &self,
        work: impl FnOnce(&Pool) -> T + Send + 'static,
        wait: impl AsyncFnOnce(JoinHandle<T>) -> R,
    ) -> Result<R>
    where
        T: Send + 'static,
    {
        let (lane, progress) = (self.shared.lanes.current(), Arc::new(Progress::default()));
        let permit = lane.permit().await?;
        let (its_lane, its_progress) = (lane.clone(), progress.clone());
        let thread = spawn_blocking(move || {
            let done = its_progress.follow(|| work(&its_lane.pool));
            drop(permit);
            done
        });
        tokio::select! {
            biased;
            done = wait(thread) => Ok(done),
            () = progress.stuck(|| lane.is_lost()), if self.is_shared() => {
                let is_undone = progress.abandon();
                self.shared.lanes.replace(&lane);
                if let Kind::Postgres { units, .. } = &self.shared.kind {
                    units.flusher.reconnect();
                }
                self.shared.storage.suspect();
                let why = "the server does not answer".to_owned();
                Err(if is_undone { Error::Unavailable(why) } else { Error::UnknownOutcome(why) })
            }
        }
    }
}

diesel::define_sql_function! {
    /// Returns void, decoded as an empty text.
    fn pg_notify(channel: Text, payload: Text) -> Text;
}

/// Looks at the storage until the database is dropped.
async fn watch(shared: Weak<Shared>) {
    while let Some(shared) = shared.upgrade() {
        match &shared.kind {
            Kind::Sqlite(writer) => writer.look(),
            Kind::Postgres { place, .. } if shared.storage.needs_probe() => {
                shared.storage.probed(place.probe().await);
            }
            Kind::Postgres { .. } => {}
        }
        drop(shared);
        sleep(LOOK_EVERY).await;
    }
}

fn read<T, E: From<Error>>(
    pool: &Pool,
    recorder: &dyn Recorder,
    begin: Option<&str>,
    query: impl Fn(&mut Conn) -> Result<T, E>,
) -> Result<T, E> {
    let mut stale = 0;
    loop {
        let mut conn = take(pool, recorder)?;
        match read_once(&mut conn, begin, &query) {
            // every pooled connection may be stale after a restart of the server
            Err(Again(_)) if stale <= pool.max_size() => stale += 1,
            Err(Again(error)) => return Err(error.into()),
            Ok(result) => return result,
        }
    }
}

/// The connection was lost, and nothing was answered.
struct Again(Error);

fn read_once<T, E: From<Error>>(
    conn: &mut Watched,
    begin: Option<&str>,
    query: &impl Fn(&mut Conn) -> Result<T, E>,
) -> Result<Result<T, E>, Again> {
    faults::clear();
    progress::begins();
    if let Some(Err(error)) = begin.map(|begin| conn.conn.batch_execute(begin)) {
        conn.broken = true;
        return Err(Again(error.into()));
    }
    progress::has_begun();
    let result = match catch_unwind(AssertUnwindSafe(|| query(&mut conn.conn))) {
        Ok(result) => result,
        Err(panic) => {
            conn.broken = true;
            return Ok(Err(Error::Panicked(panic_text(&*panic)).into()));
        }
    };
    let fault = faults::take();
    if begin.is_none() && fault.is_none() {
        return Ok(result);
    }
    // also where nothing was begun: it tells if the connection is good
    match (fault, postgres::roll_back(conn)) {
        // a read that writes is a defect, and the storage is as good as before
        (Some(Fault::ReadOnly(text)), true) => Ok(Err(Error::Defect(text).into())),
        (Some(fault), false) => Err(Again(fault.of_lost_connection().into())),
        // an answer that passes over a failed statement is none
        (Some(fault), true) if result.is_ok() => Ok(Err(Error::from(fault).into())),
        _ => Ok(result),
    }
}
