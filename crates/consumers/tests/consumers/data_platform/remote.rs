//! HTTP, Elasticsearch and Splunk: requests, and the meaning of each answer.

use std::sync::Arc;
use std::time::Duration;

use contracts::topics::PAYMENT_COMPLETED;
use hmac::{Hmac, KeyInit, Mac};
use messaging::{EffectHandler, Event, HandlerError, Lease};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::given::{Given, databases, time};
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
    let of_all = [301, 401, 402, 403, 404, 405, 406, 408, 409, 410, 411, 415, 423, 426, 429, 431, 451, 500, 502, 503];
    for status in of_all {
        assert_unavailable(answered(http, status, "no", &events).await);
    }
    for (status, words) in [(400, "no such field"), (413, ""), (413, "<html>"), (422, "")] {
        assert_failed(answered(http, status, words, &events).await);
    }
    for (status, page) in [(400, ""), (400, "<html>"), (400, " <!DOCTYPE html>"), (422, "<HTML>")] {
        assert_unavailable(answered(http, status, page, &events).await);
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

#[tokio::test]
async fn a_receiver_that_asks_for_a_pause_is_left_alone() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("an address");
    let sink = to(http(&format!("http://{}", listener.local_addr().expect("bound"))), &any_database().await);
    let events = payments(0, 1);
    let busy = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 64 << 10]).await.expect("a request");
        let answer = "HTTP/1.1 429 Told\r\nretry-after: 60\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await.expect("answered");
        stream
    };
    let lease = at_0();
    let (refused, _stream) = tokio::join!(sink.handle(&lease, &events), busy);
    assert_unavailable(refused);
    drop(listener);
    let Err(HandlerError::Unavailable(why)) = sink.handle(&at_0(), &events).await else { panic!("a pause") };
    assert!(why.contains("pause"), "{why}");
}

fn elastic(url: &str) -> Value {
    json!({"sink": "elasticsearch", "elasticsearch": {"url": format!("{url}/"), "api_key": "a2V5"}})
}

fn outcome(statuses: &[u16]) -> String {
    let item = |status: &u16| match status {
        201 => json!({"create": {"_id": "1", "status": 201}}),
        status => json!({"create": {"_id": "1", "status": status,
                                    "error": {"type": "document_parsing_exception", "reason": "so"}}}),
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
    for (kind, reason, is_content) in [
        ("validation_exception", "this cluster currently has [1000]/[1000] maximum normal shards open", false),
        ("illegal_argument_exception", "pipeline with id [x] does not exist", false),
        ("illegal_argument_exception", "mapper [a] cannot be changed from type [long] to [text]", true),
        ("strict_dynamic_mapping_exception", "mapping set to strict", true),
    ] {
        let item = json!({"create": {"status": 400, "error": {"type": kind, "reason": reason}}});
        let body = json!({"errors": true, "items": [item]}).to_string();
        let answer = answered(elastic, 200, &body, &events[..1]).await;
        if is_content { assert_failed(answer) } else { assert_unavailable(answer) }
    }
    assert_unavailable(answered(elastic, 200, "<html>", &events).await);
    assert_unavailable(answered(elastic, 401, "", &events).await);
}

#[tokio::test]
async fn elasticsearch_is_not_asked_again_for_what_it_said_of_a_batch() {
    let server = Http::answering(|_| (200, outcome(&[201, 400, 201]))).await;
    let events = payments(0, 3);
    let sink = to(elastic(&server.url()), &any_database().await);
    assert_failed(sink.handle(&at_0(), &events).await);
    for (event, is_good) in events.iter().zip([true, false, true]) {
        let alone = sink.handle(&at_0(), std::slice::from_ref(event)).await;
        if is_good { alone.expect("it is stored") } else { assert_failed(alone) }
    }
    assert_eq!(server.got().len(), 1);
    // the next try of the refused one is a request
    assert_unavailable(sink.handle(&at_0(), &events[1..2]).await);
    assert_eq!(server.got().len(), 2);
}

fn splunk(url: &str) -> Value {
    json!({"sink": "splunk", "splunk": {"url": url, "token": "t0ken", "index": "shop"}})
}

#[tokio::test]
async fn splunk_gets_events_with_their_id_as_a_field() {
    let server = Http::answering(|_| (200, r#"{"text":"Success","code":0}"#.into())).await;
    let mut events = payments(0, 2);
    events[1].occurred_at = time("1969-12-31T23:59:59.5Z");
    to(splunk(&server.url()), &any_database().await).handle(&at_0(), &events).await.expect("handled");
    let [request] = &server.got()[..] else { panic!("one request") };
    assert_eq!(request.target, "/services/collector/event");
    assert_eq!(request.header("authorization"), "Splunk t0ken");
    for (line, event) in request.lines().iter().zip(&events) {
        assert_eq!(line["fields"], json!({"event_id": event.id}));
        assert_eq!((&line["index"], &line["sourcetype"]), (&json!("shop"), &json!("jangteo:event")));
        assert_eq!((&line["source"], &line["event"]["id"]), (&json!("jangteo/payment-completed"), &json!(event.id)));
        assert_eq!(line["time"].as_f64(), Some(event.occurred_at.micros() as f64 / 1e6), "seconds");
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
    for set_up in [7, 10, 11, 14, 16] {
        assert_unavailable(hec(400, set_up).await);
    }
    for status in [200, 204] {
        answered(splunk, status, "", &events).await.expect("taken");
    }
    assert_unavailable(hec(403, 4).await);
    assert_unavailable(hec(503, 9).await);
    assert_unavailable(hec(200, 9).await);
}

#[tokio::test]
async fn splunk_is_waited_for_until_it_acknowledges() {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let server = Http::answering(move |request| {
        let is_indexed = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 2;
        let body = match request.target.as_str() {
            "/services/collector/ack" => json!({"acks": {"7": is_indexed()}}),
            _ => json!({"text": "Success", "code": 0, "ackId": 7}),
        };
        (200, body.to_string())
    });
    let server = server.await;
    to(splunk(&server.url()), &any_database().await).handle(&at_0(), &payments(0, 1)).await.expect("handled");
    let got = server.got();
    let targets: Vec<_> = got.iter().map(|request| request.target.as_str()).collect();
    let [event, ack] = ["/services/collector/event", "/services/collector/ack"];
    assert_eq!(targets, [event, ack, ack, ack]);
    let channel = got[0].header("x-splunk-request-channel");
    assert!(!channel.is_empty() && got.iter().all(|request| request.header("x-splunk-request-channel") == channel));
    assert_eq!(got[1].lines()[0], json!({"acks": [7]}));
}
