//! Products: lists, changes, and reading own writes.

use serde_json::json;

use crate::support::{TestShop, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn lists_go_page_by_page_in_every_order() {
    for shop in TestShop::everywhere().await {
        for (name, price) in [("Mug", 300), ("Cup", 100), ("Pot", 200), ("Pan", 100), ("Tea mug", 50)] {
            let body = json!({ "name": name, "price": price.to_string(), "stock": 1 });
            shop.admin().post("/products", body).send().await.expect(201);
        }
        let names = async |query: &str| {
            let (mut names, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = shop.api().get(&format!("/products?limit=2&{query}{cursor}")).send().await.expect(200).body;
                names.extend(
                    page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()),
                );
                let Some(next) = page["next_cursor"].as_str() else { return names.join(",") };
                cursor = format!("&cursor={next}");
            }
        };
        assert_eq!(names("").await, "Tea mug,Pan,Pot,Cup,Mug", "{shop}");
        assert_eq!(names("sort=name").await, "Cup,Mug,Pan,Pot,Tea mug");
        assert!(["Tea mug,Cup,Pan,Pot,Mug", "Tea mug,Pan,Cup,Pot,Mug"].contains(&&*names("sort=price_asc").await));
        assert!(names("sort=price_desc").await.starts_with("Mug,Pot"));
        assert_eq!(names("q=MUG").await, "Tea mug,Mug");
        let page = shop.api().get("/products?limit=2").send().await.expect(200);
        let of_other = format!("/products?sort=name&cursor={}", page.text("next_cursor"));
        let refused = shop.api().get(&of_other).send().await.expect_problem(400, "invalid-query");
        assert_eq!(refused.wrong_fields(), ["cursor"]);
        shop.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_found_however_it_is_typed_and_its_cursor_is_taken() {
    for shop in TestShop::everywhere().await {
        let decomposed = "\u{1106}\u{1165}\u{1100}\u{1173}\u{110f}\u{1165}\u{11b8}";
        // of a ligature's search form a cursor is longest
        let longest = "\u{fdfa}".repeat(200);
        for name in [decomposed, "ΟΔΟΣ", &"가".repeat(109), &longest, "ﷺ last"] {
            let body = json!({ "name": format!(" {name} "), "price": "1", "stock": 1 });
            shop.admin().post("/products", body).send().await.expect(201);
        }
        let found = async |text: &str| {
            let query = encoded(text);
            let page = shop.api().get(&format!("/products?q={query}")).send().await.expect(200).body;
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["name"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(found("머그").await, ["머그컵"], "{shop}: kept composed");
        assert_eq!(found(&decomposed[..12]).await, ["머그컵"], "{shop}: typed in letters");
        assert_eq!(found("οδος").await, ["ΟΔΟΣ"], "{shop}");
        let mut names = Vec::new();
        let mut next = "/products?sort=name&limit=1".to_owned();
        loop {
            let page = shop.api().get(&next).send().await.expect(200).body;
            names.push(page["items"][0]["name"].as_str().unwrap().chars().count());
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            next = format!("/products?sort=name&limit=1&cursor={cursor}");
        }
        assert_eq!(names.len(), 5, "{shop}: the list goes on behind each name: {names:?}");
        shop.finish().await;
    }
}

fn encoded(text: &str) -> String {
    let mut url = reqwest::Url::parse("http://shop/").expect("a URL");
    url.query_pairs_mut().append_key_only(text);
    url.query().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_changed_a_product_reads_the_change() {
    for shop in TestShop::everywhere_with(&[("SHOP__ORDER__MAX_UNPAID", "100")]).await {
        let (buyer, product) = (shop.member(1_000_000).await, shop.product(100, 1_000).await);
        for left in (970..1_000).rev() {
            assert_eq!(shop.available(&product).await, left + 1);
            let order = buyer.has_ordered(&product, 1).await;
            assert_eq!(shop.available(&product).await, left, "{shop}: right after the order");
            if left % 3 == 0 {
                buyer.cancel(&order).send().await.expect(200);
                assert_eq!(shop.available(&product).await, left + 1, "{shop}: right after the cancellation");
                buyer.has_ordered(&product, 1).await;
            }
        }
        let path = format!("/products/{product}");
        shop.admin().patch(&path, json!({ "price": "250", "name": "Jar" })).send().await.expect(200);
        let read = shop.api().get(&path).send().await.expect(200);
        assert_eq!((read.text("price"), read.text("name")), ("250".into(), "Jar".into()));
        assert_eq!(read.body["on_sale"], true);
        shop.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn popular_products_are_the_best_sellers_that_can_be_bought() {
    for shop in TestShop::everywhere().await {
        let mut products = Vec::new();
        for nth in 1..=18 {
            // the first is sold out
            products.push(shop.product(1, if nth == 1 { 30 } else { 100 }).await);
        }
        let quantities = (0..).map(|nth| 30 - nth);
        let items: Vec<_> =
            products.iter().zip(quantities).map(|(id, n)| json!({ "product_id": id, "quantity": n })).collect();
        let buyer = shop.member(10_000).await;
        let order = buyer.order_with(json!({ "items": items })).send().await.expect(201).text("id");
        buyer.pay(&order).send().await.expect(201);
        let popular = async |expected: &[String]| {
            let what = format!("{shop}: the best of what can be bought");
            eventually(&what, async || {
                let popular = shop.api().get("/products/popular").send().await.expect(200).body;
                let ids: Vec<_> =
                    popular["items"].as_array().unwrap().iter().map(|it| &it["product_id"]).cloned().collect();
                (ids == expected).then_some(())
            })
            .await;
        };
        popular(&products[1..6]).await;
        for product in &products[1..16] {
            let off = json!({ "on_sale": false });
            shop.admin().patch(&format!("/products/{product}"), off).send().await.expect(200);
        }
        popular(&products[16..]).await;
        shop.finish().await;
    }
}
