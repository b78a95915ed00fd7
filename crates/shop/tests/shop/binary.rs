//! The program `shop` as a process: start, end, and recovery after a kill.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Timelike, Utc};
use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ADMIN, Api, TestMember, all_at_once, eventually, random_key};

/// A shop process with a folder that outlives the process.
pub(crate) struct Binary {
    pub folder: TempDir,
    pub settings: Vec<(String, String)>,
    pub address: SocketAddr,
    child: Option<Child>,
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn command(folder: &Path, settings: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    command.current_dir(folder).env("SHOP__DATA_DIR", folder.join("data")).env("SHOP__LOG__FILTER", "warn");
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    command
}

impl Binary {
    pub(crate) fn new(settings: &[(&str, &str)]) -> Self {
        let address = free_address();
        let mut all = vec![("SHOP__HTTP__ADDRESS".to_owned(), address.to_string())];
        all.push(("SHOP__RATE_LIMIT__ENABLED".into(), "false".into()));
        all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Self { folder: tempfile::tempdir().unwrap(), settings: all, address, child: None }
    }

    /// Starts the process, and waits for nothing.
    pub(crate) fn spawn(&mut self) -> Api {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = command(self.folder.path(), &self.settings);
        self.child = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        Api::at(self.address)
    }

    pub(crate) async fn start(&mut self) -> Api {
        let api = self.spawn();
        self.is_ready(&api).await;
        api
    }

    pub(crate) async fn is_ready(&mut self, api: &Api) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !api.get("//readyz").try_send().await.is_ok_and(|reply| reply.status == 200) {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{ended:?}: {}", self.log());
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends SIGTERM and returns the exit code.
    pub(crate) async fn terminate(&mut self) -> Option<i32> {
        let child = self.child.take().expect("it runs");
        Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().unwrap();
        let mut child = child;
        tokio::task::spawn_blocking(move || child.wait().unwrap().code()).await.unwrap()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        command(self.folder.path(), &self.settings).args(arguments).stdin(Stdio::null()).output().unwrap()
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // it may have ended by itself
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Returns the exit code and the one line of standard error.
pub(crate) fn said(output: &Output) -> (Option<i32>, String) {
    let text = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    assert_eq!(text.lines().count(), 1, "{text}");
    (output.status.code(), text)
}

pub(crate) async fn admin(api: &Api) -> TestMember {
    TestMember::sign_in(api, ADMIN.0, ADMIN.1).await
}

pub(crate) async fn shopper(api: &Api, amount: &str) -> TestMember {
    let email = format!("{}@example.com", random_key());
    let body = json!({ "email": email, "password": "correct-horse-battery", "name": "Kim" });
    api.post("/members", body).send().await.expect(201);
    let member = TestMember::sign_in(api, &email, "correct-horse-battery").await;
    member.post("/wallet/charges", json!({ "amount": amount })).with_key().send().await.expect(201);
    member
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_in_dollars_counts_cents() {
    let dollars = [("SHOP__CURRENCY__CODE", "USD"), ("SHOP__ADMIN__PASSWORD", ADMIN.1)];
    let mut shop = Binary::new(&dollars);
    let api = shop.start().await;
    let (admin, buyer) = (admin(&api).await, shopper(&api, "100.00").await);
    let mug = json!({ "name": "Mug", "price": "19.99", "stock": 10 });
    let product = admin.post("/products", mug).send().await.expect(201).text("id");
    let coupon = json!({ "name": "c", "discount": { "percent": 15 }, "quantity": 1 });
    let coupon = admin.post("/coupons", coupon).send().await.expect(201).text("id");
    let owned = buyer.win(&coupon).await.text("owned_coupon_id");
    let items = json!([{ "product_id": product, "quantity": 3 }]);
    let order = buyer.order_with(json!({ "items": items, "coupon_id": owned })).send().await.expect(201);
    // 15% of 59.97 are 8.9955: rounded down
    assert_eq!(["total", "discount", "payable"].map(|name| order.text(name)), ["59.97", "8.99", "50.98"]);
    buyer.pay(&order.text("id")).send().await.expect(201);
    assert_eq!(buyer.get("/wallet").send().await.text("balance"), "49.02");
    let day = eventually("the settlement", || async {
        let days = admin.get("/admin/settlements").send().await.expect(200).body;
        days["items"].get(0).cloned()
    });
    let day = day.await;
    assert_eq!((&day["gross"], &day["net"]), (&json!("59.97"), &json!("50.98")));
    let finer = buyer.post("/wallet/charges", json!({ "amount": "0.001" })).with_key().send().await;
    assert_eq!(finer.expect_problem(422, "invalid-request").wrong_fields(), ["amount"]);
    assert_eq!(shop.terminate().await, Some(0), "{}", shop.log());

    shop.settings.retain(|(name, _)| !name.starts_with("SHOP__CURRENCY"));
    let (code, line) = said(&shop.run(&["migrate"]));
    assert!(code == Some(2) && line.contains("currency.code"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_days_of_a_shop_are_those_of_its_time_zone() {
    // a zone in which it is another day now than by UTC
    let is_late = Utc::now().hour() >= 11;
    let (zone, hours) = if is_late { ("Pacific/Kiritimati", 14) } else { ("Etc/GMT+12", -12) };
    let mut shop = Binary::new(&[("SHOP__ADMIN__PASSWORD", ADMIN.1)]);
    let api = shop.start().await;
    let (root, buyer) = (admin(&api).await, shopper(&api, "100").await);
    let sold = async |root: &TestMember| {
        let mug = json!({ "name": "Mug", "price": "10", "stock": 1 });
        let product = root.post("/products", mug).send().await.expect(201).text("id");
        let order = buyer.has_ordered(&product, 1).await;
        buyer.pay(&order).send().await.expect(201).text("paid_at").parse::<DateTime<Utc>>().unwrap()
    };
    let days = async |root: &TestMember, path: &str, count: usize| {
        eventually("the figures", async || {
            let days = root.get(path).send().await.expect(200).body;
            let days: Vec<_> =
                days["items"].as_array()?.iter().map(|day| day["date"].as_str().unwrap().to_owned()).collect();
            (days.len() == count).then_some(days)
        })
        .await
    };
    let by_utc = sold(&root).await;
    assert_eq!(days(&root, "/admin/settlements", 1).await, [by_utc.date_naive().to_string()]);
    assert_eq!(shop.terminate().await, Some(0), "{}", shop.log());

    shop.settings.push(("SHOP__SHOP__TIME_ZONE".into(), zone.into()));
    let (code, line) = said(&shop.run(&["migrate"]));
    assert!(code == Some(2) && line.contains("setting shop.time_zone: the database was made with UTC"), "{line}");
    // as an earlier version left it
    forget_time_zone(&shop.folder.path().join("data/shop.db"));
    let api = shop.start().await;
    let root = admin(&api).await;
    let there = (by_utc + TimeDelta::hours(hours)).date_naive().to_string();
    for (group, path) in [("settlement", "/admin/settlements"), ("analytics", "/admin/analytics/sales")] {
        let reset = json!({ "topic": "payment-completed", "to": "earliest" });
        root.post(&format!("/admin/consumers/{group}/reset"), reset).send().await.expect(200);
        let moved = eventually("the rebuild", async || {
            let days = days(&root, path, 1).await;
            (days[0] == there).then_some(())
        });
        moved.await;
    }
    assert_eq!(shop.terminate().await, Some(0), "{}", shop.log());
}

fn forget_time_zone(file: &Path) {
    let mut conn = SqliteConnection::establish(file.to_str().expect("UTF-8")).expect("the file");
    conn.batch_execute("DELETE FROM shop_setting WHERE name = 'time zone'").expect("it is forgotten");
}

/// A requested purchase, with the answers received so far.
#[derive(Default)]
struct Answered {
    order: Option<String>,
    paid: bool,
    coupon_request: Option<String>,
}

async fn purchase(buyer: TestMember, product: String, coupon: String, done: Arc<AtomicUsize>) -> Answered {
    let mut answered = Answered::default();
    if let Ok(asked) = buyer.post(&format!("/coupons/{coupon}/issue-requests"), json!({})).try_send().await
        && asked.status == 202
    {
        answered.coupon_request = Some(asked.text("request_id"));
    }
    let Ok(placed) = buyer.order(&product, 1).try_send().await else { return answered };
    answered.order = Some(placed.expect(201).text("id"));
    let paid = buyer.pay(answered.order.as_deref().unwrap()).try_send().await;
    answered.paid = paid.is_ok_and(|paid| paid.expect(201).status == 201);
    done.fetch_add(usize::from(answered.paid), Ordering::SeqCst);
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_before_a_kill_is_there_after_it() {
    let mut shop = Binary::new(&[("SHOP__ADMIN__PASSWORD", ADMIN.1)]);
    let mut api = shop.start().await;
    let root = admin(&api).await;
    let mug = json!({ "name": "Mug", "price": "10", "stock": 100_000 });
    let product = root.post("/products", mug).send().await.expect(201).text("id");
    let coupon = json!({ "name": "rush", "discount": { "amount": "5" }, "quantity": 5 });
    let coupon = root.post("/coupons", coupon).send().await.expect(201).text("id");
    let mut buyers = Vec::new();
    for _ in 0..12 {
        buyers.push(shopper(&api, "1000000").await);
    }
    let mut answered: Vec<(TestMember, Answered)> = Vec::new();
    for round in 0..4 {
        let done = Arc::new(AtomicUsize::new(0));
        let load = tokio::spawn({
            let (buyers, product, coupon) = (buyers.clone(), product.clone(), coupon.clone());
            let done = done.clone();
            async move {
                let buying = buyers.iter().cycle().take(600).cloned();
                all_at_once(12, buying, move |buyer| {
                    let (product, coupon, done) = (product.clone(), coupon.clone(), done.clone());
                    async move { (buyer.clone(), purchase(buyer, product, coupon, done).await) }
                })
                .await
            }
        });
        eventually("the load", || async { (done.load(Ordering::SeqCst) >= 10 + 7 * round).then_some(()) }).await;
        shop.kill();
        answered.extend(load.await.unwrap());
        api = shop.start().await;
    }
    let root = admin(&api).await;
    let paid = answered.iter().filter(|(_, answered)| answered.paid).count();
    assert!(paid > 20, "the load was too small to tell: {paid}");
    for (buyer, answered) in &answered {
        if let Some(order) = &answered.order {
            let order = buyer.get(&format!("/orders/{order}")).send().await.expect(200);
            assert!(!answered.paid || order.text("status") == "paid", "{}", order.text);
        }
        if let Some(request) = &answered.coupon_request {
            let end = buyer.get(&format!("/issue-requests/{request}?wait=30")).send().await.expect(200);
            assert_ne!(end.text("status"), "pending");
        }
    }
    all_agrees(&root, &buyers, &product, &coupon).await;
    assert_eq!(shop.terminate().await, Some(0), "{}", shop.log());
}

async fn all_agrees(root: &TestMember, buyers: &[TestMember], product: &str, coupon: &str) {
    eventually("every group to have handled everything", || async {
        let consumers = root.get("/admin/consumers").send().await.expect(200).body;
        consumers["items"].as_array().unwrap().iter().all(|item| item["lag"] == 0).then_some(())
    })
    .await;
    assert!(root.all("/admin/dead-letters").await.is_empty());
    let orders = root.all("/admin/orders").await;
    let (paid, pending): (Vec<&Value>, Vec<&Value>) = orders.iter().partition(|order| order["status"] == "paid");
    assert!(pending.iter().all(|order| order["status"] == "pending"));
    let stock = root.get(&format!("/products/{product}")).send().await.expect(200).body;
    assert_eq!(stock["available"], 100_000 - orders.len() as i64);
    for buyer in buyers {
        let transactions = buyer.all("/wallet/transactions").await;
        let sum: i64 = transactions
            .iter()
            .map(|entry| {
                let amount: i64 = entry["amount"].as_str().unwrap().parse().unwrap();
                if entry["kind"] == "payment" { -amount } else { amount }
            })
            .sum();
        assert_eq!(buyer.balance().await, sum);
    }
    let settled = root.get("/admin/settlements").send().await.expect(200).body;
    let payments: i64 = settled["items"].as_array().unwrap().iter().filter_map(|day| day["payments"].as_i64()).sum();
    assert_eq!(payments, paid.len() as i64, "each payment is settled once");
    let found = root.get(&format!("/admin/coupons/{coupon}/reconciliation")).send().await.expect(200).body;
    assert_eq!((&found["consistent"], &found["issued"]), (&json!(true), &json!(5)), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_start_is_one_line() {
    let shop = Binary::new(&[]);
    let listener = TcpListener::bind(shop.address).unwrap();
    let (code, line) = said(&shop.run(&[]));
    assert!(code == Some(2) && line.contains("http.address"), "{line}");
    drop(listener);
    let (code, line) = said(&shop.run(&["--wrong"]));
    assert!(code == Some(2) && line.contains("--wrong"), "{line}");
    let mut bad = Binary::new(&[("SHOP__ORDER__EXPIRES_AFTER", "soon")]);
    let (code, line) = said(&bad.run(&["check-config"]));
    assert!(code == Some(2) && line.contains("order.expires_after"), "{line}");
    bad.settings.push(("SHOP__ORDER__EXPIRES_AFTER".into(), "5m".into()));
    let good = bad.run(&["check-config"]);
    assert_eq!((good.status.code(), &*good.stdout), (Some(0), &b"the settings are good\n"[..]));
    bad.settings.push(("SHOP__NO__SUCH".into(), "1".into()));
    let (code, line) = said(&bad.run(&[]));
    assert!(code == Some(2) && line.contains("no"), "{line}");
    shop.run(&["--help"]).status.success().then_some(()).expect("help is no error");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_admin_is_made_once_and_its_password_can_be_made_anew() {
    let mut shop = Binary::new(&[]);
    let api = shop.start().await;
    let printed = shop.log();
    let password = printed.lines().find_map(|line| line.trim().strip_prefix("Password")).expect("it is printed");
    let password = password.split_whitespace().next().unwrap().to_owned();
    assert!(printed.contains(&format!("http://{}/docs/", shop.address)), "{printed}");
    TestMember::sign_in(&api, ADMIN.0, &password).await;
    assert_eq!(shop.terminate().await, Some(0));

    let reset = shop.run(&["reset-admin-password"]);
    let text = String::from_utf8(reset.stdout).unwrap();
    let new = text.trim().rsplit(' ').next().unwrap();
    let api = shop.start().await;
    assert_eq!(shop.log().matches("Password").count(), 1, "shown only once");
    TestMember::sign_in(&api, ADMIN.0, new).await;
    let old = json!({ "email": ADMIN.0, "password": password });
    api.post("/sessions", old).send().await.expect_problem(401, "invalid-credentials");

    let (code, line) = said(&shop.run(&["migrate"]));
    assert!(code == Some(2) && line.contains("in use by another process"), "{line}");
    assert!(line.ends_with("(for several set database.url to postgres://…)"), "{line}");
    shop.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_without_its_kafka_sells_and_says_so() {
    let kafka = [("SHOP__BUS__BACKEND", "kafka"), ("SHOP__BUS__KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")];
    let mut shop = Binary::new(&[("SHOP__ADMIN__PASSWORD", ADMIN.1), kafka[0], kafka[1]]);
    let api = shop.start().await;
    let root = admin(&api).await;
    let mug = json!({ "name": "Mug", "price": "10", "stock": 5 });
    let product = root.post("/products", mug).send().await.expect(201).text("id");
    let buyer = shopper(&api, "100").await;
    let order = buyer.order(&product, 2).send().await.expect(201).text("id");
    buyer.pay(&order).send().await.expect(201);
    eventually("it is told", || async {
        let ready = api.get("//readyz").send().await.expect(200).body;
        let told = ready["degraded"][0].as_str().expect("an item").to_owned();
        (told.starts_with("kafka: 127.0.0.1:1: ") && !told.contains("not asked")).then_some(())
    })
    .await;
    assert_eq!(shop.terminate().await, Some(0), "{}", shop.log());
    assert_eq!(shop.log().matches("Kafka is away").count(), 1, "{}", shop.log());

    let status = shop.run(&["bus", "status"]);
    let (code, line) = said(&status);
    assert!(code == Some(1) && line.starts_with("shop: Kafka at 127.0.0.1:1 does not answer: "), "{line}");
    let text = String::from_utf8(status.stdout).unwrap();
    assert!(!text.contains("-1") && !text.contains("answer"), "{text}");
    let of_payments = |text: &str| {
        let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        rows.filter(|row| row.starts_with("payment-completed ")).collect::<Vec<_>>()
    };
    let rows = of_payments(&text);
    assert_eq!(rows.len(), 4, "{text}");
    assert!(rows.iter().any(|row| row.ends_with(" kafka kafka 0 - 1")), "{text}");
    assert!(rows.iter().any(|row| row.ends_with(" kafka kafka - - 0")), "{text}");

    shop.settings.retain(|(name, _)| !name.starts_with("SHOP__BUS"));
    let text = String::from_utf8(shop.run(&["bus", "status"]).stdout).unwrap();
    assert!(of_payments(&text).iter().any(|row| row.ends_with(" in-process kafka 0 - 1")), "{text}");
    let api = shop.start().await;
    eventually("what had waited is handled", || async {
        let days = admin(&api).await.get("/admin/settlements").send().await.expect(200).body;
        (days["items"][0]["payments"] == 1).then_some(())
    })
    .await;
    assert_eq!(api.get("//readyz").send().await.expect(200).body, json!({ "status": "ready" }));
    assert_eq!(shop.terminate().await, Some(0), "{}", shop.log());
    let status = shop.run(&["bus", "status"]);
    assert_eq!(status.status.code(), Some(0), "nothing needs Kafka any more: {status:?}");
    let text = String::from_utf8(status.stdout).unwrap();
    assert!(of_payments(&text).iter().any(|row| row.ends_with(" in-process in-process 0 - -")), "{text}");
}

/// An operator gave a topic other settings; Kafka refuses an event for its size.
#[tokio::test(flavor = "multi_thread")]
async fn what_kafka_refuses_is_shown_and_sent_again() {
    const TOPIC: &str = "payment-completed";
    let Some(place) = testkit::places().await.into_iter().next().and_then(testkit::on_kafka) else { return };
    let kafka = testkit::cluster_of(&place);
    let on_kafka = async || {
        let mut records = 0;
        for partition in 0..4 {
            records += kafka.records(TOPIC, partition).await.unwrap().len();
        }
        records
    };
    let mut settings = vec![("SHOP__ADMIN__PASSWORD", ADMIN.1)];
    settings.extend(place.bus.iter().map(|(name, value)| (*name, value.as_str())));
    let mut shop = Binary::new(&settings);
    let api = shop.start().await;
    eventually("the topic is there", || async { kafka.records(TOPIC, 0).await.ok().map(drop) }).await;
    kafka.limit_messages(TOPIC, 100).await.unwrap();
    let mug = json!({ "name": "Mug", "price": "10", "stock": 5 });
    let product = admin(&api).await.post("/products", mug).send().await.expect(201).text("id");
    let buyer = shopper(&api, "100").await;
    let order = buyer.order(&product, 2).send().await.expect(201).text("id");
    buyer.pay(&order).send().await.expect(201);
    let refused = async |api: &Api| admin(api).await.all("/admin/dead-letters?group=relay").await;
    eventually("it is set aside", || async { (refused(&api).await.len() == 1).then_some(()) }).await;
    let letter = refused(&api).await.remove(0);
    assert_eq!((&letter["topic"], letter["error"].as_str().unwrap().contains("large")), (&json!(TOPIC), true));
    eventually("it is handled all the same", || async {
        let days = admin(&api).await.get("/admin/settlements").send().await.expect(200).body;
        (days["items"][0]["payments"] == 1).then_some(())
    })
    .await;
    assert_eq!(on_kafka().await, 0);
    assert_eq!(shop.terminate().await, Some(0), "{}", shop.log());
    assert_eq!(shop.log().matches("ALARM").count(), 0, "{}", shop.log());

    let text = String::from_utf8(shop.run(&["bus", "status"]).stdout).unwrap();
    assert!(text.contains("Kafka refused events, which are set aside:\n"), "{text}");
    let line = format!("(dead letter {})\n", letter["id"].as_str().unwrap());
    assert!(text.contains(&line), "{text}");
    let difference = format!("{} has max.message.bytes 100, and should have ", kafka.named(TOPIC));
    assert!(text.contains(&difference), "{text}");
    let api = shop.start().await;
    eventually("readiness tells it", || async {
        let ready = api.get("//readyz").send().await.expect(200).body;
        ready["degraded"].as_array()?.iter().any(|item| item.as_str().unwrap().contains(&difference)).then_some(())
    })
    .await;

    let good = [("cleanup.policy", "delete"), ("message.timestamp.type", "LogAppendTime")];
    kafka.set_topic(TOPIC, &good).await.unwrap();
    let replay = json!({ "group": "relay" });
    admin(&api).await.post("/admin/dead-letters/replay", replay).send().await.expect(202);
    eventually("it is on Kafka", || async { (on_kafka().await == 1).then_some(()) }).await;
    eventually("nothing is set aside", || async { refused(&api).await.is_empty().then_some(()) }).await;
    assert_eq!(shop.terminate().await, Some(0), "{}", shop.log());
    let text = String::from_utf8(shop.run(&["bus", "status"]).stdout).unwrap();
    assert!(!text.contains("refused") && text.contains("its topics are as the settings have them\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_shop_goes_on() {
    let Some(place) = testkit::places().await.into_iter().next().and_then(testkit::on_kafka) else { return };
    let mut settings = vec![("SHOP__ADMIN__PASSWORD", ADMIN.1)];
    settings.extend(place.bus.iter().map(|(name, value)| (*name, value.as_str())));
    let mut shop = Binary::new(&settings);
    let file = |shop: &Binary, name: &str| shop.folder.path().join("data").join(name);
    let buys = async |api: &Api, times: usize| {
        let root = admin(api).await;
        let mug = json!({ "name": "Mug", "price": "10", "stock": 100 });
        let product = root.post("/products", mug).send().await.expect(201).text("id");
        let buyer = shopper(api, "1000").await;
        for _ in 0..times {
            let order = buyer.has_ordered(&product, 1).await;
            buyer.pay(&order).send().await.expect(201);
        }
    };
    let settled = async |api: &Api, count: i64| {
        eventually("the payments are settled", async || {
            let days = admin(api).await.get("/admin/settlements").send().await.expect(200).body;
            (days["items"][0]["payments"] == count).then_some(())
        })
        .await;
    };
    let api = shop.start().await;
    buys(&api, 3).await;
    settled(&api, 3).await;
    assert_eq!(shop.terminate().await, Some(0), "{}", shop.log());
    std::fs::copy(file(&shop, "shop.db"), file(&shop, "backup.db")).unwrap();
    let api = shop.start().await;
    buys(&api, 5).await;
    settled(&api, 8).await;
    assert_eq!(shop.terminate().await, Some(0), "{}", shop.log());

    std::fs::copy(file(&shop, "backup.db"), file(&shop, "shop.db")).unwrap();
    let api = shop.start().await;
    buys(&api, 4).await;
    settled(&api, 7).await; // what Kafka has from the lost time changes nothing
    eventually("orphans are named", async || shop.log().contains("orphan dropped").then_some(())).await;
    assert_eq!(shop.terminate().await, Some(0), "{}", shop.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn products_are_imported_all_or_none() {
    let mut shop = Binary::new(&[("SHOP__ADMIN__PASSWORD", ADMIN.1)]);
    let rows: String = (0..1_200).map(|nth| format!("Product {nth},{},5\n", 100 + nth)).collect();
    let file = shop.folder.path().join("products.csv");
    std::fs::write(&file, format!("name,price,stock\n{rows}Bad,-1,5\n")).unwrap();
    let (code, line) = said(&shop.run(&["import-products", "products.csv"]));
    assert!(code == Some(1) && line.contains("line 1202: price"), "{line}");
    std::fs::write(&file, format!("name,price,stock\n{rows}")).unwrap();
    let good = shop.run(&["import-products", "products.csv"]);
    assert_eq!(String::from_utf8_lossy(&good.stdout), "1200 products were imported\n");
    let (code, line) = said(&shop.run(&["import-products", "products.csv"]));
    let twice = "line 2: a product of this name is in the catalogue already";
    assert!(code == Some(1) && line.contains(twice) && line.contains("and 1180 more bad rows"), "{line}");
    let api = shop.start().await;
    assert_eq!(api.all("/products").await.len(), 1_200);
    assert_eq!(shop.terminate().await, Some(0));
}
