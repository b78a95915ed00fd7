//! Why a shop did not open.

use crate::settings::SettingError;

/// One line that says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting that can't be used, or not with this machine or database.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The database said no, once it was open.
    #[error(transparent)]
    Database(#[from] db::Error),
}
