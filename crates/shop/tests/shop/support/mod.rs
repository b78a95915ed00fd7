//! Shop and clients for tests.

mod api;
mod members;
mod proxy;

use std::fmt;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use messaging::Group;
use runtime::Hosted;
use runtime::settings::Settings;
use serde_json::Value;
use shop::cli::ensure_admin;
use shop::http::server::{Server, purge_answers};
use tempfile::TempDir;
use testkit::Place;

pub(crate) use api::{Api, Call, DESCRIPTION, Reply, random_key};
pub(crate) use members::TestMember;
pub(crate) use proxy::TestProxy;

/// E-mail address and password of the admin in every test.
pub(crate) const ADMIN: (&str, &str) = ("admin@shop.local", "correct-horse-battery");

/// Maximum wait on a slow machine for prompt effects.
const PATIENCE: Duration = Duration::from_secs(60);

/// The real server, in this process, on a free port. End a test with [`finish`](Self::finish).
pub(crate) struct TestShop {
    /// Name of the database and the bus, for messages.
    pub name: &'static str,
    pub runtime: runtime::Shop,
    api: Api,
    admin: TestMember,
    running: Option<(Server, Hosted)>,
    folder: TempDir,
    place: Place,
}

impl fmt::Display for TestShop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl TestShop {
    /// Starts a shop on SQLite.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[], vec![]).await
    }

    /// Returns a shop on each available kind of database and bus.
    pub(crate) async fn everywhere() -> Vec<Self> {
        Self::everywhere_with(&[]).await
    }

    /// Starts a shop on each kind of database and bus, with these settings.
    pub(crate) async fn everywhere_with(settings: &[(&str, &str)]) -> Vec<Self> {
        let mut shops = Vec::new();
        for place in testkit::combinations().await {
            shops.push(Self::open(place, settings, vec![]).await);
        }
        shops
    }

    /// Starts a shop on SQLite, with these settings, and these groups in addition to the shop's groups.
    pub(crate) async fn start_with(settings: &[(&str, &str)], groups: Vec<Group>) -> Self {
        let place = testkit::places().await.into_iter().next().expect("SQLite is always to be had");
        Self::open(place, settings, groups).await
    }

    /// Opens a shop at a chosen place.
    pub(crate) async fn open(place: Place, settings: &[(&str, &str)], more: Vec<Group>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let runtime = open_runtime(&place, &folder, settings, more).await;
        ensure_admin(&runtime).await.unwrap_or_else(|error| panic!("{error}"));
        let running = run(&runtime, "127.0.0.1:0").await;
        let api = Api::at(running.0.address());
        let admin = TestMember::sign_in(&api, ADMIN.0, ADMIN.1).await;
        Self { name: place.name, runtime, api, admin, running: Some(running), folder, place }
    }

    /// Kills the process in mid-work, or stops gracefully; then starts another process at the same address with these
    /// settings. Alarms about gaps fail the test.
    pub(crate) async fn restart(&mut self, kill: bool, settings: &[(&str, &str)]) {
        let (server, hosted) = self.running.take().expect("it runs");
        let address = server.address().to_string();
        assert_eq!(hosted.alarms(), 0, "{self}");
        server.stop().await.unwrap();
        if kill {
            hosted.abort();
        } else {
            assert!(hosted.stop(PATIENCE).await, "{self}: consumers were cut short");
        }
        self.runtime.close().await;
        self.runtime = open_runtime(&self.place, &self.folder, settings, vec![]).await;
        self.running = Some(run(&self.runtime, &address).await);
    }

    /// Returns a client without a token.
    pub(crate) fn api(&self) -> &Api {
        &self.api
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.running.as_ref().expect("it runs").0.address()
    }

    pub(crate) fn admin(&self) -> &TestMember {
        &self.admin
    }

    /// Returns the folder of the shop's files.
    pub(crate) fn data_dir(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Creates a product with this price and stock.
    pub(crate) async fn product(&self, price: i64, stock: i64) -> String {
        let body = serde_json::json!({ "name": "Mug", "price": price.to_string(), "stock": stock });
        let product = self.admin.post("/products", body).with_key().send().await.expect(201);
        product.text("id")
    }

    /// Returns the units of a product on sale.
    pub(crate) async fn available(&self, product: &str) -> i64 {
        self.api.get(&format!("/products/{product}")).send().await.expect(200).body["available"].as_i64().unwrap()
    }

    /// Waits until every group has handled every event, and checks that nothing is dead and the books agree.
    pub(crate) async fn all_events_handled(&self) {
        self.no_lag().await;
        let dead = self.admin.get("/admin/dead-letters").send().await.expect(200).body;
        assert_eq!(dead["items"], serde_json::json!([]), "{self}: dead letters");
        let wrong = self.runtime.db.read(checkout::audit).await.unwrap();
        assert!(wrong.is_empty(), "{self}: {wrong:?}");
    }

    /// Waits until no group has a lag, several times in a row: one group's handling may make work for another group.
    pub(crate) async fn no_lag(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut quiet = 0;
        while quiet < 4 {
            let consumers = self.admin.get("/admin/consumers").send().await.expect(200).body;
            let behind: Vec<&Value> =
                consumers["items"].as_array().unwrap().iter().filter(|item| item["lag"] != 0).collect();
            quiet = if behind.is_empty() { quiet + 1 } else { 0 };
            assert!(Instant::now() < deadline, "{self}: still behind: {behind:?}");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Ends the test: all events are handled, and the shop stops in time.
    pub(crate) async fn finish(mut self) {
        self.all_events_handled().await;
        self.stop().await;
    }

    /// Ends a test with unhandled events left on purpose.
    pub(crate) async fn stop(&mut self) {
        let (server, hosted) = self.running.take().expect("it runs");
        server.stop().await.unwrap();
        assert!(hosted.stop(PATIENCE).await, "{self}: consumers were cut short");
        self.runtime.close().await;
    }
}

impl Drop for TestShop {
    fn drop(&mut self) {
        if self.running.is_some() && !std::thread::panicking() {
            panic!("{self}: end the test with finish(), which makes sure that all events are handled");
        }
    }
}

async fn open_runtime(place: &Place, folder: &TempDir, settings: &[(&str, &str)], more: Vec<Group>) -> runtime::Shop {
    let data_dir = folder.path().to_str().expect("UTF-8").to_owned();
    let ours = [
        ("SHOP__DATA_DIR", data_dir.as_str()),
        ("SHOP__DATABASE__URL", place.url.as_str()),
        ("SHOP__ADMIN__PASSWORD", ADMIN.1),
        ("SHOP__RATE_LIMIT__ENABLED", "false"),
        ("SHOP__HTTP__WORKERS", "2"),
    ];
    let bus = place.bus.iter().map(|(name, value)| (*name, value.as_str()));
    // later ones win
    let settings: Vec<(String, String)> = ours
        .into_iter()
        .chain(bus)
        .chain(settings.iter().copied())
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let settings = Settings::from(None, settings).unwrap_or_else(|error| panic!("{error}"));
    let mut runtime = runtime::Shop::open(settings).await.unwrap_or_else(|error| panic!("{error}"));
    runtime.groups = runtime.groups.iter().cloned().chain(more).collect::<Vec<_>>().into();
    runtime.with_purge("answers", purge_answers)
}

async fn run(runtime: &runtime::Shop, address: &str) -> (Server, Hosted) {
    let hosted = runtime.host().await.unwrap();
    let listener = TcpListener::bind(address).unwrap();
    (Server::start(runtime, &runtime.token_secret().unwrap(), listener).unwrap(), hosted)
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs the task for all items, at most `at_once` at any moment.
pub(crate) async fn all_at_once<I, T, F>(
    at_once: usize,
    items: impl IntoIterator<Item = I>,
    task: impl Fn(I) -> F,
) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let turns = Arc::new(tokio::sync::Semaphore::new(at_once));
    let tasks: Vec<_> = items
        .into_iter()
        .map(|item| {
            let (turns, task) = (turns.clone(), task(item));
            tokio::spawn(async move {
                let _turn = turns.acquire().await.expect("never closed");
                task.await
            })
        })
        .collect();
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.await.expect("no panic"));
    }
    results
}
