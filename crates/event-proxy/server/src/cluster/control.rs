//! The control database, shared by all proxies of one installation: API keys and the audit log.

use std::sync::Arc;

use db::Database;
use messaging::Log;

use crate::auth::keys::Keys;
use crate::proxy::MIGRATIONS;
use crate::settings::ControlSettings;

/// Setting with the URL of the control database.
pub(crate) const DATABASE_URL: &str = "control.database_url";

/// Opens the database of the settings, by default `own`, the proxy's; and the API keys in the database.
///
/// # Errors
/// Any error of the database.
pub async fn open(settings: &ControlSettings, own: &Database) -> db::Result<(Database, Arc<Keys>)> {
    let control = match &settings.database_url {
        None => own.clone(),
        // nothing is ever staged there, so any log's recorder will do
        Some(url) => {
            let options = db::Options { setting: Some(DATABASE_URL), ..db::Options::new(url.expose()) };
            Database::open(options, &MIGRATIONS, Log::new().recorder()).await?
        }
    };
    let keys = Keys::open(&control).await?;
    Ok((control, keys))
}
