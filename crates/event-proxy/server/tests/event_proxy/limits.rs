//! Capacity of the log while Kafka is unavailable.

use reqwest::Method;
use serde_json::{Value, json};

use super::kafka::until;
use super::support::TestProxy;

const AWAY: [(&str, &str); 2] =
    [("EVENT_PROXY__BUS__BACKEND", "kafka"), ("EVENT_PROXY__BUS__KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")];

fn event(n: u32) -> Value {
    json!({ "service": "order", "type": "paid", "data": n })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_log_says_so_at_the_door_and_keeps_what_it_has() {
    let mut proxy = TestProxy::start(&[AWAY[0], AWAY[1], ("EVENT_PROXY__LOG_LIMIT__MAX_BYTES", "2000")]).await;
    let mut taken = 0;
    let refused = loop {
        let answer = proxy.json(event(taken)).await;
        if answer.status != 202 {
            break answer;
        }
        taken += 1;
    };
    assert!((5..20).contains(&taken), "{taken}");
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&seconds));
    refused.expect_problem(429, "log-full");
    let all = json!([event(1), event(2), { "service": "" }]);
    proxy.json(all).await.expect_problem(429, "log-full");
    assert_eq!(proxy.stored("order.paid").await.len(), taken as usize);
    assert_eq!(proxy.get("/readyz").await.expect(200)["status"], "ready", "there is some room");

    proxy.restart().await;
    proxy.json(event(taken)).await.expect_problem(429, "log-full");
    assert_eq!(proxy.get("/v1/ledger").await.expect(200)["order.paid"]["queued"], taken);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_kafka_has_an_end_too() {
    let limit = ("EVENT_PROXY__LOG_LIMIT__MAX_BYTES", "2000");
    let mut proxy = TestProxy::start(&[limit]).await;
    let mut taken = 0;
    while proxy.json(event(taken)).await.status == 202 {
        taken += 1;
    }
    assert!((5..20).contains(&taken), "{taken}");
    proxy.restart().await;
    proxy.json(event(taken)).await.expect_problem(429, "log-full");
    proxy.set("EVENT_PROXY__LOG_LIMIT__KEEP", "1ms");
    proxy.restart().await; // it cuts the log when it starts
    until("there is room again", async || proxy.json(event(taken)).await.status == 202).await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_taken_while_events_wait_too_long() {
    let mut proxy = TestProxy::start(&[AWAY[0], AWAY[1], ("EVENT_PROXY__LOG_LIMIT__MAX_AGE", "1ms")]).await;
    proxy.json(event(0)).await.expect(202);
    until("the oldest is too old", async || proxy.json(event(1)).await.status == 429).await;
    assert_eq!(proxy.get("/readyz").await.expect(503)["status"], "not ready");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_how_full_the_log_is_and_whether_events_are_accepted() {
    let log = telemetry::LogSettings { format: telemetry::LogFormat::Pretty, filter: "warn".into() };
    let process = telemetry::Process { name: "event-proxy", data_dir: std::path::Path::new(".") };
    let _guard = telemetry::init(process, &log, None, None).unwrap();
    let limits = [("EVENT_PROXY__LOG_LIMIT__MAX_BYTES", "2000"), ("EVENT_PROXY__LOG_LIMIT__MAX_AGE", "1s")];
    let mut proxy = TestProxy::start(&[AWAY[0], AWAY[1], limits[0], limits[1]]).await;
    assert_eq!(metric(&proxy, "event_proxy_ready").await, 1.0);
    assert_eq!(metric(&proxy, "event_proxy_log_bytes").await, 0.0);
    assert_eq!(metric(&proxy, "event_proxy_log_limit_bytes").await, 2000.0);
    assert_eq!(metric(&proxy, "event_proxy_log_age_limit_seconds").await, 1.0);
    proxy.json(event(0)).await.expect(202);
    assert!(metric(&proxy, "event_proxy_log_bytes").await > 0.0);
    until("Kafka is away", async || metric(&proxy, "event_proxy_kafka_up").await == 0.0).await;
    until("the event is too old", async || metric(&proxy, "event_proxy_ready").await == 0.0).await;
    assert!(metric(&proxy, "event_proxy_log_age_seconds").await > 1.0);
    let refused = "event_proxy_refused_events_total{service=\"order\",reason=\"log-full\"}";
    until("a refusal counts", async || proxy.json(event(1)).await.status == 429).await;
    assert!(metric(&proxy, refused).await >= 1.0);
    proxy.json(json!({ "service": "no-such", "type": "", "data": 1 })).await.expect_problem(422, "invalid-request");
    let of_others = "event_proxy_refused_events_total{service=\"other\",reason=\"invalid-request\"}";
    assert!(metric(&proxy, of_others).await >= 1.0);
    proxy.stop().await;
}

/// Returns the value of a time series.
async fn metric(proxy: &TestProxy, name: &str) -> f64 {
    let answer = proxy.request(Method::GET, "/metrics").send().await.unwrap();
    let text = answer.text().await.unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_is_forgotten_in_time() {
    let mut proxy = TestProxy::start(&[("EVENT_PROXY__LOG_LIMIT__KEEP", "1ms")]).await;
    let receipt = proxy.json(event(0)).await.expect(202)["receipt"].as_str().unwrap().to_owned();
    proxy.restart().await; // it cuts the log when it starts
    let path = format!("/v1/receipts/{receipt}");
    until("it is forgotten", async || proxy.get(&path).await.status == 410).await;
    proxy.get(&path).await.expect_problem(410, "forgotten");
    assert_eq!(proxy.get("/v1/ledger").await.expect(200)["order.paid"]["accepted"], 1);
    proxy.stop().await;
}
