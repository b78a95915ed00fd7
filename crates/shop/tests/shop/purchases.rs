//! A shopper's path from registration to delivery, on every database.

use serde_json::json;

use crate::support::{TestMember, TestShop, eventually, random_key};

#[tokio::test(flavor = "multi_thread")]
async fn a_shopper_registers_wins_a_coupon_buys_and_is_told() {
    for shop in TestShop::everywhere().await {
        let shopper = registered(&shop).await;
        shopper.charge(100_000).await;
        let product = shop.product(19_900, 10).await;
        let coupon = coupon(&shop, json!({ "percent": 10 }), 3).await;
        let won = shopper.win(&coupon).await;
        assert_eq!(won.body["status"], "issued", "{shop}");

        let items = json!([{ "product_id": product, "quantity": 2 }]);
        let body = json!({ "items": items, "coupon_id": won.text("owned_coupon_id") });
        let placed = shopper.order_with(body).send().await.expect(201);
        let order = placed.text("id");
        assert_eq!(placed.header("location"), format!("/api/v1/orders/{order}"));
        assert_eq!(placed.body["items"][0]["name"], "Mug");
        let money = ["total", "discount", "payable"].map(|name| placed.text(name));
        assert_eq!(money, ["39800", "3980", "35820"], "{shop}");
        assert_eq!(shop.available(&product).await, 8, "{shop}");

        let paid = shopper.pay(&order).send().await.expect(201);
        assert_eq!((paid.text("order_id"), paid.text("amount")), (order.clone(), "35820".to_owned()));
        assert_eq!(shopper.balance().await, 64_180, "{shop}");
        shop.all_events_handled().await;
        is_known_everywhere(&shop, &shopper, &product, &order).await;
        ships(&shop, &shopper, &order).await;
        shop.finish().await;
    }
}

async fn registered(shop: &TestShop) -> TestMember {
    let email = format!("{}@Example.com", random_key());
    let registration = json!({ "email": email, "password": "correct-horse-battery", "name": "Kim" });
    let member = shop.api().post("/members", registration.clone()).send().await.expect(201);
    assert_eq!(member.text("email"), email.to_lowercase());
    shop.api().post("/members", registration).send().await.expect_problem(409, "email-taken");
    TestMember::sign_in(shop.api(), &email, "correct-horse-battery").await
}

async fn coupon(shop: &TestShop, discount: serde_json::Value, quantity: i64) -> String {
    let body = json!({ "name": "first", "discount": discount, "quantity": quantity });
    shop.admin().post("/coupons", body).with_key().send().await.expect(201).text("id")
}

/// Checks that the payment is exported, notified, counted, settled, and shown with every group.
async fn is_known_everywhere(shop: &TestShop, shopper: &TestMember, product: &str, order: &str) {
    let exported = eventually("the export", || async {
        let mut files = Vec::new();
        collect(shop.data_dir(), &mut files);
        files.iter().any(|text| text.contains(order)).then_some(())
    });
    exported.await;
    let notices = shopper.all("/me/notifications").await;
    let kinds: Vec<&str> = notices.iter().filter_map(|notice| notice["kind"].as_str()).collect();
    assert!(kinds.contains(&"payment-completed") && kinds.contains(&"coupon-issued"), "{shop}: {kinds:?}");

    let popular = eventually("the popular product", || async {
        let popular = shop.api().get("/products/popular").send().await.expect(200).body;
        popular["items"].as_array().unwrap().iter().find(|item| item["product_id"] == product).cloned()
    });
    assert_eq!(popular.await["sold"], 2);
    let days = shop.admin().get("/admin/settlements").send().await.expect(200).body;
    let day = &days["items"][0];
    assert_eq!([&day["gross"], &day["discount"], &day["net"]], [&json!("39800"), &json!("3980"), &json!("35820")]);

    let events = shopper.get(&format!("/orders/{order}/events")).send().await.expect(200).body;
    let events = events["items"].as_array().unwrap();
    let types: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    assert!(types.contains(&"shop.order.created") && types.contains(&"shop.payment.completed"), "{shop}: {types:?}");
    for event in events {
        let tracked = shop.admin().get(&format!("/admin/events/{}", event["id"].as_str().unwrap()));
        let tracked = tracked.send().await.expect(200).body;
        assert_eq!(tracked["event"]["key"], order);
        let groups = tracked["groups"].as_array().unwrap();
        assert!(groups.iter().all(|group| group["status"] == "handled"), "{shop}: {tracked}");
    }
    let history = shopper.all("/me/coupons/history").await;
    let what: Vec<&str> = history.iter().filter_map(|entry| entry["what"].as_str()).collect();
    assert_eq!(what, ["used", "issued"], "{shop}");
    assert_eq!(shopper.all("/me/coupons").await[0]["status"], "used");
}

/// Ships the order: a refund is no longer possible.
async fn ships(shop: &TestShop, shopper: &TestMember, order: &str) {
    let delivery = shopper.get(&format!("/orders/{order}/delivery")).send().await.expect(200);
    assert_eq!(delivery.body["status"], "preparing");
    let at = format!("/admin/deliveries/{}", delivery.text("id"));
    shop.admin().post(&format!("{at}/deliver"), json!({})).send().await.expect_problem(409, "state-conflict");
    let key = random_key();
    for _ in 0..2 {
        shop.admin().post(&format!("{at}/ship"), json!({})).key(&key).send().await.expect(200);
    }
    shopper.cancel(order).send().await.expect_problem(409, "order-state");
    shop.admin().post(&format!("{at}/deliver"), json!({})).send().await.expect(200);
    let delivery = shopper.get(&format!("/orders/{order}/delivery")).send().await.expect(200);
    assert_eq!(delivery.body["status"], "delivered");
}

fn collect(folder: &std::path::Path, texts: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, texts);
        } else if path.to_string_lossy().contains("ndjson") {
            texts.push(std::fs::read_to_string(path).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_gives_stock_money_and_coupon_back() {
    for shop in TestShop::everywhere().await {
        let shopper = shop.member(50_000).await;
        let product = shop.product(10_000, 5).await;
        let coupon = coupon(&shop, json!({ "amount": "1000" }), 1).await;
        let owned = shopper.win(&coupon).await.text("owned_coupon_id");
        let items = json!([{ "product_id": product, "quantity": 1 }, { "product_id": product, "quantity": 2 }]);
        let placed = shopper.order_with(json!({ "items": items, "coupon_id": owned })).send().await.expect(201);
        assert_eq!(placed.body["items"].as_array().unwrap().len(), 1, "lines of one product are added up");
        let order = placed.text("id");
        shopper.pay(&order).send().await.expect(201);
        assert_eq!((shopper.balance().await, shop.available(&product).await), (21_000, 2), "{shop}");

        let refunded = shopper.cancel(&order).send().await.expect(200);
        assert_eq!(refunded.body["status"], "refunded");
        assert_eq!((shopper.balance().await, shop.available(&product).await), (50_000, 5), "{shop}");
        assert_eq!(shopper.all("/me/coupons").await[0]["status"], "available");
        let kinds: Vec<String> =
            shopper.all("/wallet/transactions").await.iter().map(|t| t["kind"].to_string()).collect();
        assert_eq!(kinds, [r#""refund""#, r#""payment""#, r#""charge""#]);
        let payment = shopper.get(&format!("/orders/{order}/payment")).send().await.expect(200);
        assert!(payment.body["refunded_at"].is_string());
        shop.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_not_paid_in_time_expires_and_gives_back() {
    for shop in TestShop::everywhere_with(&[("SHOP__ORDER__EXPIRES_AFTER", "300ms")]).await {
        let shopper = shop.member(50_000).await;
        let product = shop.product(10_000, 3).await;
        let order = shopper.has_ordered(&product, 3).await;
        eventually("the expiry", || async { (shopper.order_status(&order).await == "expired").then_some(()) }).await;
        eventually("the stock", || async { (shop.available(&product).await == 3).then_some(()) }).await;
        let refused = shopper.pay(&order).send().await.expect_problem(409, "order-state");
        assert_eq!(refused.body["order_status"], "expired");
        assert_eq!(shopper.balance().await, 50_000);
        shop.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_that_runs_low_is_ordered_anew_and_received() {
    let shop = TestShop::start().await;
    let body = json!({ "name": "Tea", "price": "100", "stock": 5, "low_stock_threshold": 4 });
    let product = shop.admin().post("/products", body).with_key().send().await.expect(201).text("id");
    shop.member(0).await.has_ordered(&product, 3).await;
    shop.all_events_handled().await;
    let open = shop.admin().all("/admin/purchase-orders?status=open").await;
    assert_eq!((open.len(), &open[0]["product_id"]), (1, &json!(product)));
    let at = format!("/admin/purchase-orders/{}/receive", open[0]["id"].as_str().unwrap());
    shop.admin().post(&at, json!({})).with_key().send().await.expect(200);
    shop.admin().post(&at, json!({})).with_key().send().await.expect_problem(409, "state-conflict");
    assert_eq!(shop.available(&product).await, 2 + open[0]["quantity"].as_i64().unwrap(), "seen at once");
    let told = shop.admin().all("/me/notifications").await;
    assert_eq!(told[0]["kind"], "stock-low");
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_holds_no_more_stock_unpaid_than_the_limit_however_many_orders_race() {
    let settings = [("SHOP__ORDER__MAX_UNPAID", "5"), ("SHOP__ORDER__MAX_UNPAID_UNITS", "100")];
    for shop in TestShop::everywhere_with(&settings).await {
        let product = shop.product(10, 1_000).await;
        let (hoarder, buyer) = (shop.member(0).await, shop.member(1_000).await);
        let orders = (0..20).map(|_| hoarder.order(&product, 10).send());
        let answers = futures::future::join_all(orders).await;
        let placed = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(placed, 5, "{shop}");
        assert_eq!(shop.available(&product).await, 950, "{shop}");
        let refused = hoarder.order(&product, 1).send().await.expect_problem(409, "too-many-unpaid");
        assert_eq!((&refused.body["unpaid_orders"], &refused.body["unpaid_units"]), (&json!(5), &json!(50)), "{shop}");

        buyer.order(&product, 101).send().await.expect_problem(409, "too-many-unpaid");
        let order = buyer.has_ordered(&product, 100).await;
        buyer.order(&product, 1).send().await.expect_problem(409, "too-many-unpaid");
        buyer.pay(&order).send().await.expect(201);
        let order = buyer.has_ordered(&product, 1).await;
        buyer.cancel(&order).send().await.expect(200);
        buyer.has_ordered(&product, 100).await;
        shop.finish().await;
    }
}
