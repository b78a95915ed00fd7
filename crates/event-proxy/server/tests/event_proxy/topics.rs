//! Topics, and their creation.

use messaging_kafka::TopicOptions;
use reqwest::Method;
use serde_json::{Value, json};

use super::kafka::{on_kafka, place, start, until};
use super::support::{Reply, TestProxy, reply};

const TOPICS: &str = "/v1/admin/topics";

fn event(service: &str, kind: &str, n: u64) -> Value {
    json!({ "service": service, "type": kind, "key": "k", "data": n })
}

async fn make(proxy: &TestProxy, body: Value) -> Reply {
    proxy.admin(Method::POST, TOPICS, Some(body)).await
}

async fn state(proxy: &TestProxy, topic: &str) -> Value {
    proxy.admin(Method::GET, &format!("{TOPICS}/{topic}"), None).await.expect(200)["state"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_made_by_hand_one_or_a_set() {
    let mut proxy = TestProxy::start(&[("EVENT_PROXY__TOPICS__AUTO_CREATE", "false")]).await;
    proxy.json(event("order", "paid", 0)).await.expect_problem(422, "unknown-topic");
    let set =
        json!({ "services": ["order", "stock"], "types": ["paid", "failed"], "partitions": 2, "retention": "7d" });
    let made = make(&proxy, set).await.expect(201)["items"].clone();
    let names: Vec<_> = made.as_array().unwrap().iter().map(|topic| topic["name"].clone()).collect();
    assert_eq!(names, ["order.failed", "order.paid", "stock.failed", "stock.paid"]);
    assert_eq!((&made[0]["partitions"], &made[0]["retention"]), (&json!(2), &json!("7days")));
    proxy.json(event("order", "paid", 0)).await.expect(202);
    proxy.json(event("order", "sent", 0)).await.expect_problem(422, "unknown-topic");
    for (body, field) in [
        (json!({}), "services"),
        (json!({ "name": "a b" }), "name"),
        (json!({ "name": "a", "types": ["b"] }), "name"),
        (json!({ "services": ["a"], "types": ["b.c"] }), "types"),
        (json!({ "name": "a", "partitions": 0 }), "partitions"),
        (json!({ "name": "a", "retention": "0s" }), "retention"),
        (json!({ "name": "a", "retention": "101years" }), "retention"),
        (json!({ "name": "a", "replicas": 1 }), "replicas"),
    ] {
        let problem = make(&proxy, body).await.expect_problem(422, "invalid-request");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_comes_back_only_by_hand() {
    let mut proxy = TestProxy::start(&[]).await;
    proxy.json(event("order", "paid", 0)).await.expect(202);
    let path = format!("{TOPICS}/order.paid");
    proxy.admin(Method::DELETE, &path, None).await.expect(204);
    assert_eq!(state(&proxy, "order.paid").await, "deleted");
    proxy.json(event("order", "paid", 1)).await.expect_problem(422, "unknown-topic");
    proxy.restart().await;
    proxy.json(event("order", "paid", 1)).await.expect_problem(422, "unknown-topic");
    make(&proxy, json!({ "name": "order.paid" })).await.expect(201);
    proxy.json(event("order", "paid", 1)).await.expect(202);
    assert_eq!(state(&proxy, "order.paid").await, "active");
    proxy.admin(Method::DELETE, &format!("{TOPICS}/nothing"), None).await.expect_problem(404, "not-found");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_allowed_is_taken_and_made_as_the_rules_say() {
    let settings = [
        ("EVENT_PROXY__TOPICS__SERVICES", "order, stock"),
        ("EVENT_PROXY__TOPICS__TYPES", "paid"),
        ("EVENT_PROXY__TOPICS__PARTITIONS", "5"),
    ];
    let mut proxy = TestProxy::start(&settings).await;
    let both = json!([event("stock", "paid", 0), event("member", "paid", 0), event("order", "sent", 0)]);
    let items = proxy.json(both).await.expect(207)["items"].clone();
    assert_eq!([&items[0]["status"], &items[1]["status"], &items[2]["status"]], [202, 422, 422]);
    let topics = proxy.admin(Method::GET, TOPICS, None).await.expect(200)["items"].clone();
    assert_eq!(topics.as_array().unwrap().len(), 1);
    assert_eq!((&topics[0]["name"], &topics[0]["partitions"]), (&json!("stock.paid"), &json!(5)));
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_topic_that_was_deleted_on_kafka_wait_for_it() {
    let Some((kafka, settings)) = place() else { return };
    let mut proxy = start(&settings, &[]).await;
    let first = proxy.post("?ack=kafka", "application/json", event("order", "paid", 0).to_string());
    reply(first).await.expect(200);
    kafka.delete_topic("order.paid").await.unwrap();
    for n in 1..40 {
        proxy.json(event("order", "paid", n)).await.expect(202);
    }
    let other = proxy.post("?ack=kafka", "application/json", event("order", "sent", 0).to_string());
    reply(other).await.expect(200);
    proxy.admin(Method::DELETE, &format!("{TOPICS}/order.paid"), None).await.expect_problem(409, "topic-busy");
    make(&proxy, json!({ "name": "order.paid" })).await.expect(201);
    until("all are delivered", async || proxy.get("/v1/ledger").await.expect(200)["order.paid"]["queued"] == 0).await;
    assert_eq!(on_kafka(&kafka, 3).await.concat(), (1..40).collect::<Vec<_>>());
    proxy.admin(Method::DELETE, &format!("{TOPICS}/order.paid"), None).await.expect(204);
    until("it is gone", async || !kafka.topics().await.unwrap().contains("order.paid")).await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_many_types_leaves_others_their_topics() {
    let mut proxy = TestProxy::start(&[("EVENT_PROXY__TOPICS__MAX", "20")]).await;
    for n in 0..30 {
        let answer = proxy.json(event("many", &format!("t{n}"), 0)).await;
        if n < 10 { drop(answer.expect(202)) } else { drop(answer.expect_problem(422, "too-many-topics")) }
    }
    proxy.json(event("other", "t", 0)).await.expect(202);
    // by hand there may be more
    make(&proxy, json!({ "services": ["many"], "types": ["more"] })).await.expect(201);
    proxy.json(event("many", "more", 0)).await.expect(202);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_kafka_cannot_have_are_refused_at_the_door() {
    let long = format!("a{}", "-".repeat(200));
    let mut proxy =
        TestProxy::start(&[("EVENT_PROXY__TOPICS__TEMPLATE", &format!("{long}.{{service}}.{{type}}"))]).await;
    proxy.json(event("col_a", "b", 0)).await.expect(202);
    proxy.json(event("col_a_b", "b", 0)).await.expect(202);
    for (service, kind) in [("col", "a_b"), ("x", &*"y".repeat(64))] {
        let problem = proxy.json(event(service, kind, 1)).await.expect_problem(422, "invalid-request");
        assert_eq!(problem["errors"][0]["field"], "type", "{problem}");
    }
    let by_hand = make(&proxy, json!({ "name": format!("{long}.col.a_b") })).await;
    assert_eq!(by_hand.expect_problem(422, "invalid-request")["errors"][0]["field"], "name");
    // a deleted topic is in nobody's way
    proxy.admin(Method::DELETE, &format!("{TOPICS}/{long}.col_a.b"), None).await.expect(204);
    proxy.json(event("col", "a_b", 1)).await.expect(202);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_kafka_refuses_holds_up_no_other_and_its_events_can_be_discarded() {
    let Some((kafka, settings)) = place() else { return };
    let rival = [("order_paid".to_owned(), 1)];
    kafka.ensure_topics(&rival, &TopicOptions::default()).await.unwrap();
    let mut proxy = start(&settings, &[]).await;
    let first = proxy.json(event("order", "paid", 0)).await.expect(202);
    let path = format!("{TOPICS}/order.paid");
    until("it is refused", async || state(&proxy, "order.paid").await == "refused").await;
    let reason = proxy.admin(Method::GET, &path, None).await.expect(200)["reason"].clone();
    let problem = proxy.json(event("order", "paid", 1)).await.expect_problem(422, "topic-refused");
    assert_eq!(problem["detail"], reason);
    let other = proxy.post("?ack=kafka", "application/json", event("order", "sent", 0).to_string());
    reply(other).await.expect(200);
    let ready = proxy.get("/readyz").await.expect(200);
    assert!(ready["degraded"][0].as_str().unwrap().starts_with("topic order.paid: "), "{ready}");
    proxy.admin(Method::DELETE, &path, None).await.expect_problem(409, "topic-busy");
    proxy.admin(Method::DELETE, &format!("{path}?discard=true"), None).await.expect(204);
    let ledger = proxy.get("/v1/ledger").await.expect(200)["order.paid"].clone();
    assert_eq!((&ledger["accepted"], &ledger["discarded"], &ledger["queued"]), (&json!(1), &json!(1), &json!(0)));
    let receipt = proxy.get(&format!("/v1/receipts/{}", first["receipt"].as_str().unwrap())).await.expect(200);
    assert_eq!(receipt["status"], "discarded");
    assert_eq!(proxy.get("/readyz").await.expect(200)["degraded"], Value::Null);

    kafka.delete_topic("order_paid").await.unwrap();
    until("the other topic is gone", async || !kafka.topics().await.unwrap().contains("order_paid")).await;
    make(&proxy, json!({ "name": "order.paid" })).await.expect(201);
    let again = proxy.post("?ack=kafka", "application/json", event("order", "paid", 2).to_string());
    reply(again).await.expect(200);
    let ledger = proxy.get("/v1/ledger").await.expect(200)["order.paid"].clone();
    assert_eq!((&ledger["accepted"], &ledger["discarded"]), (&json!(2), &json!(1)));
    proxy.stop().await;
}
