//! Quotas of API keys. Assertions about time are computed bounds: the quotas are so small that the answers can't
//! depend on the speed of the test.

use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};

use super::support::{Reply, TestProxy, reply};

async fn post(proxy: &TestProxy, key: &str, body: Value) -> Reply {
    reply(proxy.post("", "application/json", body.to_string()).bearer_auth(key)).await
}

fn event(n: usize) -> Value {
    json!({ "service": "order", "type": "paid", "key": "k", "data": n })
}

/// Returns the seconds left of `wait` since `start`, rounded up, for an answer given in between.
fn left_of(wait: u64, start: Instant) -> std::ops::RangeInclusive<u64> {
    wait.saturating_sub(start.elapsed().as_secs())..=wait
}

fn retry_after(reply: &Reply) -> u64 {
    reply.header("retry-after").expect("Retry-After").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_over_the_quota_is_taken_and_those_behind_it_wait() {
    let mut proxy = TestProxy::start(&[]).await;
    let (_, key) = proxy.key(json!({ "name": "orders", "events_per_second": 1 })).await;
    let start = Instant::now();
    let taken = post(&proxy, &key, (0..1_000).map(event).collect()).await;
    assert_eq!(taken.header("ratelimit-policy"), Some("\"events\";q=1;w=1;qu=\"events\""));
    let left = taken.header("ratelimit").unwrap().to_owned();
    let whole_in: u64 = left.strip_prefix("\"events\";r=0;t=").expect(&left).parse().unwrap();
    assert!(left_of(1_000, start).contains(&whole_in), "{left}");
    taken.expect(202);

    for body in [event(1), json!([event(1), event(2)])] {
        let refused = post(&proxy, &key, body).await;
        let wait = retry_after(&refused);
        assert!(left_of(1_000, start).contains(&wait), "{wait}");
        assert!(refused.header("ratelimit").unwrap().starts_with("\"events\";r=0;t="));
        refused.expect_problem(429, "quota-exceeded");
    }
    let other = post(&proxy, &key, json!({ "service": "a.b" })).await;
    assert!(other.header("ratelimit-policy").is_some(), "on every answer");
    other.expect_problem(422, "invalid-request");
    let ledger = reply(proxy.request(Method::GET, "/v1/ledger").bearer_auth(&key)).await;
    assert!(ledger.header("ratelimit").is_some(), "on every answer");
    assert_eq!(ledger.expect(200)["order.paid"]["accepted"], 1_000, "nothing of what was refused is taken");

    let (_, free) = proxy.key(json!({ "name": "free" })).await;
    let unlimited = post(&proxy, &free, event(1)).await;
    assert_eq!(unlimited.header("ratelimit"), None);
    unlimited.expect(202);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_lines_is_taken_until_the_quota_is_used_up_and_nothing_behind() {
    let mut proxy = TestProxy::start(&[]).await;
    let (_, key) = proxy.key(json!({ "name": "orders", "events_per_second": 1 })).await;
    let lines: String = (0..3_000).map(|n| format!("{}\n", event(n))).collect();
    let send = async || reply(proxy.post("", "application/x-ndjson", lines.clone()).bearer_auth(&key)).await;
    let start = Instant::now();
    let taken = send().await;
    assert!(left_of(2_000, start).contains(&retry_after(&taken)));
    let items = taken.expect(207)["items"].as_array().unwrap().clone();
    let statuses: Vec<_> = items.iter().map(|item| item["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [[202; 2_000].as_slice(), &[429; 1_000]].concat());
    assert_eq!(items[2_000]["problem"]["code"], "quota-exceeded");
    let numbers: Vec<_> = proxy.stored("order.paid").await.iter().map(|event| event["data"].clone()).collect();
    assert_eq!(numbers, (0..2_000).map(Value::from).collect::<Vec<_>>());

    send().await.expect_problem(429, "quota-exceeded");
    assert_eq!(proxy.stored("order.paid").await.len(), 2_000);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_count_too_and_a_new_key_has_used_what_the_old_one_did() {
    let mut proxy = TestProxy::start(&[]).await;
    let limits = json!({ "name": "orders", "events_per_second": 1_000_000, "bytes_per_second": 10 });
    let (id, key) = proxy.key(limits).await;
    let start = Instant::now();
    let text = "x".repeat(10_000);
    let taken = post(&proxy, &key, json!({ "service": "order", "type": "paid", "data": text })).await;
    let policy = "\"events\";q=1000000;w=1;qu=\"events\", \"bytes\";q=10;w=1;qu=\"content-bytes\"";
    assert_eq!(taken.header("ratelimit-policy"), Some(policy));
    taken.expect(202);
    let stored = proxy.stored("order.paid").await[0].to_string().len() as u64;
    let rotated = proxy.admin(Method::POST, &format!("/v1/admin/api-keys/{id}/rotate"), None).await.expect(200);

    let small = event(1);
    let refused = post(&proxy, rotated["key"].as_str().unwrap(), small).await;
    let wait = retry_after(&refused);
    // an event is larger than a second's worth, so it is taken when nothing is used any more
    assert!(left_of(stored.div_ceil(10), start).contains(&wait), "{wait} of {stored} bytes");
    refused.expect_problem(429, "quota-exceeded");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_has_no_room_for_costs_nothing() {
    let mut proxy =
        TestProxy::start(&[("EVENT_PROXY__INGEST__MEMORY", "100KiB"), ("EVENT_PROXY__INGEST__MAX_BODY", "100KiB")])
            .await;
    let (_, key) = proxy.key(json!({ "name": "orders", "events_per_second": 1 })).await;
    let batch = |events| (0..events).map(event).collect::<Value>();
    let lines: String = (0..1_000).map(|n| format!("{}\n", event(n))).collect();
    for _ in 0..2 {
        post(&proxy, &key, batch(1_000)).await.expect_problem(429, "log-full");
        let lines = proxy.post("", "application/x-ndjson", lines.clone()).bearer_auth(&key);
        reply(lines).await.expect_problem(429, "log-full");
    }
    post(&proxy, &key, batch(60)).await.expect(202);
    post(&proxy, &key, batch(60)).await.expect_problem(429, "quota-exceeded");
    proxy.stop().await;
}
