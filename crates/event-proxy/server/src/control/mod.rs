//! The control database: API keys and the audit log, which all proxies of one installation share.

pub mod audit;
pub(crate) mod schema;

use std::sync::Arc;

use db::Database;
use messaging::Log;
use program::process::one_line;
use program::settings::SettingError;

use crate::keys::Keys;
use crate::proxy::MIGRATIONS;
use crate::settings::ControlSettings;

/// The database of the settings, or `own`, the proxy's, unless they name one; and the API keys in it.
///
/// # Errors
/// `control.database_url`, when it can't be used.
pub async fn open(settings: &ControlSettings, own: &Database) -> Result<(Database, Arc<Keys>), SettingError> {
    let place = settings.database_url.as_ref().map_or_else(|| "the proxy's own".to_owned(), ToString::to_string);
    let bad = |error: db::Error| SettingError::new("control.database_url", one_line(&format!("{place}: {error}")));
    let control = match &settings.database_url {
        None => own.clone(),
        // nothing is ever staged there, so any log's recorder will do
        Some(url) => {
            let options = db::Options::new(url.expose());
            Database::open(options, &MIGRATIONS, Log::new().recorder()).await.map_err(bad)?
        }
    };
    let keys = Keys::open(&control).await.map_err(bad)?;
    Ok((control, keys))
}
