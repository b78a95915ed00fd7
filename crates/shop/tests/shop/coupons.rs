//! First-come coupons, at their edges.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::TestShop;

async fn coupon(shop: &TestShop, more: Value) -> String {
    let mut body = json!({ "name": "c", "discount": { "amount": "100" }, "quantity": 1 });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    shop.admin().post("/coupons", body).send().await.expect(201).text("id")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_is_asked_for_only_while_it_is_open() {
    for shop in TestShop::everywhere().await {
        let (now, hour) = (Utc::now(), TimeDelta::hours(1));
        let member = shop.member(0).await;
        let early = coupon(&shop, json!({ "opens_at": now + hour })).await;
        let refused = member.ask_for(&early).await.expect_problem(409, "coupon-not-open");
        assert!(refused.body["opens_at"].is_string());
        let late = coupon(&shop, json!({ "closes_at": now - hour, "opens_at": now - hour * 2 })).await;
        member.ask_for(&late).await.expect_problem(409, "coupon-not-open");
        member.ask_for(&uuid::Uuid::now_v7().to_string()).await.expect_problem(404, "not-found");

        let open = coupon(&shop, json!({ "quantity": 5 })).await;
        let asked = member.ask_for(&open).await.expect(202);
        assert_eq!(asked.header("location"), asked.text("status_url"));
        assert_eq!(asked.header("retry-after"), "1");
        shop.admin().patch(&format!("/coupons/{open}"), json!({ "closes_at": Utc::now() })).send().await.expect(200);
        let other = shop.member(0).await;
        other.ask_for(&open).await.expect_problem(409, "coupon-not-open");
        shop.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sold_out_is_known_within_a_second() {
    for shop in TestShop::everywhere().await {
        let id = coupon(&shop, json!({})).await;
        let members = shop.members(3, 0).await;
        assert_eq!(members[0].win(&id).await.body["status"], "issued");
        tokio::time::sleep(std::time::Duration::from_millis(1_000)).await;
        members[1].ask_for(&id).await.expect_problem(409, "coupon-sold-out");
        assert_eq!(shop.api().get(&format!("/coupons/{id}")).send().await.expect(200).body["remaining"], 0);
        shop.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_applies_from_its_minimum_on_and_up_to_its_cap() {
    let shop = TestShop::start().await;
    let more =
        json!({ "discount": { "percent": "12.5", "max_discount": "1000" }, "min_order": "5000", "valid_days": 1 });
    let id = coupon(&shop, more).await;
    let (member, product) = (shop.member(0).await, shop.product(2_500, 100).await);
    let owned = member.win(&id).await.text("owned_coupon_id");
    let order = |quantity: i64| {
        let items = json!([{ "product_id": product, "quantity": quantity }]);
        member.order_with(json!({ "items": items, "coupon_id": owned })).send()
    };
    let refused = order(1).await.expect_problem(409, "coupon-not-usable");
    assert_eq!(refused.text("min_order"), "5000");
    let placed = order(2).await.expect(201);
    assert_eq!(placed.text("discount"), "625");
    let refused = order(2).await.expect_problem(409, "coupon-not-usable");
    assert_eq!(refused.text("coupon_status"), "reserved");
    member.cancel(&placed.text("id")).send().await.expect(200);
    assert_eq!(order(4).await.expect(201).text("discount"), "1000");
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_coupons_are_seen_as_other_events_are() {
    for shop in TestShop::everywhere().await {
        let coupon = coupon(&shop, json!({ "quantity": 3 })).await;
        let members = shop.members(3, 0).await;
        let mut requests = Vec::new();
        for member in &members {
            requests.push(member.win(&coupon).await.text("request_id"));
        }
        shop.no_lag().await; // the relay has its mark too
        let all = shop.admin().all("/admin/events?topic=coupon-issue-requested").await;
        let listed: Vec<_> = all.iter().rev().map(|item| item["event"]["data"]["request_id"].clone()).collect();
        assert_eq!(listed, requests, "{shop}: the newest first");
        let path = format!("/admin/events?topic=coupon-issue-requested&limit=2&key={}", all[1]["event"]["key"]);
        let of_key = shop.admin().get(&path.replace('"', "")).send().await.expect(200).body;
        assert!(of_key["items"].as_array().unwrap().contains(&all[1]), "{shop}: {of_key}");
        for item in &all {
            let path = format!("/admin/events/{}", item["event"]["id"].as_str().unwrap());
            let view = shop.admin().get(&path).send().await.expect(200).body;
            for name in ["event", "topic", "partition", "position", "appended_at"] {
                assert_eq!(view[name], item[name], "{shop}");
            }
            assert_eq!(view["relayed"], shop.name.contains("Kafka"), "{shop}: {view}");
            let groups = view["groups"].as_array().unwrap();
            assert!(groups.contains(&json!({ "group": "coupon-issuer", "status": "handled" })), "{shop}: {view}");
        }
        shop.admin()
            .get(&format!("/admin/events/{}", uuid::Uuid::now_v7()))
            .send()
            .await
            .expect_problem(404, "not-found");
        shop.finish().await;
    }
}
