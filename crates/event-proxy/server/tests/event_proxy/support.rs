//! A proxy for each test.

use std::io::Write;
use std::net::TcpListener;
use std::sync::LazyLock;

use event_proxy::Proxy;
use event_proxy::http::Server;
use event_proxy::settings::Settings;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::Description;

/// OpenAPI document, compared with each answer to a test.
static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| {
    let document = event_proxy::http::openapi();
    Description::new(serde_json::to_value(&document).expect("an OpenAPI document is JSON"))
});

#[test]
fn every_operation_has_a_name_of_its_own_and_describes_each_answer() {
    DESCRIPTION.assert_usable();
}

#[test]
fn every_type_of_problem_is_an_answer_of_some_operation() {
    let api = serde_json::to_value(event_proxy::http::openapi()).unwrap();
    let described = api["paths"].to_string();
    for kind in event_proxy::http::problems::ALL {
        assert!(described.contains(&format!("`{}`", kind.code)), "no operation answers {}", kind.code);
    }
}

/// Returns an event of one key.
pub(super) fn event(n: usize) -> Value {
    json!({ "service": "order", "type": "paid", "key": "k", "data": n })
}

/// Packs a body with gzip, like a client.
pub(super) fn packed(body: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(body).unwrap();
    packer.finish().unwrap()
}

/// The admin's, unless a test sets another.
pub(super) const PASSWORD: &str = "a long password";

/// A running proxy, with a log that outlives the proxy.
pub(super) struct TestProxy {
    pub proxy: Proxy,
    server: Option<Server>,
    client: Client,
    folder: TempDir,
    settings: Vec<(String, String)>,
}

const ADMIN_PASSWORD: &str = "EVENT_PROXY__ADMIN__PASSWORD";

/// An answer.
pub(super) struct Reply {
    pub status: u16,
    pub body: Value,
    pub location: Option<String>,
    pub headers: HeaderMap,
}

impl TestProxy {
    /// Starts a proxy with these settings, named as in the environment.
    pub(super) async fn start(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut all = vec![("EVENT_PROXY__DATA_DIR".to_owned(), folder.path().to_str().unwrap().to_owned())];
        all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        if !settings.iter().any(|(name, _)| *name == ADMIN_PASSWORD) {
            all.push((ADMIN_PASSWORD.to_owned(), PASSWORD.to_owned()));
        }
        let (proxy, server) = open(&all).await;
        let client = Client::builder().redirect(Policy::none()).build().unwrap();
        Self { proxy, server: Some(server), client, folder, settings: all }
    }

    /// Stops the proxy, and starts the proxy again on the same log.
    pub(super) async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Starts the proxy again after a stop.
    pub(super) async fn start_again(&mut self) {
        let (proxy, server) = open(&self.settings).await;
        (self.proxy, self.server) = (proxy, Some(server));
    }

    /// Sets a setting for the next start.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(other, _)| other != name);
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    pub(super) async fn stop(&mut self) {
        assert!(self.folder.path().is_dir());
        self.server.take().expect("it runs").stop().await.unwrap();
        self.proxy.close().await;
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.as_ref().expect("it runs").url())
    }

    /// Returns a request with events of this media type.
    pub(super) fn post(&self, query: &str, media: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.client.post(self.url(&format!("/v1/events{query}"))).header("content-type", media).body(body)
    }

    pub(super) async fn json(&self, body: Value) -> Reply {
        reply(self.post("", "application/json", body.to_string())).await
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        reply(self.client.get(self.url(path))).await
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    /// Sends a request of the admin.
    pub(super) async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        let request = self.request(method, path).basic_auth("admin", Some(PASSWORD));
        reply(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    /// Returns the answer of the sign-in to a password.
    pub(super) async fn sign_in(&self, password: &str) -> Response {
        let form = self.request(Method::POST, "/admin/sign-in").form(&[("password", password)]);
        form.send().await.unwrap()
    }

    /// Returns the cookie of a new session: `name=value`.
    pub(super) async fn cookie(&self) -> String {
        let answer = self.sign_in(PASSWORD).await;
        let cookie = answer.headers().get("set-cookie").expect("the password is right").to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }

    /// Creates an API key: returns the id and the secret.
    pub(super) async fn key(&self, body: Value) -> (String, String) {
        let made = self.admin(Method::POST, "/v1/admin/api-keys", Some(body)).await.expect(201);
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("id"), text("key"))
    }

    /// Returns the log's events of a topic, by partition and position.
    pub(super) async fn stored(&self, topic: &str) -> Vec<Value> {
        let query = messaging::admin::EventQuery { topic: Some(topic.into()), ..Default::default() };
        let rows = self.proxy.db.read(move |conn| messaging::admin::events(conn, &query, 100_000)).await.unwrap();
        let mut events: Vec<_> = rows.into_iter().map(|row| row.event).collect();
        events.sort_by_key(|event| (event.partition, event.position));
        events.iter().map(|event| serde_json::from_str(&event.payload).unwrap()).collect()
    }
}

pub(super) async fn reply(request: RequestBuilder) -> Reply {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let response = client.execute(request).await.unwrap();
    let status = response.status().as_u16();
    let location = response.headers().get("location").map(|location| location.to_str().unwrap().to_owned());
    let headers = response.headers().clone();
    let body: Value = response.json().await.unwrap_or_default();
    DESCRIPTION.assert_describes(method.as_str(), &path, status, body["code"].as_str());
    Reply { status, body, location, headers }
}

impl Reply {
    /// Returns a header of the answer.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[track_caller]
    pub(super) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    #[track_caller]
    pub(super) fn expect_problem(self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{}", self.body);
        self.body
    }
}

async fn open(settings: &[(String, String)]) -> (Proxy, Server) {
    let settings = Settings::from(None, settings.iter().cloned()).unwrap();
    let proxy = Proxy::open(settings).await.unwrap();
    let server = Server::start(&proxy, TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    (proxy, server)
}
