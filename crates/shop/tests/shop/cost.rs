//! A client that sends too much, too slowly, or nothing hurts no other client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{is_one_problem, no_http};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::binary::Binary;
use crate::support::{TestShop, random_key};

/// Far more than any step takes without a hang.
const PATIENCE: Duration = Duration::from_secs(60);

async fn half_a_body(shop: &TestShop, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(shop.address()).await.unwrap();
    let head = format!(
        "POST /api/v1{path} HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Connects from an address other than the test client's.
async fn connect_from_elsewhere(shop: &TestShop) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    socket.connect(shop.address()).await.unwrap()
}

async fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("an end").unwrap();
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_bodies_are_refused_on_every_route_that_reads_one() {
    let shop = TestShop::start().await;
    let document = shop.api().get("/openapi.json").send().await.expect(200).body;
    let mut tried = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let path = path.strip_prefix("/api/v1").unwrap().replace("{id}", "01890a5d-ac96-774b-bcce-b302099a8057");
            if ![Method::POST, Method::PATCH].contains(&method) || path.contains('{') {
                continue;
            }
            let request = shop.admin().call(method.clone(), &path).header("idempotency-key", &random_key());
            let request = request.header("content-type", "application/json").header("content-encoding", "gzip");
            let refused = request.raw("{}").send().await;
            assert_eq!(
                refused.headers.get("accept-encoding").map(|it| it.as_bytes()),
                Some(&b"identity"[..]),
                "{method} {path}: {}",
                refused.body
            );
            refused.expect_problem(415, "unsupported-media-type");
            tried += 1;
        }
    }
    assert!(tried >= 15, "{tried}");
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_given_up() {
    let shop = TestShop::start_with(&[("SHOP__HTTP__LIMITS__BODY_TIMEOUT", "200ms")], vec![]).await;
    for path in ["/sessions", "/members"] {
        let said = answer(half_a_body(&shop, path).await).await;
        assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("body-timeout"), "{said}");
    }
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_body_that_nobody_reads_is_given_up() {
    let shop = TestShop::start_with(&[("SHOP__HTTP__LIMITS__HEAD_TIMEOUT", "300ms")], vec![]).await;
    for rest in ["5\r\nhello\r\n", &format!("20000\r\n{}\r\n", "x".repeat(0x20000))] {
        let mut stream = TcpStream::connect(shop.address()).await.unwrap();
        let head = "POST /api/v1/nowhere HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(format!("{head}{rest}").as_bytes()).await.unwrap();
        let mut said = String::new();
        // the end may be a reset, for the server does not read the rest
        let _ = timeout(PATIENCE, stream.read_to_string(&mut said)).await.expect("an end");
        assert!(said.starts_with("HTTP/1.1 404 "), "{said}");
    }
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_a_share_of_the_connections() {
    let shop = TestShop::start_with(&[("SHOP__HTTP__LIMITS__CONNECTIONS_PER_ADDRESS", "20")], vec![]).await;
    let mut open = Vec::new();
    for _ in 0..30 {
        let mut stream = TcpStream::connect(shop.address()).await.unwrap();
        // a connection over the share may be reset already
        let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nhost: shop\r\n\r\n").await;
        let mut first = [0; 12];
        let is_served = timeout(PATIENCE, stream.read_exact(&mut first)).await.expect("an answer or an end").is_ok();
        open.push((stream, is_served));
    }
    let served = open.iter().filter(|(_, is_served)| *is_served).count();
    assert!((15..=20).contains(&served), "{served} of 30, beside those of this test's own client");
    drop(open);
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_bodies_that_do_not_come() {
    let hour = [("SHOP__HTTP__SHUTDOWN_TIMEOUT", "1h"), ("SHOP__HTTP__LIMITS__BODY_TIMEOUT", "1h")];
    let shop = TestShop::start_with(&hour, vec![]).await;
    let silent = half_a_body(&shop, "/sessions").await;
    // answered after it, so the head of the other has come
    shop.api().get("/products").send().await.expect(200);
    timeout(PATIENCE, shop.finish()).await.expect("an end");
    answer(silent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_beyond_127_levels_is_refused() {
    let shop = TestShop::start().await;
    for levels in [127, 129, 10_000] {
        let body = format!(r#"{{"email":"kim@example.com","password":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        let call = shop.api().call(Method::POST, "/sessions").header("content-type", "application/json");
        let errors = call.raw(body).send().await.expect_problem(422, "invalid-request").body["errors"].clone();
        assert_eq!(errors[0]["field"], "body", "{errors}");
    }
    let errors: Value = {
        let body = r#"{"email":"kim@example.com","password":[[1]]}"#;
        let call = shop.api().call(Method::POST, "/sessions").header("content-type", "application/json");
        call.raw(body).send().await.expect_problem(422, "invalid-request").body["errors"].clone()
    };
    assert_eq!(errors[0]["field"], "password");
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_head_of_a_connection_has_a_deadline_and_a_length() {
    let shop = TestShop::start_with(&[("SHOP__HTTP__LIMITS__HEAD_TIMEOUT", "300ms")], vec![]).await;
    let head = "GET /livez HTTP/1.1\r\nhost: shop\r\n";
    let long = format!("{head}x: {}\r\n\r\n", "x".repeat(40_000));
    for begun in ["", head] {
        let mut stream = TcpStream::connect(shop.address()).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        let said = answer(stream).await;
        assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("/problems/head-timeout"), "{begun}: {said}");
    }
    let mut stream = TcpStream::connect(shop.address()).await.unwrap();
    stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    stream.write_all(head.as_bytes()).await.unwrap();
    let said = answer(stream).await;
    assert!(said.contains("HTTP/1.1 408 "), "{said}");
    let mut stream = TcpStream::connect(shop.address()).await.unwrap();
    stream.write_all(long.as_bytes()).await.unwrap();
    let mut said = String::new();
    // the end may be a reset, for the server does not read the rest
    let _ = timeout(PATIENCE, stream.read_to_string(&mut said)).await.expect("an end");
    assert!(said.contains("HTTP/1.1 431 ") && said.contains("/problems/head-too-large"), "{said}");
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_their_order_whatever_their_number() {
    let shop = TestShop::start().await;
    let mut stream = TcpStream::connect(shop.address()).await.unwrap();
    let path = |n: usize| if n.is_multiple_of(3) { "/api/v1/openapi.json" } else { "/livez" };
    let all: String = (0..300)
        .map(|n| {
            let end = if n == 299 { "connection: close\r\n" } else { "" };
            format!("GET {} HTTP/1.1\r\nhost: shop\r\n{end}\r\n", path(n))
        })
        .collect();
    let (mut reading, mut writing) = stream.split();
    let mut said = String::new();
    let read = async { timeout(PATIENCE, reading.read_to_string(&mut said)).await.expect("an end").unwrap() };
    let (_, written) = tokio::join!(read, writing.write_all(all.as_bytes()));
    written.unwrap();
    assert_eq!(said.matches("HTTP/1.1 200 OK").count(), 300);
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_gets_a_problem_document_and_leaves_no_line_in_the_log() {
    let mut shop = Binary::new(&[]);
    shop.start().await;
    let before = shop.log();
    for (request, code) in no_http() {
        let mut stream = TcpStream::connect(shop.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        is_one_problem(&answer(stream).await, code);
    }
    // behind other answers, and once for a request whose body breaks off
    let get = "GET /api/v1/openapi.json HTTP/1.1\r\nhost: shop\r\n\r\n".repeat(3);
    let head = "POST /api/v1/sessions HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n";
    let (whole, broken) = (format!("{head}content-length: 2\r\n\r\n{{}}"), format!("{head}transfer-encoding: chunked"));
    for (request, answers) in [
        (format!("{get}rubbish\r\n\r\n"), 4),
        (format!("{whole}rubbish\r\n\r\n"), 2),
        (format!("{broken}\r\n\r\nz\r\n"), 1),
    ] {
        let mut stream = TcpStream::connect(shop.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let said = answer(stream).await;
        let found: Vec<_> =
            said.match_indices("HTTP/1.1 ").filter(|(at, _)| said[at + 9..].starts_with(['2', '4'])).collect();
        assert_eq!(found.len(), answers, "{said}");
        is_one_problem(&said[found[answers - 1].0..], "bad-request");
    }
    assert_eq!(shop.terminate().await, Some(0));
    assert_eq!(shop.log(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_does_not_wait_for_all_connections_of_another_address() {
    const CONNECTIONS: usize = 500;
    const REQUESTS: usize = 100;
    let shop = TestShop::start_with(&[("SHOP__HTTP__WORKERS", "1")], vec![]).await;
    let (answered, mut readers) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for _ in 0..CONNECTIONS {
        let (mut reading, mut writing) = connect_from_elsewhere(&shop).await.into_split();
        let requests = "GET /livez HTTP/1.1\r\nhost: shop\r\n\r\n".repeat(REQUESTS);
        writing.write_all(requests.as_bytes()).await.unwrap();
        let answered = answered.clone();
        readers.spawn(async move {
            let (_open, mut piece) = (writing, [0; 4096]);
            while let Ok(bytes @ 1..) = reading.read(&mut piece).await {
                let heads = piece[..bytes].windows(9).filter(|it| *it == b"HTTP/1.1 ").count();
                answered.fetch_add(heads, Ordering::Relaxed);
            }
        });
    }
    let before = answered.load(Ordering::Relaxed);
    for _ in 0..10 {
        shop.api().get("//livez").send().await.expect(200);
    }
    let others = answered.load(Ordering::Relaxed) - before;
    assert!(others < 10 * CONNECTIONS / 2, "{others} answers to others came before 10 of this client");
    drop(readers);
    shop.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_of_one_network_do_not_stand_before_those_of_others() {
    const GUESSES: usize = 12;
    let shop = TestShop::start().await;
    let (answered, first, mut readers) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()), JoinSet::new());
    for guess in 0..GUESSES {
        let mut stream = connect_from_elsewhere(&shop).await;
        let body = format!(r#"{{"email":"{guess}@example.com","password":"correct-horse-battery"}}"#);
        let head =
            "POST /api/v1/sessions HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\nconnection: close";
        let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        let (answered, first) = (answered.clone(), first.clone());
        readers.spawn(async move {
            answer(stream).await;
            answered.fetch_add(1, Ordering::Relaxed);
            first.notify_one();
        });
    }
    first.notified().await;
    let before = answered.load(Ordering::Relaxed);
    let wrong = json!({ "email": "kim@example.com", "password": "correct-horse-battery" });
    shop.api().post("/sessions", wrong).send().await.expect_problem(401, "invalid-credentials");
    let others = answered.load(Ordering::Relaxed) - before;
    while let Some(read) = readers.join_next().await {
        read.unwrap();
    }
    assert!(others < GUESSES / 2, "{others} of {GUESSES} of another network were answered before");
    shop.finish().await;
}
