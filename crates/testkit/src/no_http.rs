//! Requests that are not HTTP, and the required answers.

use serde_json::Value;

/// Returns invalid requests, each with the code of the expected problem.
pub fn no_http() -> Vec<(String, &'static str)> {
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "a: b\r\n".repeat(100));
    let bad = NO_HTTP.map(|request| (request.to_owned(), "bad-request"));
    bad.into_iter().chain([(many, "head-too-large")]).collect()
}

const NO_HTTP: [&str; 11] = [
    "rubbish\r\n\r\n",
    "GET /livez\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "GET / HTTP/9.9\r\n\r\n",
    "GET / HTTP/1.1\r\nno header\r\n\r\n",
    "GET /livez HTTP/1.1\r\n\r\n",
    "GET /livez HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    "GET /\0 HTTP/1.1\r\nhost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n",
];

/// Checks that an answer is one problem document with this code.
///
/// # Panics
/// If the answer is different.
pub fn is_one_problem(said: &str, code: &str) {
    let (head, body) = said.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {said}"));
    let document: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(
        (document["code"].as_str(), document["status"].as_u64()),
        (Some(code), head[9..12].parse().ok()),
        "{said}"
    );
    assert!(head.contains("\r\ncontent-type: application/problem+json\r\n"), "{said}");
}
