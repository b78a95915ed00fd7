//! Races: exactly one of several concurrent attempts wins, and the books agree.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::{Reply, TestShop, all_at_once, random_key};

fn with_status(replies: &[Reply], status: u16) -> usize {
    replies.iter().filter(|reply| reply.status == status).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_unit_goes_to_exactly_one_of_fifty_buyers() {
    for shop in TestShop::everywhere().await {
        let product = shop.product(1_000, 1).await;
        let of = product.clone();
        let replies = all_at_once(50, shop.members(50, 0).await, |buyer| {
            let call = buyer.order(&of, 1);
            async move { call.send().await }
        });
        let replies = replies.await;
        assert_eq!((with_status(&replies, 201), with_status(&replies, 409)), (1, 49), "{shop}");
        assert!(replies.iter().all(|reply| reply.status == 201 || reply.code() == "insufficient-stock"));
        assert_eq!(shop.available(&product).await, 0);
        shop.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_keys_at_once_make_one_payment() {
    for shop in TestShop::everywhere().await {
        let buyer = shop.member(10_000).await;
        let order = buyer.has_ordered(&shop.product(1_000, 5).await, 1).await;
        let replies = all_at_once(20, 0..20, |_| {
            let call = buyer.pay(&order);
            async move { call.send().await }
        });
        let replies = replies.await;
        assert_eq!((with_status(&replies, 201), with_status(&replies, 409)), (1, 19), "{shop}");
        assert_eq!(buyer.balance().await, 9_000);
        shop.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_at_once_makes_one_order_for_all_who_ask() {
    for shop in TestShop::everywhere().await {
        let (buyer, product, key) = (shop.member(0).await, shop.product(1_000, 5).await, random_key());
        let body = json!({ "items": [{ "product_id": product, "quantity": 1 }] });
        let replies = all_at_once(20, 0..20, |_| {
            let call = buyer.post("/orders", body.clone()).key(&key);
            async move { call.send().await.expect(201) }
        });
        let orders: HashSet<String> = replies.await.iter().map(|reply| reply.text.clone()).collect();
        assert_eq!(orders.len(), 1, "{shop}: {orders:?}");
        assert_eq!(shop.available(&product).await, 4);
        shop.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_in_two_orders_at_once_is_used_by_one() {
    for shop in TestShop::everywhere().await {
        let (buyer, product) = (shop.member(0).await, shop.product(1_000, 50).await);
        let coupon = json!({ "name": "one", "discount": { "amount": "100" }, "quantity": 1 });
        let coupon = shop.admin().post("/coupons", coupon).with_key().send().await.expect(201).text("id");
        let owned = buyer.win(&coupon).await.text("owned_coupon_id");
        let body = json!({ "items": [{ "product_id": product, "quantity": 1 }], "coupon_id": owned });
        let replies = all_at_once(8, 0..8, |_| {
            let call = buyer.order_with(body.clone());
            async move { call.send().await }
        });
        let replies = replies.await;
        assert_eq!((with_status(&replies, 201), with_status(&replies, 409)), (1, 7), "{shop}");
        assert!(replies.iter().all(|reply| reply.status == 201 || reply.code() == "coupon-not-usable"));
        assert_eq!(shop.available(&product).await, 49, "a refused order takes nothing");
        shop.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_paying_and_cancelling_at_once_the_books_agree() {
    for shop in TestShop::everywhere().await {
        let product = shop.product(1_000, 100).await;
        for buyer in shop.members(12, 5_000).await {
            let order = buyer.has_ordered(&product, 1).await;
            let calls = [buyer.pay(&order), buyer.cancel(&order), buyer.cancel(&order)];
            let replies = all_at_once(3, calls, |call| async move { call.send().await }).await;
            let cancelled = with_status(&replies, 200);
            assert!(cancelled <= 1, "{shop}: cancelled twice");
            let end = (buyer.order_status(&order).await, buyer.balance().await);
            let known = [("paid".to_owned(), 4_000), ("cancelled".to_owned(), 5_000), ("refunded".to_owned(), 5_000)];
            assert!(known.contains(&end), "{shop}: {end:?}");
        }
        shop.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_paying_and_expiring_at_once_one_wins() {
    for shop in TestShop::everywhere_with(&[("SHOP__ORDER__EXPIRES_AFTER", "200ms")]).await {
        let product = shop.product(1_000, 100).await;
        let buyers = shop.members(24, 5_000).await;
        let ends = all_at_once(24, buyers.into_iter().enumerate(), |(nth, buyer)| {
            let product = product.clone();
            async move {
                let order = buyer.has_ordered(&product, 1).await;
                tokio::time::sleep(std::time::Duration::from_millis(120 + 8 * nth as u64)).await;
                let paid = buyer.pay(&order).send().await;
                (paid.status, buyer.balance().await, buyer, order)
            }
        });
        for (status, balance, buyer, order) in ends.await {
            assert!([(201, 4_000), (409, 5_000)].contains(&(status, balance)), "{shop}: {status} {balance}");
            let ended = || async {
                let end = buyer.order_status(&order).await;
                (end != "pending").then_some(end)
            };
            let end = crate::support::eventually("an end", ended).await;
            assert_eq!(end, if status == 201 { "paid" } else { "expired" }, "{shop}");
        }
        shop.finish().await;
    }
}

/// Uses 2,000 members on SQLite; fewer on PostgreSQL, where the test shares two cores with the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_coupons_go_to_the_first_hundred_of_two_thousand() {
    for shop in TestShop::everywhere().await {
        let members = shop.members(if shop.runtime.db.is_shared() { 400 } else { 2_000 }, 0).await;
        let coupon = json!({ "name": "rush", "discount": { "amount": "500" }, "quantity": 100 });
        let coupon = shop.admin().post("/coupons", coupon).with_key().send().await.expect(201).text("id");
        // some ask twice
        let asking: Vec<_> = members.iter().chain(&members[..50]).cloned().collect();
        let ends = all_at_once(100, asking, |member| {
            let coupon = coupon.clone();
            async move {
                let asked = member.ask_for(&coupon).await;
                if asked.status == 409 {
                    assert_eq!(asked.code(), "coupon-sold-out");
                    return None;
                }
                let request = asked.expect(202).text("request_id");
                let end = member.get(&format!("/issue-requests/{request}?wait=30")).send().await.expect(200).body;
                Some((member.id.clone(), end))
            }
        });
        let ends: Vec<(String, Value)> = ends.await.into_iter().flatten().collect();
        let winners: Vec<&(String, Value)> = ends.iter().filter(|(_, end)| end["status"] == "issued").collect();
        let distinct: HashSet<&String> = winners.iter().map(|(member, _)| member).collect();
        assert_eq!((winners.len(), distinct.len()), (100, 100), "{shop}");
        for (_, end) in &ends {
            assert!(["issued", "sold_out", "duplicate"].contains(&end["status"].as_str().unwrap()), "{shop}: {end}");
        }
        let last = winners.iter().filter_map(|(_, end)| end["position"].as_i64()).max().unwrap();
        let earlier_loser =
            ends.iter().find(|(_, end)| end["status"] == "sold_out" && end["position"].as_i64() < Some(last));
        assert!(earlier_loser.is_none(), "{shop}: {earlier_loser:?} came before {last}");

        // a winner who asks again, when all are gone, is told what it won
        let winner = members.iter().find(|member| member.id == winners[0].0).unwrap();
        let again = winner.win(&coupon).await.body;
        let won = &winners[0].1;
        assert_eq!((&again["status"], &again["owned_coupon_id"]), (&json!("duplicate"), &won["owned_coupon_id"]));
        assert_eq!(again["position"], won["position"]);
        shop.all_events_handled().await;
        let found = shop.admin().get(&format!("/admin/coupons/{coupon}/reconciliation")).send().await.expect(200).body;
        assert_eq!(
            (&found["issued"], &found["consistent"], &found["in_log_order"]),
            (&json!(100), &json!(true), &json!(true))
        );
        shop.finish().await;
    }
}
