//! Receipts of other proxies.

use reqwest::Method;
use serde_json::json;

use super::support::{TestProxy, reply};

async fn receipt_of(proxy: &TestProxy) -> String {
    let taken = proxy.json(json!({ "service": "order", "type": "paid", "data": 1 })).await.expect(202);
    format!("/v1/receipts/{}", taken["receipt"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_of_another_is_asked_of_it_and_what_it_says_is_passed_on() {
    let mut first = TestProxy::start(&[("EVENT_PROXY__NODE__NAME", "first")]).await;
    let peers = format!("{}/", first.url(""));
    let named = [("EVENT_PROXY__NODE__NAME", "second"), ("EVENT_PROXY__NODE__PEERS", peers.as_str())];
    let mut second = TestProxy::start(&named).await;
    let receipt = receipt_of(&first).await;
    assert!(receipt.starts_with("/v1/receipts/first."));
    let own = first.get(&receipt).await.expect(200);
    assert_eq!(own["topic"], "order.paid");
    assert_eq!(second.get(&receipt).await.expect(200), own);

    let marked = second.request(Method::GET, &receipt).header("x-event-proxy-peer", "third");
    reply(marked).await.expect_problem(404, "not-found");
    let of_second = receipt_of(&second).await;
    second.get(&of_second).await.expect(200);
    first.get(&of_second).await.expect_problem(404, "not-found");
    for rubbish in ["first.x", "nobody.x", "rubbish", "first.a%2Fb", "..%2F..%2Freadyz"] {
        second.get(&format!("/v1/receipts/{rubbish}")).await.expect_problem(404, "not-found");
    }

    first.stop().await;
    let away = second.get(&receipt).await;
    assert_eq!(away.header("retry-after"), Some("5"));
    away.expect_problem(503, "peer-away");
    second.get("/v1/receipts/second.x").await.expect_problem(404, "not-found");
    second.get(&of_second).await.expect(200);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_answers_is_enough_while_another_is_away() {
    let mut first = TestProxy::start(&[("EVENT_PROXY__NODE__NAME", "first")]).await;
    let peers = format!("http://127.0.0.1:1,{}", first.url(""));
    let named = [("EVENT_PROXY__NODE__NAME", "second"), ("EVENT_PROXY__NODE__PEERS", peers.as_str())];
    let mut second = TestProxy::start(&named).await;
    let receipt = receipt_of(&first).await;
    second.get(&receipt).await.expect(200);
    second.get("/v1/receipts/third.x").await.expect_problem(503, "peer-away");
    first.stop().await;
    second.stop().await;
}
