//! The control database: API keys and the audit log, which all proxies of one installation share.

pub mod audit;
mod schema;

use db::Database;
use messaging::Log;
use program::process::one_line;
use program::settings::SettingError;

use crate::proxy::MIGRATIONS;
use crate::settings::ControlSettings;

/// The database of the settings; `own`, the proxy's, unless they name one.
///
/// # Errors
/// `control.database_url`, when it can't be opened.
pub async fn open(settings: &ControlSettings, own: &Database) -> Result<Database, SettingError> {
    let Some(url) = &settings.database_url else { return Ok(own.clone()) };
    // nothing is ever staged there, so any log's recorder will do
    let opened = Database::open(db::Options::new(url.expose()), &MIGRATIONS, Log::new().recorder()).await;
    opened.map_err(|error| SettingError::new("control.database_url", one_line(&format!("{url}: {error}"))))
}
