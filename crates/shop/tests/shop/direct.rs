//! Requests for coupons that go straight to Kafka.

use serde_json::json;
use testkit::on_kafka;

use crate::binary::{Binary, admin, said, shopper};
use crate::support::{ADMIN, TestMember, TestShop, eventually};

const IN_PROCESS: (&str, &str) = ("SHOP__BUS__BACKEND", "in-process");

/// With a Kafka, on PostgreSQL, for on SQLite the issuer can't run elsewhere.
async fn shops_without_issuer(more: &[(&str, &str)]) -> Vec<(Binary, testkit::Place)> {
    let mut shops = Vec::new();
    for place in
        testkit::places().await.into_iter().filter_map(on_kafka).filter(|place| place.name != "SQLite and Kafka")
    {
        let url = place.url.clone();
        let mut settings = vec![
            ("SHOP__DATABASE__URL", url.as_str()),
            ("SHOP__ADMIN__PASSWORD", ADMIN.1),
            ("SHOP__HOST__CONSUMERS", "false"),
        ];
        settings.extend(place.bus.iter().map(|(name, value)| (*name, value.as_str())));
        settings.extend(more);
        shops.push((Binary::new(&settings), place));
    }
    shops
}

async fn new_coupon(root: &TestMember, quantity: usize) -> String {
    let coupon = json!({ "name": "first come", "discount": { "amount": "1" }, "quantity": quantity });
    root.post("/coupons", coupon).send().await.expect(201).text("id")
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_outlive_the_shop_that_took_them_and_are_drained_before_kafka_goes() {
    for (mut shop, place) in shops_without_issuer(&[]).await {
        let api = shop.start().await;
        let root = admin(&api).await;
        let coupon = new_coupon(&root, 3).await;
        let mut asked = Vec::new();
        for _ in 0..5 {
            let member = shopper(&api, "1").await;
            let request = member.ask_for(&coupon).await.expect(202).text("request_id");
            asked.push((member, request));
        }
        let lag = async |root: &TestMember| -> i64 {
            let items = root.get("/admin/consumers").send().await.expect(200).body;
            let of_issuer = items["items"].as_array().unwrap().iter().filter(|item| item["group"] == "coupon-issuer");
            of_issuer.map(|item| item["lag"].as_i64().unwrap()).sum()
        };
        shop.kill();

        // without Kafka they would be forgotten
        let kafka: Vec<_> = shop.settings.extract_if(.., |(name, _)| name.starts_with("SHOP__BUS")).collect();
        let (code, line) = said(&shop.run(&[]));
        assert!(code == Some(2) && line.contains("bus.kafka.bootstrap_servers"), "{}: {line}", place.name);

        shop.settings.extend(kafka.clone());
        let drained = shop.run(&["drain"]);
        assert_eq!(drained.status.code(), Some(0), "{}: {drained:?}", place.name);
        let told = String::from_utf8(shop.run(&["bus", "status"]).stdout).unwrap();
        assert!(told.contains("is closed (shop drain); 0 of its events wait"), "{}: {told}", place.name);

        shop.settings.retain(|(name, _)| !name.starts_with("SHOP__BUS") && name != "SHOP__HOST__CONSUMERS");
        shop.settings.push((IN_PROCESS.0.into(), IN_PROCESS.1.into()));
        let api = shop.start().await;
        for (at, (member, request)) in asked.iter().enumerate() {
            let path = format!("/issue-requests/{request}?wait=10");
            let ended = member.get(&path).send().await.expect(200).text("status");
            assert_eq!(ended, if at < 3 { "issued" } else { "sold_out" }, "{}: in their order", place.name);
        }
        let (root, again) = (admin(&api).await, shopper(&api, "1").await);
        assert_eq!(again.win(&new_coupon(&root, 1).await).await.text("status"), "issued", "{}", place.name);
        assert_eq!(lag(&root).await, 0, "{}", place.name);
        assert_eq!(shop.terminate().await, Some(0), "{}", shop.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_waiting_requests_are_answered_503() {
    for (mut shop, place) in shops_without_issuer(&[("SHOP__COUPON__MAX_WAITING_REQUESTS", "3")]).await {
        let api = shop.start().await;
        let root = admin(&api).await;
        let coupon = new_coupon(&root, 100).await;
        // the group must be known, so that something waits for it
        shop.kill();
        shop.settings.push(("SHOP__HOST__CONSUMERS".into(), "true".into()));
        shop.start().await;
        assert_eq!(shop.terminate().await, Some(0), "{}", shop.log());
        shop.settings.pop();
        let api = shop.start().await;
        let member = shopper(&api, "1").await;
        let busy = eventually("the issuer is too far behind", async || {
            let reply = member.post(&format!("/coupons/{coupon}/issue-requests"), json!({})).send().await;
            let is_busy = reply.status == 503 && reply.body["detail"].as_str().is_some_and(|it| it.contains("waiting"));
            is_busy.then_some(reply)
        })
        .await;
        assert_eq!(busy.expect_problem(503, "unavailable").header("retry-after"), "5", "{}", place.name);
        // all else goes on
        api.get("/products").send().await.expect(200);
        shop.settings.push(("SHOP__HOST__CONSUMERS".into(), "true".into()));
        assert_eq!(shop.terminate().await, Some(0), "{}", shop.log());
        shop.start().await;
        member.ask_for(&coupon).await.expect(202);
        assert_eq!(shop.terminate().await, Some(0), "{}", shop.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_on_a_lost_cluster_is_given_up_by_a_command() {
    const GIVE_UP: [&str; 3] = ["bus", "give-up", "coupon-issue-requested"];
    for (mut shop, place) in shops_without_issuer(&[]).await {
        let api = shop.start().await;
        let root = admin(&api).await;
        let coupon = new_coupon(&root, 5).await;
        let early = shopper(&api, "1").await;
        early.ask_for(&coupon).await.expect(202);
        shop.kill();

        let (code, line) = said(&shop.run(&["bus", "give-up", "order-created"]));
        assert!(code == Some(2) && line.contains("never go straight"), "{}: {line}", place.name);
        for more in [None, Some("--yes")] {
            let (code, line) = said(&shop.run(&GIVE_UP.into_iter().chain(more).collect::<Vec<_>>()));
            assert!(code == Some(1) && line.contains("answers") && line.contains("shop drain"), "{line}");
        }

        let servers = "SHOP__BUS__KAFKA__BOOTSTRAP_SERVERS";
        shop.settings.retain(|(name, _)| name != servers);
        shop.settings.push((servers.into(), "127.0.0.1:9".into()));
        let told = shop.run(&GIVE_UP);
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(text.contains("only that knows how many events wait"), "{}: {told:?}", place.name);
        let (code, line) = said(&told);
        assert!(code == Some(2) && line.contains("--yes"), "{}: {line}", place.name);
        let given_up = shop.run(&[GIVE_UP[0], GIVE_UP[1], GIVE_UP[2], "--yes"]);
        assert_eq!(given_up.status.code(), Some(0), "{}: {given_up:?}", place.name);

        // nothing holds its topic back any more
        shop.settings.retain(|(name, _)| !name.starts_with("SHOP__BUS") && name != "SHOP__HOST__CONSUMERS");
        shop.settings.push((IN_PROCESS.0.into(), IN_PROCESS.1.into()));
        let api = shop.start().await;
        let late = shopper(&api, "1").await;
        assert_eq!(late.win(&coupon).await.text("status"), "issued", "{}", place.name);
        assert_eq!(early.win(&coupon).await.text("status"), "issued", "{}: asked again", place.name);
        let again = shop.terminate().await;
        assert_eq!(again, Some(0), "{}", shop.log());
        let nothing = String::from_utf8(shop.run(&GIVE_UP).stdout).unwrap();
        assert!(nothing.contains("nothing of coupon-issue-requested waits"), "{}: {nothing}", place.name);
    }
}

/// Requests through the log and straight to Kafka look alike.
#[tokio::test(flavor = "multi_thread")]
async fn requests_for_coupons_are_seen_as_other_events_are() {
    for shop in TestShop::everywhere().await {
        let coupon = new_coupon(shop.admin(), 3).await;
        let members = shop.members(3, 0).await;
        let mut requests = Vec::new();
        for member in &members {
            requests.push(member.win(&coupon).await.text("request_id"));
        }
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
