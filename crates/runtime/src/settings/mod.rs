//! The settings of the shop: typed, with defaults that work without any file.
//!
//! Later wins: defaults, then `config/shop.toml` (or the file that `--config` names), then the environment as
//! `SHOP__SECTION__NAME`. An unknown name or a bad value is one line that names the setting.

mod check;
mod sections;
mod tree;
mod types;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::{Config, ConfigError, Environment, File, FileFormat};
use serde_json::{Map, Value};

pub use sections::*;
pub use types::{Address, Bytes, DatabaseUrl};

/// Read from the working folder when it is there and no other is named.
pub const FILE: &str = "config/shop.toml";
/// Begins the name of a setting in the environment.
const PREFIX: &str = "SHOP__";

/// A setting that can't be used, in one line that names it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("setting {key}: {reason}")]
pub struct SettingError {
    /// As in the file: `order.expires_after`.
    pub key: String,
    pub reason: String,
}

impl SettingError {
    fn new(key: &str, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into() }
    }
}

impl From<consumers::BadSetting> for SettingError {
    fn from(bad: consumers::BadSetting) -> Self {
        Self { key: bad.key, reason: bad.reason }
    }
}

impl Settings {
    /// The settings of this process: of `file`, or of [`FILE`] if it is there, and of the environment.
    ///
    /// # Errors
    /// The first setting that is unknown or bad; with the key `--config` when the file itself is.
    pub fn load(file: Option<&Path>) -> Result<Self, SettingError> {
        let usual = Path::new(FILE);
        let file = file.map(Path::to_owned).or_else(|| usual.is_file().then(|| usual.to_owned()));
        Self::from(file, std::env::vars_os())
    }

    /// The settings of `file` and of the variables given; all else is at its default.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from(
        file: Option<PathBuf>,
        variables: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
    ) -> Result<Self, SettingError> {
        let mut tree = sources(file, variables)?;
        if let Some(Value::Object(bus)) = tree.get_mut("bus") {
            // a variable's name has neither dots nor dashes
            tree::renamed(bus, "topics", |name| name.replace('_', "-"));
            if let Some(Value::Object(kafka)) = bus.get_mut("kafka") {
                tree::renamed(kafka, "properties", |name| name.replace('_', "."));
            }
        }
        let settings: Self = tree::read(Value::Object(tree))?;
        settings.check()?;
        Ok(settings)
    }
}

fn sources(
    file: Option<PathBuf>,
    variables: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
) -> Result<Map<String, Value>, SettingError> {
    let mut builder = Config::builder();
    if let Some(file) = &file {
        builder = builder.add_source(File::from(file.as_path()).format(FileFormat::Toml));
    }
    let environment = Environment::with_prefix("SHOP").prefix_separator("__").separator("__");
    builder = builder.add_source(environment.source(Some(ours(variables)?)));
    let merged = builder.build().and_then(Config::try_deserialize);
    merged.map_err(|error| {
        let file = file.map_or_else(|| FILE.into(), |file| file.display().to_string());
        SettingError::new("--config", format!("{file}: {}", one_line(&error)))
    })
}

/// The variables that are settings, if their names are well-formed. One that is empty counts as not set.
fn ours(
    variables: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
) -> Result<HashMap<String, String>, SettingError> {
    let mut ours = HashMap::new();
    for (name, value) in variables {
        let Ok(name) = name.into().into_string() else { continue };
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
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

/// The parser draws the line with a caret under it; its place and the reason are enough.
fn one_line(error: &ConfigError) -> String {
    let text = match error {
        ConfigError::FileParse { cause, .. } => cause.to_string(),
        other => other.to_string(),
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let told: Vec<_> = lines.filter(|line| !line.contains('|')).collect();
    told.join(": ")
}
