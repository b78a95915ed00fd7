//! The settings of the shop and of its workers.

mod check;
mod sections;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use program::settings::{SettingError, Sources, renamed};
use serde_json::Value;

pub use sections::*;

/// Sources of the settings.
pub const SOURCES: Sources = Sources { prefix: "SHOP", file: "config/shop.toml" };

impl Settings {
    /// Returns the settings of this process: of `file`, or of the usual file if present, and of the environment.
    ///
    /// # Errors
    /// The first unknown or bad setting; with the key `--config` for a bad file.
    pub fn load(file: Option<&Path>) -> Result<Self, SettingError> {
        Self::from(SOURCES.file(file), std::env::vars_os())
    }

    /// Returns the settings of `file` and of the given variables, with defaults for the rest.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from(
        file: Option<PathBuf>,
        variables: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
    ) -> Result<Self, SettingError> {
        let settings: Self = SOURCES.read(file, variables, |tree| {
            // a variable's name has neither dots nor dashes
            let Some(Value::Object(bus)) = tree.get_mut("bus") else { return };
            renamed(bus, "topics", |name| name.replace('_', "-"));
            if let Some(Value::Object(kafka)) = bus.get_mut("kafka") {
                renamed(kafka, "properties", |name| name.replace('_', "."));
            }
        })?;
        settings.check()?;
        Ok(settings)
    }
}
