//! Invalid requests, and the right problem document for each; never a 500.

use reqwest::Method;
use serde_json::json;

use crate::support::{ADMIN, Reply, TestShop, random_key};

/// Returns the document without the request id.
fn document(reply: &Reply) -> String {
    let mut body = reply.body.clone();
    if let Some(body) = body.as_object_mut() {
        body.remove("request_id").expect("every refusal names its request");
    }
    serde_json::to_string_pretty(&body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_rubbish_are_told_what_is_wrong_with_them() {
    let shop = TestShop::start().await;
    let buyer = shop.member(0).await;
    let order = |body: &'static str| {
        buyer.call(Method::POST, "/orders").with_key().header("content-type", "application/json").raw(body)
    };
    insta::assert_snapshot!(document(&order("{").send().await.expect(400)), @r#"
    {
      "code": "malformed-json",
      "detail": "EOF while parsing an object at line 1 column 1",
      "status": 400,
      "title": "The body is not JSON",
      "type": "/problems/malformed-json"
    }
    "#);
    order("").send().await.expect_problem(400, "malformed-json");
    order("[1,").send().await.expect_problem(400, "malformed-json");
    order(r#"{"items":[]} x"#).send().await.expect_problem(400, "malformed-json");
    insta::assert_snapshot!(document(&order(r#"{"items":[]}"#).send().await.expect(422)), @r#"
    {
      "code": "invalid-request",
      "errors": [
        {
          "detail": "length is lower than 1",
          "field": "items"
        }
      ],
      "status": 422,
      "title": "The request has wrong fields",
      "type": "/problems/invalid-request"
    }
    "#);
    let wrong = [
        (r#"{"items":[{"product_id":"x","quantity":1}]}"#, "items[0].product_id"),
        (r#"{"items":[{"product_id":"01890a5d-ac96-774b-bcce-b302099a8057","quantity":-1}]}"#, "items[0].quantity"),
        (r#"{"items":[{"product_id":"01890a5d-ac96-774b-bcce-b302099a8057","quantity":0}]}"#, "items[0].quantity"),
        (r#"{"items":[{"product_id":"01890a5d-ac96-774b-bcce-b302099a8057","quantity":1.5}]}"#, "items[0].quantity"),
        (
            r#"{"items":[{"product_id":"01890a5d-ac96-774b-bcce-b302099a8057","quantity":99999999999999999999}]}"#,
            "items[0].quantity",
        ),
        (r#"{"items":[{"product_id":"01890a5d-ac96-774b-bcce-b302099a8057","quantity":1}]}"#, "items"),
        (r#"{"items":"many"}"#, "items"),
        (r#"{"items":[],"more":1}"#, "more"),
        ("[]", "body"),
        ("[[]]", "body"),
        ("null", "body"),
    ];
    for (body, field) in wrong {
        let refused = order(body).send().await.expect_problem(422, "invalid-request");
        assert_eq!(refused.wrong_fields(), [field], "{body}: {}", refused.text);
    }
    let items = vec![json!({ "product_id": random_key(), "quantity": 1 }); 101];
    let refused = buyer.order_with(json!({ "items": items })).send().await.expect_problem(422, "invalid-request");
    assert_eq!(refused.wrong_fields(), ["items"]);
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_parameter_that_no_route_knows_is_refused() {
    let shop = TestShop::start().await;
    let asked = [
        (Method::GET, "/admin/orders?status=paid", "status"),
        (Method::GET, "/products?on_sale=true", "on_sale"),
        (Method::GET, "/%70roducts?q=mug&Q=mug", "Q"),
        (Method::GET, "/products/popular?limit=3", "limit"),
        (Method::GET, "/me?ticket=x", "ticket"),
        (Method::GET, "/me/notifications/stream?tickets=x", "tickets"),
        (Method::POST, "/orders?dry_run=", "dry_run"),
        (Method::DELETE, "/sessions/current?all", "all"),
        (Method::GET, "//problems?code=internal", "code"),
        (Method::GET, "/openapi.json?v=3", "v"),
    ];
    for (method, path, name) in asked {
        let refused = shop.admin().call(method, path).send().await.expect_problem(400, "invalid-query");
        assert_eq!(refused.wrong_fields(), [name], "{path}");
    }
    shop.api().get("/me/notifications/stream?ticket=x").send().await.expect_problem(401, "unauthenticated");
    shop.api().get("/products?q=mug&sort=newest&limit=3").send().await.expect(200);
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_field_is_named() {
    let shop = TestShop::start().await;
    let post = |body| shop.api().post("/members", body).send();
    let refused = post(json!({ "email": "nobody", "password": "short", "name": "" })).await;
    insta::assert_snapshot!(document(&refused.expect(422)), @r#"
    {
      "code": "invalid-request",
      "errors": [
        {
          "detail": "is not an e-mail address",
          "field": "email"
        },
        {
          "detail": "must have 1 to 100 characters",
          "field": "name"
        },
        {
          "detail": "is shorter than 8 characters",
          "field": "password"
        }
      ],
      "status": 422,
      "title": "The request has wrong fields",
      "type": "/problems/invalid-request"
    }
    "#);
    for email in [".a@example.com", "kim@[127.0.0.1]", "a..b@example.com", "Kim <kim@example.com>"] {
        let registration = json!({ "email": email, "password": "long enough", "name": "Kim" });
        let refused = post(registration).await.expect_problem(422, "invalid-request");
        assert_eq!(refused.wrong_fields(), ["email"], "{email}");
        let sign_in = json!({ "email": email, "password": "long enough" });
        let refused = shop.api().post("/sessions", sign_in).send().await.expect_problem(422, "invalid-request");
        assert_eq!(refused.wrong_fields(), ["email"], "{email}");
    }
    for password in ["12345678", "PASSWORD1", "qwertyuiop"] {
        let registration = json!({ "email": "a@example.com", "password": password, "name": "Kim" });
        assert_eq!(post(registration).await.expect_problem(422, "invalid-request").wrong_fields(), ["password"]);
        let change = json!({ "current_password": ADMIN.1, "new_password": password });
        let refused = shop.admin().post("/me/password", change).send().await.expect_problem(422, "invalid-request");
        assert_eq!(refused.wrong_fields(), ["new_password"]);
    }
    let refused = post(json!({ "email": "a@example.com", "password": "long enough", "name": "a\u{0}b" })).await;
    assert_eq!(refused.expect_problem(422, "invalid-request").wrong_fields(), ["name"]);

    for name in ["\u{200b}", "\u{3164}", "\u{202e}Kim"] {
        let registration = json!({ "email": "a@example.com", "password": "long enough", "name": name });
        assert_eq!(
            post(registration).await.expect_problem(422, "invalid-request").wrong_fields(),
            ["name"],
            "{name:?}"
        );
    }
    let reset = json!({ "topic": "a", "to": { "position": 0 }, "\0": 1 });
    shop.admin().post("/admin/consumers/settlement/reset", reset).send().await.expect_problem(422, "invalid-request");
    let replay = json!({ "group": "settlement", "topic": "a\0" });
    let refused = shop.admin().post("/admin/dead-letters/replay", replay).send().await;
    assert_eq!(refused.expect_problem(422, "invalid-request").wrong_fields(), ["topic"]);
    for opens_at in ["-5000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "2026-03-01 09:00:00Z", "2026-03-01T09:00:60Z"] {
        let coupon = json!({ "name": "c", "discount": { "amount": "1" }, "quantity": 1, "opens_at": opens_at });
        let refused = shop.admin().post("/coupons", coupon).send().await.expect_problem(422, "invalid-request");
        assert_eq!(refused.wrong_fields(), ["opens_at"], "{opens_at}");
    }
    for from in ["-0001-03-01", "2026-3-1", "20260301", "12026-03-01"] {
        let refused = shop.admin().get(&format!("/admin/settlements?from={from}")).send().await;
        assert_eq!(refused.expect_problem(400, "invalid-query").wrong_fields(), ["from"], "{from}");
    }

    let product = |body| shop.admin().post("/products", body).send();
    let refused = product(json!({ "name": "Mug", "price": 19900, "stock": 1 })).await;
    assert_eq!(refused.expect_problem(422, "invalid-request").wrong_fields(), ["price"], "money is a string");
    for price in ["", "-1", "1.5", "20.000", "1e3", "NaN", "9999999999999999999999999999999999", "１"] {
        let refused = product(json!({ "name": "Mug", "price": price, "stock": 1 })).await;
        assert_eq!(refused.expect_problem(422, "invalid-request").wrong_fields(), ["price"], "{price}");
    }
    for discount in [
        json!({}),
        json!({ "percent": 0 }),
        json!({ "percent": 101 }),
        json!({ "percent": "ten" }),
        json!({ "amount": "0" }),
        json!({ "percent": 10, "amount": "5" }),
        json!({ "amount": "5", "max_discount": "1" }),
        json!({ "percent": 33.333 }),
    ] {
        let body = json!({ "name": "c", "discount": discount, "quantity": 1 });
        let refused = shop.admin().post("/coupons", body).send().await.expect_problem(422, "invalid-request");
        assert!(refused.wrong_fields()[0].starts_with("discount"), "{discount}: {}", refused.text);
    }
    for percent in [json!(10), json!("10"), json!(12.5), json!("12.50")] {
        let body = json!({ "name": "c", "discount": { "percent": percent }, "quantity": 1 });
        let made = shop.admin().post("/coupons", body).send().await.expect(201).body;
        let shown = &made["discount"]["percent"];
        assert!(*shown == json!(10) || *shown == json!(12.5), "{made}");
    }
    for amount in [json!("0"), json!("-5"), json!(5), json!("9223372036854775808"), json!(null)] {
        let charge = shop.admin().post("/wallet/charges", json!({ "amount": amount })).with_key().send().await;
        assert_eq!(charge.expect_problem(422, "invalid-request").wrong_fields(), ["amount"], "{amount}");
    }
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_fit_no_route_are_told_apart() {
    let shop = TestShop::start().await;
    let api = shop.api();
    insta::assert_snapshot!(document(&api.get("/nowhere").send().await.expect(404)), @r#"
    {
      "code": "no-such-route",
      "status": 404,
      "title": "There is no such route",
      "type": "/problems/no-such-route"
    }
    "#);
    api.get("//nowhere").send().await.expect_problem(404, "no-such-route");
    let refused = api.delete("/products").send().await.expect_problem(405, "method-not-allowed");
    assert_eq!(refused.header("allow"), "GET, HEAD, POST");
    // a path is its route or none
    assert_eq!(api.get("/products/").open().await.status(), 404);
    let (all, head) = (api.get("/products").open().await, api.call(Method::HEAD, "/products").open().await);
    assert_eq!((head.status(), &head.headers()["content-length"]), (all.status(), &all.headers()["content-length"]));
    assert!(head.bytes().await.unwrap().is_empty());
    assert_eq!(api.call(Method::HEAD, "/nowhere").open().await.status(), 404);
    assert_eq!(api.call(Method::HEAD, "/sessions").open().await.status(), 405);
    api.call(Method::PUT, "/orders/x/payment").send().await.expect_problem(405, "method-not-allowed");

    let text = api.call(Method::POST, "/members").header("content-type", "text/plain").raw("{}").send().await;
    text.expect_problem(415, "unsupported-media-type");
    let huge = json!({ "email": "a@example.com", "password": "x".repeat(100_000), "name": "Kim" });
    api.post("/members", huge.clone()).send().await.expect_problem(413, "body-too-large");
    let answer = post_in_chunks(&shop, 50, 10_000).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("body-too-large"), "{answer}");

    for query in ["limit=0", "limit=101", "limit=many", "limit=-1", "cursor=rubbish", "cursor=%00", "sort=best"] {
        let refused = api.get(&format!("/products?{query}")).send().await.expect(400);
        assert_eq!(refused.code(), "invalid-query", "{query}");
        if let Some(name) = query.split_once('=').map(|(name, _)| name).filter(|_| query != "cursor=%00") {
            assert_eq!(refused.wrong_fields(), [name]);
        }
    }
    for id in ["x", "00000000-0000-0000-0000-000000000000", "%00", "..%2f", "1"] {
        let found = api.get(&format!("/products/{id}")).send().await;
        assert_eq!(found.status, 404, "{id}: {}", found.text);
        assert_eq!(found.header("content-type"), "application/problem+json");
    }
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_anothers_does_not_exist() {
    let shop = TestShop::start().await;
    let (owner, other) = (shop.member(5_000).await, shop.member(5_000).await);
    let product = shop.product(1_000, 5).await;
    let order = owner.has_ordered(&product, 1).await;
    for path in ["", "/payment", "/delivery", "/events"] {
        other.get(&format!("/orders/{order}{path}")).send().await.expect_problem(404, "not-found");
    }
    other.pay(&order).send().await.expect_problem(404, "not-found");
    other.cancel(&order).send().await.expect_problem(404, "not-found");
    let coupon = json!({ "name": "one", "discount": { "amount": "100" }, "quantity": 1 });
    let coupon = shop.admin().post("/coupons", coupon).send().await.expect(201).text("id");
    let won = owner.win(&coupon).await;
    let body = json!({ "items": [{ "product_id": product, "quantity": 1 }], "coupon_id": won.text("owned_coupon_id") });
    let refused = other.order_with(body).send().await.expect_problem(422, "invalid-request");
    assert_eq!(refused.wrong_fields(), ["coupon_id"]);
    let request = format!("/issue-requests/{}", won.text("request_id"));
    owner.get(&request).send().await.expect(200);
    other.get(&request).send().await.expect_problem(404, "not-found");
    owner.get(&format!("/issue-requests/{}", random_key())).send().await.expect_problem(404, "not-found");
    shop.admin().get(&format!("/orders/{order}")).send().await.expect(200);
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_and_balance_are_told_with_their_figures() {
    let shop = TestShop::start().await;
    let buyer = shop.member(0).await;
    let product = shop.product(1_000, 2).await;
    let refused = buyer.order(&product, 3).send().await.expect_problem(409, "insufficient-stock");
    assert_eq!((refused.text("product_id"), &refused.body["available"]), (product.clone(), &json!(2)));
    let off = json!({ "on_sale": false });
    shop.admin().patch(&format!("/products/{product}"), off).send().await.expect(200);
    buyer.order(&product, 1).send().await.expect_problem(409, "not-on-sale");
    shop.finish().await;
}

/// Posts a body of unannounced length.
async fn post_in_chunks(shop: &TestShop, count: usize, size: usize) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(shop.address()).await.unwrap();
    let head = "POST /api/v1/members HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n\
                Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("{size:x}\r\n{}\r\n", " ".repeat(size));
    for _ in 0..count {
        // the server may have answered and closed already
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut answer = String::new();
    let mut buffer = vec![0; 4096];
    while !answer.contains("body-too-large") {
        let read = tokio::time::timeout(std::time::Duration::from_secs(10), stream.read(&mut buffer)).await;
        match read.expect("an answer in time") {
            Ok(count) if count > 0 => answer.push_str(&String::from_utf8_lossy(&buffer[..count])),
            _ => break,
        }
    }
    answer
}
