//! API keys.

use reqwest::Method;
use serde_json::{Value, json};

use super::support::{Reply, TestProxy, reply};

const REQUIRED: (&str, &str) = ("EVENT_PROXY__KEYS__REQUIRED", "true");

fn event(service: &str) -> Value {
    json!({ "service": service, "type": "paid", "data": 1 })
}

async fn post(proxy: &TestProxy, key: &str, body: Value) -> Reply {
    reply(proxy.post("", "application/json", body.to_string()).bearer_auth(key)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_good_until_it_is_rotated_or_revoked() {
    let mut proxy = TestProxy::start(&[REQUIRED]).await;
    let refused = proxy.json(event("order")).await;
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    refused.expect_problem(401, "unauthorized");
    for path in ["/v1/receipts/proxy.x", "/v1/ledger"] {
        proxy.get(path).await.expect_problem(401, "unauthorized");
    }
    post(&proxy, "ep_wrong", event("order")).await.expect_problem(401, "unauthorized");

    let (id, first) = proxy.key(json!({ "name": "orders" })).await;
    let taken = post(&proxy, &first, event("order")).await.expect(202);
    let receipt = format!("/v1/receipts/{}", taken["receipt"].as_str().unwrap());
    // what can only send a name and a password
    for (name, password) in [("checkout", Some(&*first)), (&*first, Some("")), (&*first, None)] {
        let request = proxy.post("", "application/json", event("order").to_string()).basic_auth(name, password);
        reply(request).await.expect(202);
        let ledger = reply(proxy.request(Method::GET, "/v1/ledger").basic_auth(name, password)).await.expect(200);
        assert!(ledger["order.paid"].is_object());
    }
    for wrong in [Some("ep_wrong"), None] {
        let request = proxy.post("", "application/json", event("order").to_string()).basic_auth("checkout", wrong);
        reply(request).await.expect_problem(401, "unauthorized");
    }
    let asked = reply(proxy.request(Method::GET, &receipt).bearer_auth(&first)).await.expect(200);
    assert_eq!(asked["topic"], "order.paid");

    let rotated = proxy.admin(Method::POST, &format!("/v1/admin/api-keys/{id}/rotate"), None).await.expect(200);
    let second = rotated["key"].as_str().unwrap();
    assert!(rotated["rotated_at"].is_string() && second != first);
    post(&proxy, &first, event("order")).await.expect_problem(401, "unauthorized");
    post(&proxy, second, event("order")).await.expect(202);
    proxy.restart().await;
    post(&proxy, second, event("order")).await.expect(202);

    let path = format!("/v1/admin/api-keys/{id}");
    proxy.admin(Method::DELETE, &path, None).await.expect(204);
    post(&proxy, second, event("order")).await.expect_problem(401, "unauthorized");
    proxy.admin(Method::DELETE, &path, None).await.expect_problem(404, "not-found");
    proxy.admin(Method::POST, &format!("{path}/rotate"), None).await.expect_problem(404, "not-found");
    let listed = proxy.admin(Method::GET, "/v1/admin/api-keys", None).await.expect(200);
    assert_eq!((&listed["items"][0]["name"], listed["items"][0]["revoked_at"].is_string()), (&json!("orders"), true));
    assert_eq!(proxy.stored("order.paid").await.len(), 6);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_and_kept_nowhere() {
    let mut proxy = TestProxy::start(&[REQUIRED]).await;
    let (_, key) = proxy.key(json!({ "name": "orders" })).await;
    let shown = |reply: Value| reply.to_string().contains(&key);
    assert!(!shown(proxy.admin(Method::GET, "/v1/admin/api-keys", None).await.expect(200)));
    assert!(!shown(proxy.admin(Method::GET, "/v1/admin/audit", None).await.expect(200)));
    for file in std::fs::read_dir(&proxy.proxy.settings.data_dir).unwrap() {
        let file = file.unwrap().path();
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(key.len()).any(|part| part == key.as_bytes()), "{}", file.display());
    }
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_some_services_is_refused_for_others_and_costs_its_own_nothing() {
    let mut proxy = TestProxy::start(&[REQUIRED]).await;
    let (_, key) = proxy.key(json!({ "name": "orders", "services": ["order", "payment"] })).await;
    let (_, any) = proxy.key(json!({ "name": "all" })).await;
    post(&proxy, &key, event("stock")).await.expect_problem(403, "service-not-allowed");

    let batch = json!([event("order"), event("stock"), event("payment")]);
    let items = post(&proxy, &key, batch).await.expect(207)["items"].clone();
    assert_eq!([&items[0]["status"], &items[1]["status"], &items[2]["status"]], [202, 403, 202]);
    assert_eq!(items[1]["problem"]["code"], "service-not-allowed");
    let lines = format!("{}\n{}\n", event("stock"), event("order"));
    let lines = reply(proxy.post("", "application/x-ndjson", lines).bearer_auth(&key)).await.expect(207);
    assert_eq!([&lines["items"][0]["status"], &lines["items"][1]["status"]], [403, 202]);
    let binary = proxy.post("", "application/json", "1").header("ce-id", "1").header("ce-specversion", "1.0");
    let binary = binary.header("ce-source", "stock").header("ce-type", "paid").bearer_auth(&key);
    reply(binary).await.expect_problem(403, "service-not-allowed");
    post(&proxy, &any, event("stock")).await.expect(202);

    let seen = |ledger: Value| ledger.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    let ledger = async |key: &str| reply(proxy.request(Method::GET, "/v1/ledger").bearer_auth(key)).await.expect(200);
    assert_eq!(seen(ledger(&key).await), "order.paid payment.paid");
    assert_eq!(seen(ledger(&any).await), "order.paid payment.paid stock.paid");
    let of_admin = proxy.admin(Method::GET, "/v1/ledger", None).await.expect(200);
    assert_eq!(of_admin["order.paid"]["accepted"], 2);
    assert_eq!(seen(of_admin), "order.paid payment.paid stock.paid");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_sent_must_be_right_even_where_none_is_required() {
    let mut proxy = TestProxy::start(&[]).await;
    proxy.json(event("order")).await.expect(202);
    for wrong in ["ep_wrong", ""] {
        post(&proxy, wrong, event("order")).await.expect_problem(401, "unauthorized");
    }
    let (_, key) = proxy.key(json!({ "name": "orders", "services": ["order"] })).await;
    post(&proxy, &key, event("order")).await.expect(202);
    post(&proxy, &key, event("stock")).await.expect_problem(403, "service-not-allowed");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_can_not_be_is_named() {
    let mut proxy = TestProxy::start(&[]).await;
    for (body, field) in [
        (json!({}), "body"),
        (json!({ "name": "" }), "name"),
        (json!({ "name": "a\0" }), "name"),
        (json!({ "name": "a", "services": ["a.b"] }), "services[0]"),
        (json!({ "name": "a", "events_per_second": 0 }), "events_per_second"),
        (json!({ "name": "a", "bytes_per_second": -1 }), "bytes_per_second"),
        (json!({ "name": "a", "key": "mine" }), "key"),
    ] {
        let refused = proxy.admin(Method::POST, "/v1/admin/api-keys", Some(body)).await;
        let document = refused.expect_problem(422, "invalid-request");
        assert_eq!(document["errors"][0]["field"], field, "{document}");
    }
    let nobody = "/v1/admin/api-keys/0190e0a4-0000-7000-8000-000000000000";
    proxy.admin(Method::DELETE, nobody, None).await.expect_problem(404, "not-found");
    proxy.admin(Method::DELETE, "/v1/admin/api-keys/x", None).await.expect_problem(404, "not-found");
    proxy.stop().await;
}
