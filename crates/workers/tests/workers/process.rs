//! A worker as a process, and a shop that leaves the work to workers.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use checkout::{Item, Terms};
use contracts::{MemberId, Money, ProductId};
use messaging::admin::ConsumerLag;
use runtime::programs::Worker;
use runtime::settings::Settings;
use runtime::{Hosted, Shop};
use serde_json::Value;
use stock::NewProduct;
use tempfile::TempDir;
use testkit::Place;

/// Maximum wait on a slow machine for prompt effects.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns an empty PostgreSQL database; `None` without a server.
pub(crate) async fn postgres() -> Option<Place> {
    testkit::places().await.into_iter().find(|place| place.name == "PostgreSQL")
}

pub(crate) fn command(name: &str, folder: &Path, settings: &[(&str, &str)]) -> Command {
    assert!(Worker::named(name).is_some(), "no worker {name}");
    // cargo puts all binaries into one folder
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_outbox-relay")).with_file_name(name));
    command.current_dir(folder).env("SHOP__DATA_DIR", folder.join("data")).stdin(Stdio::null());
    command.envs(settings.iter().copied());
    command
}

/// Returns the exit code and the one line of standard error.
pub(crate) fn said(output: &Output) -> (Option<i32>, String) {
    let text = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    assert_eq!(text.lines().count(), 1, "{text}");
    (output.status.code(), text)
}

/// A running worker, killed when dropped.
pub(crate) struct Process {
    folder: TempDir,
    child: Child,
}

impl Process {
    pub(crate) fn start(name: &str, url: &str, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ours = [
            ("SHOP__DATABASE__URL", url),
            ("SHOP__WORKER__HTTP__ADDRESS", "127.0.0.1:0"),
            ("SHOP__LOG__FORMAT", "json"),
        ];
        let all: Vec<_> = ours.iter().chain(settings).copied().collect();
        let log = File::create(folder.path().join("log")).unwrap();
        let child = command(name, folder.path(), &all).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { folder, child }
    }

    /// Returns the folder of the worker's files.
    pub(crate) fn data_dir(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    /// Returns the log lines so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("log")).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        // libpq itself passes on what a server says that goes down
        let ours = whole.lines().filter(|line| !line.starts_with("WARNING:  terminating connection"));
        ours.map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
    }

    /// Waits for a log line with this beginning.
    pub(crate) async fn says(&self, begin: &str) -> Value {
        eventually(begin, async || {
            self.log().into_iter().find(|line| line["message"].as_str().is_some_and(|said| said.starts_with(begin)))
        })
        .await
    }

    /// Status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let said = self.says("health and metrics").await;
        let address = said["address"].as_str().unwrap();
        let answer = reqwest::get(format!("http://{address}{path}")).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub(crate) async fn is_ready(&self) {
        eventually("it is ready", async || {
            let (status, body) = self.get("/readyz").await;
            (status == 200).then(|| assert_eq!(body, r#"{"status":"ready"}"#))
        })
        .await;
    }

    /// Returns the sum of a metric's values.
    pub(crate) async fn metric(&self, begin: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let values = text.lines().filter(|line| line.starts_with(begin)).filter_map(|line| line.rsplit(' ').next());
        values.map(|value| value.parse::<f64>().unwrap()).sum()
    }

    /// Sends SIGTERM, and returns the exit code.
    pub(crate) async fn terminate(mut self) -> Option<i32> {
        Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status().unwrap();
        eventually("it ends", async || self.child.try_wait().unwrap()).await.code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A shop that hosts no consumer, and a buyer.
pub(crate) struct Market {
    pub shop: Shop,
    hosted: Hosted,
    pub product: ProductId,
    buyer: MemberId,
    _folder: TempDir,
}

impl Market {
    pub(crate) async fn open(place: &Place) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings { data_dir: folder.path().join("data"), ..Settings::default() };
        settings.database.url = Some(place.url.parse().unwrap());
        settings.host.consumers = false;
        let shop = Shop::open(settings).await.unwrap();
        let hosted = shop.host().await.unwrap();
        let new = NewProduct::new("tea", Money::from_minor(100), 10_000, 0).unwrap();
        let product = shop.db.write(move |tx| stock::create(tx, &new)).await.unwrap().id;
        let buyer = MemberId::new();
        shop.db.write(move |tx| payment::charge(tx, buyer, Money::from_minor(1_000_000))).await.unwrap();
        Self { shop, hosted, product, buyer, _folder: folder }
    }

    pub(crate) async fn purchase(&self) {
        let (buyer, items) = (self.buyer, [Item { product_id: self.product, quantity: 1 }]);
        let placed = self
            .shop
            .db
            .write(move |tx| checkout::place_order(tx, buyer, &items, None, Terms::new(Duration::from_secs(600))))
            .await;
        let order = placed.unwrap().id;
        self.shop.db.write(move |tx| checkout::pay(tx, buyer, order)).await.unwrap();
    }

    pub(crate) async fn lags(&self) -> Vec<ConsumerLag> {
        self.shop.lags().await.unwrap()
    }

    /// Waits until the registered groups have handled a number of events, and have no lag.
    pub(crate) async fn all_is_handled(&self, events: i64) {
        eventually("all is handled", async || {
            let lags = self.lags().await;
            let handled: i64 = lags.iter().map(|lag| lag.position + 1).sum();
            (handled >= events && lags.iter().all(|lag| lag.lag == 0)).then_some(())
        })
        .await;
    }

    pub(crate) async fn close(self) {
        assert!(self.hosted.stop(PATIENCE).await);
        self.shop.close().await;
    }
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
