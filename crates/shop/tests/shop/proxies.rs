//! Events of services, through event proxies and Kafka into the shop.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use serde_json::{Value, json};
use testkit::Http;

use crate::binary::{Binary, admin, shopper};
use crate::support::{ADMIN, TestProxy, TestShop, eventually, random_key};

const SERVERS: &str = "SHOP__BUS__KAFKA__BOOTSTRAP_SERVERS";
const PREFIX: &str = "SHOP__BUS__KAFKA__PREFIX";

fn event(kind: &str, n: usize) -> Value {
    json!({ "service": "Order", "type": kind, "key": format!("order-{}", n % 5), "id": format!("{kind}-{n}"), "data": { "n": n } })
}

fn events(kind: &str, range: std::ops::Range<usize>) -> Value {
    range.map(|n| event(kind, n)).collect()
}

/// Answers `_bulk` like Elasticsearch: an existing document is not created again.
async fn elasticsearch() -> Http {
    let there = Mutex::new(BTreeSet::new());
    Http::answering(move |request| {
        let lines = request.lines();
        let ids = lines.iter().filter_map(|line| line["create"]["_id"].as_str().map(ToOwned::to_owned));
        let mut there = there.lock();
        let statuses: Vec<u16> = ids.map(|id| if there.insert(id) { 201 } else { 409 }).collect();
        let items: Vec<_> = statuses.iter().map(|status| json!({ "create": { "status": status } })).collect();
        (200, json!({ "errors": statuses.contains(&409), "items": items }).to_string())
    })
    .await
}

async fn splunk() -> Http {
    Http::answering(|_| (200, r#"{"text":"Success","code":0}"#.into())).await
}

/// Returns the documents of one index, in order.
fn documents(elasticsearch: &Http, index: &str) -> Vec<Value> {
    let lines = elasticsearch.got().iter().flat_map(testkit::Request::lines).collect::<Vec<_>>();
    let of_index = lines.chunks(2).filter(|pair| pair[0]["create"]["_index"] == index);
    of_index.map(|pair| pair[1].clone()).collect()
}

/// Returns the events of one topic, in order.
fn collected(splunk: &Http, topic: &str) -> Vec<Value> {
    let lines = splunk.got().iter().flat_map(testkit::Request::lines).collect::<Vec<_>>();
    lines.into_iter().map(|line| line["event"].clone()).filter(|event| event["topic"] == topic).collect()
}

/// Returns the ids given by services, by key and proxy.
fn own_ids(events: &[Value]) -> BTreeMap<(String, String), Vec<u64>> {
    let mut by_key: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for event in events {
        let text = |name: &str| event[name].as_str().expect("a text").to_owned();
        let n = event["data"]["data"]["n"].as_u64().expect("a number");
        by_key.entry((text("key"), text("source"))).or_default().push(n);
    }
    by_key
}

/// Checks that each event came once, and in order for each key and proxy.
fn assert_all(events: &[Value], count: usize) {
    let by_key = own_ids(events);
    assert!(by_key.values().all(|numbers| numbers.is_sorted()), "{by_key:?}");
    let numbers: BTreeSet<u64> = by_key.values().flatten().copied().collect();
    assert_eq!((events.len(), numbers.len()), (count, count), "{by_key:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_services_post_to_proxies_is_exported_to_elasticsearch_and_splunk() {
    let Some(place) = testkit::kafka_place() else { return };
    let (servers, prefix) = &place;
    let (failed, late) = (format!("{prefix}Order.failed"), format!("{prefix}Order.late"));
    let proxies = [TestProxy::start(&place, "a").await, TestProxy::start(&place, "b").await];
    proxies[0].post(&events("failed", 0..30)).await;
    let (elasticsearch, splunk) = (elasticsearch().await, splunk().await);
    let by_prefix = [
        (SERVERS, servers.as_str()),
        (PREFIX, &format!("{prefix}one-")),
        ("SHOP__EXPORT__SINK", "elasticsearch"),
        ("SHOP__EXPORT__ELASTICSEARCH__URL", &elasticsearch.url()),
        ("SHOP__EXPORT__PROXY_PREFIX", &format!("{prefix}Order.")),
    ];
    let by_name = [
        (SERVERS, servers.as_str()),
        (PREFIX, &format!("{prefix}two-")),
        ("SHOP__EXPORT__SINK", "splunk"),
        ("SHOP__EXPORT__SPLUNK__URL", &splunk.url()),
        ("SHOP__EXPORT__SPLUNK__TOKEN", "hush"),
        ("SHOP__EXPORT__PROXY_TOPICS", &failed),
    ];
    let shops = [TestShop::start_with(&by_prefix, vec![]).await, TestShop::start_with(&by_name, vec![]).await];
    // one goes to a proxy again, as when its answer was lost, and the same to the other one
    proxies[1].post(&events("failed", 30..60)).await;
    proxies[0].post(&events("failed", 29..30)).await;
    proxies[1].post(&events("failed", 0..3)).await;
    // of a topic that is made while all run
    proxies[1].post(&events("late", 0..10)).await;
    let index = |topic: &str| format!("jangteo-{}", topic.to_lowercase());
    eventually("Elasticsearch has them", async || {
        let there = (documents(&elasticsearch, &index(&failed)).len(), documents(&elasticsearch, &index(&late)).len());
        (there == (60, 10)).then_some(())
    })
    .await;
    eventually("Splunk has them", async || (collected(&splunk, &failed).len() == 60).then_some(())).await;
    for shop in shops {
        let consumers = shop.admin().get("/admin/consumers").send().await.expect(200).body;
        let lags = consumers["items"].as_array().unwrap();
        let foreign: Vec<_> = lags.iter().filter(|lag| lag["topic"] == *failed).collect();
        assert_eq!(foreign.len(), 3, "{lags:?}");
        shop.finish().await;
    }
    assert_all(&documents(&elasticsearch, &index(&failed)), 60);
    assert_all(&documents(&elasticsearch, &index(&late)), 10);
    assert_all(&collected(&splunk, &failed), 60);
    assert_eq!(collected(&splunk, &late), Vec::<Value>::new());
    for proxy in proxies {
        proxy.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_fails_becomes_an_incident_of_which_the_admins_are_told() {
    let Some(place) = testkit::kafka_place() else { return };
    let (servers, prefix) = &place;
    let proxy = TestProxy::start(&place, "a").await;
    let mut shop = Binary::new(&[
        ("SHOP__ADMIN__PASSWORD", ADMIN.1),
        (SERVERS, servers),
        (PREFIX, &format!("{prefix}shop-")),
        ("SHOP__INCIDENT__TOPIC", &format!("{prefix}order.payment-failed")),
        // nobody is at the first address
        ("SHOP__EVENT_PROXY__URL", &format!("http://127.0.0.1:1,{}", proxy.url())),
    ]);
    let api = shop.start().await;
    let (root, buyer) = (admin(&api).await, shopper(&api, "100").await);
    let mug = json!({ "name": "Mug", "price": "500", "stock": 10 });
    let product = root.post("/products", mug).with_key().send().await.expect(201).text("id");
    let order = buyer.order(&product, 1).send().await.expect(201).text("id");
    let pay = |order: &str, key: &str| buyer.post(&format!("/orders/{order}/payment"), json!({})).key(key);
    // the second answer is the first again, and of an order that is not there there is nothing to report
    let key = random_key();
    for _ in 0..2 {
        pay(&order, &key).send().await.expect_problem(402, "insufficient-balance");
    }
    pay(&random_key(), &random_key()).send().await.expect_problem(404, "not-found");
    let told = eventually("the admin is told", async || {
        let told = root.all("/me/notifications").await;
        (!told.is_empty()).then_some(told)
    });
    let (told, incidents) = (told.await, root.all("/admin/incidents").await);
    let why = "the balance is 100, 500 is needed";
    let text = format!("Incident: order.payment-failed of {order}: {why}.");
    assert_eq!((told.len(), &told[0]["kind"], &told[0]["text"]), (1, &json!("incident-opened"), &json!(text)));
    let incident = &incidents[0];
    assert_eq!((incidents.len(), &incident["type"]), (1, &json!("order.payment-failed")));
    assert_eq!((&incident["key"], &incident["reason"]), (&json!(order), &json!(why)));
    assert_eq!(incident["event"]["level"], "error", "{incident}");

    // what is reported at the end of a process is not lost
    pay(&order, &random_key()).send().await.expect_problem(402, "insufficient-balance");
    assert_eq!(shop.terminate().await, Some(0), "{}", shop.log());
    let api = shop.start().await;
    let root = admin(&api).await;
    let both = eventually("two incidents", async || {
        let incidents = root.all("/admin/incidents").await;
        (incidents.len() == 2).then_some(incidents)
    });
    assert!(both.await.iter().all(|incident| incident["key"] == *order));
    eventually("both are told", async || (root.all("/me/notifications").await.len() == 2).then_some(())).await;
    assert_eq!(shop.terminate().await, Some(0), "{}", shop.log());
    proxy.stop().await;
}
