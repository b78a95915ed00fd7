//! Both databases take the same values and refuse the same values: every text, time and number of every route, as the
//! OpenAPI document lists them, is sent to a shop on each.

use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::support::{Reply, TestMember, TestShop};

/// Values that once told one database from the other, or come close to.
static TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let short = [
        "",
        " ",
        "a",
        "\0",
        "a\0b",
        "\n",
        "a\u{7f}",
        "\u{85}",
        "\u{200b}",
        "\u{3164}",
        "\u{202e}",
        "\u{feff}",
        "e\u{301}",
        "\u{1106}\u{1165}",
        "İ",
        "ΟΔΟΣ",
        "\u{fdfa}",
        "🦀",
        "\u{ffff}",
        "\u{10ffff}",
        "%",
        "_",
        "\\",
        "'",
        "\"",
        "null",
        "true",
        "infinity",
        "NaN",
        "1e400",
        "９",
        "+1",
        "-1",
        "0",
        "1",
        "007",
        "1.5",
        "20.000",
        "1e3",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "kim@example.com",
        " Kim@Example.com ",
        "김@예시.한국",
        "00000000-0000-0000-0000-000000000000",
        "earliest",
        "newest",
        "waiting",
        "payment-completed",
        "IjEi",
        "eyJuYW1lIjpbIlx1MDAwMCIsIjAxODkwYTVkLWFjOTYtNzc0Yi1iY2NlLWIzMDIwOTlhODA1NyJdfQ",
    ];
    let long = [100, 101, 200, 201, 249, 250, 255, 256, 1_001, 20_000];
    let long = long.iter().flat_map(|count| ["a".repeat(*count), "가".repeat(*count), "\u{fdfa}".repeat(*count / 10)]);
    short.map(ToOwned::to_owned).into_iter().chain(long).chain(TIMES.map(ToOwned::to_owned)).collect()
});

const TIMES: [&str; 16] = [
    "2026-03-01T09:00:00Z",
    "2026-03-01T18:00:00.123456789+09:00",
    "2026-03-01 09:00:00Z",
    "2026-03-01T09:00:60Z",
    "2026-03-01T09:00:00",
    "2026-03-01",
    "-0001-03-01",
    "-5000-01-01T00:00:00Z",
    "+12026-03-01",
    "0000-01-01T00:00:00Z",
    "0000-01-01T00:00:00+09:00",
    "0001-01-01",
    "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59-09:00",
    "294277-01-09T04:00:54.775807Z",
    "epoch",
];

fn numbers() -> Vec<Value> {
    let whole = [
        0,
        1,
        -1,
        2,
        100,
        1_000_000_000,
        1_000_000_001,
        i64::from(i32::MAX),
        i64::from(i32::MAX) + 1,
        i64::MAX,
        i64::MIN,
    ];
    let other =
        [json!(u64::MAX), json!(0.5), json!(-0.0), json!(1e300), json!(1e-300), json!("1"), json!(null), json!([])];
    whole.map(Value::from).into_iter().chain(other).collect()
}

/// The listed values, and some more that are made of them.
fn values(runner: &mut TestRunner) -> Vec<Value> {
    let piece =
        prop_oneof![proptest::sample::select(&TEXTS[..50]), any::<String>(), any::<char>().prop_map(String::from)];
    let text = vec(piece, 1..5).prop_map(|pieces| Value::from(pieces.concat()));
    let time =
        (-2..10_002, 0..14, 0..33, 0..25, 0..62, any::<bool>()).prop_map(|(year, month, day, hour, minute, utc)| {
            let zone = if utc { "Z" } else { "+09:00" };
            Value::from(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:00{zone}"))
        });
    let number = prop_oneof![any::<i64>().prop_map(Value::from), any::<f64>().prop_map(Value::from)];
    let made = prop_oneof![3 => text, 2 => time, 1 => number];
    let made: Vec<Value> = (0..15).map(|_| made.new_tree(runner).expect("a value").current()).collect();
    TEXTS.iter().map(|text| Value::from(text.as_str())).chain(numbers()).chain(made).collect()
}

/// A field of a request.
#[derive(Debug, Clone)]
enum Field {
    /// By its pointer.
    Body(String),
    Query(String),
    Header(String),
    Path(String),
}

impl Field {
    /// Of the values every so many is sent: ids are parsed before a database is asked, and passwords take their time.
    fn step(&self) -> usize {
        match self {
            Self::Path(_) => 7,
            Self::Body(pointer) if pointer.contains("password") => 7,
            Self::Query(_) | Self::Header(_) => 2,
            Self::Body(_) => 1,
        }
    }
}

struct Operation {
    method: Method,
    path: String,
    /// A body that is good, but for ids.
    body: Option<Value>,
    fields: Vec<Field>,
}

/// Every operation of the document.
fn operations() -> Vec<Operation> {
    let document = serde_json::to_value(shop::http::app::openapi()).expect("JSON");
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let mut fields = Vec::new();
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().expect("a name").to_owned();
                fields.push(match parameter["in"].as_str() {
                    Some("query") => Field::Query(name),
                    Some("header") => Field::Header(name),
                    _ => Field::Path(name),
                });
            }
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let body = (!schema.is_null()).then(|| good(&document, schema, "", &mut fields));
            let path = path.strip_prefix("/api/v1").expect("under the prefix").to_owned();
            operations.push(Operation { method: method.to_uppercase().parse().expect("a method"), path, body, fields });
        }
    }
    operations
}

/// A value that the schema allows; the fields below it are added to `fields`.
fn good(document: &Value, schema: &Value, at: &str, fields: &mut Vec<Field>) -> Value {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().expect("a name");
        return good(document, &document["components"]["schemas"][name], at, fields);
    }
    let of_several = ["oneOf", "anyOf", "allOf"].iter().find_map(|several| schema[several].as_array());
    if let Some(several) = of_several {
        let all: Vec<Value> = several.iter().map(|one| good(document, one, at, fields)).collect();
        return all.into_iter().next().unwrap_or(Value::Null);
    }
    let is = |kind: &str| {
        schema["type"] == kind || schema["type"].as_array().is_some_and(|kinds| kinds.contains(&kind.into()))
    };
    if is("object") {
        let mut required = schema["required"].as_array().cloned().unwrap_or_default();
        if required.is_empty() {
            required
                .extend(schema["properties"].as_object().and_then(|all| all.keys().next()).cloned().map(Value::from));
        }
        let mut object = Map::new();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let value = good(document, property, &format!("{at}/{name}"), fields);
            if required.contains(&Value::from(name.as_str())) {
                object.insert(name.clone(), value);
            }
        }
        return Value::Object(object);
    }
    if is("array") {
        return json!([good(document, &schema["items"], &format!("{at}/0"), fields)]);
    }
    fields.push(Field::Body(at.to_owned()));
    match () {
        () if !schema["example"].is_null() => schema["example"].clone(),
        () if schema["enum"].is_array() => schema["enum"][0].clone(),
        () if is("integer") || is("number") => json!(1),
        () if is("boolean") => json!(true),
        () if schema["format"] == "uuid" => json!(uuid::Uuid::max()),
        () if schema["format"] == "date-time" => json!("2999-01-01T00:00:00Z"),
        () if schema["format"] == "password" => json!("correct horse battery"),
        () => json!("text"),
    }
}

/// Rows of a shop that ids of requests lead to.
struct Rows {
    product: String,
    coupon: String,
    order: String,
}

impl Rows {
    async fn of(shop: &TestShop) -> Self {
        let product = shop.product(1, 1_000_000).await;
        let coupon = json!({ "name": "one", "discount": { "amount": "100" }, "quantity": 10 });
        let coupon = shop.admin().post("/coupons", coupon).with_key().send().await.expect(201).text("id");
        shop.admin().charge(1_000_000).await;
        let order = shop.admin().has_ordered(&product, 1).await;
        Self { product, coupon, order }
    }

    fn path(&self, path: &str) -> String {
        let id = match path.split('/').nth(1) {
            Some("products") => &self.product,
            Some("coupons") => &self.coupon,
            Some("orders") => &self.order,
            _ => "01890a5d-ac96-774b-bcce-b302099a8057",
        };
        path.replace("{id}", id).replace("{group}", "analytics")
    }
}

/// One request with one field replaced. `None` for a value that HTTP or the router has no place for; an error text for an
/// answer that the document does not describe.
async fn ask(
    caller: &TestMember,
    rows: &Rows,
    operation: &Operation,
    field: &Field,
    (nth, value): (usize, &Value),
) -> Option<Result<Reply, String>> {
    let shown = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    let mut url = reqwest::Url::parse("http://shop/").expect("a URL");
    let mut path = operation.path.clone();
    if let Field::Path(name) = field {
        url.path_segments_mut().expect("a base").push(&shown);
        if url.path() == "/" {
            return None;
        }
        path = path.replace(&format!("{{{name}}}"), url.path().trim_start_matches('/'));
    }
    if shown.len() > 2_000 && !matches!(field, Field::Body(_)) {
        return None;
    }
    path = rows.path(&path);
    if let Field::Query(name) = field {
        url.query_pairs_mut().append_pair(name, &shown);
        path = format!("{path}?{}", url.query().unwrap_or_default());
    }
    let mut call = caller.call(operation.method.clone(), &path);
    call = match field {
        Field::Header(name) => {
            reqwest::header::HeaderValue::from_str(&shown).ok()?;
            call.header(name, &shown)
        }
        _ => call.with_key(),
    };
    if let Some(body) = &operation.body {
        let text = body.to_string().replace(&uuid::Uuid::max().to_string(), &rows.product);
        let mut body: Value = serde_json::from_str(&text).expect("JSON");
        if let Field::Body(pointer) = field {
            // each of these goes with one sort of the others
            if pointer.starts_with("/discount/") && pointer != "/discount/amount" {
                body["discount"] = json!({ "percent": 10 });
            }
            if operation.path == "/members" {
                body["email"] = json!(format!("kim{nth}@example.com"));
            }
            set(&mut body, pointer, value.clone());
        }
        call = call.json(&body);
    }
    let sent = tokio::spawn(call.send());
    Some(sent.await.map_err(|panic| panic.into_panic().downcast_ref::<String>().cloned().unwrap_or_default()))
}

/// Sets the value at a pointer, and makes the objects on the way.
fn set(body: &mut Value, pointer: &str, value: Value) {
    let mut place = body;
    for name in pointer.split('/').skip(1) {
        place = match place {
            Value::Array(items) => &mut items[0],
            other => {
                if !other.is_object() {
                    *other = json!({});
                }
                &mut other[name]
            }
        };
    }
    *place = value;
}

/// The answer without what differs between two shops that do the same: ids, times of the clock, tokens.
fn comparable(operation: &Operation, reply: &Reply) -> Value {
    // figures of groups, which run on their own
    let by_itself = ["/admin/", "/me/notifications", "/me/coupons", "/issue-requests"];
    if reply.status < 300 && by_itself.iter().any(|path| operation.path.starts_with(path)) {
        return json!({ "status": reply.status });
    }
    let mut body = reply.body.clone();
    mask(&mut body);
    json!({ "status": reply.status, "body": body })
}

fn mask(value: &mut Value) {
    match value {
        Value::String(text) => *text = without_ids(text),
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(members) => {
            for (name, member) in members {
                match name.as_str() {
                    "request_id" => *member = Value::Null,
                    "access_token" | "refresh_token" | "ticket" | "next_cursor" => *member = json!(!member.is_null()),
                    "created_at" | "expires_at" | "at" | "paid_at" | "closed_at" | "since" => *member = Value::Null,
                    _ => mask(member),
                }
            }
        }
        _ => {}
    }
}

fn without_ids(text: &str) -> String {
    let words = text.split_inclusive(|c: char| !c.is_ascii_hexdigit() && c != '-');
    words
        .map(|word| match word.get(..36).map(uuid::Uuid::parse_str) {
            Some(Ok(_)) => format!("<id>{}", &word[36..]),
            _ => word.to_owned(),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_takes_the_same_values_on_both_databases() {
    let mut shops = Vec::new();
    for place in testkit::places().await {
        let shop = TestShop::open(place, &[], vec![]).await;
        let rows = Rows::of(&shop).await;
        shops.push((shop, rows));
    }
    let mut runner = TestRunner::deterministic();
    let mut differences = Vec::new();
    for operation in operations() {
        // a stream does not end, and whoever signs out asks nothing more
        if operation.path.ends_with("/stream") || operation.path.ends_with("/current") {
            continue;
        }
        let values = values(&mut runner);
        for field in &operation.fields {
            for (nth, value) in values.iter().enumerate().step_by(field.step()) {
                let asked = shops.iter().map(async |(shop, rows)| {
                    let other = shop.admin().clone();
                    let caller = if operation.path == "/me/password" { shop.member(0).await } else { other };
                    let reply = ask(&caller, rows, &operation, field, (nth, value)).await?;
                    let is_right = reply.as_ref().is_ok_and(|reply| reply.status < 500);
                    Some((is_right, reply.map_or_else(Value::from, |reply| comparable(&operation, &reply))))
                });
                let answers: Vec<_> = futures::future::join_all(asked).await.into_iter().flatten().collect();
                if answers.iter().any(|(is_right, answer)| !is_right || *answer != answers[0].1) {
                    let answers: Vec<_> = answers.iter().map(|(_, answer)| answer.to_string()).collect();
                    let Operation { method, path, .. } = &operation;
                    differences.push(format!("{method} {path} {field:?} {value}:\n  {}", answers.join("\n  ")));
                }
            }
        }
    }
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
    for (shop, _) in shops {
        shop.finish().await;
    }
}
