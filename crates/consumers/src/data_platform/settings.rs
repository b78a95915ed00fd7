//! The settings of the export: section `export`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use program::Secret;

/// Sink and options of the export. Only the section of the chosen sink counts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExportSettings {
    pub sink: SinkKind,
    /// Topics of event proxies, by their names on Kafka, to be exported as well.
    pub proxy_topics: Vec<String>,
    /// Prefix: all topics of the proxies under this prefix are exported, too.
    pub proxy_prefix: Option<String>,
    pub files: FilesSettings,
    pub http: HttpSettings,
    pub elasticsearch: ElasticsearchSettings,
    pub splunk: SplunkSettings,
}

/// Kinds of sinks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SinkKind {
    /// NDJSON files under `<data_dir>/exports/<topic>/`.
    #[default]
    Files,
    /// A signed HTTP POST.
    Http,
    /// `_bulk` of Elasticsearch or OpenSearch.
    Elasticsearch,
    /// Splunk's HTTP event collector.
    Splunk,
}

/// Section `export.files`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilesSettings {
    /// A new file begins before one gets larger than this, in bytes, and with each day of the shop.
    pub max_bytes: u64,
}

impl Default for FilesSettings {
    fn default() -> Self {
        Self { max_bytes: 64 * 1024 * 1024 }
    }
}

/// Layout of the events in a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BodyFormat {
    /// A single JSON array.
    #[default]
    Array,
    /// A JSON object on each line.
    Ndjson,
}

/// Longest duration of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Default maximum size of a body, in bytes.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// Section `export.http`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Required with this sink.
    pub url: Option<String>,
    /// Key of the signature; required with this sink.
    pub secret: Secret,
    pub format: BodyFormat,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Maximum size of a body, in bytes; a larger single event goes alone.
    pub max_body_bytes: usize,
    /// Certificates (PEM) trusted besides the system's.
    pub ca_file: Option<PathBuf>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            url: None,
            secret: Secret::default(),
            format: BodyFormat::default(),
            timeout: REQUEST_TIMEOUT,
            max_body_bytes: MAX_BODY_BYTES,
            ca_file: None,
        }
    }
}

/// Section `export.elasticsearch`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ElasticsearchSettings {
    /// URL without `/_bulk`; required with this sink.
    pub url: Option<String>,
    /// An event goes to the index `<index_prefix><topic>`, in lower case.
    pub index_prefix: String,
    /// Basic authentication, together with `password`.
    pub username: Option<String>,
    pub password: Secret,
    /// Encoded as given out by Elasticsearch; instead of `username` and `password`.
    pub api_key: Secret,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Maximum size of a body, in bytes; a larger single event goes alone.
    pub max_body_bytes: usize,
    /// Certificates (PEM) trusted besides the system's.
    pub ca_file: Option<PathBuf>,
}

impl Default for ElasticsearchSettings {
    fn default() -> Self {
        Self {
            url: None,
            index_prefix: "jangteo-".into(),
            username: None,
            password: Secret::default(),
            api_key: Secret::default(),
            timeout: REQUEST_TIMEOUT,
            max_body_bytes: MAX_BODY_BYTES,
            ca_file: None,
        }
    }
}

/// Section `export.splunk`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SplunkSettings {
    /// URL without `/services/collector/event`; required with this sink.
    pub url: Option<String>,
    /// Token of the event collector; required with this sink.
    pub token: Secret,
    /// The token's own index unless set.
    pub index: Option<String>,
    pub sourcetype: String,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Maximum size of a body, in bytes; a larger single event goes alone.
    pub max_body_bytes: usize,
    /// Certificates (PEM) trusted besides the system's.
    pub ca_file: Option<PathBuf>,
}

impl Default for SplunkSettings {
    fn default() -> Self {
        Self {
            url: None,
            token: Secret::default(),
            index: None,
            sourcetype: "jangteo:event".into(),
            timeout: REQUEST_TIMEOUT,
            max_body_bytes: 1024 * 1024,
            ca_file: None,
        }
    }
}
