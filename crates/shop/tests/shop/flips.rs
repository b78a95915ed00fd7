//! The bus is flipped with work in flight: topic by topic to Kafka, and back.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{TestMember, TestShop, all_at_once};

const BACKEND: &str = "SHOP__BUS__BACKEND";
const PAYMENTS: &str = "SHOP__BUS__TOPICS__PAYMENT_COMPLETED";
const COUPONS: [&str; 2] = ["SHOP__BUS__TOPICS__COUPON_ISSUE_REQUESTED", "SHOP__BUS__TOPICS__COUPON_ISSUED"];

/// Purchases of each stage, one for each buyer.
const PURCHASES: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn a_flip_with_work_in_flight_loses_and_repeats_nothing() {
    let stages: [&[(&str, &str)]; 7] = [
        &[(BACKEND, "in-process")],
        &[(BACKEND, "in-process"), (PAYMENTS, "kafka")],
        &[(BACKEND, "in-process"), (PAYMENTS, "kafka"), (COUPONS[0], "kafka"), (COUPONS[1], "kafka")],
        &[(BACKEND, "kafka")],
        &[(BACKEND, "kafka"), (PAYMENTS, "in-process")],
        &[(BACKEND, "in-process")],
        &[(BACKEND, "kafka")],
    ];
    for place in testkit::combinations().await.into_iter().filter(|place| !place.bus.is_empty()) {
        let mut shop = TestShop::open(place, stages[0], vec![]).await;
        let product = shop.product(1000, 1_000_000).await;
        let members = shop.members(PURCHASES, 1_000_000).await;
        for (number, stage) in stages.iter().enumerate() {
            if number > 0 {
                // every other time killed in the middle of it
                shop.restart(number % 2 == 0, stage).await;
            }
            work(&shop, &members, &product).await;
        }
        shop.all_events_handled().await;
        happened_once(&shop, &members, stages.len()).await;
        shop.finish().await;
    }
}

/// Lets each member buy once and request a coupon, without waiting for the handling.
async fn work(shop: &TestShop, members: &[TestMember], product: &str) {
    let discount = json!({ "amount": "100" });
    let body = json!({ "name": "stage", "discount": discount, "quantity": PURCHASES - 2 });
    let coupon = shop.admin().post("/coupons", body).with_key().send().await.expect(201).text("id");
    all_at_once(4, members.to_vec(), move |member| {
        let (product, coupon) = (product.to_owned(), coupon.clone());
        async move {
            let order = member.has_ordered(&product, 1).await;
            member.pay(&order).send().await.expect(201);
            member.ask_for(&coupon).await;
        }
    })
    .await;
}

/// Checks the work of every group, after one purchase of each member for each stage.
async fn happened_once(shop: &TestShop, members: &[TestMember], stages: usize) {
    let all = stages * PURCHASES;
    let mut coupons = 0;
    for member in members {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for notice in member.all("/me/notifications").await {
            *kinds.entry(notice["kind"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        assert_eq!(kinds.get("payment-completed"), Some(&stages), "{shop}: {kinds:?}");
        coupons += kinds.get("coupon-issued").copied().unwrap_or_default();
    }
    assert_eq!(coupons, stages * (PURCHASES - 2), "{shop}: told of coupons");
    let settled = shop.admin().get("/admin/settlements").send().await.expect(200).body;
    let of = |items: &Value, what: &str| -> i64 {
        items["items"].as_array().unwrap().iter().map(|item| item[what].as_i64().unwrap()).sum()
    };
    assert_eq!(of(&settled, "payments"), all as i64, "{shop}: settled");
    assert_eq!(shop.admin().all("/admin/deliveries").await.len(), all, "{shop}: delivered");
    let popular = shop.api().get("/products/popular").send().await.expect(200).body;
    assert_eq!(of(&popular, "sold"), all as i64, "{shop}: popular");
    let mut exported = BTreeMap::new();
    count_lines(&shop.data_dir().join("exports"), &mut exported);
    assert_eq!(exported.len(), 2 * all, "{shop}: exported orders and payments");
    assert!(exported.values().all(|count| *count == 1), "{shop}: exported twice");
}

fn count_lines(folder: &Path, lines: &mut BTreeMap<String, usize>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            count_lines(&path, lines);
        } else {
            for line in std::fs::read_to_string(&path).unwrap().lines() {
                let event: Value = serde_json::from_str(line).unwrap();
                *lines.entry(event["id"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
    }
}
