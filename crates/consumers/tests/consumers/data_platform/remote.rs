//! HTTP, Elasticsearch and Splunk: requests, and the meaning of each answer.

use std::sync::Arc;
use std::time::Duration;

use contracts::topics::PAYMENT_COMPLETED;
use hmac::{Hmac, KeyInit, Mac};
use messaging::{EffectHandler, Event, HandlerError, Lease};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::given::{Given, databases};
use super::super::outside::{Http, assert_failed, assert_unavailable, lease, nowhere};
use super::{ids, payments, sink};

fn at_0() -> Lease {
    lease(PAYMENT_COMPLETED, 0, 1)
}

fn to(section: Value, given: &Given) -> Arc<dyn EffectHandler> {
    sink(section, std::path::Path::new("unused"), &given.db)
}

async fn any_database() -> Given {
    databases().await.remove(0)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn http(url: &str) -> Value {
    json!({"sink": "http", "http": {"url": url, "secret": "hush", "timeout": "1s"}})
}

async fn answered(
    section: impl Fn(&str) -> Value,
    status: u16,
    body: &str,
    events: &[Event],
) -> Result<(), HandlerError> {
    let body = body.to_owned();
    let server = Http::answering(move |_| (status, body.clone())).await;
    to(section(&server.url()), &any_database().await).handle(&at_0(), events).await
}

#[tokio::test]
async fn a_post_is_signed_and_carries_the_events() {
    let server = Http::answering(|_| (204, String::new())).await;
    let events = payments(0, 3);
    let given = any_database().await;
    to(http(&format!("{}/in?x=1", server.url())), &given).handle(&at_0(), &events).await.expect("handled");
    let [request] = &server.got()[..] else { panic!("one request") };
    assert_eq!((request.target.as_str(), request.header("content-type")), ("/in?x=1", "application/json"));
    let lines: Vec<Value> = serde_json::from_slice(&request.body).expect("JSON");
    let sent: Vec<_> = lines.iter().map(|line| line["id"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(sent, ids(&events));
    assert_eq!(request.header("idempotency-key"), hex(&Sha256::digest(ids(&events).join(","))));

    let timestamp = request.header("x-jangteo-timestamp");
    assert!((chrono::Utc::now().timestamp() - timestamp.parse::<i64>().expect("seconds")).abs() < 60);
    let mut mac = Hmac::<Sha256>::new_from_slice(b"hush").expect("a key");
    mac.update(format!("{timestamp}.{}", request.text()).as_bytes());
    assert_eq!(request.header("x-jangteo-signature"), format!("v1={}", hex(&mac.finalize().into_bytes())));
}

#[tokio::test]
async fn ndjson_and_small_bodies_by_setting() {
    let server = Http::answering(|_| (200, String::new())).await;
    let events = payments(0, 3);
    let section = json!({"sink": "http", "http": {
        "url": server.url(), "secret": "hush", "format": "ndjson", "max_body_bytes": 1,
    }});
    to(section, &any_database().await).handle(&at_0(), &events).await.expect("handled");
    let got = server.got();
    assert_eq!(got.len(), 3);
    for (request, event) in got.iter().zip(&events) {
        assert_eq!(request.header("content-type"), "application/x-ndjson");
        assert_eq!(request.header("idempotency-key"), event.id.to_string());
        assert!(request.text().ends_with('\n'));
        assert_eq!(request.lines()[0]["id"], event.id.to_string());
    }
}

#[tokio::test]
async fn only_a_refusal_of_the_content_fails_an_event() {
    let events = payments(0, 1);
    for status in [301, 401, 403, 404, 408, 429, 500, 502, 503] {
        assert_unavailable(answered(http, status, "", &events).await);
    }
    for status in [400, 409, 413, 415, 422] {
        assert_failed(answered(http, status, "", &events).await);
    }
    let given = any_database().await;
    let nobody = to(http(&format!("http://{}", nowhere().await)), &given);
    assert_unavailable(nobody.handle(&at_0(), &events).await);
    let slow = Http::answering(|_| {
        std::thread::sleep(Duration::from_millis(1_500));
        (200, String::new())
    });
    assert_unavailable(to(http(&slow.await.url()), &given).handle(&at_0(), &events).await);
}

#[tokio::test]
async fn a_sink_that_was_down_gets_everything_in_order() {
    let address = nowhere().await;
    let sink = to(http(&format!("http://{address}")), &any_database().await);
    let events = payments(0, 10);
    for _ in 0..3 {
        assert_unavailable(sink.handle(&at_0(), &events[..5]).await);
    }
    let server = Http::at(address, |_| (200, String::new())).await;
    for batch in events.chunks(5) {
        sink.handle(&at_0(), batch).await.expect("handled");
    }
    let bodies =
        server.got().into_iter().flat_map(|request| serde_json::from_slice::<Vec<Value>>(&request.body).unwrap());
    let sent: Vec<_> = bodies.map(|line| line["id"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(sent, ids(&events));
}

fn elastic(url: &str) -> Value {
    json!({"sink": "elasticsearch", "elasticsearch": {"url": format!("{url}/"), "api_key": "a2V5"}})
}

fn outcome(statuses: &[u16]) -> String {
    let item = |status: &u16| match status {
        201 => json!({"create": {"_id": "1", "status": 201}}),
        status => json!({"create": {"_id": "1", "status": status, "error": {"type": "why", "reason": "so"}}}),
    };
    let items: Vec<_> = statuses.iter().map(item).collect();
    json!({"took": 1, "errors": statuses.iter().any(|status| *status != 201), "items": items}).to_string()
}

#[tokio::test]
async fn elasticsearch_gets_documents_by_event_id() {
    let server = Http::answering(|_| (200, outcome(&[201, 201]))).await;
    let events = payments(0, 2);
    to(elastic(&server.url()), &any_database().await).handle(&at_0(), &events).await.expect("handled");
    let [request] = &server.got()[..] else { panic!("one request") };
    assert_eq!((request.target.as_str(), request.header("authorization")), ("/_bulk", "ApiKey a2V5"));
    assert_eq!(request.header("content-type"), "application/x-ndjson");
    let lines = request.lines();
    for (lines, event) in lines.chunks(2).zip(&events) {
        assert_eq!(lines[0], json!({"create": {"_index": "jangteo-payment-completed", "_id": event.id}}));
        assert_eq!((&lines[1]["id"], &lines[1]["@timestamp"]), (&json!(event.id), &json!(event.occurred_at)));
        assert_eq!(lines[1]["data"]["amount"], "19900");
    }
}

#[tokio::test]
async fn elasticsearch_takes_a_password_too() {
    let server = Http::answering(|_| (200, outcome(&[201]))).await;
    let section = json!({"sink": "elasticsearch", "elasticsearch": {
        "url": server.url(), "username": "Aladdin", "password": "open sesame", "index_prefix": "",
    }});
    to(section, &any_database().await).handle(&at_0(), &payments(0, 1)).await.expect("handled");
    let request = server.got().remove(0);
    assert_eq!(request.header("authorization"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert_eq!(request.lines()[0]["create"]["_index"], "payment-completed");
}

#[tokio::test]
async fn elasticsearch_answers_for_each_document() {
    let events = payments(0, 3);
    let bulk = async |statuses: &[u16]| answered(elastic, 200, &outcome(statuses), &events).await;
    bulk(&[201, 409, 201]).await.expect("a document that is there is fine");
    assert_unavailable(bulk(&[201, 429, 201]).await);
    assert_unavailable(bulk(&[201, 503, 400]).await);
    assert_unavailable(bulk(&[403, 403, 403]).await);
    assert_failed(bulk(&[201, 400, 201]).await);
    assert_unavailable(bulk(&[400]).await);
    assert_unavailable(answered(elastic, 200, "<html>", &events).await);
    assert_unavailable(answered(elastic, 401, "", &events).await);
}

fn splunk(url: &str) -> Value {
    json!({"sink": "splunk", "splunk": {"url": url, "token": "t0ken", "index": "shop"}})
}

#[tokio::test]
async fn splunk_gets_events_with_their_id_as_a_field() {
    let server = Http::answering(|_| (200, r#"{"text":"Success","code":0}"#.into())).await;
    let events = payments(0, 2);
    to(splunk(&server.url()), &any_database().await).handle(&at_0(), &events).await.expect("handled");
    let [request] = &server.got()[..] else { panic!("one request") };
    assert_eq!(request.target, "/services/collector/event");
    assert_eq!(request.header("authorization"), "Splunk t0ken");
    for (line, event) in request.lines().iter().zip(&events) {
        assert_eq!(line["fields"], json!({"event_id": event.id}));
        assert_eq!((&line["index"], &line["sourcetype"]), (&json!("shop"), &json!("jangteo:event")));
        assert_eq!((&line["source"], &line["event"]["id"]), (&json!("jangteo/payment-completed"), &json!(event.id)));
        let micros = line["time"].to_string().replace('.', "").parse::<i64>().expect("a number");
        assert!(micros > 0 && line["time"].is_number());
    }
}

#[tokio::test]
async fn splunk_tells_a_bad_event_from_a_bad_setup() {
    let events = payments(0, 1);
    let hec = async |status: u16, code: i64| {
        let body = format!(r#"{{"text":"why","code":{code}}}"#);
        answered(splunk, status, &body, &events).await
    };
    assert_failed(hec(400, 6).await);
    assert_unavailable(hec(400, 7).await);
    assert_unavailable(hec(403, 4).await);
    assert_unavailable(hec(503, 9).await);
    assert_unavailable(hec(200, 9).await);
}
