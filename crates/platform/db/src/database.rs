//! The database, whichever it is.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::error::{Error, Fault, Result};
use crate::faults::{self, Watched};
use crate::flusher::Flusher;
use crate::job::{UnitJob, panic_text};
use crate::listen::Listener;
use crate::migrate::Migrations;
use crate::pool::{Connector, PATIENCE, Pool, PostgresPlace, pool, take};
use crate::postgres::Units;
use crate::sqlite::GroupWriter;
use crate::sqlite_file::SqliteFile;
use crate::storage::{LOOK_EVERY, Storage, StorageFault};
use crate::unit::{Recorder, Tx};
use crate::{Conn, on_each, postgres};

/// How to open a database.
#[derive(Clone)]
pub struct Options {
    /// `sqlite:path/to/file.db` or `postgres://user:password@host:port/name`.
    pub url: String,
    /// Connections at the most: of PostgreSQL, or of SQLite's readers.
    pub pool_size: u32,
    /// Units of work at the most in one commit of SQLite.
    pub group_limit: usize,
    /// Name of the program's setting that holds the URL, for error texts. `None` if the URL is not a setting.
    pub setting: Option<&'static str>,
}

impl Options {
    /// The defaults for a URL.
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
    pool: Pool,
    recorder: Arc<dyn Recorder>,
    /// One permit a connection, so that waiting requests hold no threads.
    permits: Arc<Semaphore>,
}

enum Kind {
    Sqlite(GroupWriter),
    Postgres { units: Arc<Units>, place: Arc<PostgresPlace> },
}

impl Database {
    /// Opens the database and brings its schema up to date.
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
                let pool = pool(Connector::SqliteReader(file), &options);
                Ok(Shared::new(Kind::Sqlite(writer), storage, pool, recorder))
            }
            Some(("postgres" | "postgresql", _)) => {
                let place = Arc::new(PostgresPlace::new(&options.url));
                migrations.run(&mut place.connect()?)?;
                let pool = pool(Connector::Postgres(place.clone(), recorder.clone()), &options);
                let flusher = Flusher::start(options.url.clone(), recorder.witness(), pool.clone(), storage.clone());
                let flusher = runtime.block_on(flusher)?;
                let units = Units { pool: pool.clone(), recorder: recorder.clone(), storage: storage.clone(), flusher };
                Ok(Shared::new(Kind::Postgres { units: Arc::new(units), place }, storage, pool, recorder))
            }
            _ => Err(Error::Defect("the database URL begins neither with sqlite: nor with postgres://".into())),
        });
        let shared = Arc::new(opened.await.map_err(|error| Error::Panicked(error.to_string()))??);
        tokio::spawn(watch(Arc::downgrade(&shared)));
        Ok(Self { shared })
    }

    /// Whether it is PostgreSQL, which several processes share.
    pub fn is_shared(&self) -> bool {
        matches!(self.shared.kind, Kind::Postgres { .. })
    }

    /// Returns the fault of the storage while writes fail.
    pub fn storage_fault(&self) -> Option<StorageFault> {
        self.shared.storage.fault()
    }

    /// One transaction: all that `unit` does, and the events it stages, or nothing.
    ///
    /// `unit` may run more than once (a victim of a deadlock, a neighbour in the group that panicked), so it must
    /// act on nothing but the database. Any failed statement inside rolls it back, whatever `unit` returns.
    ///
    /// # Errors
    /// The error of `unit`, after which everything is rolled back, or one of this crate's.
    pub async fn write<T, E>(&self, unit: impl Fn(&mut Tx<'_>) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.submit(unit, false).await
    }

    /// As [`write`](Self::write), by a unit that sees in the event log what units before it staged, also where they are
    /// committed together.
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
        match &self.shared.kind {
            Kind::Sqlite(writer) => writer.submit(job),
            Kind::Postgres { units, .. } => {
                let (units, permit) = (units.clone(), self.permit().await?);
                spawn_blocking(move || {
                    units.run(job);
                    drop(permit);
                });
            }
        }
        match answer.await {
            Ok(result) => result,
            Err(_) => Err(Error::UnknownOutcome("the database thread ended".into()).into()),
        }
    }

    /// A snapshot that `query` reads from.
    ///
    /// # Errors
    /// The error of `query`, or one of this crate's.
    pub async fn read<T, E>(&self, query: impl Fn(&mut Conn) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (shared, permit) = (self.shared.clone(), self.permit().await?);
        let read = spawn_blocking(move || {
            let result = read(&shared.pool, &*shared.recorder, query);
            drop(permit);
            result
        });
        read.await.map_err(|error| E::from(Error::Panicked(error.to_string())))?
    }

    /// As [`read`](Self::read). If `counts` says so of the result, it is returned only when everything that was read is
    /// durable.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_durable<T: Send + 'static>(
        &self,
        query: impl Fn(&mut Conn) -> Result<T> + Send + 'static,
        counts: impl Fn(&T) -> bool,
    ) -> Result<T> {
        let Kind::Postgres { units, .. } = &self.shared.kind else { return self.read(query).await };
        let before = units.flusher.before()?;
        let result = self.read(query).await?;
        if counts(&result) {
            units.flusher.flush(before).await?;
        }
        Ok(result)
    }

    /// Tells other processes that [`listen`](Self::listen) on `channel`. Nobody listens on SQLite.
    ///
    /// # Errors
    /// One of this crate's.
    pub async fn notify(&self, channel: &'static str, payload: String) -> Result<()> {
        let Kind::Postgres { .. } = self.shared.kind else { return Ok(()) };
        let (shared, permit) = (self.shared.clone(), self.permit().await?);
        let told = spawn_blocking(move || {
            let _permit = permit;
            let mut conn = take(&shared.pool, &*shared.recorder)?;
            let notify = diesel::select(pg_notify(channel, payload));
            let told = on_each!(&mut conn.conn, |conn| notify.execute(conn));
            conn.broken = told.is_err();
            told.map(drop).map_err(Error::from)
        });
        told.await.map_err(|error| Error::Panicked(error.to_string()))?
    }

    /// Listens to what other processes say on `channel`. `None` on SQLite, where there are none.
    pub fn listen(&self, channel: &'static str) -> Option<Listener> {
        match &self.shared.kind {
            Kind::Sqlite(_) => None,
            Kind::Postgres { place, .. } => Some(Listener::start(place.url().to_owned(), channel)),
        }
    }

    /// Finishes what runs and what was queued, and refuses what comes later.
    pub async fn close(&self) {
        if let Kind::Sqlite(writer) = &self.shared.kind {
            writer.close().await;
        }
        // whoever has a permit, or waited for one before, comes first; an error means that it is closed already
        let all = self.shared.permits.acquire_many(self.shared.pool.max_size()).await;
        self.shared.permits.close();
        drop(all);
        // units that were committed just now are answered; a failure is theirs
        let _ = self.read_durable(|_| Ok(()), |()| true).await;
    }

    async fn permit(&self) -> Result<tokio::sync::OwnedSemaphorePermit> {
        match timeout(PATIENCE, self.shared.permits.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::Unavailable("the database is closed".into())),
            Err(_) => Err(Error::Unavailable("every connection is busy".into())),
        }
    }
}

diesel::define_sql_function! {
    /// What it returns is void, which reads as an empty text.
    fn pg_notify(channel: Text, payload: Text) -> Text;
}

impl Shared {
    fn new(kind: Kind, storage: Arc<Storage>, pool: Pool, recorder: Arc<dyn Recorder>) -> Self {
        let permits = Arc::new(Semaphore::new(pool.max_size() as usize));
        Self { kind, storage, pool, recorder, permits }
    }
}

/// Looks at the storage until the database is dropped.
async fn watch(shared: Weak<Shared>) {
    while let Some(shared) = shared.upgrade() {
        match &shared.kind {
            Kind::Sqlite(writer) => writer.look(),
            Kind::Postgres { place, .. } if shared.storage.needs_probe() => {
                let (storage, place) = (shared.storage.clone(), place.clone());
                // a probe that panics is repeated at the next look
                let _ = spawn_blocking(move || storage.probed(place.probe())).await;
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
    query: impl Fn(&mut Conn) -> Result<T, E>,
) -> Result<T, E> {
    let mut stale = 0;
    loop {
        let mut conn = take(pool, recorder)?;
        match read_once(&mut conn, &query) {
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
    query: &impl Fn(&mut Conn) -> Result<T, E>,
) -> Result<Result<T, E>, Again> {
    faults::clear();
    let begin = if conn.conn.is_pg() { "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" } else { "BEGIN" };
    if let Err(error) = conn.conn.batch_execute(begin) {
        conn.broken = true;
        return Err(Again(error.into()));
    }
    let result = match catch_unwind(AssertUnwindSafe(|| query(&mut conn.conn))) {
        Ok(result) => result,
        Err(panic) => {
            conn.broken = true;
            return Ok(Err(Error::Panicked(panic_text(&*panic)).into()));
        }
    };
    let fault = faults::take();
    match (fault, postgres::roll_back(conn)) {
        // a read that writes is a defect, and the storage is as good as before
        (Some(Fault::ReadOnly(text)), true) => Ok(Err(Error::Defect(text).into())),
        (Some(fault), false) => Err(Again(fault.of_lost_connection().into())),
        // an answer that passes over a failed statement is none
        (Some(fault), true) if result.is_ok() => Ok(Err(Error::from(fault).into())),
        _ => Ok(result),
    }
}
