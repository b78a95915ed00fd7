//! Errors of opening a shop.

use std::time::Duration;

use program::process::Failure;
use program::settings::SettingError;
use tokio::time::sleep;

/// Pause between two attempts to reach the database at the start.
const TRY_EVERY: Duration = Duration::from_secs(3);

/// Error of one line with a remedy.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting is unusable, or unusable with this machine or database.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The database server is unavailable, though the setting may be good.
    #[error(transparent)]
    Away(SettingError),
    /// The open database returned an error.
    #[error(transparent)]
    Database(#[from] db::Error),
}

impl OpenError {
    /// Returns true if to try again later is right.
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
            OpenError::Setting(error) => error.into(),
            OpenError::Away(error) => Self::Failed(error.to_string()),
            OpenError::Database(error) => error.into(),
        }
    }
}

/// Waits at the start for a database server that may start after the program. Calls `waits` with each reason.
///
/// # Errors
/// Permanent errors.
pub async fn when_there<T>(
    mut attempt: impl AsyncFnMut() -> Result<T, OpenError>,
    mut waits: impl FnMut(&OpenError),
) -> Result<T, OpenError> {
    loop {
        match attempt().await {
            Err(error) if error.may_pass() => {
                tracing::warn!(%error, again_in = ?TRY_EVERY, "waiting for the database");
                waits(&error);
                sleep(TRY_EVERY).await;
            }
            done => return done,
        }
    }
}
