//! CloudEvents as the specification has them: <https://github.com/cloudevents/spec>.

use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::kafka::{place, start, until};
use super::support::{TestProxy, reply};

/// An example of the specification.
fn example() -> Value {
    json!({
        "specversion": "1.0", "type": "com.github.pull_request.opened",
        "source": "https://github.com/cloudevents/spec/pull", "subject": "123", "id": "A234-1234-1234",
        "time": "2018-04-05T17:31:00Z", "comexampleextension1": "value", "comexampleothervalue": 5,
        "datacontenttype": "text/xml", "dataschema": "https://example.com/schema", "data": "<much wow=\"xml\"/>",
    })
}

fn with(mut event: Value, changes: Value) -> Value {
    event.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    event
}

fn structured(proxy: &TestProxy, event: &Value) -> RequestBuilder {
    proxy.post("", "application/cloudevents+json", event.to_string())
}

fn binary(proxy: &TestProxy, id: &str, media: &'static str, body: impl Into<reqwest::Body>) -> RequestBuilder {
    let request = proxy.post("", media, body).header("ce-specversion", "1.0").header("ce-id", id);
    request.header("ce-source", "/mycontext").header("ce-type", "com.example.someevent")
}

const TOPIC: &str = "github-com-cloudevents-spec-pull.com-github-pull_request-opened";
const OF_BINARY: &str = "mycontext.com-example-someevent";

#[tokio::test(flavor = "multi_thread")]
async fn every_attribute_of_a_cloud_event_is_kept_beside_its_data() {
    let mut proxy = TestProxy::start(&[]).await;
    reply(structured(&proxy, &example())).await.expect(202);
    let stored = proxy.stored(&format!("https-{TOPIC}")).await;
    assert_eq!((&stored[0]["key"], &stored[0]["data"]), (&json!("123"), &json!("<much wow=\"xml\"/>")));
    let mut posted = example();
    for name in ["specversion", "data"] {
        posted.as_object_mut().unwrap().remove(name);
    }
    posted["comexampleothervalue"] = json!("5");
    assert_eq!(stored[0]["attributes"], posted);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_of_any_form_is_taken_and_tells_ids_apart() {
    let mut proxy = TestProxy::start(&[]).await;
    let sources = [
        "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
        "mailto:cncf-wg-serverless@lists.cncf.io",
        "/cloudevents/spec/pull/123",
        "1-555-123-4567",
        "https://example.com/a/very/long/path/of/a/source/that/does/not/fit/into/the/name/of/a/topic?and=a&query=1",
        "a/b",
        "a:b",
    ];
    for source in sources {
        let event = with(example(), json!({ "source": source }));
        let taken = reply(structured(&proxy, &event)).await.expect(202);
        assert_eq!(taken["duplicate"], Value::Null, "{source}");
    }
    let again = with(example(), json!({ "source": "a:b" }));
    assert_eq!(reply(structured(&proxy, &again)).await.expect(202)["duplicate"], true);
    let nameless = with(example(), json!({ "source": "///" }));
    let problem = reply(structured(&proxy, &nameless)).await.expect_problem(422, "invalid-request");
    assert_eq!(problem["errors"][0]["field"], "source");
    let named = with(nameless, json!({ "service": "named" }));
    reply(structured(&proxy, &named)).await.expect(202);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn header_values_are_unquoted_and_percent_decoded_once() {
    let mut proxy = TestProxy::start(&[]).await;
    let subjects = [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("Euro%20%e2%82%ac%20%f0%9f%98%80", "Euro € 😀"),
        ("\"a \\\"b\\\" c\"", "a \"b\" c"),
        ("100%25", "100%"),
        ("%2525", "%25"),
        ("50% off", "50% off"),
    ];
    for (n, (sent, _)) in subjects.iter().enumerate() {
        let request = binary(&proxy, &n.to_string(), "application/json", "1").header("ce-subject", *sent);
        reply(request).await.expect(202);
    }
    let mut keys: Vec<String> =
        proxy.stored(OF_BINARY).await.iter().map(|event| event["key"].as_str().unwrap().to_owned()).collect();
    let mut meant: Vec<String> = subjects.iter().map(|(_, meant)| (*meant).to_owned()).collect();
    keys.sort();
    meant.sort();
    assert_eq!(keys, meant);
    let raw = HeaderValue::from_bytes("머그컵".as_bytes()).unwrap();
    for wrong in [raw, HeaderValue::from_static("%C0%A0"), HeaderValue::from_static("%00")] {
        let request = binary(&proxy, "x", "application/json", "1").header("ce-subject", wrong);
        let problem = reply(request).await.expect_problem(422, "invalid-request");
        assert_eq!(problem["errors"][0]["field"], "ce-subject");
    }
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_content_type_decides_the_mode_in_any_case() {
    let mut proxy = TestProxy::start(&[]).await;
    let both = proxy.post("", "Application/CloudEvents+JSON; Charset=UTF-8", example().to_string());
    let both =
        both.header("ce-specversion", "1.0").header("ce-id", "x").header("ce-type", "x").header("ce-source", "x");
    reply(both).await.expect(202);
    let batch = proxy.post("", "application/CloudEvents-Batch+json", json!([example()]).to_string());
    assert_eq!(reply(batch).await.expect(202)["items"][0]["duplicate"], true);
    reply(binary(&proxy, "1", "Application/JSON", r#"{"n":1}"#)).await.expect(202);
    reply(binary(&proxy, "2", "application/vnd.example+json", r#"{"n":2}"#)).await.expect(202);
    let mut data: Vec<_> = proxy.stored(OF_BINARY).await.iter().map(|event| event["data"]["n"].as_u64()).collect();
    data.sort_unstable();
    assert_eq!(data, [Some(1), Some(2)]);
    let xml = binary(&proxy, "3", "application/cloudevents+xml", "<event/>");
    reply(xml).await.expect_problem(415, "unsupported-media-type");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_data_stays_binary_and_text_stays_text() {
    let mut proxy = TestProxy::start(&[]).await;
    let sent: [(&str, &str, &[u8], Value); 6] = [
        ("1", "application/octet-stream", b"\xff\x00\x01", json!({ "data_base64": "/wAB" })),
        ("2", "application/octet-stream", b"text", json!({ "data_base64": "dGV4dA==" })),
        ("3", "text/plain", b"text", json!({ "data": "text" })),
        ("4", "image/svg+xml", b"<svg/>", json!({ "data": "<svg/>" })),
        ("5", "text/plain", b"\xff", json!({ "data_base64": "/w==" })),
        ("6", "application/json", b"", json!({ "data": null })),
    ];
    for (id, media, body, _) in &sent {
        reply(binary(&proxy, id, media, body.to_vec())).await.expect(202);
    }
    let encoded = with(
        example(),
        json!({ "id": "7", "source": "/mycontext", "type": "com.example.someevent",
                                          "subject": null, "data_base64": "dGV4dA==" }),
    );
    let mut encoded = encoded;
    encoded.as_object_mut().unwrap().remove("data");
    reply(structured(&proxy, &encoded)).await.expect(202);
    let stored = proxy.stored(OF_BINARY).await;
    let meant =
        sent.iter().map(|(id, .., data)| (*id, data.clone())).chain([("7", json!({ "data_base64": "dGV4dA==" }))]);
    for (id, data) in meant {
        let event = stored.iter().find(|event| event["id"] == id).unwrap();
        let both = ["data", "data_base64"].map(|name| event.get(name));
        assert_eq!(both, ["data", "data_base64"].map(|name| data.get(name)), "{id}");
    }
    // the same again is the same, and other data are not
    assert_eq!(reply(structured(&proxy, &encoded)).await.expect(202)["duplicate"], true);
    encoded["data_base64"] = json!("AAAA");
    reply(structured(&proxy, &encoded)).await.expect_problem(409, "id-reused");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_specification_forbids_is_refused_by_name() {
    let mut proxy = TestProxy::start(&[]).await;
    let wrong = [
        (json!({ "data_base64": "AAAA" }), "data_base64"),
        (json!({ "data": null, "id": "" }), "id"),
        (json!({ "id": null }), "id"),
        (json!({ "id": 1.5 }), "id"),
        (json!({ "source": "" }), "source"),
        (json!({ "type": "…" }), "type"),
        (json!({ "specversion": "0.3" }), "specversion"),
        (json!({ "time": "2018-04-05 17:31:00Z" }), "time"),
        (json!({ "time": "yesterday" }), "time"),
        (json!({ "subject": "a\nb" }), "subject"),
        (json!({ "subject": "x".repeat(256) }), "subject"),
        (json!({ "myExtension": "x" }), "myExtension"),
        (json!({ "extension": { "a": 1 } }), "extension"),
        (json!({ "extension": 2_147_483_648_i64 }), "extension"),
        (json!({ "level": "loud" }), "level"),
    ];
    for (changes, field) in wrong {
        let problem = reply(structured(&proxy, &with(example(), changes.clone()))).await;
        let problem = problem.expect_problem(422, "invalid-request");
        assert_eq!(problem["errors"][0]["field"], field, "{changes}");
    }
    let mut bad = example();
    bad.as_object_mut().unwrap().remove("data");
    for text in [json!("%%%"), json!("YQ"), json!(5)] {
        let problem = reply(structured(&proxy, &with(bad.clone(), json!({ "data_base64": text })))).await;
        assert_eq!(problem.expect_problem(422, "invalid-request")["errors"][0]["field"], "data_base64");
    }
    let half = proxy.post("", "application/json", "{}").header("ce-specversion", "1.0");
    assert_eq!(reply(half).await.expect_problem(422, "invalid-request")["errors"][0]["field"], "ce-id");
    let twice = binary(&proxy, "1", "text/plain", "x").header("ce-datacontenttype", "text/plain");
    let problem = reply(twice).await.expect_problem(422, "invalid-request");
    assert_eq!(problem["errors"][0]["field"], "ce-datacontenttype");
    assert_eq!(proxy.get("/v1/ledger").await.expect(200), json!({}));
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_of_an_event_goes_before_that_of_its_request_to_kafka() {
    let Some((kafka, settings)) = place() else { return };
    let mut proxy = start(&settings, &[("EVENT_PROXY__TOPICS__PARTITIONS", "1")]).await;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let event = with(example(), json!({ "traceparent": traceparent, "sequence": "0042" }));
    let request = proxy.post("?ack=kafka", "application/cloudevents+json", event.to_string());
    let request = request.header("traceparent", "00-11111111111111111111111111111111-2222222222222222-01");
    let taken = reply(request).await.expect(200);
    let topic = format!("https-{TOPIC}");
    // a reader of the log's own knows the event as ever, though the attributes have the names of its headers
    let read = kafka.records(&topic, 0).await.unwrap();
    assert_eq!((json!(read[0].id), read[0].position, &read[0].kind), (taken["id"].clone(), 0, &topic));
    assert_eq!(read[0].traceparent.as_deref(), Some(traceparent));
    until("delivered", async || proxy.get("/v1/ledger").await.expect(200)[&topic]["delivered"] == 1).await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_body_is_data_of_an_event_of_the_path() {
    let mut proxy = TestProxy::start(&[]).await;
    let post = |query: &str, media: &'static str, body: &'static str| {
        proxy.request(Method::POST, &format!("/v1/events/web/hook{query}")).header("content-type", media).body(body)
    };
    reply(post("?key=a&id=1&level=WARNING", "application/json; charset=UTF-8", "{\"n\": 1}\n")).await.expect(202);
    assert_eq!(reply(post("?key=a&id=1", "application/json", "{\"n\":1}")).await.expect(202)["duplicate"], true);
    reply(post("?key=a", "text/plain", "a line")).await.expect(202);
    reply(post("?key=a", "application/x-www-form-urlencoded", "a=1&b=2")).await.expect(202);
    reply(post("?key=a", "application/pdf", "%PDF")).await.expect(202);
    let items =
        reply(post("?key=a", "application/x-ndjson", "{\"n\":2}\nrubbish\n[3]\n")).await.expect(207)["items"].clone();
    assert_eq!(items[1]["problem"]["code"], "malformed-json");
    reply(post("?key=a", "application/json", "{\"n\":4}\n{\"n\":5}")).await.expect(202);
    let bare = proxy.request(Method::POST, "/v1/events/web/hook?key=a").body("no JSON");
    reply(bare).await.expect(202);
    let stored = proxy.stored("web.hook").await;
    let data: Vec<_> = stored.iter().map(|event| event["data"].clone()).collect();
    let meant = json!([{ "n": 1 }, "a line", "a=1&b=2", null, { "n": 2 }, [3], { "n": 4 }, { "n": 5 }, "no JSON"]);
    assert_eq!(json!(data), meant);
    assert_eq!(
        (&stored[0]["level"], &stored[0]["id"], &stored[3]["data_base64"]),
        (&json!("warn"), &json!("1"), &json!("JVBERg=="))
    );
    assert_eq!(stored[1]["attributes"], json!({ "datacontenttype": "text/plain" }));
    for media in ["application/x-ndjson", "application/json"] {
        let problem = reply(post("?id=1", media, "1\n2\n")).await.expect_problem(422, "invalid-request");
        assert_eq!(problem["errors"][0]["field"], "id");
    }
    reply(post("", "application/cloudevents+json", "{}")).await.expect_problem(422, "invalid-request");
    reply(post("?level=loud", "text/plain", "x")).await.expect_problem(400, "invalid-query");
    let named = proxy.request(Method::POST, "/v1/events/web/no.name").body("x");
    assert_eq!(reply(named).await.expect_problem(422, "invalid-request")["errors"][0]["field"], "type");
    // a page of any site could have a browser send these
    for media in [Some("text/plain"), Some("application/x-www-form-urlencoded"), None] {
        let request =
            proxy.request(Method::POST, "/v1/events/web/hook").header("origin", "https://example.com").body("x");
        let request = media.map_or(request.try_clone().unwrap(), |media| request.header("content-type", media));
        reply(request).await.expect_problem(415, "unsupported-media-type");
    }
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attribute_is_no_sign_of_a_forwarder() {
    let mut proxy = TestProxy::start(&[]).await;
    let request = binary(&proxy, "1", "application/json", "1").header("ce-clientip", "10.0.0.1");
    reply(request).await.expect(202);
    proxy.stop().await;
}
