//! True answers: about accepted events, refused events, and the line to resume at.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::kafka::until;
use super::support::{TestProxy, event, reply};

const LINES: &str = "application/x-ndjson";

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_was_taken_the_status_says_so() {
    let mut proxy = TestProxy::start(&[("EVENT_PROXY__INGEST__MAX_EVENT", "1KiB")]).await;
    let bad = json!({ "service": "", "type": "paid", "data": 1 });
    let large = json!({ "service": "order", "type": "paid", "data": "x".repeat(1500) });
    let refused = reply(proxy.post("", LINES, format!("{bad}\n{bad}"))).await.expect_problem(422, "invalid-request");
    assert_eq!(refused["items"].as_array().unwrap().len(), 2);
    proxy.json(json!([bad, bad])).await.expect_problem(422, "invalid-request");
    proxy.json(json!([large])).await.expect_problem(413, "body-too-large");
    proxy.json(json!([large, bad])).await.expect_problem(422, "invalid-request");
    proxy.json(json!([event(1), bad])).await.expect(207);
    proxy.json(json!([])).await.expect(202);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_too_long_is_an_item_and_later_lines_go_on() {
    let mut proxy = TestProxy::start(&[]).await;
    let long = format!("{}\n{}\n{}\n", event(1), "x".repeat(5 << 20), event(2));
    let items = reply(proxy.post("", LINES, long)).await.expect(207)["items"].clone();
    let statuses: Vec<_> = items.as_array().unwrap().iter().map(|item| item["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [202, 413, 202]);
    assert_eq!(proxy.stored("order.paid").await.len(), 2);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_answered_with_the_line_to_go_on_from() {
    let mut proxy = TestProxy::start(&[]).await;
    let lines: String = (0..3_000).map(|n| format!("{}\n", event(n))).collect();
    let mut packer = GzEncoder::new(Vec::new(), Compression::none());
    packer.write_all(lines.as_bytes()).unwrap();
    let mut body = packer.finish().unwrap();
    body.truncate(body.len() / 2);
    let answer = reply(proxy.post("", LINES, body).header("content-encoding", "gzip")).await.expect(207);
    let stored = proxy.stored("order.paid").await.len();
    assert!((1_000..2_000).contains(&stored), "{stored}");
    assert_eq!((&answer["accepted"], &answer["unread"]["from_line"]), (&json!(stored), &json!(stored + 1)));
    assert_eq!(answer["unread"]["problem"]["code"], "bad-request");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_slow_stream_are_taken_though_more_may_come() {
    let mut proxy = TestProxy::start(&[]).await;
    let address = proxy.url("").trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let line = format!("{}\n{{", event(1));
    let request = format!(
        "POST /v1/events HTTP/1.1\r\nhost: {address}\r\ncontent-type: {LINES}\r\ntransfer-encoding: chunked\r\n\r\n\
         {:x}\r\n{line}\r\n",
        line.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    until("the line is taken", async || proxy.stored("order.paid").await.len() == 1).await;
    drop(stream);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_of_one_event_of_its_service_type_and_source() {
    let mut proxy = TestProxy::start(&[]).await;
    let own = |kind: &str, key: &str, data: Value| json!({ "service": "order", "type": kind, "id": "7", "key": key, "data": data });
    let data = || json!({ "a": 1, "b": [2] });
    proxy.json(own("paid", "k", data())).await.expect(202);
    assert_eq!(proxy.json(own("paid", "k", data())).await.expect(202)["duplicate"], true);
    let spaced = r#"{"data": {"b":[ 2 ], "a":1}, "service":"order","type":"paid","id":"7","key":"k"}"#;
    assert_eq!(reply(proxy.post("", "application/json", spaced)).await.expect(202)["duplicate"], true);
    proxy.json(own("paid", "other", data())).await.expect_problem(409, "id-reused");
    proxy.json(own("paid", "k", json!(1))).await.expect_problem(409, "id-reused");
    assert_eq!(proxy.json(own("failed", "k", json!(1))).await.expect(202)["duplicate"], Value::Null);
    let digits =
        |digits: &str, id: &str| format!(r#"{{"service":"order","type":"digits","id":"{id}","data":{digits}}}"#);
    let post = async |body: String| reply(proxy.post("", "application/json", body)).await;
    for (id, one, other) in [
        ("1", "18446744073709551617", "18446744073709551618"),
        ("2", r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        ("3", "[1.5]", "[1.5,2]"),
    ] {
        post(digits(one, id)).await.expect(202);
        assert_eq!(post(digits(one, id)).await.expect(202)["duplicate"], true, "{one}");
        post(digits(other, id)).await.expect_problem(409, "id-reused");
    }
    let both = json!([own("new", "k", json!(1)), own("new", "k", json!(1)), own("new", "k", json!(2))]);
    let items = proxy.json(both).await.expect(207)["items"].clone();
    assert_eq!((&items[1]["duplicate"], &items[2]["status"]), (&json!(true), &json!(409)));
    for (source, status) in [("order", Value::Null), ("/order", Value::Null), ("order", json!(true))] {
        let cloud = json!({ "specversion": "1.0", "id": "8", "source": source, "type": "paid", "data": 1 });
        let taken = reply(proxy.post("", "application/cloudevents+json", cloud.to_string())).await.expect(202);
        assert_eq!(taken["duplicate"], status, "{source}");
    }
    proxy.restart().await;
    proxy.json(own("paid", "k", json!(2))).await.expect_problem(409, "id-reused");
    proxy.stop().await;
}
