//! Why a shop did not open.

use std::time::Duration;

use program::process::Failure;
use program::settings::SettingError;
use tokio::time::sleep;

/// Pause between two attempts to reach the database at the start.
const TRY_EVERY: Duration = Duration::from_secs(3);

/// One line that says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting that can't be used, or not with this machine or database.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The database server is not to be reached, though its setting may be good.
    #[error(transparent)]
    Away(SettingError),
    /// The database said no, once it was open.
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

/// Waits at the start for a database server that may be started after the program. `waits` is told each reason.
///
/// # Errors
/// Errors that time does not heal.
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
