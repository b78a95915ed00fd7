//! Notifications as a live stream.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Api, TestMember, TestShop};

/// Reads events of the stream until there are `count`, and returns their ids and documents.
async fn read(mut response: reqwest::Response, count: usize) -> Vec<(i64, Value)> {
    assert_eq!(response.status(), 200);
    let (mut text, mut events) = (String::new(), Vec::new());
    while events.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(20), response.chunk()).await.expect("an event in time");
        text.push_str(std::str::from_utf8(&next.unwrap().expect("the stream goes on")).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            if let (Some(id), Some(data)) = (field("id"), field("data")) {
                events.push((id.parse().unwrap(), serde_json::from_str(data).unwrap()));
            }
            text = rest.to_owned();
        }
    }
    events
}

async fn buys(shop: &TestShop, buyer: &TestMember) {
    let product = shop.product(10, 1).await;
    let order = buyer.has_ordered(&product, 1).await;
    buyer.pay(&order).send().await.expect(201);
}

fn stream(api: &Api) -> crate::support::Call {
    api.get("/me/notifications/stream")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_told_on_the_stream() {
    for shop in TestShop::everywhere().await {
        let buyer = shop.member(1_000).await;
        let open = stream(&buyer).open().await;
        buys(&shop, &buyer).await;
        let events = read(open, 1).await;
        assert_eq!(events[0].0, 1);
        assert_eq!(events[0].1["number"], 1);
        shop.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_resumes_behind_the_last_event_that_came() {
    let shop = TestShop::start().await;
    let buyer = shop.member(1_000).await;
    buys(&shop, &buyer).await;
    buys(&shop, &buyer).await;
    shop.all_events_handled().await;
    let all = buyer.all("/me/notifications").await;
    assert!(all.len() >= 3, "{all:?}");
    let numbers: Vec<i64> = all.iter().map(|item| item["number"].as_i64().unwrap()).collect();
    let expected: Vec<i64> = (1..=all.len() as i64).rev().collect();
    assert_eq!(numbers, expected, "the newest first, without gaps");

    let open = stream(&buyer).header("Last-Event-ID", "1").open().await;
    let events = read(open, all.len() - 1).await;
    let resumed: Vec<i64> = events.iter().map(|(id, _)| *id).collect();
    assert_eq!(resumed, (2..=all.len() as i64).collect::<Vec<_>>());
    let ticket = buyer.post("/me/notifications/stream-tickets", json!({})).send().await.expect(201).text("ticket");
    let path = format!("/me/notifications/stream?ticket={ticket}&last_event_id=1");
    let events = read(shop.api().get(&path).open().await, all.len() - 1).await;
    assert_eq!(events[0].0, 2, "as the header");
    let beyond = stream(&buyer).header("Last-Event-ID", "1000000").open().await;
    buys(&shop, &buyer).await;
    assert_eq!(read(beyond, 1).await[0].0, all.len() as i64 + 1, "begins at the end");
    shop.api().get("/me/notifications/stream?last_event_id=x").send().await.expect_problem(400, "invalid-query");
    let marked = buyer.post("/me/notifications/read", json!({ "up_to": 2 })).send().await.expect(200);
    assert_eq!(marked.body["marked"], 2);
    let read: Vec<bool> = buyer.all("/me/notifications").await.iter().map(|n| n["read"].as_bool().unwrap()).collect();
    assert_eq!(read.iter().filter(|read| **read).count(), 2);
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_the_stream_of_its_member_without_a_header() {
    let shop = TestShop::start().await;
    let buyer = shop.member(1_000).await;
    let ticket = buyer.post("/me/notifications/stream-tickets", json!({})).send().await.expect(201);
    let path = format!("/me/notifications/stream?ticket={}", ticket.text("ticket"));
    let open = shop.api().get(&path).open().await;
    buys(&shop, &buyer).await;
    assert_eq!(read(open, 1).await.len(), 1);
    shop.api().get("/me/notifications/stream?ticket=forged").send().await.expect_problem(401, "unauthenticated");
    shop.api().get("/me/notifications/stream").send().await.expect_problem(401, "unauthenticated");
    buyer.delete("/sessions/current").send().await.expect(204);
    shop.api().get(&path).send().await.expect_problem(401, "unauthenticated");
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_when_the_shop_stops() {
    let mut shop = TestShop::start().await;
    let buyer = shop.member(0).await;
    let open = stream(&buyer).open().await;
    let (begun, _) = tokio::join!(async { Instant::now() }, shop.stop());
    open.bytes().await.expect("the stream ends as it should");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_has_a_limited_number_of_streams_and_a_ticket_one() {
    let settings = [("SHOP__HTTP__STREAMS_PER_MEMBER", "2"), ("SHOP__HTTP__MAX_STREAMS", "3")];
    let shop = TestShop::start_with(&settings, vec![]).await;
    let (buyer, other) = (shop.member(1_000).await, shop.member(0).await);
    let ticket = buyer.post("/me/notifications/stream-tickets", json!({})).send().await.expect(201);
    let path = format!("/me/notifications/stream?ticket={}", ticket.text("ticket"));
    let first = shop.api().get(&path).open().await;
    assert_eq!(first.status(), 200);
    let second = shop.api().get(&path).open().await;
    first.bytes().await.expect("the ticket's next stream ends the first");
    let third = stream(&buyer).open().await;
    let refused = stream(&buyer).send().await.expect_problem(429, "too-many-requests");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 0);
    let of_other = stream(&other).open().await;
    let late = shop.member(0).await;
    stream(&late).send().await.expect_problem(503, "unavailable");

    buys(&shop, &buyer).await;
    assert_eq!((read(second, 1).await.len(), read(third, 1).await.len()), (1, 1), "both streams work");
    drop(of_other);
    // the server learns of a closed stream when it writes to the stream
    crate::support::eventually("a closed stream makes room", async || {
        Some(stream(&other).open().await).filter(|response| response.status() == 200)
    })
    .await;
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_the_streams_of_the_session_at_once() {
    let shop = TestShop::start().await;
    let buyer = shop.member(0).await;
    let open = stream(&buyer).open().await;
    buyer.delete("/sessions/current").send().await.expect(204);
    open.bytes().await.expect("the stream ends");
    shop.finish().await;
}
