//! Failing events are parked by key, and handled in order after the repair; a rebuilt projection is unchanged.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use contracts::topics;
use db::Tx;
use messaging::{Event, Group, Handler, HandlerError, Replay, Start, TransactionalHandler};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::support::{TestShop, eventually};

/// Fails for the chosen order, and records handled events.
#[derive(Default)]
struct Moody {
    mended: AtomicBool,
    hated: Mutex<Option<String>>,
    handled: Mutex<HashMap<String, Vec<i64>>>,
}

struct Handle(Arc<Moody>);

impl TransactionalHandler for Handle {
    fn handle(&self, tx: &mut Tx<'_>, events: &[Event]) -> Result<(), HandlerError> {
        let hated = self.0.hated.lock().clone();
        if let Some(event) = events.iter().find(|event| Some(&event.key) == hated.as_ref())
            && !self.0.mended.load(Ordering::SeqCst)
        {
            return Err(HandlerError::Failed(format!("not {}", event.key)));
        }
        let (events, moody) = (events.to_vec(), self.0.clone());
        tx.after_commit(move || {
            let mut handled = moody.handled.lock();
            for event in events {
                handled.entry(event.key).or_default().push(event.position);
            }
        });
        Ok(())
    }
}

fn group(moody: &Arc<Moody>) -> Group {
    Group {
        name: "moody",
        topics: vec![topics::STOCK_DEDUCTED],
        replay: Replay::Once("it is a test"),
        start: Start::Floor,
        handler: Handler::Transactional(Arc::new(Handle(moody.clone()))),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_failing_key_are_parked_and_replayed_in_order() {
    let moody = Arc::new(Moody::default());
    let shop = TestShop::start_with(&[], vec![group(&moody)]).await;
    let (bad, good) = (shop.product(1, 100).await, shop.product(1, 100).await);
    *moody.hated.lock() = Some(bad.clone());
    let buyer = shop.member(0).await;
    for _ in 0..5 {
        buyer.has_ordered(&bad, 1).await;
        buyer.has_ordered(&good, 1).await;
    }
    shop.no_lag().await;
    let handled = |key: &str| moody.handled.lock().get(key).cloned().unwrap_or_default();
    assert_eq!((handled(&bad).len(), handled(&good).len()), (0, 5), "the others go on");

    let dead = shop.admin().all("/admin/dead-letters?group=moody").await;
    assert_eq!((dead.len(), &dead[0]["key"], &dead[0]["error"]), (1, &json!(bad), &json!(format!("not {bad}"))));
    let at = format!("/admin/dead-letters/{}", dead[0]["id"].as_str().unwrap());
    let letter = shop.admin().get(&at).send().await.expect(200).body;
    assert_eq!((&letter["parked"], &letter["status"]), (&json!(4), &json!("dead")));
    let statuses = statuses(&shop, &bad).await;
    assert_eq!(statuses, ["dead", "parked", "parked", "parked", "parked"]);

    moody.mended.store(true, Ordering::SeqCst);
    let asked = shop.admin().post(&format!("{at}/replay"), json!({})).send().await.expect(202);
    assert_eq!(asked.header("location"), format!("/api/v1{at}"));
    eventually("the replay", || async { (handled(&bad).len() == 5).then_some(()) }).await;
    let positions = handled(&bad);
    assert!(positions.is_sorted(), "{positions:?}");
    shop.admin().post(&format!("{at}/replay"), json!({})).send().await.expect_problem(404, "not-found");
    assert_eq!(self::statuses(&shop, &bad).await, ["handled"; 5]);
    shop.finish().await;
}

/// Returns the statuses in the group `moody`, by position.
async fn statuses(shop: &TestShop, key: &str) -> Vec<String> {
    let mut events = shop.admin().all(&format!("/admin/events?topic=stock-deducted&key={key}")).await;
    events.sort_by_key(|event| event["position"].as_i64());
    let mut statuses = Vec::new();
    for event in events {
        let id = event["event"]["id"].as_str().unwrap();
        let view = shop.admin().get(&format!("/admin/events/{id}")).send().await.expect(200).body;
        let groups = view["groups"].as_array().unwrap();
        let moody = groups.iter().find(|group| group["group"] == "moody").unwrap();
        statuses.push(moody["status"].as_str().unwrap().to_owned());
    }
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_that_are_rebuilt_come_out_the_same() {
    for shop in TestShop::everywhere().await {
        let buyer = shop.member(1_000_000).await;
        let product = shop.product(1_234, 100).await;
        for nth in 0..6 {
            let order = buyer.has_ordered(&product, 1 + nth).await;
            buyer.pay(&order).send().await.expect(201);
            if nth % 2 == 0 {
                buyer.cancel(&order).send().await.expect(200);
            }
        }
        shop.all_events_handled().await;
        let before = figures(&shop).await;
        let reset =
            |group: &str, body: Value| shop.admin().post(&format!("/admin/consumers/{group}/reset"), body).send();
        for (group, topic) in [("settlement", "payment-completed"), ("analytics", "order-created")] {
            let at = reset(group, json!({ "topic": topic, "to": "earliest" })).await.expect(200).body;
            assert_eq!(at["items"][0]["group"], group);
        }
        shop.all_events_handled().await;
        assert_eq!(figures(&shop).await, before, "{shop}");

        let to = |to: Value| json!({ "topic": "order-created", "to": to });
        reset("delivery", to(json!("earliest"))).await.expect_problem(409, "reset-refused");
        reset("nobody", to(json!("earliest"))).await.expect_problem(404, "not-found");
        reset("analytics", to(json!({ "position": 1 }))).await.expect_problem(422, "invalid-request");
        let now = chrono::Utc::now();
        reset("analytics", json!({ "topic": "coupon-used", "to": { "timestamp": now } })).await.expect(422);
        reset("data-platform", to(json!({ "position": 0 }))).await.expect(200);
        for wrong in [json!("sometime"), json!({ "position": -1 }), json!({ "position": "x" }), json!(null)] {
            reset("data-platform", to(wrong)).await.expect_problem(422, "invalid-request");
        }
        shop.finish().await;
    }
}

async fn figures(shop: &TestShop) -> Vec<Value> {
    let mut figures = Vec::new();
    for path in ["/admin/settlements", "/admin/analytics/sales", "/admin/analytics/coupons"] {
        figures.push(shop.admin().get(path).send().await.expect(200).body);
    }
    // the popular products are remembered for a second
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    figures.push(shop.api().get("/products/popular").send().await.expect(200).body["items"].take());
    figures
}
