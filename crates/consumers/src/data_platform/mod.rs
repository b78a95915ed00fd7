//! Export to the data platform: payments, orders, and the services' events from event proxies, to one configured
//! sink.
//!
//! Every sink gets each event at least once and in order by key, with an id for deduplication; files get each event
//! once. Noticed repeats of a proxy are left out.

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
use messaging::{EffectHandler, Group, Handler, Replay, Start, Subscription};

pub use files::{EXPORTS, Files};
pub use settings::{
    BodyFormat, ElasticsearchSettings, ExportSettings, FilesSettings, HttpSettings, SinkKind, SplunkSettings,
};

use program::settings::SettingError;

/// Exported topics.
pub const TOPICS: [&str; 4] =
    [topics::PAYMENT_COMPLETED, topics::PAYMENT_REFUNDED, topics::ORDER_CREATED, topics::ORDER_CANCELLED];

/// Returns the sink of the settings. Files go under `data_dir`.
///
/// # Errors
/// [`SettingError`] of the chosen sink's section; the other sections are not looked at.
pub fn sink(settings: &ExportSettings, data_dir: &Path, db: &Database) -> Result<Arc<dyn EffectHandler>, SettingError> {
    let files = || Arc::new(Files::new(&settings.files, data_dir, db.clone())) as Arc<dyn EffectHandler>;
    Ok(remote(settings)?.unwrap_or_else(files))
}

/// Builds a sink other than files from the settings.
fn remote(settings: &ExportSettings) -> Result<Option<Arc<dyn EffectHandler>>, SettingError> {
    Ok(Some(match settings.sink {
        SinkKind::Files => return Ok(None),
        SinkKind::Http => Arc::new(http::Http::new(&settings.http)?),
        SinkKind::Elasticsearch => Arc::new(elasticsearch::Elasticsearch::new(&settings.elasticsearch)?),
        SinkKind::Splunk => Arc::new(splunk::Splunk::new(&settings.splunk)?),
    }))
}

/// # Errors
/// Checks the settings like [`sink`].
pub(crate) fn check(settings: &ExportSettings) -> Result<(), SettingError> {
    remote(settings).map(drop)
}

/// The group's name.
pub const GROUP: &str = "data-platform";

/// Returns the exported topics of event proxies; `None` without any.
pub fn subscription(settings: &ExportSettings) -> Option<Subscription> {
    let (topics, prefix) = (settings.proxy_topics.clone(), settings.proxy_prefix.clone());
    let prefix = prefix.filter(|prefix| !prefix.is_empty());
    (!topics.is_empty() || prefix.is_some()).then_some(Subscription { group: GROUP, topics, prefix })
}

/// Returns the group `data-platform`.
///
/// # Errors
/// As [`sink`].
pub fn group(settings: &ExportSettings, data_dir: &Path, db: &Database) -> Result<Group, SettingError> {
    Ok(Group {
        name: GROUP,
        topics: TOPICS.to_vec(),
        replay: Replay::Resendable,
        start: Start::Floor,
        handler: Handler::Effect(sink(settings, data_dir, db)?),
    })
}
