//! A client that sends too much, too slowly, or nothing hurts no other client.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};
use testkit::{is_one_problem, no_http};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::kafka::until;
use super::support::{TestProxy, event, packed, reply};

const LINES: &str = "application/x-ndjson";
/// Far more than any step takes without a hang.
const PATIENCE: Duration = Duration::from_secs(60);

const HERE: &str = "127.0.0.1";
const ELSEWHERE: &str = "127.0.0.2";

/// Returns a client of an address other than the proxy's own client in a test.
fn client_elsewhere() -> Client {
    Client::builder().local_address(ELSEWHERE.parse::<IpAddr>().unwrap()).build().unwrap()
}

/// Begins a request with this head, and returns the connection.
async fn begun(proxy: &TestProxy, head: &str, body: &[u8]) -> TcpStream {
    begun_from(HERE, proxy, head, body).await
}

async fn begun_from(from: &str, proxy: &TestProxy, head: &str, body: &[u8]) -> TcpStream {
    let address = proxy.url("").trim_start_matches("http://").to_owned();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    let head = format!("POST /v1/events HTTP/1.1\r\nhost: {address}\r\n{head}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    stream
}

/// Status and body of the answer on a connection.
async fn answer(stream: &mut TcpStream) -> (u16, Value) {
    let mut text = Vec::new();
    let read = async {
        loop {
            let bytes = stream.read_buf(&mut text).await.unwrap();
            let said = String::from_utf8_lossy(&text).into_owned();
            let (head, body) = said.split_once("\r\n\r\n").unwrap_or((&said, ""));
            if let Ok(body) = serde_json::from_str(body) {
                return (head[9..12].parse().unwrap(), body);
            }
            assert!(bytes > 0, "{said}");
        }
    };
    timeout(PATIENCE, read).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_gets_a_problem_document() {
    let mut proxy = TestProxy::start(&[]).await;
    for (request, code) in no_http() {
        let mut stream = TcpStream::connect(proxy.url("").trim_start_matches("http://")).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut said = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut said)).await.expect("an end").unwrap();
        is_one_problem(&said, code);
    }
    let broken = "content-type: application/json\r\ntransfer-encoding: chunked";
    let mut stream = begun(&proxy, broken, b"z\r\n").await;
    let mut said = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut said)).await.expect("an end").unwrap();
    is_one_problem(&said, "bad-request");
    proxy.stop().await;
}

const WHOLE: &str = "content-type: application/json\r\ncontent-length: 1000";

#[tokio::test(flavor = "multi_thread")]
async fn a_packed_body_is_unpacked_no_further_than_its_limits() {
    let mut proxy = TestProxy::start(&[]).await;
    for media in ["application/json", LINES] {
        let bomb = packed(&vec![b' '; 64 << 20]);
        let all = (0..32).map(|_| reply(proxy.post("", media, bomb.clone()).header("content-encoding", "gzip")));
        for answer in futures::future::join_all(all).await {
            // some find no memory
            assert!(matches!(answer.status, 413 | 503), "{}", answer.body);
        }
    }
    let members = [packed(event(1).to_string().as_bytes()), packed(b"\n"), packed(event(2).to_string().as_bytes())];
    let request = proxy.post("", LINES, members.concat()).header("content-encoding", "x-gzip");
    assert_eq!(reply(request).await.expect(202)["items"].as_array().unwrap().len(), 2);
    for encoding in ["br", "zstd", "deflate", "gzip, gzip"] {
        let request = proxy.post("", "application/json", event(3).to_string()).header("content-encoding", encoding);
        let refused = reply(request).await;
        assert_eq!(refused.header("accept-encoding"), Some("gzip, identity"));
        refused.expect_problem(415, "unsupported-media-type");
    }
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_given_up() {
    let mut proxy = TestProxy::start(&[("EVENT_PROXY__HTTP__LIMITS__BODY_TIMEOUT", "300ms")]).await;
    let (status, document) = answer(&mut begun(&proxy, WHOLE, b"{").await).await;
    assert_eq!((status, &document["code"]), (408, &json!("body-timeout")));
    let half = format!("{}\n{{\"serv", event(1));
    let head = format!("content-type: {LINES}\r\ncontent-length: 1000");
    let (status, document) = answer(&mut begun(&proxy, &head, half.as_bytes()).await).await;
    assert_eq!((status, &document["accepted"], &document["unread"]["from_line"]), (207, &json!(1), &json!(2)));
    assert_eq!(document["unread"]["problem"]["code"], "body-timeout");
    proxy.stop().await;
    // what came before does not make a silence longer
    let limits = [("EVENT_PROXY__HTTP__LIMITS__BODY_TIMEOUT", "300ms"), ("EVENT_PROXY__HTTP__LIMITS__BODY_RATE", "1")];
    let mut proxy = TestProxy::start(&limits).await;
    let head = "content-type: application/json\r\ncontent-length: 100000";
    let (status, _) = answer(&mut begun(&proxy, head, &[b' '; 50_000]).await).await;
    assert_eq!(status, 408);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_find_memory_or_are_sent_away_and_small_ones_find_some() {
    let limits = [
        ("EVENT_PROXY__INGEST__MAX_BODY", "1MiB"),
        ("EVENT_PROXY__HTTP__LIMITS__MEMORY", "5MiB"),
        ("EVENT_PROXY__HTTP__LIMITS__BODY_TIMEOUT", "1h"),
    ];
    let mut proxy = TestProxy::start(&limits).await;
    let large = json!({ "service": "order", "type": "paid", "data": "x".repeat(800_000) }).to_string();
    let head = format!("content-type: application/json\r\ncontent-length: {}", large.len());
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(begun(&proxy, &head, &large.as_bytes()[..large.len() - 1]).await);
    }
    until("memory is used up", async || {
        let answer = reply(proxy.post("", "application/json", large.clone())).await;
        assert!(answer.status == 202 || answer.body["code"] == "unavailable", "{}", answer.body);
        answer.status == 503
    })
    .await;
    proxy.json(event(1)).await.expect(202);
    drop(waiting);
    until("memory is given back", async || {
        reply(proxy.post("", "application/json", large.clone())).await.status == 202
    })
    .await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_one_address_leave_memory_to_others() {
    let limits = [
        ("EVENT_PROXY__INGEST__MAX_BODY", "1MiB"),
        ("EVENT_PROXY__HTTP__LIMITS__MEMORY", "5MiB"),
        ("EVENT_PROXY__HTTP__LIMITS__BODY_TIMEOUT", "1h"),
        ("EVENT_PROXY__HTTP__WORKERS", "1"),
    ];
    let mut proxy = TestProxy::start(&limits).await;
    let body = json!({ "service": "order", "type": "paid", "data": "x".repeat(100_000) }).to_string();
    let head = format!("content-type: application/json\r\ncontent-length: {}", body.len());
    let (mut waiting, elsewhere) = (Vec::new(), client_elsewhere());
    loop {
        waiting.push(begun_from(ELSEWHERE, &proxy, &head, &body.as_bytes()[..body.len() - 1]).await);
        let one_more = elsewhere.post(proxy.url("/v1/events")).header("content-type", "application/json");
        if reply(one_more.body(body.clone())).await.status == 503 {
            break;
        }
        assert!(waiting.len() < 100, "the address takes all that it wants");
    }
    for _ in 0..10 {
        reply(proxy.post("", "application/json", body.clone())).await.expect(202);
        proxy.get("/v1/openapi.json").await.expect(200);
        assert_eq!(proxy.request(reqwest::Method::GET, "/metrics").send().await.unwrap().status(), 200);
    }
    drop(waiting);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_count_for_the_memory_of_their_address() {
    let limits = [("EVENT_PROXY__INGEST__MAX_BODY", "1MiB"), ("EVENT_PROXY__HTTP__LIMITS__MEMORY", "5MiB")];
    let mut proxy = TestProxy::start(&limits).await;
    // each refusal repeats some 400 bytes
    let line = format!("{{\"service\":\"order\",\"type\":\"paid\",\"data\":1,\"{}\":1}}\n", "x".repeat(200));
    let body = packed(line.repeat(999).as_bytes());
    let head = format!("content-type: {LINES}\r\ncontent-encoding: gzip\r\ncontent-length: {}", body.len());
    let (mut unread, elsewhere) = (Vec::new(), client_elsewhere());
    for _ in 0..4 {
        unread.push(begun_from(ELSEWHERE, &proxy, &head, &body).await);
    }
    until("the address has its share", async || {
        elsewhere.get(proxy.url("/v1/openapi.json")).send().await.unwrap().status() == 503
    })
    .await;
    proxy.get("/v1/openapi.json").await.expect(200);
    drop(unread);
    until("memory is given back", async || {
        elsewhere.get(proxy.url("/v1/openapi.json")).send().await.unwrap().status() == 200
    })
    .await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_does_not_wait_for_all_lines_of_another_address() {
    const BODIES: usize = 20;
    const ASKED: usize = 5;
    let mut proxy = TestProxy::start(&[("EVENT_PROXY__HTTP__WORKERS", "1")]).await;
    let bad = packed("1\n".repeat(1_000_000).as_bytes());
    let head = format!("content-type: {LINES}\r\ncontent-encoding: gzip\r\ncontent-length: {}", bad.len());
    let mut refused = JoinSet::new();
    for _ in 0..BODIES {
        let mut stream = begun_from(ELSEWHERE, &proxy, &head, &bad).await;
        refused.spawn(async move { answer(&mut stream).await.0 });
    }
    for _ in 0..ASKED {
        proxy.get("/livez").await;
    }
    let mut done = 0;
    while refused.try_join_next().is_some() {
        done += 1;
    }
    assert!(done < BODIES / 2, "{done} bodies of others were read before {ASKED} requests of this client");
    assert!(refused.join_all().await.iter().all(|status| *status == 422));
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_bodies_that_do_not_come() {
    let hour = [("EVENT_PROXY__HTTP__SHUTDOWN_TIMEOUT", "1h"), ("EVENT_PROXY__HTTP__LIMITS__BODY_TIMEOUT", "1h")];
    let mut proxy = TestProxy::start(&hour).await;
    let mut silent = begun(&proxy, WHOLE, b"{").await;
    let mut lines = begun(&proxy, &format!("content-type: {LINES}\r\ntransfer-encoding: chunked"), b"").await;
    let line = format!("{}\n", event(1));
    lines.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes()).await.unwrap();
    until("the line is taken", async || proxy.stored("order.paid").await.len() == 1).await;
    timeout(PATIENCE, proxy.stop()).await.expect("an end");
    assert_eq!(answer(&mut silent).await.1["code"], "unavailable");
    let (_, document) = answer(&mut lines).await;
    assert_eq!((&document["accepted"], &document["unread"]["from_line"]), (&json!(1), &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_repeats_little_of_what_a_client_sent() {
    let mut proxy = TestProxy::start(&[]).await;
    let line = format!(r#"{{"service":"order","type":"paid","data":1,"{}":1}}"#, "x".repeat(200_000));
    for (media, body) in [("application/json", line.clone()), ("application/x-ndjson", format!("{line}\n").repeat(20))]
    {
        let answer = proxy.post("", media, body).send().await.unwrap();
        assert_eq!(answer.status(), 422, "{media}");
        let length = answer.bytes().await.unwrap().len();
        assert!(length < 50_000, "{media}: {length} bytes");
    }
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_costs_no_more_for_coming_in_many_pieces() {
    let mut proxy = TestProxy::start(&[]).await;
    let line = json!({ "service": "order", "type": "paid", "data": "x".repeat(400_000) }).to_string();
    let head = format!("content-type: {LINES}\r\ntransfer-encoding: chunked");
    let mut stream = begun(&proxy, &head, b"").await;
    let chunks: String = line.chars().map(|letter| format!("1\r\n{letter}\r\n")).collect();
    stream.write_all(chunks.as_bytes()).await.unwrap();
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert_eq!(answer(&mut stream).await.0, 202);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_thousand_refused_lines_the_rest_is_not_read() {
    let mut proxy = TestProxy::start(&[]).await;
    let bad = packed("1\n".repeat(16_000_000).as_bytes());
    let refused = reply(proxy.post("", LINES, bad).header("content-encoding", "gzip")).await;
    let refused = refused.expect_problem(422, "invalid-request");
    assert_eq!(refused["accepted"], 0);
    let from = refused["unread"]["from_line"].as_u64().unwrap();
    assert!((1_001..=10_000).contains(&from), "{from}");
    let some = format!("{}\n{}", event(1), "1\n".repeat(50_000));
    let some = reply(proxy.post("", LINES, some)).await.expect(207);
    assert_eq!((&some["accepted"], &some["unread"]["problem"]["code"]), (&json!(1), &json!("invalid-request")));
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_that_readers_cannot_read_is_refused_in_each_form() {
    let mut proxy = TestProxy::start(&[]).await;
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let plain = |levels| format!(r#"{{"service":"order","type":"paid","data":{}}}"#, deep(levels));
    let cloud =
        |levels| format!(r#"{{"specversion":"1.0","id":"1","source":"order","type":"paid","data":{}}}"#, deep(levels));
    for levels in [127, 129, 200_000] {
        let forms = [
            ("application/json", plain(levels)),
            ("application/json", format!("[{}]", plain(levels))),
            (LINES, plain(levels)),
            ("application/cloudevents+json", cloud(levels)),
            ("application/cloudevents-batch+json", format!("[{}]", cloud(levels))),
        ];
        for (media, body) in forms {
            reply(proxy.post("", media, body)).await.expect_problem(422, "invalid-request");
        }
        let binary = proxy.post("", "application/json", deep(levels)).header("ce-specversion", "1.0");
        let binary = binary.header("ce-source", "order").header("ce-type", "paid").header("ce-id", "1");
        reply(binary).await.expect_problem(422, "invalid-request");
    }
    reply(proxy.post("", "application/json", plain(126))).await.expect(202);
    assert_eq!(proxy.stored("order.paid").await.len(), 1);
    let deep_body = proxy.request(reqwest::Method::POST, "/v1/admin/api-keys").body(deep(10_000));
    let deep_body = deep_body.basic_auth("admin", Some(super::support::PASSWORD));
    reply(deep_body.header("content-type", "application/json")).await.expect_problem(422, "invalid-request");
    proxy.stop().await;
}
