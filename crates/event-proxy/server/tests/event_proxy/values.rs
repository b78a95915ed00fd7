//! Values that no database and no reader misunderstands.

use reqwest::Method;
use serde_json::json;

use super::support::TestProxy;

#[tokio::test]
async fn a_time_is_rfc_3339_and_of_the_years_0_to_9999() {
    let proxy = TestProxy::start(&[]).await;
    let event = |time: &str| json!({ "service": "order", "type": "paid", "time": time, "data": 1 });
    for bad in [
        "-0001-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "2026-03-01T09:00:60Z",
        "2026-03-01 09:00:00Z",
        "2026-03-01T09:00:00",
        "0000-01-01T00:00:00+09:00",
        "yesterday",
    ] {
        proxy.json(event(bad)).await.expect_problem(422, "invalid-request");
        let query = format!("/v1/admin/dead-letters?after={}", bad.replace('+', "%2B"));
        proxy.admin(Method::GET, &query, None).await.expect_problem(400, "invalid-query");
        let redrive = json!({ "filter": { "before": bad }, "dry_run": true });
        proxy.admin(Method::POST, "/v1/admin/redrives", Some(redrive)).await.expect_problem(422, "invalid-request");
    }
    proxy.json(event("2026-03-01T18:00:00.5+09:00")).await.expect(202);
    assert_eq!(proxy.stored("order.paid").await[0]["time"], "2026-03-01T09:00:00.500Z");
}

#[tokio::test]
async fn texts_that_a_database_cannot_keep_or_nobody_can_read_are_refused() {
    let proxy = TestProxy::start(&[]).await;
    for name in ["", "\u{200b}", "\u{3164}", "\u{202e}a", "a\nb"] {
        let refused = proxy.admin(Method::POST, "/v1/admin/api-keys", Some(json!({ "name": name }))).await;
        let refused = refused.expect_problem(422, "invalid-request");
        assert_eq!(refused["errors"][0]["field"], "name", "{name:?}");
    }
    let decomposed = json!({ "name": " \u{1106}\u{1165}\u{1100}\u{1173} " });
    let made = proxy.admin(Method::POST, "/v1/admin/api-keys", Some(decomposed)).await.expect(201);
    assert_eq!(made["name"], "머그");
    let redrive = json!({ "filter": { "ids": [], "key": "a\0b" }, "dry_run": true });
    let refused = proxy.admin(Method::POST, "/v1/admin/redrives", Some(redrive)).await;
    assert_eq!(refused.expect_problem(422, "invalid-request")["errors"][0]["field"], "filter.key");
}

#[tokio::test]
async fn the_admins_password_is_the_same_on_every_keyboard() {
    let proxy = TestProxy::start(&[("EVENT_PROXY__ADMIN__PASSWORD", "비밀번호 두 마디")]).await;
    let decomposed = "\u{1107}\u{1175}\u{1106}\u{1175}\u{11af}\u{1107}\u{1165}\u{11ab}\u{1112}\u{1169} \u{1103}\u{116e} \
                      \u{1106}\u{1161}\u{1103}\u{1175}";
    assert!(proxy.sign_in(decomposed).await.headers().contains_key("set-cookie"));
}
