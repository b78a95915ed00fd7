//! The proxy and the broker, as processes.

use std::fs::File;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

use crate::client::Client;

const KAFKA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/kafka");
/// Maximum wait until Kafka has all events of the log.
const PATIENCE: Duration = Duration::from_secs(180);

/// One broker of `scripts/kafka`.
pub(crate) struct Broker {
    folder: PathBuf,
    pub servers: String,
}

impl Broker {
    /// Finds the running broker of a folder.
    ///
    /// # Panics
    /// If the broker does not run.
    pub(crate) fn of(folder: &Path) -> Self {
        let servers = Command::new(KAFKA).arg("bootstrap").arg(folder).output().expect("scripts/kafka").stdout;
        let servers = String::from_utf8_lossy(&servers).trim().to_owned();
        assert!(!servers.is_empty(), "there is no broker in {}", folder.display());
        Self { folder: folder.to_owned(), servers }
    }

    /// Kills the broker by SIGKILL.
    pub(super) fn kill(&self) {
        self.run("kill-node", Some("1"));
    }

    /// Starts the broker and waits until the broker takes requests.
    pub(super) fn start(&self) {
        self.run("start-node", Some("1"));
        self.run("wait", None);
    }

    fn run(&self, what: &str, node: Option<&str>) {
        let ran = Command::new(KAFKA).arg(what).args(node).arg(&self.folder).status().expect("scripts/kafka");
        assert!(ran.success(), "scripts/kafka {what} failed");
    }
}

/// A proxy process with an empty log and new topics.
pub(super) struct Proxy {
    process: Child,
    pub address: String,
    folder: TempDir,
    /// Open pipe: the proxy prints more lines after its address, and ends with a panic if nobody can read them.
    _output: Lines<BufReader<ChildStdout>>,
}

/// File in the proxy's folder with the proxy's log output.
const LOG: &str = "said";

impl Proxy {
    /// # Panics
    /// If the proxy does not start.
    pub(super) fn start(program: &Path, servers: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut process = Command::new(program)
            .current_dir(&folder)
            .env("EVENT_PROXY__HTTP__ADDRESS", "127.0.0.1:0")
            .env("EVENT_PROXY__DATA_DIR", folder.path())
            .env("EVENT_PROXY__LOG__FILTER", "error")
            .env("EVENT_PROXY__BUS__BACKEND", "kafka")
            .env("EVENT_PROXY__BUS__KAFKA__BOOTSTRAP_SERVERS", servers)
            .env("EVENT_PROXY__BUS__KAFKA__PREFIX", format!("bench-{}-", Uuid::new_v4().simple()))
            .stdout(Stdio::piped())
            .stderr(File::create(folder.path().join(LOG)).expect("a file"))
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let mut output = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let address = output.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("http://")?;
            Some(rest.split('/').next()?.to_owned())
        });
        Self { process, address: address.expect("the proxy starts"), folder, _output: output }
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns sums over all topics of `/v1/ledger`: events accepted, and events not on Kafka yet.
    pub(super) async fn ledger(&self) -> (i64, i64) {
        let mut client = Client::connect(&self.address).await.expect("a connection");
        let reply = client.call("GET", "/v1/ledger", "", "").await.expect("an answer");
        let ledger: Value = serde_json::from_slice(&reply.body).expect("JSON");
        let sum =
            |name: &str| ledger.as_object().into_iter().flatten().filter_map(|(_, topic)| topic[name].as_i64()).sum();
        (sum("accepted"), sum("queued"))
    }

    /// Waits until Kafka has all events; returns the time taken.
    ///
    /// # Panics
    /// If the wait exceeds three minutes.
    pub(super) async fn drained(&self) -> Duration {
        let begun = Instant::now();
        while self.ledger().await.1 > 0 {
            assert!(begun.elapsed() < PATIENCE, "events do not get to Kafka");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        begun.elapsed()
    }

    /// Returns the anonymous memory of the process in MiB; Linux only.
    pub(super) fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux 4.5 or later");
        let kib = line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number");
        kib / 1024.0
    }
}

impl Drop for Proxy {
    /// Prints the errors of the proxy's log.
    fn drop(&mut self) {
        let said = std::fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default();
        if let Some(first) = said.lines().next() {
            println!("{:<44} SAID {} times: {first}", "", said.lines().count());
        }
        // it may have ended by itself
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
