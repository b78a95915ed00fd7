//! Types of values in settings.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer};

use super::SettingError;

/// URL of the database. Shown without the password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// Returns the URL with the password, for connecting.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Checks that the URL can lead to a database. Connects to nothing, and leaves nothing on disk.
    ///
    /// # Errors
    /// [`SettingError`] of the setting `key`.
    pub fn check(&self, key: &str) -> Result<(), SettingError> {
        db::check_url(&self.0).map_err(|reason| SettingError::new(key, format!("{self}: {reason}")))
    }

    /// Returns true if several processes can have the database open.
    pub fn is_shared(&self) -> bool {
        !self.0.starts_with("sqlite:")
    }
}

impl FromStr for DatabaseUrl {
    type Err = &'static str;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let expected = "sqlite:path/to/file.db or postgres://user:password@host:port/name";
        let rest = ["sqlite:", "postgres://", "postgresql://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        // SQLite would take these for a database in memory or for a URI
        let is_path = |rest: &str| !rest.is_empty() && !rest.starts_with(':') && !rest.starts_with("file:");
        rest.filter(|rest| is_path(rest)).map(|_| Self(url.to_owned())).ok_or(expected)
    }
}

impl<'de> Deserialize<'de> for DatabaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let url = String::deserialize(deserializer)?;
        url.parse().map_err(|expected| D::Error::custom(format_args!("expected {expected}, got something else")))
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = self.0.split('?').next().unwrap_or_default();
        let Some((scheme, rest)) = bare.split_once("://") else { return f.write_str(bare) };
        match rest.rsplit_once('@') {
            Some((user, place)) => write!(f, "{scheme}://{}@{place}", user.split(':').next().unwrap_or_default()),
            None => f.write_str(bare),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A number of bytes: `65536`, or with a unit `64KiB`, `1MiB`, `1MB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub usize);

/// Longest first, for `KiB` ends in `B` too.
const UNITS: [(&str, usize); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

impl FromStr for Bytes {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let unit = UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
        let (number, unit) = unit.unwrap_or((text, 1));
        let number: usize = number.trim().parse().map_err(drop)?;
        number.checked_mul(unit).map(Self).ok_or(())
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a size like 64KiB")]
        enum Form {
            Number(usize),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(bytes) => Ok(Self(bytes)),
            Form::Text(text) => {
                text.parse().map_err(|()| D::Error::invalid_value(Unexpected::Str(&text), &"a size like 64KiB"))
            }
        }
    }
}

/// An address to listen on: `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`. Port 0 means any free port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// Returns the address as written, for `bind`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Address {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (host, port) = text.rsplit_once(':').ok_or(())?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || (host.contains(':') && !bracketed) || port.parse::<u16>().is_err() {
            return Err(());
        }
        Ok(Self(text.to_owned()))
    }
}

/// Returns true for the host of a URL, with or without a port: `localhost`, `10.0.0.1:80`, `[::1]`. Nobody can connect
/// to port 0.
pub fn is_host(text: &str) -> bool {
    let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    port != Some(0) && [text.to_owned(), format!("{text}:1")].iter().any(|place| place.parse::<Address>().is_ok())
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = "an address and port like 127.0.0.1:8080";
        text.parse().map_err(|()| D::Error::invalid_value(Unexpected::Str(&text), &expected))
    }
}
