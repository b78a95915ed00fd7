//! Guards and metrics follow the answering route, for any form of the path.

use reqwest::Method;
use serde_json::json;

use crate::binary::Binary;
use crate::support::{ADMIN, Call, Reply, TestShop};

const ORIGIN: &str = "https://shop.example";

/// Asks until the limit of the address refuses.
async fn refused(ask: impl AsyncFn() -> Reply) -> Option<Reply> {
    for _ in 0..50 {
        let reply = ask().await;
        if reply.status == 429 {
            return Some(reply);
        }
    }
    None
}

async fn limited(more: &[(&str, &str)]) -> TestShop {
    let limits = [("SHOP__RATE_LIMIT__ENABLED", "true"), ("SHOP__RATE_LIMIT__ADDRESS_PER_SECOND", "1")];
    TestShop::start_with(&[&limits, more].concat(), vec![]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_written_otherwise_is_limited_as_its_route_is() {
    let mut shop = limited(&[]).await;
    for path in ["//%61pi/v1/products", "//api/%76%31/products", "//API/v1/products", "//nothing"] {
        let ask = async || shop.api().get(path).send().await;
        assert!(refused(ask).await.is_some(), "{path}");
    }
    for path in ["//livez", "//%6Civez", "//metrics", "//docs/"] {
        assert!(refused(async || shop.api().get(path).send().await).await.is_none(), "{path}");
    }
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_be_read_in_two_ways_is_refused() {
    let mut shop = TestShop::start().await;
    let twice = |name: &str| shop.admin().post("/wallet/charges", json!({ "amount": "1" })).header(name, "a");
    for name in ["authorization", "content-type", "idempotency-key"] {
        let refused = twice(name).key("b").send().await.expect_problem(400, "bad-request");
        assert_eq!(refused.body["detail"], format!("there is more than one header {name}"));
    }
    let packed = twice("content-encoding").header("content-encoding", "gzip").send().await;
    packed.expect_problem(400, "bad-request");
    shop.api().get("/products?q=%ff").send().await.expect_problem(400, "invalid-query");
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_behind_a_trusted_proxy_is_the_last_address_of_all_lines() {
    let mut shop = limited(&[("SHOP__HTTP__TRUST_FORWARDED", "true")]).await;
    let asked = async |own: &str, added: &str| {
        let call = shop.api().get("/products").header("x-forwarded-for", own).header("x-forwarded-for", added);
        call.send().await
    };
    let mut own = (0..).map(|n| format!("10.0.0.{n}"));
    let mut statuses = Vec::new();
    for port in 1..20 {
        statuses.push(asked(&own.next().unwrap(), &format!("192.0.2.1:{port}")).await.status);
    }
    assert!(statuses.contains(&429), "neither its own line nor the port counts: {statuses:?}");
    asked("192.0.2.1", "[2001:db8::1]:443").await.expect(200);
    asked("192.0.2.1", "[2001:db8:0:1::1]:443").await.expect(200);
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_can_read_each_refusal_and_asks_beforehand_for_nothing() {
    let mut shop = limited(&[("SHOP__HTTP__CORS_ORIGINS", ORIGIN)]).await;
    let preflight = async || {
        let call = shop.api().call(Method::OPTIONS, "/orders").header("origin", ORIGIN);
        call.header("access-control-request-method", "POST").send().await
    };
    assert!(refused(preflight).await.is_none(), "a preflight costs nothing");
    let from_page = |call: Call| call.header("origin", ORIGIN).send();
    let over = refused(async || from_page(shop.api().get("/products")).await).await.expect("too many");
    let over = over.expect_problem(429, "too-many-requests");
    assert_eq!(over.header("access-control-allow-origin"), ORIGIN);
    assert!(over.header("access-control-expose-headers").contains("retry-after"));
    shop.stop().await;

    let shop = TestShop::start_with(&[("SHOP__HTTP__CORS_ORIGINS", ORIGIN)], vec![]).await;
    for (call, code) in [
        (shop.api().get("/nothing"), "no-such-route"),
        (shop.api().delete("/products"), "method-not-allowed"),
        (shop.api().get("/me"), "unauthenticated"),
        (shop.api().get("//docs/nothing"), "no-such-route"),
        (shop.api().post("/sessions", json!("x".repeat(70_000))), "body-too-large"),
    ] {
        let refused = from_page(call).await;
        assert_eq!((refused.code(), refused.header("access-control-allow-origin")), (code, ORIGIN));
    }
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_of_a_client_becomes_a_label() {
    let mut shop = Binary::new(&[("SHOP__ADMIN__PASSWORD", ADMIN.1)]);
    let api = shop.start().await;
    let long = "BREW".repeat(15_000);
    let odd = |method: &str, path: &str| {
        let call = api.call(Method::from_bytes(method.as_bytes()).unwrap(), path);
        call.header("user-agent", "odd-agent").header("x-odd-header", "odd-value").header("accept", "odd/type").send()
    };
    assert!(matches!(odd(&long, "/products").await.status, 400 | 405 | 431));
    for (method, path) in [("BREW", "/products"), ("GET", "//%61pi/v1/products?odd-query"), ("GET", "/odd-path/odd-id")]
    {
        odd(method, path).await;
    }
    let text = api.get("//metrics").send().await.text;
    for (route, method) in [("/api/v1/products", "other"), ("/api/v1/products", "GET"), ("unmatched", "GET")] {
        let label = format!("http_requests_seconds_count{{route=\"{route}\",method=\"{method}\"");
        assert!(text.contains(&label), "{label} in {text}");
    }
    assert!(!text.contains("BREW") && !text.contains("odd") && text.len() < 200_000, "{text}");
    assert_eq!(shop.terminate().await, Some(0));
}
