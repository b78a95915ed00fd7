//! The export: files, HTTP, Elasticsearch, Splunk.

mod files;
mod remote;

use std::path::Path;
use std::sync::Arc;

use consumers::data_platform::{self, ExportSettings};
use contracts::ProductId;
use db::Database;
use messaging::{EffectHandler, Event};
use serde_json::json;

use super::given::{Purchase, time};
use super::outside::{effect, numbered};

fn payments(first: i64, count: usize) -> Vec<Event> {
    let at = time("2026-11-22T10:00:00Z");
    numbered(first, (0..count).map(|_| Purchase::of(ProductId::new(), 1, 19_900).paid(at)).collect())
}

fn ids(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.id.to_string()).collect()
}

/// Parses a section of the configuration.
fn settings(section: serde_json::Value) -> ExportSettings {
    serde_json::from_value(section).expect("settings")
}

fn sink(section: serde_json::Value, data_dir: &Path, db: &Database) -> Arc<dyn EffectHandler> {
    effect(&data_platform::group(&settings(section), data_dir, db).expect("a sink"))
}

#[tokio::test]
async fn a_missing_or_wrong_setting_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let given = super::given::databases().await.remove(0);
    let empty = folder.path().join("ca.pem");
    std::fs::write(&empty, "no certificate").expect("a file");
    for (section, error) in [
        (json!({"sink": "http"}), "export.http.secret: is not set"),
        (json!({"sink": "http", "http": {"secret": "s"}}), "export.http.url: is not set"),
        (
            json!({"sink": "elasticsearch", "elasticsearch": {"url": "localhost"}}),
            "export.elasticsearch.url: is no URL: relative URL without a base",
        ),
        (
            json!({"sink": "elasticsearch", "elasticsearch": {"url": "http://me:pw@localhost"}}),
            "export.elasticsearch.url: must not hold credentials, for it is shown in logs",
        ),
        (
            json!({"sink": "elasticsearch", "elasticsearch": {"url": "http://localhost:0"}}),
            "export.elasticsearch.url: must not have port 0",
        ),
        (
            json!({"sink": "elasticsearch", "elasticsearch": {"url": "https://localhost", "ca_file": empty}}),
            &format!("export.elasticsearch.ca_file: {}: holds no certificate", empty.display()),
        ),
        (json!({"sink": "splunk", "splunk": {"url": "http://localhost"}}), "export.splunk.token: is not set"),
    ] {
        let refused = data_platform::group(&settings(section), folder.path(), &given.db).map(|group| group.name);
        assert_eq!(refused.expect_err("refused").to_string(), format!("setting {error}"));
    }
    serde_json::from_value::<ExportSettings>(json!({"files": {"max_size": 1}})).expect_err("an unknown key");
}

#[test]
fn secrets_are_not_shown() {
    let section =
        json!({"http": {"secret": "hush"}, "elasticsearch": {"api_key": "hush"}, "splunk": {"token": "hush"}});
    let shown = format!("{:?}", settings(section));
    assert!(shown.contains("[redacted]") && !shown.contains("hush"), "{shown}");
}
