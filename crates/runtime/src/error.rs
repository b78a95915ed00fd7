//! Why a shop did not open.

use program::process::Failure;
use program::settings::SettingError;

/// One line that says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting that can't be used, or not with this machine or database.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The database is not to be reached, though its setting may be good.
    #[error(transparent)]
    Away(SettingError),
    /// The database said no, once it was open.
    #[error(transparent)]
    Database(#[from] db::Error),
}

impl OpenError {
    /// Whether to try again later is right.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Setting(_) => false,
            Self::Away(_) => true,
            Self::Database(error) => {
                matches!(error, db::Error::Unavailable(_) | db::Error::UnknownOutcome(_))
            }
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Setting(error) | OpenError::Away(error) => error.into(),
            OpenError::Database(error) => error.into(),
        }
    }
}
