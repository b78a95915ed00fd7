//! The file operations of the export; all of them block.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

/// A new file that is there after a power cut too.
///
/// # Errors
/// `AlreadyExists` when there is one of this name.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    sync_folder(path)?;
    Ok(file)
}

/// A folder, its parents, and their entries.
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

/// Writes `lines` at `offset`, and returns once the disk has them.
///
/// What a failed attempt left behind `offset` is cut off, so that nobody finds half a line.
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

/// What [`cut`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// No such file: another machine's, or taken away.
    Missing,
    /// As it should be, or cut back to that.
    Whole,
    /// Shorter than what was committed: lines are lost.
    Short { found: u64 },
    /// Nothing in it counted, and it was removed.
    Removed,
}

/// Cuts a file back to the `length` that counts.
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

/// Has the folder that holds `path` remember its entry.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
