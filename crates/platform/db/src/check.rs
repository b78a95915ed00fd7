//! Checks of settings before anything is opened.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::net::IpAddr;
use std::path::Path;

use diesel::{Connection, PgConnection};
use uuid::Uuid;

use crate::sqlite_file::SqliteFile;

/// First bytes of every non-empty SQLite file.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Parameters of a URL with whole numbers as values.
const NUMBERS: [&str; 6] =
    ["connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"];

/// Checks that a URL can lead to a database. Connects to nothing, and leaves nothing on disk.
///
/// # Errors
/// The reason of [`Database::open`](crate::Database::open) for a refusal.
pub fn check_url(url: &str) -> Result<(), String> {
    match url.split_once(':') {
        Some(("sqlite", path)) => {
            let path = SqliteFile::path(path).map_err(|error| error.to_string())?;
            check_file(&path)
        }
        _ => {
            // parameters are libpq's
            let (place, parameters) = url.split_once('?').unwrap_or((url, ""));
            let place: tokio_postgres::Config = place.parse().map_err(|error| format!("{error}"))?;
            let list = |name: &str| {
                let values = parameters.split('&').rev().find_map(|parameter| parameter.strip_prefix(name));
                values.map(|values| values.split(',').collect::<Vec<_>>())
            };
            let (hosts, addresses) = (list("host="), list("hostaddr=").unwrap_or_default());
            let hosts = hosts.map_or(place.get_hosts().len(), |hosts| hosts.len());
            if hosts == 0 && addresses.is_empty() {
                return Err("names no host".into());
            }
            if let Some(bad) = addresses.iter().find(|address| address.parse::<IpAddr>().is_err()) {
                return Err(format!("hostaddr {bad:?} is no address"));
            }
            // libpq reads numbers when it has connected
            let of_number = |parameter: &str| {
                let (name, number) = parameter.split_once('=')?;
                (NUMBERS.contains(&name) && number.parse::<i32>().is_err()).then(|| format!("{name} is no number"))
            };
            if let Some(bad) = parameters.split('&').find_map(of_number) {
                return Err(bad);
            }
            check_parameters(url, hosts.max(addresses.len()))
        }
    }
}

/// Lets libpq parse all parameters, with impossible hosts: sockets below a file.
fn check_parameters(url: &str, hosts: usize) -> Result<(), String> {
    const NOWHERE: &str = "/dev/null";
    let separator = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{separator}host={}&hostaddr=", vec![NOWHERE; hosts].join(","));
    let Err(error) = PgConnection::establish(&url) else { return Ok(()) };
    let error = error.to_string();
    let looked = error.contains("Not a directory");
    let line = error.lines().next().unwrap_or_default();
    let reason = line.rsplit_once(" failed: ").map_or(line, |(_, reason)| reason);
    match () {
        () if looked => Ok(()),
        // libpq shows the text, which may be a password
        () if reason.contains("percent-encoded") => {
            Err("has wrong percent-encoding, or none where it needs one".into())
        }
        () => Err(reason.to_owned()),
    }
}

fn check_file(path: &Path) -> Result<(), String> {
    let told = |error: io::Error| error.to_string();
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err("is no file".into());
    }
    match path.metadata() {
        Ok(there) if !there.is_file() => return Err("is no file".into()),
        Ok(_) => {
            let mut start = Vec::new();
            File::open(path).and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut start)).map_err(told)?;
            if !start.is_empty() && start != MAGIC {
                return Err("file is not a database".into());
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(told(error)),
    }
    check_folder(path.parent().unwrap_or(Path::new(""))).map_err(told)
}

/// Checks that files can be created in a folder, or in a new folder of this name. Leaves nothing on disk.
///
/// # Errors
/// The system's.
pub fn check_folder(folder: &Path) -> io::Result<()> {
    for above in folder.ancestors() {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match fs::symlink_metadata(above) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            // permissions do not tell: a file system may make no folders for anybody
            Ok(_) => {
                let probe = above.join(format!(".probe-{}", Uuid::new_v4().simple()));
                return match fs::create_dir(&probe) {
                    // room may come back
                    Err(error) if error.kind() == ErrorKind::StorageFull => Ok(()),
                    made => made.and_then(|()| fs::remove_dir(&probe)),
                };
            }
        }
    }
    Ok(())
}
