//! `shop bus partitions`.

use serde_json::json;

use crate::binary::{Binary, admin, said, shopper};
use crate::support::{ADMIN, eventually};

/// Purchases before and after.
const PURCHASES: usize = 24;

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_gains_partitions_by_a_command() {
    for place in testkit::combinations().await {
        let url = place.url.clone();
        let mut settings = vec![("SHOP__DATABASE__URL", url.as_str()), ("SHOP__ADMIN__PASSWORD", ADMIN.1)];
        settings.extend(place.bus.iter().map(|(name, value)| (*name, value.as_str())));
        let mut shop = Binary::new(&settings);
        let mut api = shop.start().await;
        let mug = json!({ "name": "Mug", "price": "1", "stock": 1000 });
        let product = admin(&api).await.post("/products", mug).send().await.expect(201).text("id");
        let buyer = shopper(&api, "1000").await;
        for _ in 0..PURCHASES {
            let order = buyer.has_ordered(&product, 1).await;
            buyer.pay(&order).send().await.expect(201);
        }

        // a file of SQLite belongs to one process
        let is_alone = url.starts_with("sqlite");
        if is_alone {
            assert_eq!(shop.terminate().await, Some(0), "{}", shop.log());
        }
        for (arguments, reason) in [
            (["payment-completed", "3"], "has 4 partitions, and can't have fewer"),
            (["payment-completed", "1001"], "1000 partitions at the most"),
            (["payment-completed", "many"], "many"),
            (["nothing", "8"], "there is no topic nothing"),
        ] {
            let (code, line) = said(&shop.run(&["bus", "partitions", arguments[0], arguments[1]]));
            assert!(code == Some(2) && line.contains(reason), "{}: {line}", place.name);
        }
        for had in [4, 7] {
            let raised = shop.run(&["bus", "partitions", "payment-completed", "7"]);
            let text = String::from_utf8_lossy(&raised.stdout).into_owned();
            let told = format!("payment-completed has 7 partitions in the log, and had {had}");
            assert!(raised.status.success() && text.contains(&told), "{}: {raised:?}", place.name);
            assert_eq!(text.contains("on Kafka"), !place.bus.is_empty(), "{}: {text}", place.name);
        }
        let status = String::from_utf8(shop.run(&["bus", "status"]).stdout).unwrap();
        let rows = status.lines().filter(|line| line.starts_with("payment-completed"));
        assert_eq!(rows.count(), 7, "{}: {status}", place.name);
        assert!(place.bus.is_empty() || status.contains("as the settings have them"), "{}: {status}", place.name);
        if is_alone {
            api = shop.start().await;
        }

        let buyers = [buyer, shopper(&api, "1000").await, shopper(&api, "1000").await];
        for at in 0..PURCHASES {
            let order = buyers[at % buyers.len()].has_ordered(&product, 1).await;
            buyers[at % buyers.len()].pay(&order).send().await.expect(201);
        }
        let root = admin(&api).await;
        eventually("all payments are settled", async || {
            let days = root.get("/admin/settlements").send().await.expect(200).body;
            let payments = days["items"].as_array().unwrap().iter().map(|day| day["payments"].as_i64().unwrap());
            (payments.sum::<i64>() == 2 * PURCHASES as i64).then_some(())
        })
        .await;
        let consumers = root.get("/admin/consumers").send().await.expect(200).body;
        let of_settlement = consumers["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|item| item["group"] == "settlement" && item["topic"] == "payment-completed");
        let (count, new) = of_settlement.fold((0, 0), |(count, new), item| {
            let is_new = item["partition"].as_i64().unwrap() >= 4 && item["position"].as_i64().unwrap() >= 0;
            (count + 1, new + i32::from(is_new))
        });
        assert!(count == 7 && new > 0, "{}: {consumers}", place.name);
        assert_eq!(shop.terminate().await, Some(0), "{}", shop.log());
        assert!(!shop.log().contains("ALARM"), "{}: {}", place.name, shop.log());
    }
}
