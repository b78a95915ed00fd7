//! The admin, the audit log, and the shared control database.

use std::future::ready;
use std::os::unix::fs::PermissionsExt;

use actix_web::test::TestRequest;
use db::diesel::{RunQueryDsl, sql_query};
use event_proxy::Proxy;
use event_proxy::settings::Settings;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use program::process::Failure;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use testkit::conformance::until;

use super::support::{PASSWORD, TestProxy, reply};

const KEYS: &str = "/v1/admin/api-keys";
const DATABASE: &str = "EVENT_PROXY__CONTROL__DATABASE_URL";

fn with(request: RequestBuilder, cookie: &str) -> RequestBuilder {
    request.header("cookie", cookie)
}

/// Returns the CSRF token of a session's pages.
fn token(proxy: &TestProxy, cookie: &str) -> String {
    let request = TestRequest::default().insert_header(("cookie", cookie)).to_http_request();
    let session = proxy.proxy.admin.session(&request).unwrap();
    proxy.proxy.admin.csrf_token(&session)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_admin_does_is_in_the_audit_log_and_what_fails_is_not() {
    let mut proxy = TestProxy::start(&[]).await;
    let limits = json!({ "name": "orders", "services": ["order"], "events_per_second": 5 });
    let (id, _) = proxy.key(limits).await;
    proxy.admin(Method::POST, &format!("{KEYS}/{id}/rotate"), None).await.expect(200);
    proxy.admin(Method::DELETE, &format!("{KEYS}/{id}"), None).await.expect(204);
    proxy.admin(Method::DELETE, &format!("{KEYS}/{id}"), None).await.expect_problem(404, "not-found");
    let (mut actions, mut path) = (Vec::new(), "/v1/admin/audit?limit=2".to_owned());
    loop {
        let page = proxy.admin(Method::GET, &path, None).await.expect(200);
        for item in page["items"].as_array().unwrap() {
            assert_eq!((&item["who"], &item["subject"]), (&json!("admin"), &json!(id)));
            assert!(item["at"].is_string());
            actions.push(item["action"].as_str().unwrap().to_owned());
        }
        let Some(cursor) = page["next_cursor"].as_str() else {
            assert_eq!(page["items"][0]["detail"], "orders: order; 5 events/s");
            break;
        };
        path = format!("/v1/admin/audit?limit=2&cursor={cursor}");
    }
    assert_eq!(actions, ["api-key.revoke", "api-key.rotate", "api-key.create"], "the newest first");
    proxy.admin(Method::GET, "/v1/admin/audit?cursor=x", None).await.expect_problem(400, "invalid-query");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_signs_in_by_basic_and_no_page_makes_a_browser_ask() {
    let mut proxy = TestProxy::start(&[]).await;
    let asked = proxy.get(KEYS).await;
    assert!(asked.header("www-authenticate").unwrap().starts_with("Basic "));
    asked.expect_problem(401, "unauthorized");
    for (name, value) in [("accept", "text/html,*/*"), ("x-csrf-token", "x"), ("sec-fetch-mode", "cors")] {
        let asked = reply(proxy.request(Method::GET, KEYS).header(name, value)).await;
        assert!(!asked.header("www-authenticate").unwrap().contains("Basic"), "{name}");
        asked.expect_problem(401, "unauthorized");
    }
    let with_basic = |name: &str| proxy.request(Method::GET, KEYS).basic_auth(name, Some(PASSWORD));
    reply(with_basic("admin")).await.expect(200);
    reply(with_basic("root")).await.expect_problem(401, "unauthorized");
    reply(with_basic("admin").header("sec-fetch-site", "same-origin")).await.expect(200);
    let of_another_site = with_basic("admin").header("sec-fetch-site", "cross-site");
    reply(of_another_site).await.expect_problem(401, "unauthorized");
    let (_, key) = proxy.key(json!({ "name": "orders" })).await;
    reply(proxy.request(Method::GET, KEYS).bearer_auth(key)).await.expect_problem(401, "unauthorized");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_are_told_of_and_never_shut_the_right_one_out() {
    let mut proxy = TestProxy::start(&[]).await;
    let guess =
        async |password: &str| reply(proxy.request(Method::GET, KEYS).basic_auth("admin", Some(password))).await;
    for _ in 0..6 {
        guess("not the password").await.expect_problem(401, "unauthorized");
    }
    assert_eq!(proxy.sign_in("not the password").await.status(), 401, "the pages count as well");
    guess(PASSWORD).await.expect(200);
    assert_eq!(proxy.sign_in(PASSWORD).await.status(), 303);
    let audit = proxy.admin(Method::GET, "/v1/admin/audit", None).await.expect(200);
    let row = |n: usize| ["who", "action", "subject", "detail"].map(|name| audit["items"][n][name].clone());
    assert_eq!(row(0), ["127.0.0.1", "admin.wrong-password", "admin", "4 from this address"]);
    assert_eq!(row(3)[3], "1 from this address");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_of_the_admins_password_wait_in_turns_and_shut_nobody_out() {
    let named = [("EVENT_PROXY__HTTP__TRUST_FORWARDED", "true"), ("EVENT_PROXY__KEYS__REQUIRED", "true")];
    let mut proxy = TestProxy::start(&named).await;
    let sign_in = |password: &'static str, from: &str| {
        let form = proxy.request(Method::POST, "/admin/sign-in").form(&[("password", password)]);
        let sent = form.header("x-forwarded-for", from.to_owned()).send();
        async { sent.await.unwrap() }
    };
    assert_eq!(sign_in(PASSWORD, "10.0.0.1").await.status(), 303);
    // 3 + 5 at once and 5 in the queue
    let mut guesses: FuturesUnordered<_> = (0..30).map(|_| sign_in("not the password", "10.1.0.1")).collect();
    for _ in 0..10 {
        let refused = guesses.by_ref().filter(|answer| ready(answer.status() == 429)).next().await;
        let answer = refused.expect("ten guesses have no room in the queue");
        assert!(answer.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    }
    for from in ["10.0.0.1", "10.2.0.1"] {
        assert_eq!(sign_in(PASSWORD, from).await.status(), 303, "{from}");
    }
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_a_wrong_password_is_its_clients() {
    for (trust, who) in [("true", "192.0.2.7"), ("false", "127.0.0.1")] {
        let named = [("EVENT_PROXY__HTTP__TRUST_FORWARDED", trust), ("EVENT_PROXY__KEYS__REQUIRED", "true")];
        let mut proxy = TestProxy::start(&named).await;
        let wrong = proxy.request(Method::GET, KEYS).basic_auth("admin", Some("not the password"));
        let wrong = wrong.header("x-forwarded-for", "10.9.9.9").header("x-forwarded-for", "192.0.2.7:1234");
        reply(wrong).await.expect_problem(401, "unauthorized");
        let audit = proxy.admin(Method::GET, "/v1/admin/audit", None).await.expect(200);
        assert_eq!(audit["items"][0]["who"], who);
        proxy.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_ended_stays_ended() {
    let mut proxy = TestProxy::start(&[]).await;
    proxy.json(event()).await.expect(202);
    let (ended, other) = (proxy.cookie().await, proxy.cookie().await);
    let csrf = token(&proxy, &ended);
    let tail = with(proxy.request(Method::GET, "/admin/topics/order.paid/tail"), &ended).send().await.unwrap();
    let out = with(proxy.request(Method::POST, "/admin/sign-out"), &ended).form(&[("csrf", &csrf)]);
    assert_eq!(out.send().await.unwrap().status(), 303);
    for _ in 0..2 {
        reply(with(proxy.request(Method::GET, KEYS), &ended)).await.expect_problem(401, "unauthorized");
        let made = with(proxy.request(Method::POST, KEYS), &ended).header("x-csrf-token", &csrf);
        reply(made.json(&json!({ "name": "orders" }))).await.expect_problem(401, "unauthorized");
        let page = with(proxy.request(Method::GET, "/admin/topics"), &ended).send().await.unwrap();
        assert_eq!(page.headers()["location"], "/admin/sign-in?next=%2Fadmin%2Ftopics");
        reply(with(proxy.request(Method::GET, KEYS), &other)).await.expect(200);
        proxy.restart().await;
    }
    proxy.json(event()).await.expect(202);
    let shown = tail.text().await.unwrap_or_default();
    assert_eq!(shown.matches("event: event").count(), 1, "nothing of after the end: {shown}");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_needs_its_token_for_all_that_changes_something() {
    let mut proxy = TestProxy::start(&[]).await;
    let (cookie, other) = (proxy.cookie().await, proxy.cookie().await);
    reply(with(proxy.request(Method::GET, KEYS), &cookie)).await.expect(200);
    reply(with(proxy.request(Method::GET, "/v1/ledger"), &cookie)).await.expect(200);
    let create = || with(proxy.request(Method::POST, KEYS), &cookie).json(&json!({ "name": "orders" }));
    reply(create()).await.expect_problem(403, "wrong-csrf-token");
    reply(create().header("x-csrf-token", "wrong")).await.expect_problem(403, "wrong-csrf-token");
    reply(create().header("x-csrf-token", token(&proxy, &other))).await.expect_problem(403, "wrong-csrf-token");
    assert_eq!(proxy.admin(Method::GET, KEYS, None).await.expect(200), json!({ "items": [] }));
    reply(create().header("x-csrf-token", token(&proxy, &cookie))).await.expect(201);

    proxy.restart().await;
    reply(with(proxy.request(Method::GET, KEYS), &cookie)).await.expect(200);
    proxy.set("EVENT_PROXY__ADMIN__PASSWORD", "another password");
    proxy.restart().await;
    reply(with(proxy.request(Method::GET, KEYS), &cookie)).await.expect_problem(401, "unauthorized");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_made_once_unless_one_is_set() {
    let mut proxy = TestProxy::start(&[("EVENT_PROXY__ADMIN__PASSWORD", "")]).await;
    let made = proxy.proxy.admin.new_password().expect("made at the first start").to_owned();
    let file = proxy.proxy.settings.data_dir.join("admin-password");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let list = |proxy: &TestProxy| proxy.request(Method::GET, KEYS).basic_auth("admin", Some(&made));
    reply(list(&proxy)).await.expect(200);
    proxy.restart().await;
    assert!(proxy.proxy.admin.new_password().is_none(), "it is told once");
    reply(list(&proxy)).await.expect(200);
    proxy.stop().await;
    for (weak, said) in
        [("1234567", "is shorter than 8 characters"), ("Password", "is one of the most common passwords")]
    {
        let refused = Settings::from(None, [("EVENT_PROXY__ADMIN__PASSWORD", weak)]).unwrap_err();
        assert_eq!(refused.to_string(), format!("setting admin.password: {said}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_can_be_in_a_database_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("control.db").display());
    let named = [("EVENT_PROXY__KEYS__REQUIRED", "true"), (DATABASE, url.as_str())];
    let mut first = TestProxy::start(&named).await;
    let (_, key) = first.key(json!({ "name": "orders" })).await;
    first.stop().await;
    let mut second = TestProxy::start(&named).await;
    let post = |proxy: &TestProxy| proxy.post("", "application/json", event().to_string()).bearer_auth(&key);
    reply(post(&second)).await.expect(202);
    second.stop().await;

    let data = folder.path().join("data").to_str().unwrap().to_owned();
    for (bad, may_pass) in [("sqlite:/proc/no/such/folder/control.db", false), ("postgres://127.0.0.1:1/none", true)] {
        let named = [("EVENT_PROXY__DATA_DIR", data.as_str()), (DATABASE, bad)];
        let refused = Proxy::open(Settings::from(None, named).unwrap()).await.err().expect(bad);
        assert!(refused.to_string().starts_with("setting control.database_url: "), "{refused}");
        assert_eq!(matches!(refused, Failure::Failed(_)), may_pass, "a server that is away is no wrong setting");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_used_is_told_by_a_setting_of_the_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("control.db").display());
    let mut first = TestProxy::start(&[(DATABASE, &url)]).await;
    let refused = async |data: &str, more: &[(&str, &str)]| {
        let named = [&[("EVENT_PROXY__DATA_DIR", data)], more].concat();
        let refused = Proxy::open(Settings::from(None, named).unwrap()).await.err().expect("it does not open");
        let refused = refused.to_string();
        assert!(!refused.contains("database.url"), "a setting of the shop: {refused}");
        refused
    };
    let (own, other) = (first.proxy.settings.data_dir.to_str().unwrap().to_owned(), folder.path().join("other"));
    let in_use = refused(&own, &[]).await;
    assert!(in_use.starts_with("setting data_dir: ") && in_use.ends_with("SQLite means one process"), "{in_use}");
    let in_use = refused(other.to_str().unwrap(), &[(DATABASE, &url)]).await;
    assert!(in_use.starts_with("setting control.database_url: "), "{in_use}");
    assert!(in_use.ends_with("(for several set control.database_url to postgres://…)"), "{in_use}");

    let without_topics = async |proxy: &TestProxy| {
        let dropped = proxy.proxy.control.write(|tx| -> db::Result<()> {
            db::on_each!(&mut **tx, |c| sql_query("DROP TABLE topic").execute(c))?;
            Ok(())
        });
        dropped.await.unwrap();
    };
    without_topics(&first).await;
    first.stop().await;
    assert!(refused(&own, &[(DATABASE, &url)]).await.starts_with("setting control.database_url: "));
    let mut alone = TestProxy::start(&[]).await;
    without_topics(&alone).await;
    alone.stop().await;
    let own = alone.proxy.settings.data_dir.to_str().unwrap().to_owned();
    assert!(refused(&own, &[]).await.starts_with("setting data_dir: "), "there is no other database");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_control_database_is_away_the_keys_known_last_are_in_force() {
    for place in testkit::places().await {
        let mut proxy = TestProxy::start(&[("EVENT_PROXY__KEYS__REQUIRED", "true"), (DATABASE, &place.url)]).await;
        let (_, key) = proxy.key(json!({ "name": "orders" })).await;
        let rename = async |statement: &'static str| {
            let renamed = proxy.proxy.control.write(move |tx| -> db::Result<()> {
                db::on_each!(&mut **tx, |c| sql_query(statement).execute(c))?;
                Ok(())
            });
            renamed.await.unwrap();
        };
        let proxy_ref = &proxy;
        let degraded = async || proxy_ref.get("/readyz").await.expect(200)["degraded"][0].clone();
        rename("ALTER TABLE api_key RENAME TO away").await;
        until("it is degraded", || async { degraded().await != Value::Null }).await;
        assert_eq!(degraded().await, "control database: away; the API keys known last are in force");
        let post = |key: &str| proxy_ref.post("", "application/json", event().to_string()).bearer_auth(key);
        reply(post(&key)).await.expect(202);
        reply(post("ep_wrong")).await.expect_problem(401, "unauthorized");
        rename("ALTER TABLE away RENAME TO api_key").await;
        until("it is whole", || async { degraded().await == Value::Null }).await;
        reply(post(&key)).await.expect(202);
        proxy.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_proxy_changes_counts_at_the_other() {
    let Some(place) = testkit::places().await.into_iter().find(|place| place.name == "PostgreSQL") else { return };
    let start = async |name: &str, peers: &str| {
        let named = [("EVENT_PROXY__KEYS__REQUIRED", "true"), (DATABASE, place.url.as_str())];
        let of_node = [("EVENT_PROXY__NODE__NAME", name), ("EVENT_PROXY__NODE__PEERS", peers)];
        TestProxy::start(&[named, of_node].concat()).await
    };
    let mut first = start("first", "").await;
    let mut second = start("second", &first.url("")).await;
    let (id, key) = first.key(json!({ "name": "orders" })).await;
    let post = |proxy: &TestProxy| reply(proxy.post("", "application/json", event().to_string()).bearer_auth(&key));
    let taken = post(&first).await.expect(202);
    until("the key counts at the other", || async { post(&second).await.status == 202 }).await;
    let receipt = format!("/v1/receipts/{}", taken["receipt"].as_str().unwrap());
    let asked = reply(second.request(Method::GET, &receipt).bearer_auth(&key)).await.expect(200);
    assert_eq!(asked["topic"], "order.paid", "the key is sent along");

    second.admin(Method::DELETE, &format!("{KEYS}/{id}"), None).await.expect(204);
    post(&second).await.expect_problem(401, "unauthorized");
    until("it is revoked at the other", || async { post(&first).await.status == 401 }).await;
    let audit = first.admin(Method::GET, "/v1/admin/audit", None).await.expect(200);
    assert_eq!(audit["items"][0]["action"], "api-key.revoke");
    let cookie = first.cookie().await;
    reply(with(second.request(Method::GET, KEYS), &cookie)).await.expect(200);
    let out = with(first.request(Method::POST, "/admin/sign-out"), &cookie).form(&[("csrf", token(&first, &cookie))]);
    assert_eq!(out.send().await.unwrap().status(), 303);
    let at_second = || async { reply(with(second.request(Method::GET, KEYS), &cookie)).await.status == 401 };
    until("the session is over at the other", at_second).await;
    first.stop().await;
    second.stop().await;
}

fn event() -> Value {
    json!({ "service": "order", "type": "paid", "data": 1 })
}
