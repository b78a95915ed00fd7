//! Idempotency-Key: what is asked again is not done again.

use serde_json::json;

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
