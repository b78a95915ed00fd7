//! The control database: API keys and the audit log, which all proxies of one installation share.

pub mod audit;
pub(crate) mod schema;

use std::sync::Arc;

use db::Database;
use messaging::Log;

use crate::keys::Keys;
use crate::proxy::MIGRATIONS;
use crate::settings::ControlSettings;

/// The setting of its place.
pub(crate) const DATABASE_URL: &str = "control.database_url";

/// The database of the settings, or `own`, the proxy's, unless they name one; and the API keys in it.
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
