//! Real proxies: accepted events are looked up in the proxies' logs.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use event_proxy::Proxy;
use event_proxy::http::Server;
use event_proxy::settings::Settings;
use event_proxy_client::{Ack, Builder, Event, EventProxy, ProxyLayer, Retry};
use messaging::admin::{EventQuery, events};
use serde_json::{Value, json};
use tempfile::TempDir;
use tracing_subscriber::prelude::*;

use super::stub::LONG;

/// A proxy with a log that outlives the proxy.
struct Real {
    folder: TempDir,
    settings: Vec<(&'static str, String)>,
    address: SocketAddr,
    running: Option<(Proxy, Server)>,
}

impl Real {
    async fn start(settings: &[(&'static str, String)]) -> Self {
        let (folder, address) = (tempfile::tempdir().unwrap(), SocketAddr::from(([127, 0, 0, 1], 0)));
        let mut real = Self { folder, settings: settings.to_vec(), address, running: None };
        real.start_again().await;
        real
    }

    async fn start_again(&mut self) {
        let folder = ("EVENT_PROXY__DATA_DIR", self.folder.path().to_str().unwrap().to_owned());
        let settings = Settings::from(None, self.settings.iter().cloned().chain([folder])).unwrap();
        let proxy = Proxy::open(settings).await.unwrap_or_else(|error| panic!("{error}"));
        let server = Server::start(&proxy, TcpListener::bind(self.address).unwrap()).unwrap();
        self.address = server.address();
        self.running = Some((proxy, server));
    }

    async fn stop(&mut self) {
        let (proxy, server) = self.running.take().expect("it runs");
        server.stop().await.unwrap();
        proxy.close().await;
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the accepted events by key, in order.
    async fn taken(&self) -> BTreeMap<String, Vec<Value>> {
        let (proxy, _) = self.running.as_ref().expect("it runs");
        let rows = proxy.db.read(|conn| events(conn, &EventQuery::default(), 100_000)).await.unwrap();
        let mut all: Vec<_> = rows.into_iter().map(|row| row.event).collect();
        all.sort_by(|a, b| (&a.topic, a.partition, a.position).cmp(&(&b.topic, b.partition, b.position)));
        let mut by_key: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for event in all {
            by_key.entry(event.key).or_default().push(serde_json::from_str(&event.payload).unwrap());
        }
        by_key
    }
}

fn client(of: &[&Real]) -> Builder {
    let retry = Retry { first_pause: Duration::from_millis(10), ..Retry::default() };
    let builder = EventProxy::builder().service("order").batch_events(7).retry(retry);
    of.iter().fold(builder, |builder, real| builder.url(real.url()))
}

fn numbered(n: usize) -> Event {
    Event::new("placed").key(format!("order-{}", n % 5)).id(format!("own-{n}")).data(n)
}

fn numbers(taken: &[Value]) -> Vec<u64> {
    taken.iter().map(|event| event["data"].as_u64().unwrap()).collect()
}

fn count(taken: &BTreeMap<String, Vec<Value>>) -> usize {
    taken.values().map(Vec::len).sum()
}

async fn send(proxy: &EventProxy, range: std::ops::Range<usize>) {
    range.for_each(|n| proxy.send(numbered(n)).unwrap());
    proxy.flush(LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_taken_once_and_in_order_by_key() {
    let mut real = Real::start(&[]).await;
    let proxy = client(&[&real]).build().unwrap();
    send(&proxy, 0..500).await;
    // as when the answers were lost
    send(&proxy, 200..300).await;
    assert_eq!((proxy.stats().sent, proxy.stats().queued), (600, 0));
    let taken = real.taken().await;
    assert_eq!((taken.len(), count(&taken)), (5, 500));
    assert!(taken.values().all(|of_key| numbers(of_key).is_sorted()));
    assert_eq!(taken["order-3"][0]["id"], "own-3");
    real.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_without_an_id_of_their_own_have_one_and_no_key_keeps_no_order() {
    let mut real = Real::start(&[]).await;
    let proxy = client(&[&real]).build().unwrap();
    (0..20).for_each(|n| proxy.send(Event::new("seen").data(n)).unwrap());
    proxy.flush(LONG).await.unwrap();
    let taken = real.taken().await;
    assert_eq!((taken.len(), count(&taken)), (20, 20), "each has a key of its own");
    assert!(taken.values().flatten().all(|event| event["id"].as_str().is_some_and(|id| !id.is_empty())));
    real.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_the_proxy_refuses_costs_the_others_nothing() {
    let mut real = Real::start(&[("EVENT_PROXY__INGEST__MAX_EVENT", "1KiB".into())]).await;
    let proxy = client(&[&real]).build().unwrap();
    proxy.send(numbered(0)).unwrap();
    proxy.send(Event::new("placed").key("order-0").data("x".repeat(2000))).unwrap();
    proxy.send(numbered(5)).unwrap();
    proxy.flush(LONG).await.unwrap();
    let stats = proxy.stats();
    assert_eq!((stats.sent, stats.dropped.refused, stats.queued), (2, 1, 0));
    assert_eq!(numbers(&real.taken().await["order-0"]), [0, 5]);
    real.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_is_away_another_takes_them_and_then_it_is_asked_again() {
    let (mut first, mut second) = (Real::start(&[]).await, Real::start(&[]).await);
    let proxy = client(&[&first, &second]).failback_after(Duration::from_millis(200)).build().unwrap();
    send(&proxy, 0..100).await;
    assert_eq!(count(&first.taken().await), 100);
    first.stop().await;
    send(&proxy, 100..200).await;
    assert_eq!(count(&second.taken().await), 100);
    first.start_again().await;
    second.stop().await;
    send(&proxy, 200..300).await;
    second.start_again().await;
    let (by_first, by_second) = (first.taken().await, second.taken().await);
    assert_eq!((count(&by_first), count(&by_second)), (200, 100));
    let all_sorted = |taken: &BTreeMap<_, Vec<Value>>| taken.values().all(|of_key| numbers(of_key).is_sorted());
    assert!(all_sorted(&by_first) && all_sorted(&by_second));
    assert_eq!(proxy.stats().dropped, Default::default());
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_while_the_only_one_is_away_waits_for_it() {
    let mut real = Real::start(&[]).await;
    let proxy = client(&[&real]).build().unwrap();
    real.stop().await;
    (0..50).for_each(|n| proxy.send(numbered(n)).unwrap());
    assert!(proxy.flush(Duration::from_millis(100)).await.is_err());
    assert_eq!(proxy.stats().queued, 50);
    real.start_again().await;
    proxy.flush(LONG).await.unwrap();
    assert_eq!(count(&real.taken().await), 50);
    real.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_clone_hands_over_what_is_left_when_it_is_dropped() {
    let mut real = Real::start(&[]).await;
    let proxy = client(&[&real]).batch_time(Duration::from_secs(3600)).build().unwrap();
    (0..10).for_each(|n| proxy.send(numbered(n)).unwrap());
    tokio::task::spawn_blocking(move || drop(proxy)).await.unwrap();
    assert_eq!(count(&real.taken().await), 10);
    real.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logged_errors_are_events_of_the_program() {
    let mut real = Real::start(&[]).await;
    let proxy = client(&[&real]).build().unwrap();
    let layer = ProxyLayer::builder(proxy.clone()).service("shop").event_type("error").build().unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        tracing::info!("not shipped");
        tracing::error!(order = 17, "nobody was at home");
    });
    proxy.flush(LONG).await.unwrap();
    let taken: Vec<Value> = real.taken().await.into_values().flatten().collect();
    let [event] = &taken[..] else { panic!("one event: {taken:?}") };
    assert_eq!([&event["service"], &event["type"], &event["level"]], ["shop", "error", "error"]);
    assert_eq!(
        (&event["data"]["message"], &event["data"]["fields"]),
        (&json!("nobody was at home"), &json!({ "order": 17 }))
    );
    real.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_keys_required_the_key_opens_the_door() {
    let keys = ("EVENT_PROXY__KEYS__REQUIRED", "true".to_owned());
    let mut real = Real::start(&[keys, ("EVENT_PROXY__ADMIN__PASSWORD", "correct horse battery".into())]).await;
    let asked = reqwest::Client::new()
        .post(format!("{}/v1/admin/api-keys", real.url()))
        .basic_auth("admin", Some("correct horse battery"))
        .header("content-type", "application/json")
        .body(r#"{"name":"orders","services":["order"]}"#);
    let made = asked.send().await.unwrap().text().await.unwrap();
    let key = serde_json::from_str::<Value>(&made).unwrap()["key"].as_str().expect(&made).to_owned();
    let stranger = client(&[&real]).build().unwrap();
    stranger.send(numbered(0)).unwrap();
    assert!(stranger.flush(Duration::from_millis(500)).await.is_err());
    assert_eq!((stranger.stats().sent, stranger.stats().queued), (0, 1));
    let known = client(&[&real]).api_key(key).build().unwrap();
    send(&known, 1..50).await;
    // of a service that the key is not for
    known.send(numbered(50).service("stock")).unwrap();
    known.flush(LONG).await.unwrap();
    assert_eq!((known.stats().sent, known.stats().dropped.refused), (49, 1));
    assert_eq!(count(&real.taken().await), 49);
    real.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_has_what_was_acknowledged_by_it() {
    let Some((servers, prefix)) = testkit::kafka_place() else { return };
    let settings = [
        ("EVENT_PROXY__BUS__BACKEND", "kafka".to_owned()),
        ("EVENT_PROXY__BUS__KAFKA__BOOTSTRAP_SERVERS", servers.clone()),
        ("EVENT_PROXY__BUS__KAFKA__PREFIX", prefix.clone()),
    ];
    let mut real = Real::start(&settings).await;
    let proxy = client(&[&real]).ack(Ack::Kafka).build().unwrap();
    send(&proxy, 0..100).await;
    send(&proxy, 50..60).await;
    let options = messaging_kafka::KafkaOptions { bootstrap_servers: servers, prefix, ..Default::default() };
    let kafka = messaging_kafka::Kafka::new(options).unwrap();
    let mut on_kafka = Vec::new();
    for partition in 0..3 {
        on_kafka.extend(kafka.records("order.placed", partition).await.unwrap());
    }
    assert_eq!(on_kafka.len(), 100);
    real.stop().await;
}
