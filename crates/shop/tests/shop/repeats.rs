//! Idempotency-Key: a repeated request is not executed again.

use std::time::Duration;

use db::on_each;
use diesel::prelude::*;
use reqwest::Method;
use serde_json::json;
use shop::http::server::purge_answers;

use crate::support::{TestShop, random_key};

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_replays_status_body_and_location() {
    for shop in TestShop::everywhere().await {
        let (buyer, product, key) = (shop.member(0).await, shop.product(1_000, 5).await, random_key());
        let body = json!({ "items": [{ "product_id": product, "quantity": 2 }] });
        let first = buyer.post("/orders", body.clone()).key(&key).send().await.expect(201);
        let second = buyer.post("/orders", body).key(&key).send().await.expect(201);
        assert_eq!(first.text, second.text, "{shop}");
        assert_eq!(first.header("location"), second.header("location"));
        let otherwise = buyer.post("//api/v1/%6frders", json!({ "items": [{ "product_id": product, "quantity": 2 }] }));
        assert_eq!(otherwise.key(&key).send().await.expect(201).text, first.text, "{shop}: the same route");
        let spaced = format!(r#" {{ "items" :[ {{"quantity":2, "product\u005fid":"{product}"}} ] }} "#);
        let spaced = buyer.call(Method::POST, "/orders").header("content-type", "application/json").raw(spaced);
        assert_eq!(spaced.key(&key).send().await.expect(201).text, first.text, "{shop}: the same value");
        assert_eq!(shop.available(&product).await, 3);

        let other = json!({ "items": [{ "product_id": product, "quantity": 1 }] });
        buyer.post("/orders", other.clone()).key(&key).send().await.expect_problem(422, "idempotency-key-reused");
        buyer
            .post("/wallet/charges", json!({ "amount": "1" }))
            .key(&key)
            .send()
            .await
            .expect_problem(422, "idempotency-key-reused");
        // keys are a caller's own
        shop.member(0).await.post("/orders", other).key(&key).send().await.expect(201);
        shop.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_kept_and_replayed_too() {
    for shop in TestShop::everywhere().await {
        let (buyer, product, key) = (shop.member(500).await, shop.product(1_000, 5).await, random_key());
        let order = buyer.has_ordered(&product, 1).await;
        let path = format!("/orders/{order}/payment");
        let first = buyer.post(&path, json!({})).key(&key).send().await.expect_problem(402, "insufficient-balance");
        assert_eq!((first.text("balance"), first.text("needed")), ("500".into(), "1000".into()));
        buyer.charge(5_000).await;
        let again = buyer.post(&path, json!({})).key(&key).send().await.expect_problem(402, "insufficient-balance");
        assert_eq!(first.text, again.text, "{shop}: as it was, though there is enough now");
        buyer.post(&path, json!({})).with_key().send().await.expect(201);
        assert_eq!(buyer.balance().await, 4_500);
        shop.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_key_is_required_nothing_goes_without() {
    let shop = TestShop::start().await;
    let (buyer, product) = (shop.member(0).await, shop.product(1_000, 5).await);
    let order = buyer.has_ordered(&product, 1).await;
    let posts = [
        ("/wallet/charges".to_owned(), json!({ "amount": "1" })),
        ("/orders".to_owned(), json!({ "items": [{ "product_id": product, "quantity": 1 }] })),
        (format!("/orders/{order}/payment"), json!({})),
        (format!("/orders/{order}/cancellation"), json!({})),
    ];
    for (path, body) in posts {
        buyer.post(&path, body.clone()).send().await.expect_problem(400, "missing-idempotency-key");
        buyer.post(&path, body.clone()).key("").send().await.expect_problem(400, "invalid-idempotency-key");
        buyer.post(&path, body).key(&"k".repeat(256)).send().await.expect_problem(400, "invalid-idempotency-key");
    }
    let adjust = format!("/products/{product}/stock-adjustments");
    let body = json!({ "delta": 1, "reason": "found" });
    shop.admin().post(&adjust, body).send().await.expect_problem(400, "missing-idempotency-key");
    // where it is optional it is honoured
    let (mug, key) = (json!({ "name": "Mug", "price": "1", "stock": 1 }), random_key());
    let first = shop.admin().post("/products", mug.clone()).key(&key).send().await.expect(201);
    assert_eq!(first.text, shop.admin().post("/products", mug.clone()).key(&key).send().await.expect(201).text);
    let without = shop.admin().post("/products", mug).send().await.expect(201);
    assert_ne!(first.text("id"), without.text("id"));
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_never_falls_below_zero() {
    let shop = TestShop::start().await;
    let product = shop.product(1_000, 5).await;
    let path = format!("/products/{product}/stock-adjustments");
    let adjust = |delta: i64| shop.admin().post(&path, json!({ "delta": delta, "reason": "counted" })).with_key();
    assert_eq!(adjust(-2).send().await.expect(201).body["available"], 3);
    adjust(-4).send().await.expect_problem(409, "insufficient-stock");
    adjust(0).send().await.expect_problem(422, "invalid-request");
    assert_eq!(shop.available(&product).await, 3);
    shop.finish().await;
}

/// Ages all kept answers by a number of hours.
async fn hours_pass(shop: &TestShop, hours: i64) {
    let earlier = match shop.runtime.db.is_shared() {
        true => format!("created_at - interval '{hours} hours'"),
        false => format!("created_at - {}", hours * 3_600_000_000),
    };
    let sql = format!("UPDATE idempotency_key SET created_at = {earlier}");
    let age = move |tx: &mut db::Tx<'_>| -> db::Result<usize> {
        on_each!(&mut **tx, |conn| diesel::sql_query(sql.clone()).execute(conn).map_err(Into::into))
    };
    shop.runtime.db.write(age).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_kept_for_a_day() {
    for shop in TestShop::everywhere().await {
        let (member, key) = (shop.member(0).await, random_key());
        let charge = |amount: &str| member.post("/wallet/charges", json!({ "amount": amount })).key(&key).send();
        let first = charge("100").await.expect(201);
        hours_pass(&shop, 23).await;
        assert!(!shop.runtime.db.write(purge_answers).await.unwrap(), "{shop}");
        assert_eq!(charge("100").await.expect(201).text, first.text, "{shop}");
        hours_pass(&shop, 2).await;
        charge("50").await.expect(201);
        assert_eq!(member.balance().await, 150, "{shop}: the key is free again");
        hours_pass(&shop, 25).await;
        shop.runtime.db.write(purge_answers).await.unwrap();
        charge("50").await.expect(201);
        assert_eq!(member.balance().await, 200, "{shop}: its answer was deleted");
        shop.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_too_long_for_the_first_with_the_key_is_told_to_ask_again() {
    for shop in TestShop::everywhere().await {
        // SQLite runs units one after the other, so that nobody waits for a key
        if shop.runtime.db.is_shared() {
            let (member, key) = (shop.member(0).await, random_key());
            let (holder, (id, held)) = (shop.runtime.db.clone(), (member.id.clone(), key.clone()));
            let first = tokio::spawn(async move {
                let hold = move |tx: &mut db::Tx<'_>| -> db::Result<()> {
                    let sql = format!(
                        "INSERT INTO idempotency_key (principal, key, fingerprint, created_at) \
                         VALUES ('{id}', '{held}', sha256('x'), now())"
                    );
                    on_each!(&mut **tx, |conn| diesel::sql_query(sql).execute(conn))?;
                    on_each!(&mut **tx, |conn| diesel::sql_query("SELECT pg_sleep(7)").execute(conn))?;
                    Err(db::Error::Defect("this one fails in the end".into()))
                };
                holder.write(hold).await
            });
            tokio::time::sleep(Duration::from_millis(300)).await;
            let charge = || member.post("/wallet/charges", json!({ "amount": "5" })).key(&key).send();
            let refused = charge().await.expect_problem(409, "idempotency-key-in-use");
            assert_eq!(refused.header("retry-after"), "1");
            assert!(first.await.unwrap().is_err());
            charge().await.expect(201);
            assert_eq!(member.balance().await, 5);
        }
        shop.finish().await;
    }
}
