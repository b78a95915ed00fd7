//! Batches, the buffer, and the format of an event.

use std::time::Duration;

use chrono::{DateTime, Utc};
use event_proxy_client::{Ack, BuildError, Event, EventProxy, Level, SendError, Stats};
use serde_json::json;
use uuid::Uuid;

use super::stub::{LONG, Stub};

fn numbered(number: usize) -> Event {
    Event::new("placed").data(number)
}

#[test]
fn full_batches_go_at_once_and_in_order() {
    let stub = Stub::start([]);
    let proxy = stub.client().batch_events(3).build().unwrap();
    for number in 0..7 {
        proxy.send(numbered(number)).unwrap();
    }
    stub.wait_for(2);
    assert_eq!(stub.requests().len(), 2);

    proxy.flush_blocking(LONG).unwrap();
    let sizes: Vec<_> = stub.requests().iter().map(|request| request.events.len()).collect();
    assert_eq!(sizes, [3, 3, 1]);
    let numbers: Vec<_> = stub.events().iter().map(|event| event["data"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(proxy.stats(), Stats { sent: 7, ..Stats::default() });
}

#[test]
fn a_connection_is_kept() {
    let stub = Stub::start([]);
    let proxy = stub.client().batch_events(1000).build().unwrap();
    for number in 0..3000 {
        proxy.send(numbered(number)).unwrap();
        if number % 1000 == 999 {
            proxy.flush_blocking(LONG).unwrap();
        }
    }
    let requests = stub.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|request| request.peer.is_some() && request.peer == requests[0].peer));
}

#[test]
fn a_batch_goes_when_its_time_is_up() {
    let stub = Stub::start([]);
    let proxy = stub.client().batch_time(Duration::from_millis(10)).build().unwrap();
    proxy.send(numbered(0)).unwrap();
    stub.wait_for(1);
}

#[test]
fn a_batch_is_limited_in_bytes() {
    let stub = Stub::start([]);
    let proxy = stub.client().batch_bytes(1000).build().unwrap();
    for length in [400, 300, 2000, 1] {
        proxy.send(Event::new("placed").data("x".repeat(length))).unwrap();
    }
    proxy.flush_blocking(LONG).unwrap();
    let sizes: Vec<_> = stub.requests().iter().map(|request| request.events.len()).collect();
    assert_eq!(sizes, [2, 1, 1]);
}

#[tokio::test]
async fn an_event_goes_as_it_was_made() {
    let stub = Stub::start([]);
    let proxy = stub.client().api_key("a-key").ack(Ack::Kafka).build().unwrap();
    let time: DateTime<Utc> = "2026-03-01T09:00:00Z".parse().unwrap();
    let full = Event::new("payment-failed").service("billing").key("order-17").id("mine").time(time);
    proxy.send(full.level(Level::Warn).data(json!({ "amount": 1200 }))).unwrap();
    let before = Utc::now();
    proxy.send(Event::new("placed")).unwrap();
    proxy.flush(LONG).await.unwrap();

    let request = &stub.requests()[0];
    assert_eq!(request.authorization.as_deref(), Some("Bearer a-key"));
    assert_eq!(request.query, "ack=kafka");
    let full = json!({
        "service": "billing", "type": "payment-failed", "key": "order-17", "id": "mine",
        "time": "2026-03-01T09:00:00Z", "level": "warn", "data": { "amount": 1200 },
    });
    assert_eq!(request.events[0], full);
    let least = request.events[1].as_object().unwrap();
    assert_eq!(least.keys().collect::<Vec<_>>(), ["data", "id", "service", "time", "type"]);
    assert_eq!((&least["service"], &least["data"]), (&json!("order"), &json!({})));
    least["id"].as_str().unwrap().parse::<Uuid>().unwrap();
    assert!(least["time"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap() >= before);
}

#[test]
fn a_full_buffer_refuses_and_counts() {
    let stub = Stub::start([]);
    let proxy = stub.client().max_events(2).build().unwrap();
    proxy.send(numbered(0)).unwrap();
    proxy.send(numbered(1)).unwrap();
    assert_eq!(proxy.send(numbered(2)), Err(SendError::Full));
    let full = proxy.stats();
    assert_eq!((full.queued, full.dropped.full, full.dropped.total()), (2, 1, 1));

    proxy.flush_blocking(LONG).unwrap();
    proxy.send(numbered(3)).unwrap();
    proxy.flush_blocking(LONG).unwrap();
    let end = proxy.stats();
    assert_eq!((end.sent, end.queued, end.queued_bytes, end.dropped.full), (3, 0, 0, 1));
}

#[test]
fn the_buffer_is_limited_in_bytes() {
    let stub = Stub::start([]);
    let proxy = stub.client().max_bytes(1000).build().unwrap();
    let large = || Event::new("placed").data("x".repeat(600));
    proxy.send(large()).unwrap();
    assert_eq!(proxy.send(large()), Err(SendError::Full));
    assert!((600..1000).contains(&proxy.stats().queued_bytes));
}

#[test]
fn events_that_would_be_refused_are_not_taken() {
    let stub = Stub::start([]);
    let proxy = EventProxy::builder().url(&stub.url).build().unwrap();
    let cannot_be_json = std::collections::BTreeMap::from([((1, 2), 3)]);
    let fine = || Event::new("placed").service("order");
    let cases = [
        ("service", Event::new("placed")),
        ("service", fine().service("or.der")),
        ("type", Event::new("").service("order")),
        ("type", Event::new("x".repeat(65)).service("order")),
        ("key", fine().key("")),
        ("key", fine().key("order\0")),
        ("id", fine().id("x".repeat(256))),
        ("data", fine().data(cannot_be_json)),
    ];
    let count = cases.len() as u64;
    for (wrong, event) in cases {
        let error = proxy.send(event).unwrap_err();
        assert!(matches!(&error, SendError::Invalid { field, .. } if *field == wrong), "{wrong}: {error}");
    }
    assert_eq!(proxy.stats().dropped.invalid, count);
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let one = || EventProxy::builder().url("http://127.0.0.1:8090");
    let cases = [
        ("url", EventProxy::builder()),
        ("url", one().url("127.0.0.1")),
        ("url", one().url("ftp://127.0.0.1")),
        ("url", one().url("http://127.0.0.1:0")),
        ("url", one().url("http://me:secret@127.0.0.1")),
        ("url", one().url("http://me:secret@127.0.0.1:rubbish")),
        ("api_key", one().api_key("two\nlines")),
        ("service", one().service("or.der")),
        ("max_events", one().max_events(0)),
        ("batch_events", one().batch_events(10_001)),
        ("ca_certificates", one().ca_certificates("no certificate")),
        ("ca_certificates", one().ca_certificates("-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n")),
    ];
    for (wrong, builder) in cases {
        let error = builder.build().unwrap_err();
        assert!(matches!(&error, BuildError::Setting { setting, .. } if *setting == wrong), "{wrong}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
