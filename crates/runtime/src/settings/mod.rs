//! The settings of the shop and of its workers.

mod check;
mod sections;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use program::settings::{SettingError, Sources, renamed};
use serde_json::Value;

pub use sections::*;

/// Where they come from.
pub const SOURCES: Sources = Sources { prefix: "SHOP", file: "config/shop.toml" };

impl Settings {
    /// The settings of this process: of `file`, or of the usual one if it is there, and of the environment.
    ///
    /// # Errors
    /// The first setting that is unknown or bad; with the key `--config` when the file itself is.
    pub fn load(file: Option<&Path>) -> Result<Self, SettingError> {
        Self::from(SOURCES.file(file), std::env::vars_os())
    }

    /// The settings of `file` and of the variables given; all else is at its default.
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
