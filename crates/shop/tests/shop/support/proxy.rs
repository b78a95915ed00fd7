//! A real event proxy, in this process.

use std::net::TcpListener;

use event_proxy::Proxy;
use event_proxy::http::Server;
use event_proxy::settings::Settings;
use reqwest::Client;
use serde_json::Value;
use tempfile::TempDir;

/// A running proxy. End the proxy with [`stop`](Self::stop).
pub(crate) struct TestProxy {
    proxy: Proxy,
    server: Server,
    _folder: TempDir,
}

impl TestProxy {
    /// Starts a proxy on this cluster, with a new log.
    pub(crate) async fn start((servers, prefix): &(String, String), name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = [
            ("EVENT_PROXY__DATA_DIR", folder.path().to_str().expect("UTF-8")),
            ("EVENT_PROXY__NODE__NAME", name),
            ("EVENT_PROXY__BUS__BACKEND", "kafka"),
            ("EVENT_PROXY__BUS__KAFKA__BOOTSTRAP_SERVERS", servers),
            ("EVENT_PROXY__BUS__KAFKA__PREFIX", prefix),
        ];
        let settings = Settings::from(None, settings).unwrap_or_else(|error| panic!("{error}"));
        let proxy = Proxy::open(settings).await.unwrap_or_else(|error| panic!("{error}"));
        let server = Server::start(&proxy, TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        Self { proxy, server, _folder: folder }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Posts events like a service with plain HTTP.
    pub(crate) async fn post(&self, events: &Value) {
        let posted = Client::new().post(format!("{}/v1/events", self.url())).json(events).send().await.unwrap();
        assert!(posted.status().is_success(), "{}", posted.text().await.unwrap());
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await.unwrap();
        self.proxy.close().await;
    }
}
