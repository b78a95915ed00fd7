//! The file operations of the export; all of them block.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

/// Creates a file durably: the file survives a power cut.
///
/// # Errors
/// `AlreadyExists` if the name is taken.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    sync_folder(path)?;
    Ok(file)
}

/// Creates a folder and the parents durably.
pub(super) fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_folder(parent)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_folder(folder),
    }
}

/// Writes `lines` at `offset`, and returns once the disk has the lines.
///
/// Cuts off remains of a failed attempt behind `offset`, so that no reader finds half a line.
pub(super) fn append(file: &mut File, offset: u64, lines: &[u8]) -> io::Result<()> {
    if file.metadata()?.len() != offset {
        file.set_len(offset)?;
    }
    file.seek(SeekFrom::Start(offset))?;
    let written = file.write_all(lines).and_then(|()| file.sync_data());
    if written.is_err() {
        // if this fails too, the next attempt begins with it
        let _ = file.set_len(offset);
    }
    written
}

/// Outcome of [`cut`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// No such file: another machine's, or taken away.
    Missing,
    /// The file has the committed length, or was cut back to this length.
    Whole,
    /// The file is shorter than the committed length: lines are lost.
    Short { found: u64 },
    /// The committed length was zero, and the file was removed.
    Removed,
}

/// Cuts a file back to the committed `length`.
pub(super) fn cut(path: &Path, length: u64) -> io::Result<Cut> {
    let found = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Cut::Missing),
        Err(error) => return Err(error),
    };
    if length == 0 {
        fs::remove_file(path)?;
        sync_folder(path)?;
        return Ok(Cut::Removed);
    }
    if found < length {
        return Ok(Cut::Short { found });
    }
    if found > length {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(length)?;
        file.sync_all()?;
    }
    Ok(Cut::Whole)
}

/// Flushes the folder of `path`, so that the entry survives a power cut.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
