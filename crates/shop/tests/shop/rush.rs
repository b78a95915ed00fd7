//! A rush for first-come coupons, with all that can break on the way.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use testkit::Place;
use tokio::task::JoinHandle;

use crate::binary::Binary;
use crate::support::{ADMIN, TestMember, TestShop, all_at_once, eventually, random_key};

const TOPIC: &str = "coupon-issue-requested";
const COUPONS: usize = 100;
/// Members who ask before the issuer runs, fewer than there are coupons. On SQLite the shop is the issuer.
const EARLY: usize = 60;

/// Members of the rush. `RUSH_MEMBERS=5000` makes it a large one.
fn members() -> usize {
    std::env::var("RUSH_MEMBERS").ok().and_then(|count| count.parse().ok()).unwrap_or(500)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rush_loses_no_request_whatever_is_killed_and_deleted() {
    for place in testkit::combinations().await {
        rush(place).await;
    }
}

async fn rush(place: Place) {
    let secret = random_key();
    let signing = ("SHOP__AUTH__TOKEN_SECRET", secret.as_str());
    let mut given = TestShop::open(place.clone(), &[signing], vec![]).await;
    let body = json!({ "name": "rush", "discount": { "amount": "1" }, "quantity": COUPONS });
    let coupon = given.admin().post("/coupons", body).send().await.expect(201).text("id");
    let (root, mut early) = (given.admin().clone(), given.members(members(), 0).await);
    let (late, address) = (early.split_off(EARLY), given.address());
    given.stop().await;

    let program = |hosts_consumers: &str| {
        let url = place.url.clone();
        let mut settings = vec![("SHOP__DATABASE__URL", url.as_str()), ("SHOP__ADMIN__PASSWORD", ADMIN.1), signing];
        settings.push(("SHOP__HOST__CONSUMERS", hosts_consumers));
        settings.extend(place.bus.iter().map(|(name, value)| (*name, value.as_str())));
        Binary::new(&settings)
    };
    // a file of SQLite belongs to one process
    let is_alone = place.url.starts_with("sqlite");
    let mut shop = program(if is_alone { "true" } else { "false" });
    shop.address = address;
    shop.settings.push(("SHOP__HTTP__ADDRESS".into(), address.to_string()));
    shop.start().await;
    let (asking, answered) = all_ask(early, &coupon);
    until(&answered, EARLY / 2).await;
    shop.kill();
    shop.start().await;
    let mut asked = asking.await.unwrap();

    // retention overtakes the issuer, which does not run yet on PostgreSQL
    let kafka = place.kafka();
    if let Some(kafka) = &kafka {
        eventually("all requests are relayed", async || (relay_lag(&root).await == 0).then_some(())).await;
        kafka.delete_records(TOPIC).await.unwrap();
    }
    let (asking, answered) = all_ask(late, &coupon);
    let mut issuer = (!is_alone).then(|| program("true"));
    if is_alone {
        shop.kill();
    }
    let decides = issuer.as_mut().unwrap_or(&mut shop);
    decides.start().await;
    until(&answered, members() / 4).await;
    if let Some(kafka) = &kafka {
        kafka.delete_topic(TOPIC).await.unwrap();
    }
    decides.kill();
    decides.start().await;
    asked.extend(asking.await.unwrap());

    let at_once = asked.iter().filter(|(_, request)| request.is_none()).count();
    let requests = asked.into_iter().filter_map(|(member, request)| Some((member, request?)));
    let results = all_at_once(16, requests, |(member, request)| async move {
        let path = format!("/issue-requests/{request}?wait=30");
        let ended = eventually("the request is decided", async || {
            let result = member.get(&path).send().await.expect(200).body;
            (result["status"] != "pending").then_some(result)
        });
        (member.id.clone(), ended.await)
    });
    first_come_first_served(&place, &results.await, at_once);
    let found = root.get(&format!("/admin/coupons/{coupon}/reconciliation")).send().await.expect(200).body;
    assert_eq!((&found["consistent"], &found["issued"]), (&json!(true), &json!(COUPONS)), "{}: {found}", place.name);
    assert!(root.all("/admin/dead-letters").await.is_empty(), "{}", place.name);
    for mut program in issuer.into_iter().chain([shop]) {
        assert_eq!(program.terminate().await, Some(0), "{}: {}", place.name, program.log());
    }
}

/// Each member with the request that was accepted; `None` if the coupon was sold out at once.
type Asked = Vec<(TestMember, Option<String>)>;

/// All ask at once, again as long as the shop is gone. Counts the answers.
fn all_ask(members: Vec<TestMember>, coupon: &str) -> (JoinHandle<Asked>, Arc<AtomicUsize>) {
    let (path, answered) = (format!("/coupons/{coupon}/issue-requests"), Arc::new(AtomicUsize::new(0)));
    let count = answered.clone();
    let all = all_at_once(64, members, move |member| {
        let (path, count) = (path.clone(), count.clone());
        async move {
            let ask = async || {
                let reply = member.post(&path, json!({})).try_send().await.ok().filter(|reply| reply.status != 503)?;
                Some(match reply.status {
                    202 => Some(reply.text("request_id")),
                    _ => {
                        reply.expect_problem(409, "coupon-sold-out");
                        None
                    }
                })
            };
            let request = eventually("the request is answered", ask).await;
            count.fetch_add(1, Ordering::SeqCst);
            (member, request)
        }
    });
    (tokio::spawn(all), answered)
}

async fn until(answered: &AtomicUsize, count: usize) {
    eventually("the rush", async || (answered.load(Ordering::SeqCst) >= count).then_some(())).await;
}

async fn relay_lag(root: &TestMember) -> i64 {
    let consumers = root.get("/admin/consumers").send().await.expect(200).body;
    let of_relay = consumers["items"].as_array().unwrap().iter().filter(|item| item["group"] == "relay");
    of_relay.map(|item| item["lag"].as_i64().unwrap()).sum()
}

/// A member whose answer was lost with the shop has asked twice: the second request tells of the coupon that the first won.
fn first_come_first_served(place: &Place, results: &[(String, Value)], at_once: usize) {
    let (won, lost): (Vec<_>, Vec<_>) = results.iter().partition(|(_, result)| result["owned_coupon_id"].is_string());
    let winners: BTreeSet<&str> = won.iter().map(|(member, _)| member.as_str()).collect();
    assert_eq!((winners.len(), won.len()), (COUPONS, COUPONS), "{}", place.name);
    assert_eq!(won.len() + lost.len() + at_once, members(), "{}", place.name);
    let position = |(_, result): &&(String, Value)| result["position"].as_i64().unwrap();
    let (last, first) = (won.iter().map(position).max(), lost.iter().map(position).min());
    assert!(lost.iter().all(|(_, result)| result["status"] == "sold_out"), "{}: {lost:?}", place.name);
    assert!(first.is_none_or(|first| last < Some(first)), "{}: {last:?} won, and {first:?} did not", place.name);
}
