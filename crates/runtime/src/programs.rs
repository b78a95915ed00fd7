//! The list of all programs, `deploy/programs.toml`, as far as the programs themselves read the list.

use std::sync::LazyLock;

use serde::Deserialize;

static LIST: LazyLock<Programs> =
    LazyLock::new(|| toml::from_str(include_str!("../../../deploy/programs.toml")).expect("tests parse the list"));

#[derive(Deserialize)]
struct Programs {
    #[serde(rename = "worker")]
    workers: Vec<Worker>,
}

/// A program with consumer groups, or with the relay.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    pub name: String,
    /// The first line of `--help`.
    pub about: String,
    /// True for the program that numbers events and copies topics to Kafka.
    #[serde(default)]
    pub relay: bool,
    #[serde(default, rename = "group")]
    pub groups: Vec<WorkerGroup>,
}

/// A consumer group of a worker.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerGroup {
    pub name: String,
    pub topics: Vec<String>,
    /// `transactional` or `effect`.
    pub kind: String,
    /// `once`, `resendable` or `rebuildable`.
    pub reset: String,
    /// `earliest` or `latest`.
    pub start: String,
    /// Name of the setting that switches the group on.
    pub setting: Option<String>,
}

impl Worker {
    /// Returns all workers of the list.
    pub fn all() -> &'static [Self] {
        &LIST.workers
    }

    /// Returns the worker of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::all().iter().find(|worker| worker.name == name)
    }

    /// Returns true if the worker hosts this group.
    pub fn hosts(&self, group: &str) -> bool {
        self.groups.iter().any(|hosted| hosted.name == group)
    }
}
