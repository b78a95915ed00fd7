//! The export to the data platform: payments and orders, as they happened, to a sink chosen by setting.
//!
//! Every sink gets each event at least once and in order by key, with its id to tell repeats by; files get it once.

mod disk;
mod elasticsearch;
mod files;
mod http;
mod line;
mod settings;
mod splunk;
mod store;

use std::path::Path;
use std::sync::Arc;

use contracts::topics;
use db::Database;
use messaging::{EffectHandler, Group, Handler, Replay, Start};

pub use files::Files;
pub use settings::{
    BodyFormat, ElasticsearchSettings, ExportSettings, FilesSettings, HttpSettings, SinkKind, SplunkSettings,
};

use program::settings::SettingError;

/// What is exported.
pub const TOPICS: [&str; 4] =
    [topics::PAYMENT_COMPLETED, topics::PAYMENT_REFUNDED, topics::ORDER_CREATED, topics::ORDER_CANCELLED];

/// The sink of the settings. Files go under `data_dir`.
///
/// # Errors
/// [`SettingError`] of the chosen sink's section; the other sections are not looked at.
pub fn sink(settings: &ExportSettings, data_dir: &Path, db: &Database) -> Result<Arc<dyn EffectHandler>, SettingError> {
    Ok(match settings.sink {
        SinkKind::Files => Arc::new(Files::new(&settings.files, data_dir, db.clone())),
        SinkKind::Http => Arc::new(http::Http::new(&settings.http)?),
        SinkKind::Elasticsearch => Arc::new(elasticsearch::Elasticsearch::new(&settings.elasticsearch)?),
        SinkKind::Splunk => Arc::new(splunk::Splunk::new(&settings.splunk)?),
    })
}

/// The group `data-platform`.
///
/// # Errors
/// As [`sink`].
pub fn group(settings: &ExportSettings, data_dir: &Path, db: &Database) -> Result<Group, SettingError> {
    Ok(Group {
        name: "data-platform",
        topics: TOPICS.to_vec(),
        replay: Replay::Resendable,
        start: Start::Floor,
        handler: Handler::Effect(sink(settings, data_dir, db)?),
    })
}
