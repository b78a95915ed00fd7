//! Events in each format, and their errors.

use serde_json::{Value, json};

use super::support::{TestProxy, event, packed, reply};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_taken_and_followed_by_its_receipt() {
    let mut proxy = TestProxy::start(&[]).await;
    let posted = json!({
        "service": "order", "type": "payment-failed", "key": "o-1", "id": "own-1", "level": "error",
        "time": "2026-01-02T03:04:05.678Z", "data": { "reason": "card", "amount": "19900.10" },
    });
    let taken = proxy.json(posted.clone()).await;
    let location = taken.location.clone().unwrap();
    let taken = taken.expect(202);
    assert_eq!(location, format!("/v1/receipts/{}", taken["receipt"].as_str().unwrap()));
    proxy.restart().await;
    assert_eq!(proxy.stored("order.payment-failed").await, [posted]);
    let status = proxy.get(&location).await.expect(200);
    assert_eq!((&status["topic"], &status["status"]), (&json!("order.payment-failed"), &json!("delivered")));
    proxy.get(&format!("{location}x")).await.expect_problem(404, "not-found");
    proxy.get("/v1/receipts/other.AAAA").await.expect_problem(404, "not-found");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_event_costs_the_others_nothing() {
    let mut proxy = TestProxy::start(&[]).await;
    let mixed = json!([event(1), { "service": "no such.name", "type": "x", "data": 1 }, 3, event(2), {
        "service": "order", "type": "paid", "data": 1, "keyy": "k" }]);
    let items = proxy.json(mixed).await.expect(207)["items"].clone();
    let statuses: Vec<_> = items.as_array().unwrap().iter().map(|item| item["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [202, 422, 422, 202, 422]);
    assert_eq!(items[1]["problem"]["errors"][0]["field"], "service");
    assert_eq!(items[4]["problem"]["errors"][0]["field"], "keyy");
    assert_eq!(items[3]["problem"], Value::Null);

    let lines = format!("{}\n\r\nrubbish\n{}", event(3), event(4));
    let items = reply(proxy.post("", "application/x-ndjson", lines)).await.expect(207)["items"].clone();
    assert_eq!(items[1]["problem"]["code"], "malformed-json");
    let stored = proxy.stored("order.paid").await;
    assert_eq!(stored.iter().map(|event| event["data"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4]);
    proxy.json(json!([event(5), event(6)])).await.expect(202);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_again_is_the_same_event_however_many_post_it_at_once() {
    let mut proxy = TestProxy::start(&[]).await;
    let own = |service: &str| json!({ "service": service, "type": "paid", "id": "7", "data": 1 });
    let both = json!([own("order"), own("order")]);
    let at_once = (0..20).map(|_| proxy.json(both.clone()));
    let mut receipts = Vec::new();
    let mut first = 0;
    for answer in futures::future::join_all(at_once).await {
        for item in answer.expect(202)["items"].as_array().unwrap() {
            receipts.push(item["receipt"].clone());
            first += usize::from(item["duplicate"] != true);
        }
    }
    receipts.dedup();
    assert_eq!((receipts.len(), first), (1, 1));
    proxy.restart().await;
    assert_eq!(proxy.json(own("order")).await.expect(202)["duplicate"], true);
    assert_eq!(proxy.stored("order.paid").await.len(), 1);
    // an id is a service's own
    assert_eq!(proxy.json(own("stock")).await.expect(202)["duplicate"], Value::Null);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cloud_events_come_in_each_of_their_modes() {
    let mut proxy = TestProxy::start(&[]).await;
    let cloud = |id: &str| {
        json!({ "specversion": "1.0", "id": id, "source": "/order", "type": "com.example.paid", "subject": "o-1",
                "datacontenttype": "application/json", "data": { "n": id } })
    };
    let structured = proxy.post("", "application/cloudevents+json; charset=utf-8", cloud("a").to_string());
    reply(structured).await.expect(202);
    let batched = json!([cloud("b"), { "specversion": "0.3", "id": "x", "source": "order", "type": "t" }]);
    let batched = reply(proxy.post("", "application/cloudevents-batch+json", batched.to_string())).await;
    assert_eq!(batched.expect(207)["items"][1]["problem"]["errors"][0]["field"], "specversion");
    let binary = |media: &'static str, body: &'static str| {
        let request = proxy.post("", media, body).header("ce-specversion", "1.0").header("ce-source", "order");
        request.header("ce-type", "com.example.paid").header("ce-subject", "o-1")
    };
    reply(binary("application/json", r#"{"n":"c"}"#).header("ce-id", "c")).await.expect(202);
    reply(binary("text/markdown", "d").header("ce-id", "d")).await.expect(202);
    assert_eq!(
        reply(binary("text/markdown", "e")).await.expect_problem(422, "invalid-request")["errors"][0]["field"],
        "ce-id"
    );
    assert_eq!(reply(binary("application/json", r#"{"n":"c"}"#).header("ce-id", "c")).await.body["duplicate"], true);

    let stored = proxy.stored("order.com-example-paid").await;
    let data: Vec<_> = stored.iter().map(|event| event["data"].clone()).collect();
    assert_eq!(data, [json!({ "n": "a" }), json!({ "n": "b" }), json!({ "n": "c" }), json!("d")]);
    assert!(stored.iter().all(|event| event["key"] == "o-1"));
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_any_number_are_taken_as_they_come_packed_or_not() {
    let mut proxy = TestProxy::start(&[]).await;
    let lines: String =
        (0..12_000).map(|n| if n % 6_000 == 5 { "{}\n".into() } else { format!("{}\n", event(n)) }).collect();
    let request = proxy.post("", "application/x-ndjson", packed(lines.as_bytes())).header("content-encoding", "gzip");
    let answer = reply(request).await.expect(207);
    assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(11_998), &json!(2)));
    let told: Vec<_> = answer["items"].as_array().unwrap().iter().map(|item| item["line"].as_u64().unwrap()).collect();
    assert_eq!(told, [6, 6_006]);
    let stored = proxy.stored("order.paid").await;
    let numbers: Vec<_> = stored.iter().map(|event| event["data"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted() && numbers.len() == 11_998, "in the order of the key");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_or_no_events_is_refused_whole() {
    let mut proxy =
        TestProxy::start(&[("EVENT_PROXY__INGEST__MAX_BODY", "64KiB"), ("EVENT_PROXY__INGEST__MAX_EVENT", "1KiB")])
            .await;
    let large = |bytes: usize| json!({ "service": "order", "type": "paid", "data": "x".repeat(bytes) });
    proxy.json(large(100_000)).await.expect_problem(413, "body-too-large");
    let items = proxy.json(json!([large(2_000), event(1)])).await.expect(207)["items"].clone();
    assert_eq!((&items[0]["status"], &items[1]["status"]), (&json!(413), &json!(202)));
    let bomb = packed(&vec![b' '; 50 << 20]);
    assert!(bomb.len() < 64 << 10);
    for media in ["application/json", "application/x-ndjson"] {
        let request = proxy.post("", media, bomb.clone()).header("content-encoding", "gzip");
        reply(request).await.expect_problem(413, "body-too-large");
    }
    reply(proxy.post("", "application/json", "{")).await.expect_problem(400, "malformed-json");
    let many = format!("[{}0]", "0,".repeat(10_000));
    reply(proxy.post("", "application/json", many)).await.expect_problem(413, "body-too-large");
    reply(proxy.post("", "application/json", "[{]")).await.expect_problem(400, "malformed-json");
    let number = r#"{"service":"order","type":"paid","data":1,"level":3}"#;
    reply(proxy.post("", "application/json", number)).await.expect_problem(422, "invalid-request");
    reply(proxy.post("", "application/cloudevents-batch+json", "{}")).await.expect_problem(422, "invalid-request");
    let unpacked = proxy.post("", "application/json", "{}").header("content-encoding", "gzip");
    reply(unpacked).await.expect_problem(400, "bad-request");
    reply(proxy.post("", "text/plain", "{}")).await.expect_problem(415, "unsupported-media-type");
    reply(proxy.post("?ack=maybe", "application/json", event(1).to_string()))
        .await
        .expect_problem(400, "invalid-query");
    assert_eq!(proxy.stored("order.paid").await.len(), 1);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_from_memory_is_written_before_the_proxy_ends() {
    let mut proxy = TestProxy::start(&[]).await;
    for n in 0..100 {
        reply(proxy.post("?ack=memory", "application/json", event(n).to_string())).await.expect(202);
    }
    proxy.restart().await;
    assert_eq!(proxy.stored("order.paid").await.len(), 100);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_made_of_themselves_only_where_they_may_be() {
    let settings = [("EVENT_PROXY__TOPICS__MAX", "2"), ("EVENT_PROXY__TOPICS__MAX_PER_SERVICE", "2")];
    let mut open = TestProxy::start(&settings).await;
    let of = |kind: &str| json!({ "service": "order", "type": kind, "data": 1 });
    let items = open.json(json!([of("a"), of("b"), of("c"), of("a")])).await.expect(207)["items"].clone();
    let codes: Vec<_> = items.as_array().unwrap().iter().map(|item| item["problem"]["code"].clone()).collect();
    assert_eq!(codes, [Value::Null, Value::Null, json!("too-many-topics"), Value::Null]);
    open.stop().await;
    let mut closed = TestProxy::start(&[("EVENT_PROXY__TOPICS__AUTO_CREATE", "false")]).await;
    closed.json(of("a")).await.expect_problem(422, "unknown-topic");
    closed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_come_under_each_of_their_names_and_may_begin_with_a_mark() {
    let mut proxy = TestProxy::start(&[]).await;
    let media = [
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonlines",
        "Application/JSON; charset=utf-8",
    ];
    for (n, media) in (0..).zip(media) {
        let lines = format!("\u{feff}{}\r\n\r\n{}\nrubbish\n", event(2 * n), event(2 * n + 1));
        let items = reply(proxy.post("", media, lines)).await.expect(207)["items"].clone();
        let statuses: Vec<_> = items.as_array().unwrap().iter().map(|item| item["status"].as_u64().unwrap()).collect();
        assert_eq!(statuses, [202, 202, 400], "{media}");
    }
    let pretty = serde_json::to_string_pretty(&json!([event(10), event(11)])).unwrap();
    reply(proxy.post("", "application/json", format!("\u{feff}{pretty}"))).await.expect(202);
    let one = serde_json::to_string_pretty(&event(12)).unwrap();
    assert!(reply(proxy.post("", "application/json", one)).await.expect(202)["receipt"].is_string());
    let stored: Vec<_> = proxy.stored("order.paid").await.iter().map(|event| event["data"].as_u64().unwrap()).collect();
    assert_eq!(stored, (0..13).collect::<Vec<_>>());
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_type_is_told_by_the_name_of_its_field() {
    let mut proxy = TestProxy::start(&[]).await;
    let wrong = [
        ("service", json!(17)),
        ("type", json!(null)),
        ("key", json!(1)),
        ("id", json!([])),
        ("time", json!("yesterday")),
        ("time", json!(5)),
        ("level", json!(3)),
        ("level", json!("loud")),
    ];
    for (field, value) in wrong {
        let mut event = event(1);
        event[field] = value.clone();
        let problem = proxy.json(event).await.expect_problem(422, "invalid-request");
        assert_eq!(problem["errors"][0]["field"], field, "{value}");
    }
    for no_object in [json!(3), json!("order"), json!([["order", "paid", null, null, null, null, 1]])] {
        let problem = proxy.json(no_object).await.expect_problem(422, "invalid-request").to_string();
        assert!(problem.contains(r#""field":"event""#), "{problem}");
    }
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_of_other_systems_are_known_in_any_case() {
    let mut proxy = TestProxy::start(&[]).await;
    let levels = [
        ("trace", vec!["TRACE", "verbose", "FINEST"]),
        ("debug", vec!["Debug", "FINE"]),
        ("info", vec!["INFO", "notice", "Informational"]),
        ("warn", vec!["WARNING", "Warn"]),
        ("error", vec!["ERR", "FATAL", "Critical", "crit", "ALERT", "emerg", "SEVERE", "panic"]),
    ];
    let mut meant = Vec::new();
    for (level, words) in levels {
        for word in words {
            let mut event = event(1);
            event["level"] = json!(word);
            proxy.json(event).await.expect(202);
            meant.push(level);
        }
    }
    let stored: Vec<_> = proxy.stored("order.paid").await.iter().map(|event| event["level"].clone()).collect();
    assert_eq!(json!(stored), json!(meant));
    proxy.stop().await;
}
