//! Export and notification as hosted by the runtime: through crashes and unavailable sinks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use consumers::data_platform::{self, ExportSettings};
use consumers::notification::{self, Hub, NotificationSettings};
use contracts::events::PaymentCompleted;
use contracts::{MemberId, ProductId};
use messaging::admin::{self, DeadLetterQuery};
use messaging::{ConsumerOptions, Consumers, Group, InProcess, emit, follow_log};
use serde_json::{Value, json};
use testkit::TestDatabase;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::given::Purchase;
use super::outside::{Http, Smtp, nowhere};

/// Follows the log until the set is dropped.
fn follower(of: &TestDatabase) -> JoinSet<()> {
    let mut set = JoinSet::new();
    set.spawn(follow_log(of.db.clone(), of.log.clone(), CancellationToken::new()));
    set
}

async fn host(of: &TestDatabase, groups: Vec<Group>) -> Consumers {
    let options = ConsumerOptions { batch: 7, lease: Duration::from_secs(1), ..ConsumerOptions::default() };
    let bus = Arc::new(InProcess::new(of.db.clone(), of.log.clone()));
    Consumers::start(of.db.clone(), of.log.clone(), bus, groups, options).await.expect("started")
}

/// Emits payments of the buyers' orders, a few in each unit; returns the ids in order, by order.
async fn pay(of: &TestDatabase, count: usize, buyers: &[MemberId]) -> BTreeMap<String, Vec<String>> {
    let orders: Vec<Purchase> = buyers
        .iter()
        .map(|buyer| {
            let mut purchase = Purchase::of(ProductId::new(), 1, 19_900);
            purchase.member_id = *buyer;
            purchase
        })
        .collect();
    let mut emitted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for chunk in (0..count).collect::<Vec<_>>().chunks(5) {
        let at = super::given::time("2026-11-22T10:00:00Z");
        let payments = chunk.iter().map(|n| orders[n % orders.len()].paid(at).decode().expect("a payment"));
        let payments: Vec<PaymentCompleted> = payments.collect();
        let keys: Vec<_> = payments.iter().map(|payment| payment.order_id.to_string()).collect();
        let unit =
            of.db.write(move |tx| payments.iter().map(|payment| emit(tx, payment)).collect::<db::Result<Vec<_>>>());
        for (key, id) in keys.into_iter().zip(unit.await.expect("emitted")) {
            emitted.entry(key).or_default().push(id.to_string());
        }
    }
    emitted
}

/// Waits until every group has handled everything.
async fn caught_up(of: &TestDatabase) {
    let begun = Instant::now();
    loop {
        let lag: i64 = {
            let groups = of.db.read(admin::consumers).await.expect("read");
            groups.iter().map(|group| group.lag).sum()
        };
        if lag == 0 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{lag} events wait on {}", of.name);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let dead = of.db.read(|conn| admin::dead_letters(conn, &DeadLetterQuery::default(), 10)).await.expect("read");
    assert!(dead.is_empty(), "{dead:?}");
}

/// Returns the ids by key, in the order of the lines.
fn by_key(lines: impl IntoIterator<Item = Value>) -> BTreeMap<String, Vec<String>> {
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines {
        let text = |name: &str| line[name].as_str().expect("a text").to_owned();
        by_key.entry(text("key")).or_default().push(text("id"));
    }
    by_key
}

fn export(section: Value, of: &TestDatabase, data_dir: &std::path::Path) -> Group {
    let settings: ExportSettings = serde_json::from_value(section).expect("settings");
    data_platform::group(&settings, data_dir, &of.db).expect("a group")
}

fn buyers(count: usize) -> Vec<MemberId> {
    (0..count).map(|_| MemberId::new()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_hold_each_event_once_and_in_order_though_the_exporter_dies() {
    for of in testkit::databases().await {
        let _follower = follower(&of);
        let folder = tempfile::tempdir().expect("a folder");
        let group = || export(json!({"files": {"max_bytes": 4_000}}), &of, folder.path());
        let buyers = buyers(9);
        let mut emitted: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for _ in 0..4 {
            let died = host(&of, vec![group()]).await;
            emitted.extend(pay(&of, 60, &buyers).await);
            died.abort();
        }
        let consumers = host(&of, vec![group()]).await;
        caught_up(&of).await;
        consumers.stop().await;
        let files = std::fs::read_dir(folder.path().join("exports/payment-completed")).expect("a folder");
        let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
        files.sort();
        let texts = files.iter().map(|file| std::fs::read_to_string(file).expect("a file"));
        let lines = texts.flat_map(|text| {
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>()
        });
        assert_eq!(by_key(lines), emitted, "{}", of.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sinks_that_were_down_get_everything_in_order_and_mail_goes_once() {
    for of in testkit::databases().await {
        let _follower = follower(&of);
        let mut buyers = Vec::new();
        for n in 0..6 {
            let new = member::NewMember { email: format!("buyer{n}@example.com"), name: "Buyer".into() };
            let member = of.db.write(move |tx| member::register(tx, &new, "hash")).await;
            buyers.push(member.expect("registered").id);
        }
        let (http, smtp) = (nowhere().await, nowhere().await);
        let settings: NotificationSettings = serde_json::from_value(json!({
            "email": {"host": "127.0.0.1", "port": smtp.port(), "security": "none"},
        }))
        .expect("settings");
        let section = json!({"sink": "http", "http": {"url": format!("http://{http}"), "secret": "hush"}});
        let mut groups = vec![export(section, &of, of.url.as_ref()), notification::group(&Hub::new())];
        groups.extend(notification::channels(&settings, &of.db).expect("channels"));
        let consumers = host(&of, groups).await;
        let emitted = pay(&of, 60, &buyers).await;
        tokio::time::sleep(Duration::from_millis(500)).await;

        let http = Http::at(http, |_| (200, String::new())).await;
        let smtp = Smtp::at(smtp).await;
        caught_up(&of).await;
        consumers.stop().await;
        let bodies = http
            .got()
            .into_iter()
            .flat_map(|request| serde_json::from_slice::<Vec<Value>>(&request.body).expect("JSON"));
        assert_eq!(by_key(bodies), emitted, "{}", of.name);
        assert_eq!(smtp.got().len(), 60);
        for buyer in buyers {
            let last = of.db.read(move |conn| notification::last_number(conn, buyer)).await;
            assert_eq!(last.expect("read"), 10);
        }
    }
}
