//! Access without required API keys.

use event_proxy::settings::Settings;
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{PASSWORD, TestProxy, reply};

const EVENT: &str = r#"{ "service": "order", "type": "paid", "data": 1 }"#;

fn post(proxy: &TestProxy) -> RequestBuilder {
    proxy.post("", "application/json", EVENT)
}

#[test]
fn without_keys_only_on_a_loopback_address() {
    let settings = |address: &str, required: &str| {
        let named = [("EVENT_PROXY__HTTP__ADDRESS", address), ("EVENT_PROXY__KEYS__REQUIRED", required)];
        Settings::from(None, named)
    };
    for address in ["127.0.0.1:1", "localhost:1", "[::1]:1", "127.1.2.3:1"] {
        assert!(!settings(address, "").unwrap().keys_required(), "{address}");
        assert!(settings(address, "true").unwrap().keys_required());
        assert!(!settings(address, "false").unwrap().keys_required());
    }
    for address in ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "example.com:1"] {
        assert!(settings(address, "").unwrap().keys_required(), "{address}");
        let refused = settings(address, "false").unwrap_err().to_string();
        let said =
            format!("setting keys.required: false is for a loopback address only, and http.address is {address}");
        assert_eq!(refused, said);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_neither_forwarded_requests_nor_other_hosts() {
    let mut proxy = TestProxy::start(&[]).await;
    for (name, value) in [
        ("forwarded", "for=10.0.0.1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", "10.0.0.1"),
        ("via", "1.1 gate"),
        ("cdn-loop", "gate"),
        ("cf-connecting-ip", "10.0.0.1"),
        ("x-original-forwarded-for", "10.0.0.1"),
        ("x-envoy-external-address", "10.0.0.1"),
        ("fastly-client-ip", "10.0.0.1"),
        ("x-azure-clientip", "10.0.0.1"),
        ("x-appengine-user-ip", "10.0.0.1"),
        ("host", "example.com"),
        ("host", "localhost.example.com:8090"),
        ("host", "10.0.0.1:8090"),
    ] {
        reply(post(&proxy).header(name, value)).await.expect_problem(403, "not-allowed-without-keys");
        let pages = proxy.request(Method::GET, "/admin").header(name, value);
        reply(pages).await.expect_problem(403, "not-allowed-without-keys");
    }
    // as nginx's proxy_pass does unless told otherwise
    let old = format!(
        "POST /v1/events HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                       Content-Length: {}\r\n\r\n{EVENT}",
        EVENT.len()
    );
    let answer = raw(&proxy, &old).await;
    assert!(answer.starts_with("HTTP/1.0 403 ") && answer.contains("not-allowed-without-keys"), "{answer}");
    let elsewhere = "GET http://example.com/v1/ledger HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = raw(&proxy, elsewhere).await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("not-allowed-without-keys"), "{answer}");
    for host in ["localhost", "LocalHost:1", "127.0.0.1:8090", "[::1]:8090"] {
        reply(post(&proxy).header("host", host)).await.expect(202);
    }
    assert_eq!(proxy.stored("order.paid").await.len(), 4, "of those that were refused nothing is there");
    proxy.stop().await;
}

/// Returns the raw answer to a request.
async fn raw(proxy: &TestProxy, request: &str) -> String {
    let mut stream = TcpStream::connect(proxy.url("").trim_start_matches("http://")).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_written_otherwise_is_the_same_page() {
    let mut proxy = TestProxy::start(&[]).await;
    let form = proxy.request(Method::POST, "/%61dmin/sign-in").form(&[("password", PASSWORD)]);
    assert_eq!(form.send().await.unwrap().status(), 303);
    let event = proxy.request(Method::POST, "/v1/%65vents").header("content-type", "text/plain").body(EVENT);
    reply(event).await.expect_problem(415, "unsupported-media-type");
    let wrong = proxy.request(Method::DELETE, "/admin/topics").send().await.unwrap();
    assert_eq!((wrong.status().as_u16(), &wrong.headers()["allow"]), (405, &"GET, HEAD, POST".parse().unwrap()));
    for path in ["/livez", "/readyz", "/metrics", "/docs/", "/v1/openapi.json", "/v1/ledger", "/admin/sign-in"] {
        let all = proxy.request(Method::GET, path).send().await.unwrap();
        let head = proxy.request(Method::HEAD, path).send().await.unwrap();
        assert_eq!(head.status(), all.status(), "{path}");
        assert_eq!(head.headers()["content-type"], all.headers()["content-type"], "{path}");
        assert!(head.headers().contains_key("content-length"), "{path}");
        assert!(head.bytes().await.unwrap().is_empty(), "{path}");
    }
    assert_eq!(proxy.request(Method::HEAD, "/v1/events").send().await.unwrap().status(), 405);
    proxy.get("/v1/ledger/").await.expect_problem(404, "no-such-route");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_nothing_that_a_browsers_form_can_send() {
    let mut proxy = TestProxy::start(&[]).await;
    for media in [
        "text/plain",
        "Text/Plain;charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ] {
        reply(proxy.post("", media, EVENT)).await.expect_problem(415, "unsupported-media-type");
        let twice = proxy.post("", "application/json", EVENT).header("content-type", media);
        reply(twice).await.expect_problem(400, "bad-request");
        let binary = proxy.post("", media, "1").header("ce-id", "1").header("ce-specversion", "1.0");
        let binary = binary.header("ce-source", "order").header("ce-type", "paid").header("origin", "null");
        reply(binary).await.expect_problem(415, "unsupported-media-type");
        let admin = proxy.request(Method::POST, "/v1/admin/api-keys").basic_auth("admin", Some(PASSWORD));
        let admin = admin.header("content-type", media).body(json!({ "name": "a" }).to_string());
        reply(admin).await.expect_problem(415, "unsupported-media-type");
    }
    assert_eq!(proxy.get("/v1/ledger").await.expect(200), json!({}));
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_keys_it_does_not_matter_by_which_way() {
    let mut proxy = TestProxy::start(&[("EVENT_PROXY__KEYS__REQUIRED", "true")]).await;
    let (_, key) = proxy.key(json!({ "name": "orders" })).await;
    for (name, value) in [("x-forwarded-for", "10.0.0.1"), ("host", "example.com")] {
        reply(post(&proxy).bearer_auth(&key).header(name, value)).await.expect(202);
        reply(post(&proxy).header(name, value)).await.expect_problem(401, "unauthorized");
    }
    let binary = proxy.post("", "text/plain", "1").header("ce-id", "1").header("ce-specversion", "1.0");
    let binary = binary.header("ce-source", "order").header("ce-type", "paid").bearer_auth(&key);
    reply(binary).await.expect(202);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_parameter_that_no_route_knows_is_refused() {
    let mut proxy = TestProxy::start(&[]).await;
    reply(proxy.post("?akc=kafka", "application/json", EVENT)).await.expect_problem(400, "invalid-query");
    for path in
        ["/v1/ledger?topic=a", "/v1/admin/audit?who=admin", "/v1/receipts/proxy.x?wait=1", "/admin/audit?page=2"]
    {
        let refused = proxy.admin(Method::GET, path, None).await.expect_problem(400, "invalid-query");
        assert_eq!(refused["errors"][0]["detail"], "there is no such parameter", "{path}");
    }
    let cookie = proxy.cookie().await;
    for path in ["/admin/dead-letters?state=retrying&topic=&after=", "/admin/topics?made=1", "/admin/audit?limit=5"] {
        let page = proxy.request(Method::GET, path).header("cookie", &cookie).send().await.unwrap();
        assert_eq!(page.status(), 200, "{path}");
    }
    proxy.stop().await;
}
