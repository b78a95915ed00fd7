//! Generated secrets, kept in the data folder and readable only by the owner.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Result, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use uuid::Uuid;

use crate::Secret;

/// Returns the secret `name` in `folder`, created if absent. Processes that start together get the same secret.
///
/// # Errors
/// If the file can't be read or written.
pub fn kept_secret(folder: &Path, name: &str) -> Result<Secret> {
    let file = folder.join(name);
    if let Some(secret) = known_secret(folder, name)? {
        return Ok(secret);
    }
    // written aside and then linked: it is there whole or not at all, and the first one wins
    let aside = folder.join(format!("{name}.{}", Uuid::new_v4().simple()));
    let linked = write(&aside).and_then(|()| match fs::hard_link(&aside, &file) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    });
    let removed = fs::remove_file(&aside);
    // the first error counts: without a file there is nothing to remove
    linked.and(removed)?;
    known_secret(folder, name)?.ok_or_else(|| ErrorKind::NotFound.into())
}

/// Returns the secret `name` in `folder`, if present.
///
/// # Errors
/// If the file is there and can't be read.
pub fn known_secret(folder: &Path, name: &str) -> Result<Option<Secret>> {
    match fs::read_to_string(folder.join(name)) {
        Ok(text) if text.trim().is_empty() => Err(std::io::Error::new(ErrorKind::InvalidData, "the file is empty")),
        Ok(text) => Ok(Some(text.trim().into())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a secret: two random UUIDs, 244 random bits.
pub fn new_secret() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

fn write(file: &Path) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    writeln!(file, "{}", new_secret())?;
    file.sync_all()
}
