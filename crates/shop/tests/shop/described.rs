//! The API describes itself, and the description is true.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{DESCRIPTION, TestShop};

/// All required routes of the API; a dot stands for `{…}`.
const ROUTES: &str = "
POST /members; POST /sessions; POST /sessions/refresh; DELETE /sessions/current; GET /me; PATCH /me; POST /me/password
POST /products; PATCH /products/.; GET /products; GET /products/popular; GET /products/.; POST /products/./stock-adjustments
POST /wallet/charges; GET /wallet; GET /wallet/transactions
POST /orders; GET /orders; GET /orders/.; POST /orders/./payment; GET /orders/./payment; POST /orders/./cancellation
GET /orders/./delivery; GET /orders/./events
POST /coupons; PATCH /coupons/.; GET /coupons; GET /coupons/.; POST /coupons/./issue-requests; GET /issue-requests/.
GET /me/coupons; GET /me/coupons/history
GET /me/notifications; POST /me/notifications/read; GET /me/notifications/stream; POST /me/notifications/stream-tickets
GET /admin/events; GET /admin/events/.; GET /admin/consumers; POST /admin/consumers/./reset
GET /admin/dead-letters; GET /admin/dead-letters/.; POST /admin/dead-letters/./replay; POST /admin/dead-letters/./discard
POST /admin/dead-letters/replay; GET /admin/coupons/./reconciliation; GET /admin/orders; GET /admin/members
GET /admin/settlements; GET /admin/deliveries; POST /admin/deliveries/./ship; POST /admin/deliveries/./deliver
GET /admin/purchase-orders; POST /admin/purchase-orders/./receive; GET /admin/incidents; GET /admin/log-epochs
GET /admin/analytics/coupons; GET /admin/analytics/sales; GET /openapi.json";

fn described(api: &Value) -> BTreeSet<String> {
    let paths = api["paths"].as_object().unwrap();
    let methods = |path: &str, item: &Value| -> Vec<String> {
        let path = path.strip_prefix("/api/v1").expect("under the prefix");
        let path: Vec<&str> = path.split('/').map(|s| if s.starts_with('{') { "." } else { s }).collect();
        let operations = item.as_object().unwrap().keys();
        operations.map(|method| format!("{} {}", method.to_uppercase(), path.join("/"))).collect()
    };
    paths.iter().flat_map(|(path, item)| methods(path, item)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_described_and_every_reference_leads_somewhere() {
    let shop = TestShop::start().await;
    let api = shop.api().get("/openapi.json").send().await.expect(200).body;
    let expected: BTreeSet<String> =
        ROUTES.split(['\n', ';']).map(str::trim).filter(|r| !r.is_empty()).map(Into::into).collect();
    assert_eq!(described(&api), expected);

    let mut references = BTreeSet::new();
    collect_references(&api, &mut references);
    let schemas: BTreeSet<String> = api["components"]["schemas"].as_object().unwrap().keys().cloned().collect();
    let missing: Vec<_> = references.difference(&schemas).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let problem = &api["paths"]["/api/v1/orders"]["post"]["responses"]["422"]["content"];
    assert!(problem["application/problem+json"].is_object(), "{problem}");
    shop.finish().await;
}

#[test]
fn every_operation_has_a_name_of_its_own_and_describes_each_answer() {
    DESCRIPTION.assert_usable();
}

#[test]
fn every_type_of_problem_is_an_answer_of_some_operation() {
    let api = serde_json::to_value(shop::http::app::openapi()).unwrap();
    let described = api["paths"].to_string();
    for kind in shop::http::kinds::ALL {
        assert!(described.contains(&format!("`{}`", kind.code)), "no operation answers {}", kind.code);
    }
}

fn collect_references(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(name) = members.get("$ref").and_then(|to| to.as_str()?.strip_prefix("#/components/schemas/")) {
                into.insert(name.to_owned());
            }
            members.values().for_each(|member| collect_references(member, into));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, into)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_probes_metrics_and_problem_types_are_served() {
    let shop = TestShop::start().await;
    let docs = shop.api().get("//docs/").send().await.expect(200);
    assert!(docs.text.contains("swagger-ui"));
    assert!(!docs.text.contains("https://"), "nothing is fetched from elsewhere");
    shop.api().get("//docs").send().await.expect(200);
    let script = shop.api().get("//docs/swagger-ui-bundle.js").send().await.expect(200);
    assert!(script.text.len() > 100_000);
    let initializer = shop.api().get("//docs/swagger-initializer.js").send().await.expect(200);
    assert!(initializer.text.contains("/api/v1/openapi.json"), "{}", initializer.text);
    shop.api().get("//livez").send().await.expect(200);
    shop.api().get("//readyz").send().await.expect(200);
    shop.api().get("//metrics").send().await.expect(200);
    let kinds = shop.api().get("//problems").send().await.expect(200).body;
    for kind in kinds["items"].as_array().unwrap() {
        let at = format!("/{}", kind["type"].as_str().unwrap());
        assert_eq!(shop.api().get(&at).send().await.expect(200).body, *kind);
    }
    shop.api().get("//problems/none").send().await.expect_problem(404, "not-found");
    shop.finish().await;
}
