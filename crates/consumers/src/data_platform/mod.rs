//! The export to the data platform: payments and orders, as they happened, and what services hand to event proxies, to a
//! sink chosen by setting.
//!
//! Every sink gets each event at least once and in order by key, with its id to tell repeats by; files get it once. What a
//! proxy sends twice is left out as far as that is noticed.

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

/// What is exported.
pub const TOPICS: [&str; 4] =
    [topics::PAYMENT_COMPLETED, topics::PAYMENT_REFUNDED, topics::ORDER_CREATED, topics::ORDER_CANCELLED];

/// The sink of the settings. Files go under `data_dir`.
///
/// # Errors
/// [`SettingError`] of the chosen sink's section; the other sections are not looked at.
pub fn sink(settings: &ExportSettings, data_dir: &Path, db: &Database) -> Result<Arc<dyn EffectHandler>, SettingError> {
    let files = || Arc::new(Files::new(&settings.files, data_dir, db.clone())) as Arc<dyn EffectHandler>;
    Ok(remote(settings)?.unwrap_or_else(files))
}

/// A sink that is no file, which the settings alone make.
fn remote(settings: &ExportSettings) -> Result<Option<Arc<dyn EffectHandler>>, SettingError> {
    Ok(Some(match settings.sink {
        SinkKind::Files => return Ok(None),
        SinkKind::Http => Arc::new(http::Http::new(&settings.http)?),
        SinkKind::Elasticsearch => Arc::new(elasticsearch::Elasticsearch::new(&settings.elasticsearch)?),
        SinkKind::Splunk => Arc::new(splunk::Splunk::new(&settings.splunk)?),
    }))
}

/// # Errors
/// As [`sink`].
pub(crate) fn check(settings: &ExportSettings) -> Result<(), SettingError> {
    remote(settings).map(drop)
}

/// The group's name.
pub const GROUP: &str = "data-platform";

/// What is exported of event proxies; `None` for nothing.
pub fn subscription(settings: &ExportSettings) -> Option<Subscription> {
    let (topics, prefix) = (settings.proxy_topics.clone(), settings.proxy_prefix.clone());
    let prefix = prefix.filter(|prefix| !prefix.is_empty());
    (!topics.is_empty() || prefix.is_some()).then_some(Subscription { group: GROUP, topics, prefix })
}

/// The group `data-platform`.
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
