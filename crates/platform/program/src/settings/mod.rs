//! Typed settings, with defaults for a start without any file.
//!
//! Later sources win: defaults, then a file, then the environment as `PREFIX__SECTION__NAME`. An unknown name or a
//! bad value gives an error of one line with the setting's name.

mod observe;
mod tree;
mod types;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Config, ConfigError, Environment, File, FileFormat};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Secret, known_secret, password};

pub use observe::{LogSettings, OtlpSettings, TelemetrySettings, observe, observe_with};
pub use types::{Address, Bytes, DatabaseUrl, is_host};

/// An unusable setting, in one line with the setting's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("setting {key}: {reason}")]
pub struct SettingError {
    /// Name as in the file: `order.expires_after`.
    pub key: String,
    pub reason: String,
}

impl SettingError {
    /// Returns the error `reason` for the setting `key`.
    pub fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into() }
    }
}

/// # Errors
/// [`SettingError`] of the setting `key`, with this reason, unless `holds`.
pub fn expect(key: &str, holds: bool, reason: &str) -> Result<(), SettingError> {
    if holds { Ok(()) } else { Err(SettingError::new(key, reason)) }
}

/// Longest duration of a setting: a hundred years, so that a later instant can be represented.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// # Errors
/// [`SettingError`] of the setting `key`, if the duration is 0 or longer than a hundred years.
pub fn positive(key: &str, duration: Duration) -> Result<(), SettingError> {
    expect(key, !duration.is_zero(), "expected more than 0")?;
    expect(key, duration <= LONGEST, "expected at most 36500days")
}

/// Checks that files can be created in a folder, or in a new folder of this name. Leaves nothing on disk.
///
/// # Errors
/// [`SettingError`] of the setting `key`.
pub fn writable_folder(key: &str, folder: &Path) -> Result<(), SettingError> {
    db::check_folder(folder).map_err(|error| SettingError::new(key, format!("{}: {error}", folder.display())))
}

/// # Errors
/// [`SettingError`] of the setting `key`, for a weak password.
pub fn good_password(key: &str, set: &Secret) -> Result<(), SettingError> {
    let weakness = password::weakness(set.expose()).filter(|_| !set.is_empty());
    weakness.map_or(Ok(()), |reason| Err(SettingError::new(key, reason)))
}

/// Checks that the existing secrets in `folder` can be read.
///
/// # Errors
/// [`SettingError`] of the setting `data_dir`.
pub fn readable_secrets(folder: &Path, names: &[&str]) -> Result<(), SettingError> {
    names.iter().try_for_each(|name| match known_secret(folder, name) {
        Ok(_) => Ok(()),
        Err(error) => Err(SettingError::new("data_dir", format!("{}: {error}", folder.join(name).display()))),
    })
}

/// The default of a section of settings, field by field.
#[macro_export]
macro_rules! defaults {
    ($type:ident { $($field:ident: $value:expr),+ $(,)? }) => {
        impl Default for $type {
            fn default() -> Self {
                Self { $($field: $value),+ }
            }
        }
    };
}

/// Sources of the settings of a program.
#[derive(Debug, Clone, Copy)]
pub struct Sources {
    /// Begins the name of a setting in the environment: `SHOP` of `SHOP__HTTP__ADDRESS`.
    pub prefix: &'static str,
    /// File in the working folder, read if present and if no other file is named.
    pub file: &'static str,
}

impl Sources {
    /// Returns the file to read: `named`, or the usual file if present.
    pub fn file(&self, named: Option<&Path>) -> Option<PathBuf> {
        let usual = Path::new(self.file);
        named.map(Path::to_owned).or_else(|| usual.is_file().then(|| usual.to_owned()))
    }

    /// Returns the settings of `file` and of the given variables, with defaults for the rest. `adapt` handles names
    /// that are impossible for variables.
    ///
    /// # Errors
    /// The first unknown or bad setting; with the key `--config` for a bad file.
    pub fn read<T: DeserializeOwned>(
        &self,
        file: Option<PathBuf>,
        variables: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
        adapt: impl FnOnce(&mut Map<String, Value>),
    ) -> Result<T, SettingError> {
        let mut tree = self.tree(file, variables)?;
        adapt(&mut tree);
        tree::read(Value::Object(tree))
    }

    /// Listens on the address of the setting `key`.
    ///
    /// # Errors
    /// Names the setting.
    pub fn listen(&self, key: &str, address: &Address) -> Result<TcpListener, SettingError> {
        TcpListener::bind(address.as_str()).map_err(|error| self.refused(key, address, &error))
    }

    /// Checks that a process may listen on the address of the setting `key`. Another process may listen there.
    ///
    /// # Errors
    /// As [`listen`](Self::listen).
    pub fn check_address(&self, key: &str, address: &Address) -> Result<(), SettingError> {
        // the rules of UDP are the same, and its ports are not taken by the process that runs
        match UdpSocket::bind(address.as_str()) {
            Err(error) if error.kind() != ErrorKind::AddrInUse => Err(self.refused(key, address, &error)),
            _ => Ok(()),
        }
    }

    fn refused(&self, key: &str, address: &Address, error: &io::Error) -> SettingError {
        let (prefix, name) = (self.prefix, key.to_uppercase().replace('.', "__"));
        let reason = match error.kind() {
            ErrorKind::AddrInUse => format!("is taken by another process; set another ({prefix}__{name})"),
            _ => error.to_string(),
        };
        SettingError::new(key, format!("{address} {reason}"))
    }

    fn tree(
        &self,
        file: Option<PathBuf>,
        variables: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
    ) -> Result<Map<String, Value>, SettingError> {
        let mut builder = Config::builder();
        if let Some(file) = &file {
            builder = builder.add_source(File::from(file.as_path()).format(FileFormat::Toml));
        }
        let environment = Environment::with_prefix(self.prefix).prefix_separator("__").separator("__");
        builder = builder.add_source(environment.source(Some(self.ours(variables)?)));
        let merged = builder.build().and_then(Config::try_deserialize);
        merged.map_err(|error| {
            let file = file.map_or_else(|| self.file.into(), |file| file.display().to_string());
            SettingError::new("--config", format!("{file}: {}", one_line(&error)))
        })
    }

    /// Returns the variables of settings, if the names are well-formed. An empty variable counts as not set.
    fn ours(
        &self,
        variables: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
    ) -> Result<HashMap<String, String>, SettingError> {
        let mut ours = HashMap::new();
        for (name, value) in variables {
            let Ok(name) = name.into().into_string() else { continue };
            let Some(rest) = name.strip_prefix(self.prefix).and_then(|rest| rest.strip_prefix("__")) else { continue };
            let key = rest.to_lowercase().replace("__", ".");
            let well_formed = |part: &str| {
                part.starts_with(|c: char| c.is_ascii_lowercase())
                    && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            };
            if !key.split('.').all(well_formed) {
                return Err(SettingError::new(&key, format!("there is no setting of this name ({name})")));
            }
            let value = value.into().into_string().map_err(|_| SettingError::new(&key, "expected UTF-8"))?;
            if !value.is_empty() {
                ours.insert(name, value);
            }
        }
        Ok(ours)
    }
}

/// Renames the keys in `names` of `map`. A changed key comes from the environment and wins.
pub fn renamed(map: &mut Map<String, Value>, names: &str, rename: impl Fn(&str) -> String) {
    let Some(Value::Object(entries)) = map.get_mut(names) else { return };
    let (as_is, changed): (Vec<_>, Vec<_>) =
        std::mem::take(entries).into_iter().partition(|(name, _)| rename(name) == *name);
    entries.extend(as_is);
    entries.extend(changed.into_iter().map(|(name, value)| (rename(&name), value)));
}

/// Returns place and reason, without the parser's drawing of the line.
fn one_line(error: &ConfigError) -> String {
    let text = match error {
        ConfigError::FileParse { cause, .. } => cause.to_string(),
        other => other.to_string(),
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let told: Vec<_> = lines.filter(|line| !line.contains('|')).collect();
    told.join(": ")
}
