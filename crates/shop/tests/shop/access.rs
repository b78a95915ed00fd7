//! Access: passwords, tokens, sessions, roles, limits.

use std::time::Duration;

use db::types::Time;
use diesel::prelude::*;
use reqwest::Method;
use serde_json::json;

use crate::support::{ADMIN, TestMember, TestShop, random_key};

diesel::table! {
    refresh_token (hash) {
        hash -> diesel::sql_types::Binary,
        rotated_at -> diesel::sql_types::Nullable<db::types::UtcTime>,
    }
}

const PASSWORD: &str = "correct-horse-battery";

async fn registered(shop: &TestShop) -> (String, TestMember) {
    let email = format!("{}@example.com", random_key());
    let body = json!({ "email": email, "password": PASSWORD, "name": "Kim" });
    shop.api().post("/members", body).send().await.expect(201);
    let member = TestMember::sign_in(shop.api(), &email, PASSWORD).await;
    (email, member)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_valid_token_nobody_gets_in() {
    let shop = TestShop::start().await;
    let member = shop.member(0).await;
    let token = member.token();
    let (head, signature) = token.rsplit_once('.').unwrap();
    let mut forged = signature.to_owned();
    forged.replace_range(..1, if forged.starts_with('A') { "B" } else { "A" });
    for wrong in ["", "x", "a.b.c", &format!("{head}.{forged}"), &format!("{head}."), &token.replace('.', "")] {
        let refused = shop.api().with_token(wrong).get("/me").send().await.expect_problem(401, "unauthenticated");
        assert!(refused.header("www-authenticate").starts_with("Bearer"), "{wrong}");
    }
    shop.api().get("/wallet").send().await.expect_problem(401, "unauthenticated");
    let basic = shop.api().get("/me").header("authorization", "Basic a2ltOnh4eA==");
    basic.send().await.expect_problem(401, "unauthenticated");
    let lower = shop.api().get("/me").header("authorization", &format!("bearer {token}"));
    lower.send().await.expect(200);
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_ends_by_itself() {
    let shop = TestShop::start_with(&[("SHOP__AUTH__ACCESS_TTL", "1s")], vec![]).await;
    let (_, member) = registered(&shop).await;
    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
    let refused = member.get("/me").send().await.expect_problem(401, "unauthenticated");
    assert_eq!(refused.text("detail"), "the access token has expired");
    let mut shop = shop;
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_an_unknown_address_look_the_same() {
    let shop = TestShop::start().await;
    let sign_in = |email: &str, password: &str| {
        shop.api().post("/sessions", json!({ "email": email, "password": password })).send()
    };
    let wrong = sign_in(ADMIN.0, "not it").await.expect_problem(401, "invalid-credentials");
    let unknown = sign_in("nobody@example.com", "not it").await.expect_problem(401, "invalid-credentials");
    let bare = |mut body: serde_json::Value| {
        body.as_object_mut().unwrap().remove("request_id");
        body
    };
    assert_eq!(bare(wrong.body), bare(unknown.body));
    sign_in(&ADMIN.0.to_uppercase(), ADMIN.1).await.expect(201);
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_refresh_gives_the_same_token_and_a_late_one_ends_the_session() {
    for shop in TestShop::everywhere().await {
        let (email, _) = registered(&shop).await;
        let body = json!({ "email": email, "password": PASSWORD });
        let first = shop.api().post("/sessions", body).send().await.expect(201);
        assert_eq!((&first.body["token_type"], &first.body["expires_in"]), (&json!("Bearer"), &json!(900)));
        let refresh = |token: String| shop.api().post("/sessions/refresh", json!({ "refresh_token": token })).send();
        let second = refresh(first.text("refresh_token")).await.expect(201);
        let member = shop.api().with_token(&second.text("access_token"));
        member.get("/me").send().await.expect(200);

        let repeats = futures::future::join_all((0..4).map(|_| refresh(first.text("refresh_token")))).await;
        for repeat in repeats {
            assert_eq!(repeat.expect(201).text("refresh_token"), second.text("refresh_token"), "{shop}");
        }
        member.get("/me").send().await.expect(200);
        let used_long_ago = |tx: &mut db::Tx<'_>| -> db::Result<usize> {
            let at = Time::now() - Duration::from_secs(31);
            let used = diesel::update(refresh_token::table.filter(refresh_token::rotated_at.is_not_null()));
            Ok(used.set(refresh_token::rotated_at.eq(Some(at))).execute(&mut **tx)?)
        };
        shop.runtime.db.write(used_long_ago).await.unwrap();
        refresh(first.text("refresh_token")).await.expect_problem(401, "invalid-refresh-token");
        member.get("/me").send().await.expect_problem(401, "unauthenticated");
        refresh(second.text("refresh_token")).await.expect_problem(401, "invalid-refresh-token");
        refresh("rubbish".into()).await.expect_problem(401, "invalid-refresh-token");
        shop.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_the_same_on_every_keyboard() {
    let shop = TestShop::start().await;
    let composed = "비밀번호는길게";
    let decomposed = "\u{1107}\u{1175}\u{1106}\u{1175}\u{11af}\u{1107}\u{1165}\u{11ab}\u{1112}\u{1169}\u{1102}\u{1173}\u{11ab}\
                      \u{1100}\u{1175}\u{11af}\u{1100}\u{1166}";
    let register = |email: &str, password: &str| {
        shop.api().post("/members", json!({ "email": email, "password": password, "name": "Kim" })).send()
    };
    let seven_letters = register("a@example.com", decomposed).await.expect_problem(422, "invalid-request");
    assert_eq!(seven_letters.wrong_fields(), ["password"], "counted as they are read");
    register(" Kim@example.com\t", &format!("{composed}!")).await.expect(201);
    for (email, password) in [("kim@example.com", composed), ("kim@example.com ", decomposed)] {
        let body = json!({ "email": email, "password": format!("{password}!") });
        shop.api().post("/sessions", body).send().await.expect(201);
    }
    // a hash of an earlier version
    let hash = {
        use argon2::password_hash::PasswordHasher;
        argon2::Argon2::default().hash_password(decomposed.as_bytes()).expect("a hash").to_string()
    };
    let old = member::NewMember { email: "old@example.com".into(), name: "Old".into() };
    shop.runtime.db.write(move |tx| member::register(tx, &old, &hash)).await.expect("a member");
    let body = json!({ "email": "old@example.com", "password": decomposed });
    shop.api().post("/sessions", body).send().await.expect(201);
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_holds_at_once() {
    let shop = TestShop::start().await;
    let (email, member) = registered(&shop).await;
    member.get("/me").send().await.expect(200);
    member.delete("/sessions/current").send().await.expect(204);
    member.get("/me").send().await.expect_problem(401, "unauthenticated");
    TestMember::sign_in(shop.api(), &email, PASSWORD).await.get("/me").send().await.expect(200);
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_all_other_sessions() {
    let shop = TestShop::start().await;
    let (email, here) = registered(&shop).await;
    let there = TestMember::sign_in(shop.api(), &email, PASSWORD).await;
    let change = |current: &str| {
        let body = json!({ "current_password": current, "new_password": "another-long-one" });
        here.post("/me/password", body).send()
    };
    let refused = change("not it").await.expect_problem(422, "invalid-request");
    assert_eq!(refused.wrong_fields(), ["current_password"]);
    change(PASSWORD).await.expect(204);
    here.get("/me").send().await.expect(200);
    there.get("/me").send().await.expect_problem(401, "unauthenticated");
    TestMember::sign_in(shop.api(), &email, "another-long-one").await;
    let renamed = here.patch("/me", json!({ "name": "Lee" })).send().await.expect(200);
    assert_eq!((renamed.text("name"), renamed.text("role")), ("Lee".into(), "member".into()));
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_of_administrators_are_theirs_alone() {
    let shop = TestShop::start().await;
    let member = shop.member(0).await;
    let id = random_key();
    let routes = [
        (Method::POST, "/products".to_owned()),
        (Method::PATCH, format!("/products/{id}")),
        (Method::POST, format!("/products/{id}/stock-adjustments")),
        (Method::POST, "/coupons".to_owned()),
        (Method::PATCH, format!("/coupons/{id}")),
        (Method::GET, "/admin/events".to_owned()),
        (Method::GET, format!("/admin/events/{id}")),
        (Method::GET, "/admin/consumers".to_owned()),
        (Method::GET, "/admin/log-epochs".to_owned()),
        (Method::POST, "/admin/consumers/settlement/reset".to_owned()),
        (Method::GET, "/admin/dead-letters".to_owned()),
        (Method::POST, format!("/admin/dead-letters/{id}/replay")),
        (Method::GET, format!("/admin/coupons/{id}/reconciliation")),
        (Method::GET, "/admin/orders".to_owned()),
        (Method::GET, "/admin/members".to_owned()),
        (Method::GET, "/admin/settlements".to_owned()),
        (Method::GET, "/admin/deliveries".to_owned()),
        (Method::GET, "/admin/purchase-orders".to_owned()),
        (Method::GET, "/admin/incidents".to_owned()),
        (Method::GET, "/admin/analytics/coupons".to_owned()),
        (Method::GET, "/admin/analytics/sales".to_owned()),
    ];
    for (method, path) in routes {
        let body = json!({});
        let call = |api: &crate::support::Api| match method {
            Method::GET => api.get(&path),
            _ => api.call(method.clone(), &path).json(&body).with_key(),
        };
        call(shop.api()).send().await.expect_problem(401, "unauthenticated");
        call(&member).send().await.expect_problem(403, "forbidden");
        assert!(!matches!(call(shop.admin()).send().await.status, 401 | 403 | 500), "{method} {path}");
    }
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_what_a_group_does_not_have_is_refused() {
    let mut shop = TestShop::start().await;
    for (body, field) in [
        (json!({ "group": "none" }), "group"),
        (json!({ "group": "settlement", "topic": "none" }), "topic"),
        (json!({ "group": "settlement", "topic": "stock-low" }), "topic"),
    ] {
        let refused = shop.admin().post("/admin/dead-letters/replay", body).send().await;
        assert_eq!(refused.expect_problem(422, "invalid-request").wrong_fields(), [field]);
    }
    let body = json!({ "group": "settlement", "topic": "payment-completed" });
    shop.admin().post("/admin/dead-letters/replay", body).send().await.expect(202);
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_too_often_is_told_when_to_go_on() {
    let limits = [
        ("SHOP__RATE_LIMIT__ENABLED", "true"),
        ("SHOP__RATE_LIMIT__MEMBER_PER_SECOND", "5"),
        ("SHOP__RATE_LIMIT__SIGN_INS_PER_MINUTE", "5"),
    ];
    let mut shop = TestShop::start_with(&limits, vec![]).await;
    let mut refused = None;
    for _ in 0..30 {
        let reply = shop.admin().get("/me").send().await;
        if reply.status != 200 {
            refused = Some(reply.expect_problem(429, "too-many-requests"));
            break;
        }
    }
    let refused = refused.expect("thirty at once are too many");
    assert!(refused.header("retry-after").parse::<u32>().unwrap() >= 1);
    let mut codes = Vec::new();
    for _ in 0..10 {
        let body = json!({ "email": "nobody@example.com", "password": "guess" });
        codes.push(shop.api().post("/sessions", body).send().await.status);
    }
    assert!(codes.contains(&401) && codes.contains(&429), "{codes:?}");
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_carry_what_keeps_browsers_safe() {
    let shop = TestShop::start_with(&[("SHOP__HTTP__CORS_ORIGINS", "https://shop.example")], vec![]).await;
    let reply = shop.api().get("/products").header("origin", "https://shop.example").send().await.expect(200);
    assert_eq!(reply.header("access-control-allow-origin"), "https://shop.example");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    assert_eq!(reply.header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
    assert_eq!(reply.header("x-request-id").len(), 32);
    let other = shop.api().get("/products").header("origin", "https://evil.example").send().await;
    assert_eq!(other.header("access-control-allow-origin"), "");
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let traced = shop.api().get("/products").header("traceparent", trace).send().await;
    assert_eq!(traced.header("x-request-id"), "4bf92f3577b34da6a3ce929d0e0e4736");
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_are_limited_by_session_and_keep_nobody_of_the_address_from_signing_in() {
    let settings = [("SHOP__RATE_LIMIT__ENABLED", "true"), ("SHOP__RATE_LIMIT__REFRESHES_PER_MINUTE", "3")];
    let mut shop = TestShop::start_with(&settings, vec![]).await;
    let (email, _) = registered(&shop).await;
    let sign_in = || shop.api().post("/sessions", json!({ "email": email, "password": PASSWORD })).send();
    let refresh =
        async |token: &str| shop.api().post("/sessions/refresh", json!({ "refresh_token": token })).send().await;
    for _ in 0..2 {
        let mut token = sign_in().await.expect(201).text("refresh_token");
        for _ in 0..3 {
            token = refresh(&token).await.expect(201).text("refresh_token");
        }
        let refused = refresh(&token).await.expect_problem(429, "too-many-requests");
        assert!(refused.header("retry-after").parse::<u64>().unwrap() > 0);
    }
    sign_in().await.expect(201);
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_from_many_addresses_slow_an_account_down_and_shut_nobody_out() {
    let settings = [("SHOP__RATE_LIMIT__ENABLED", "true"), ("SHOP__HTTP__TRUST_FORWARDED", "true")];
    let mut shop = TestShop::start_with(&settings, vec![]).await;
    let (email, _) = registered(&shop).await;
    let api = shop.api().clone();
    let sign_in = move |password: &str, from: &str| {
        let body = json!({ "email": email.to_uppercase(), "password": password });
        api.post("/sessions", body).header("x-forwarded-for", from).send()
    };
    sign_in(PASSWORD, "10.0.0.1").await.expect(201);
    let guesses = (0..40).map(|guess| sign_in("a wrong password", &format!("10.1.0.{guess}")));
    let answers = futures::future::join_all(guesses).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(refused.len() >= 10, "{} of 40 guesses had their password compared", 40 - refused.len());
    assert!(refused.iter().all(|answer| answer.header("retry-after").parse::<u64>().unwrap() > 0));
    assert!(answers.iter().all(|answer| matches!(answer.status, 401 | 429)));
    sign_in(PASSWORD, "10.0.0.1").await.expect(201);
    let from_elsewhere = || async {
        let answer = sign_in(PASSWORD, "10.2.0.1").await;
        answer.status != 429 && answer.expect(201).status == 201
    };
    // the attack is over, and within seconds its turns are used up
    while !from_elsewhere().await {}
    shop.stop().await;
}
