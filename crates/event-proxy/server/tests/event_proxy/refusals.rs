//! Events that Kafka refuses individually.

use std::collections::BTreeMap;
use std::time::Duration;

use db::types::Time;
use messaging_kafka::Kafka;
use reqwest::Method;
use serde_json::{Value, json};

use super::kafka::{place, start, until};
use super::support::{TestProxy, reply};

/// Maximum record size of these tests' brokers; an event of [`LARGE`] is larger.
const LIMIT: u32 = 20_000;
const LARGE: usize = 50_000;
const QUICK: [(&str, &str); 2] =
    [("EVENT_PROXY__DELIVERY__RESEND_AFTER", "20ms"), ("EVENT_PROXY__DELIVERY__LONGEST_PAUSE", "50ms")];

fn event(key: &str, n: u64, size: usize) -> Value {
    let data = json!({ "n": n, "fill": "x".repeat(size) });
    json!({ "service": "order", "type": "paid", "key": key, "id": format!("{key}-{n}"), "data": data })
}

/// Returns a proxy with a topic on which the brokers refuse large records.
async fn limited(more: &[(&str, &str)]) -> Option<(Kafka, TestProxy)> {
    let (kafka, settings) = place()?;
    // what is only x's would be small
    let plain = ("EVENT_PROXY__BUS__KAFKA__PROPERTIES__COMPRESSION_TYPE", "none");
    let more: Vec<_> = more.iter().copied().chain([plain]).collect();
    let proxy = start(&settings, &more).await;
    let first = proxy.post("?ack=kafka", "application/json", event("first", 0, 0).to_string());
    reply(first).await.expect(200);
    kafka.limit_messages("order.paid", LIMIT).await.unwrap();
    Some((kafka, proxy))
}

async fn posted(proxy: &TestProxy, event: Value) -> String {
    let taken = proxy.json(event).await.expect(202);
    taken["receipt"].as_str().unwrap().to_owned()
}

async fn status(proxy: &TestProxy, receipt: &str) -> Value {
    proxy.get(&format!("/v1/receipts/{receipt}")).await.expect(200)
}

/// Returns the outcomes of all events, after a check that the parts make the whole.
async fn ledger(proxy: &TestProxy) -> Value {
    let ledger = proxy.get("/v1/ledger").await.expect(200)["order.paid"].clone();
    let count = |name: &str| ledger[name].as_i64().unwrap();
    let parts = ["delivered", "queued", "retrying", "dead", "discarded"].map(count);
    assert_eq!(parts.iter().sum::<i64>(), count("accepted"), "{ledger}");
    assert!(parts.iter().all(|part| *part >= 0), "{ledger}");
    ledger
}

/// Returns the numbers of each key on Kafka, each at the first occurrence.
async fn numbers(kafka: &Kafka) -> BTreeMap<String, Vec<u64>> {
    let mut by_key = BTreeMap::<String, Vec<u64>>::new();
    for partition in 0..3 {
        for event in kafka.records("order.paid", partition).await.unwrap() {
            let payload: Value = serde_json::from_str(&event.payload).unwrap();
            let (numbers, number) = (by_key.entry(event.key).or_default(), payload["data"]["n"].as_u64().unwrap());
            if !numbers.contains(&number) {
                numbers.push(number);
            }
        }
    }
    by_key
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_kafka_is_told_that_it_refused_the_event() {
    let patient = [QUICK[0], QUICK[1], ("EVENT_PROXY__DELIVERY__ACK_TIMEOUT", "1h")];
    let Some((_, mut proxy)) = limited(&patient).await else { return };
    let post = |event: Value| reply(proxy.post("?ack=kafka", "application/json", event.to_string()));
    let refused = post(event("a", 0, LARGE)).await.expect_problem(422, "refused-by-kafka");
    // it is kept all the same
    let kept = status(&proxy, refused["receipt"].as_str().unwrap()).await;
    assert_ne!(kept["status"], "delivered", "{kept}");
    let both = post(json!([event("b", 0, 0), event("c", 0, LARGE)])).await.expect(207)["items"].clone();
    assert_eq!((&both[0]["status"], &both[1]["problem"]["code"]), (&json!(200), &json!("refused-by-kafka")));
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_steps_aside_and_its_key_waits_behind_it() {
    let patient = [QUICK[0], QUICK[1], ("EVENT_PROXY__DELIVERY__MAX_RESENDS", "1000000")];
    let Some((kafka, mut proxy)) = limited(&patient).await else { return };
    posted(&proxy, event("a", 0, 0)).await;
    let refused = posted(&proxy, event("a", 1, LARGE)).await;
    let behind = posted(&proxy, event("a", 2, 0)).await;
    let other = posted(&proxy, event("b", 0, 0)).await;
    until("the other key goes on", async || status(&proxy, &other).await["status"] == "delivered").await;
    // between two deliveries, for while they are sent again they are queued
    until("the refused one waits for another try, and the next one behind it", async || {
        let (refused, behind) = (status(&proxy, &refused).await, status(&proxy, &behind).await);
        let is_told_why = refused["reason"].as_str().is_some_and(|reason| reason.contains("large"));
        let are_held = refused["status"] == "retrying" && behind["status"] == "retrying";
        are_held && is_told_why && refused["attempts"].as_i64() > Some(2)
    })
    .await;
    posted(&proxy, event("a", 3, 0)).await;
    until("three are held", async || ledger(&proxy).await["retrying"] == 3).await;
    assert_eq!(proxy.json(event("a", 1, LARGE)).await.expect(202)["duplicate"], true);
    assert_eq!(numbers(&kafka).await["a"], [0]);

    proxy.restart().await;
    ledger(&proxy).await;
    kafka.limit_messages("order.paid", 1_000_000).await.unwrap();
    until("all are delivered", async || ledger(&proxy).await["delivered"] == 6).await;
    assert_eq!(numbers(&kafka).await["a"], [0, 1, 2, 3]);
    let there = status(&proxy, &refused).await;
    assert_eq!((&there["status"], there["offset"].is_u64()), (&json!("delivered"), true), "{there}");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_is_dead_in_the_end_and_its_key_goes_on() {
    let short = [QUICK[0], QUICK[1], ("EVENT_PROXY__DELIVERY__MAX_RESENDS", "2")];
    let Some((kafka, mut proxy)) = limited(&short).await else { return };
    let dead = [posted(&proxy, event("a", 0, LARGE)).await, posted(&proxy, event("b", 0, LARGE)).await];
    let behind = posted(&proxy, event("a", 1, 0)).await;
    until("both are dead", async || ledger(&proxy).await["dead"] == 2).await;
    until("the key goes on", async || status(&proxy, &behind).await["status"] == "delivered").await;
    let seen = status(&proxy, &dead[0]).await;
    assert_eq!((&seen["status"], &seen["attempts"]), (&json!("dead"), &json!(3)), "one delivery and two resends");

    let page = proxy.admin(Method::GET, "/v1/admin/dead-letters?key=b&type=paid&error=large", None).await.expect(200);
    let item = &page["items"][0];
    assert_eq!((page["items"].as_array().unwrap().len(), &item["event"]["data"]["n"]), (1, &json!(0)), "{page}");
    let discard = format!("/v1/admin/dead-letters/{}/discard", item["id"].as_str().unwrap());
    proxy.admin(Method::POST, &discard, Some(json!({ "reason": "" }))).await.expect_problem(422, "invalid-request");
    proxy.admin(Method::POST, &discard, Some(json!({ "reason": "nobody needs it" }))).await.expect(204);
    proxy.admin(Method::POST, &discard, Some(json!({ "reason": "again" }))).await.expect_problem(404, "not-found");
    let given_up = status(&proxy, &dead[1]).await;
    assert_eq!((&given_up["status"], &given_up["reason"]), (&json!("discarded"), &json!("nobody needs it")));

    let all = json!({ "filter": { "topic": "order.paid" }, "dry_run": true });
    let dry = proxy.admin(Method::POST, "/v1/admin/redrives", Some(all)).await.expect(200);
    assert_eq!(dry, json!({ "matched": 1, "redriven": 0 }));
    let none = json!({ "filter": { "error": "100%" } });
    assert_eq!(proxy.admin(Method::POST, "/v1/admin/redrives", Some(none)).await.expect(200)["matched"], 0);
    kafka.limit_messages("order.paid", 1_000_000).await.unwrap();
    let done = proxy.admin(Method::POST, "/v1/admin/redrives", Some(json!({}))).await.expect(200);
    assert_eq!(done, json!({ "matched": 1, "redriven": 1 }));
    until("it is delivered", async || status(&proxy, &dead[0]).await["status"] == "delivered").await;
    assert_eq!(numbers(&kafka).await["a"], [1, 0], "a redrive is out of order");
    let counts = ledger(&proxy).await;
    assert_eq!([&counts["delivered"], &counts["dead"], &counts["discarded"]], [3, 0, 1]);
    let audit = proxy.admin(Method::GET, "/v1/admin/audit", None).await.expect(200);
    let actions: Vec<_> = audit["items"].as_array().unwrap().iter().map(|entry| entry["action"].clone()).collect();
    assert_eq!(actions, ["dead-letters.redrive", "dead-letters.discard"]);
    proxy.restart().await;
    assert_eq!(ledger(&proxy).await, counts);
    proxy.stop().await;
}

/// In one partition as many events are refused as are not.
#[tokio::test(flavor = "multi_thread")]
async fn good_events_do_not_wait_for_those_that_are_refused() {
    // one resend would already be queued behind the good ones
    let patient = [("EVENT_PROXY__DELIVERY__RESEND_AFTER", "1h"), ("EVENT_PROXY__DELIVERY__LONGEST_PAUSE", "1h")];
    let one_partition = ("EVENT_PROXY__TOPICS__PARTITIONS", "1");
    let Some((kafka, mut proxy)) = limited(&[patient[0], patient[1], one_partition]).await else { return };
    let size = |n: u64| if n.is_multiple_of(2) { LARGE } else { 0 };
    let events: Vec<_> = (0..200).map(|n| event(&format!("k{n}"), n, size(n))).collect();
    for events in events.chunks(50) {
        reply(proxy.post("", "application/json", Value::from(events.to_vec()).to_string())).await.expect(202);
    }
    until("every event is delivered or held", async || {
        let ledger = ledger(&proxy).await;
        (&ledger["delivered"], &ledger["retrying"]) == (&json!(101), &json!(100))
    })
    .await;
    let good: Vec<_> = kafka.records("order.paid", 0).await.unwrap().into_iter().map(|event| event.key).collect();
    let expected = (0..200).filter(|n| size(*n) == 0).map(|n| format!("k{n}"));
    assert_eq!(good, Vec::from_iter(["first".to_owned()].into_iter().chain(expected)));
    proxy.stop().await;
}

/// The clocks of services are wrong, and an operator has changed the topic.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_any_time_is_delivered_and_a_changed_topic_is_reported() {
    let Some((kafka, settings)) = place() else { return };
    let mut proxy = start(&settings, &[]).await;
    let post = |event: Value| reply(proxy.post("?ack=kafka", "application/json", event.to_string()));
    post(event("a", 0, 0)).await.expect(200);
    let changed = [("cleanup.policy", "compact"), ("message.timestamp.type", "CreateTime")];
    kafka.set_topic("order.paid", &changed).await.unwrap();
    let ahead = (Time::now() + Duration::from_secs(9 * 3600)).to_string();
    for (n, time) in ["0001-01-01T00:00:00Z", &ahead, "2020-02-02T02:02:02Z"].into_iter().enumerate() {
        let mut event = event("b", n as u64, 0);
        event["time"] = json!(time);
        post(event).await.expect(200);
    }
    assert_eq!(numbers(&kafka).await["b"], [0, 1, 2]);
    let another = json!({ "service": "order", "type": "made", "data": 1 });
    post(another).await.expect(200); // all topics are looked at when one is made
    until("readiness reports the topic", async || {
        let ready = proxy.get("/readyz").await.expect(200);
        let reported = |name: &str| {
            ready["degraded"].as_array().is_some_and(|all| {
                all.iter().any(|it| {
                    it.as_str().is_some_and(|it| {
                        it.starts_with("kafka: ") && it.contains("order.paid has") && it.contains(name)
                    })
                })
            })
        };
        changed.iter().all(|(name, _)| reported(name))
    })
    .await;
    proxy.stop().await;
}

/// Large events among many events of few keys, in batches with some refusals, with restarts between.
#[tokio::test(flavor = "multi_thread")]
async fn no_key_loses_its_order_by_refusals() {
    let patient = [QUICK[0], QUICK[1], ("EVENT_PROXY__DELIVERY__MAX_RESENDS", "1000000")];
    let Some((kafka, mut proxy)) = limited(&patient).await else { return };
    let mut next = [0_u64; 6];
    for round in 0..6 {
        for batch in 0..10_u64 {
            let events: Vec<Value> = (0..40)
                .map(|i| {
                    let key = (i * 7 + batch * 3) as usize % next.len();
                    let number = next[key];
                    next[key] += 1;
                    event(&format!("k{key}"), number, if (number + key as u64) % 53 == 20 { LARGE } else { 0 })
                })
                .collect();
            reply(proxy.post("", "application/json", Value::from(events).to_string())).await.expect(202);
            ledger(&proxy).await;
        }
        if round % 2 == 0 {
            proxy.restart().await;
        }
    }
    until("some are held", async || ledger(&proxy).await["retrying"].as_i64() > Some(6)).await;
    kafka.limit_messages("order.paid", 1_000_000).await.unwrap();
    until("all are delivered", async || ledger(&proxy).await["delivered"] == 2401).await;
    let there = numbers(&kafka).await;
    for (key, count) in next.iter().enumerate() {
        assert_eq!(there[&format!("k{key}")], Vec::from_iter(0..*count), "k{key}");
    }
    proxy.stop().await;
}
