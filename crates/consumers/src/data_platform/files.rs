//! The sink into files: NDJSON under `<data_dir>/exports/<topic>/`.
//!
//! A file belongs to one partition and one lease, so that a late holder damages only files of that holder. The
//! database keeps the committed length, written in the transaction of the offset. Bytes behind the committed length
//! do not count; the partition's next holder cuts off such bytes. A file's row is inserted before the file is
//! created: files without a row are foreign and never touched.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use chrono::NaiveDate;
use contracts::day_of;
use db::types::Time;
use db::{Database, Tx};
use messaging::{EffectHandler, Event, HandlerError, Lease};
use parking_lot::Mutex;

use super::disk::{self, Cut};
use super::line;
use super::settings::FilesSettings;
use super::store::{self, FileId};

/// Folder of the exports in `data_dir`.
pub const EXPORTS: &str = "exports";

/// The sink into files.
pub struct Files {
    folder: PathBuf,
    max_bytes: u64,
    clock: fn() -> Time,
    db: Database,
    partitions: Mutex<HashMap<(Arc<str>, i32), Partition>>,
}

/// State of a partition in this process. `writer` is locked during writes, `progress` only for moments.
#[derive(Clone, Default)]
struct Partition {
    writer: Arc<tokio::sync::Mutex<Option<Writer>>>,
    progress: Arc<Mutex<Option<Progress>>>,
}

struct Writer {
    id: FileId,
    path: PathBuf,
    day: NaiveDate,
    file: File,
}

/// Length and state of the open file.
#[derive(Clone)]
struct Progress {
    id: FileId,
    written: u64,
    /// True if all bytes are committed; if false, only the database knows the committed length.
    committed: bool,
}

impl Partition {
    fn progress(&self) -> Option<Progress> {
        self.progress.lock().clone()
    }

    fn set_progress(&self, progress: Option<Progress>) {
        *self.progress.lock() = progress;
    }

    fn confirm(&self, done: &Progress) {
        let mut progress = self.progress.lock();
        if let Some(now) = progress.as_mut().filter(|now| now.id == done.id && now.written == done.written) {
            now.committed = true;
        }
    }
}

impl Files {
    /// Writes under `<data_dir>/exports`.
    pub fn new(settings: &FilesSettings, data_dir: &Path, db: Database) -> Self {
        let folder = data_dir.join(EXPORTS);
        Self { folder, max_bytes: settings.max_bytes, clock: Time::now, db, partitions: Mutex::default() }
    }

    /// Takes the day from `clock`.
    #[must_use]
    pub fn with_clock(self, clock: fn() -> Time) -> Self {
        Self { clock, ..self }
    }

    fn partition(&self, lease: &Lease) -> Partition {
        let mut partitions = self.partitions.lock();
        partitions.entry((lease.topic.clone(), lease.partition)).or_default().clone()
    }

    /// Returns the place for `size` bytes: at the committed end of the open file, or in a new file.
    async fn place(
        &self,
        lease: &Lease,
        writer: &mut Option<Writer>,
        partition: &Partition,
        size: u64,
    ) -> Result<u64, HandlerError> {
        let today = day_of((self.clock)());
        let mut sequence = 0;
        if let Some(open) = writer.as_ref().filter(|open| open.id.lease == lease.number) {
            let offset = self.settle(partition, &open.id).await?;
            let whole = open.file.metadata().is_ok_and(|metadata| metadata.len() >= offset);
            if whole && open.day == today && (offset == 0 || offset.saturating_add(size) <= self.max_bytes) {
                return Ok(offset);
            }
            self.cut(open.path.clone(), offset).await?;
            sequence = open.id.sequence + 1;
        }
        let begun = self.begin(lease, today, sequence).await?;
        partition.set_progress(Some(Progress { id: begun.id.clone(), written: 0, committed: true }));
        *writer = Some(begun);
        Ok(0)
    }

    /// Returns the committed length of the open file. Asks the database if the last write may not be committed.
    async fn settle(&self, partition: &Partition, id: &FileId) -> Result<u64, HandlerError> {
        if let Some(progress) = partition.progress().filter(|progress| progress.committed && progress.id == *id) {
            return Ok(progress.written);
        }
        let written = self.committed(id).await?.unwrap_or(0);
        partition.set_progress(Some(Progress { id: id.clone(), written, committed: true }));
        Ok(written)
    }

    /// What counts of a file; `None` if the file has no row.
    async fn committed(&self, id: &FileId) -> Result<Option<u64>, HandlerError> {
        let id = id.clone();
        let length = self.db.read(move |conn| store::committed(conn, &id)).await?;
        Ok(length.map(i64::unsigned_abs))
    }

    async fn begin(&self, lease: &Lease, day: NaiveDate, mut sequence: i32) -> Result<Writer, HandlerError> {
        let folder = self.folder.join(&*lease.topic);
        loop {
            let name = file_name(lease, day, sequence);
            let path = folder.join(&name);
            let id =
                FileId { topic: lease.topic.to_string(), partition: lease.partition, lease: lease.number, sequence };
            if self.reserve(&id, &name, &path).await? {
                let (folder, path) = (folder.clone(), path.clone());
                let made = blocking(move || {
                    disk::create_folder(&folder)?;
                    disk::create(&path).map(|file| (file, path))
                });
                match made.await? {
                    Ok((file, path)) => return Ok(Writer { id, path, day, file }),
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(away(&self.folder, &error));
                    }
                    Err(_) => {}
                }
            }
            sequence += 1;
        }
    }

    /// Inserts a file's row before the file is created; returns `false` if the name is taken.
    async fn reserve(&self, id: &FileId, name: &str, path: &Path) -> Result<bool, HandlerError> {
        if path.exists() {
            return Ok(false);
        }
        let (id, name) = (id.clone(), name.to_owned());
        Ok(self.db.write(move |tx| store::begin(tx, &id, &name)).await?)
    }

    async fn cut(&self, path: PathBuf, length: u64) -> Result<Cut, HandlerError> {
        let shown = path.clone();
        let cut = blocking(move || disk::cut(&path, length)).await?.map_err(|error| away(&shown, &error))?;
        if let Cut::Short { found } = cut {
            tracing::error!(file = %shown.display(), length, found, "an export file lost committed lines");
        }
        Ok(cut)
    }
}

fn file_name(lease: &Lease, day: NaiveDate, sequence: i32) -> String {
    format!("{:03}-{:06}-{}-{sequence:04}.ndjson", lease.partition, lease.number, day.format("%Y%m%d"))
}

fn away(path: &Path, error: &io::Error) -> HandlerError {
    HandlerError::Unavailable(format!("{}: {error}", path.display()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, HandlerError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| HandlerError::Unavailable(error.to_string()))
}

/// Returns a line for each event.
fn lines(events: &[Event]) -> Result<Vec<u8>, HandlerError> {
    let mut lines = Vec::with_capacity(events.len() * 512);
    for event in events {
        line::write(&mut lines, &line::Line::new(event, &line::data(event)?))?;
        lines.push(b'\n');
    }
    Ok(lines)
}

#[async_trait]
impl EffectHandler for Files {
    async fn handle(&self, lease: &Lease, events: &[Event]) -> Result<(), HandlerError> {
        let lines = lines(events)?;
        let partition = self.partition(lease);
        // held by the blocking write too, so that a call that was given up and its successor don't mix
        let mut guard = partition.writer.clone().lock_owned().await;
        let offset = self.place(lease, &mut guard, &partition, lines.len() as u64).await?;
        let write = move || {
            let Some(writer) = guard.as_mut() else { return Ok(()) };
            disk::append(&mut writer.file, offset, &lines).map_err(|error| away(&writer.path, &error))?;
            let written = offset + lines.len() as u64;
            partition.set_progress(Some(Progress { id: writer.id.clone(), written, committed: false }));
            Ok(())
        };
        blocking(write).await?
    }

    fn record(&self, tx: &mut Tx<'_>, lease: &Lease, _events: &[Event]) -> db::Result<()> {
        let partition = self.partition(lease);
        let Some(progress) = partition.progress().filter(|progress| progress.id.lease == lease.number) else {
            return Ok(());
        };
        if progress.committed {
            return Ok(());
        }
        if !store::commit(tx, &progress.id, i64::try_from(progress.written).unwrap_or(i64::MAX))? {
            return Err(db::Error::Unavailable("the export file was forgotten while it was written".into()));
        }
        tx.after_commit(move || partition.confirm(&progress));
        Ok(())
    }

    async fn taken(&self, lease: &Lease) -> Result<(), HandlerError> {
        let partition = self.partition(lease);
        let mut writer = partition.writer.lock().await;
        // the same holder again, after something was away: only its open file can hold what does not count
        if let Some(open) = writer.as_ref().filter(|open| open.id.lease == lease.number) {
            // not what this process has committed: the database may have lost it in a failover, and the row of the file too
            partition.set_progress(None);
            match self.committed(&open.id).await? {
                Some(0) => return Ok(()),
                Some(length) => return self.cut(open.path.clone(), length).await.map(drop),
                None => {}
            }
        }
        *writer = None;
        partition.set_progress(None);
        let (topic, number) = (lease.topic.clone(), lease.partition);
        let files = self.db.read(move |conn| store::of_partition(conn, &topic, number)).await?;
        for file in files.into_iter().filter(|file| file.lease <= lease.number) {
            let path = self.folder.join(&*lease.topic).join(&file.name);
            if self.cut(path, file.length.unsigned_abs()).await? == Cut::Removed {
                let (topic, partition) = (lease.topic.to_string(), lease.partition);
                let id = FileId { topic, partition, lease: file.lease, sequence: file.sequence };
                self.db.write(move |tx| store::forget_empty(tx, &id)).await?;
            }
        }
        Ok(())
    }
}
