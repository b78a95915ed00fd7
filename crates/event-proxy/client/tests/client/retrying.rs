//! Proxies that do not take events.

use std::time::Duration;

use event_proxy_client::{Event, Retry};

use super::stub::{FOREVER, LONG, Reply, Stub};

const SHORT: Duration = Duration::from_millis(10);
/// Pauses so long that any pause fails the test.
const NEVER_AGAIN: Retry = Retry { first_pause: FOREVER, longest_pause: FOREVER, give_up_after: FOREVER };
const SOON: Retry =
    Retry { first_pause: Duration::from_millis(1), longest_pause: Duration::from_millis(1), give_up_after: FOREVER };

#[test]
fn retry_after_says_when_and_ids_stay() {
    // seconds, and a date that is past
    for when in ["0", "Sun, 06 Nov 1994 08:49:37 GMT"] {
        for status in [429, 503] {
            let stub = Stub::start([Reply::Later(status, when)]);
            let proxy = stub.client().retry(NEVER_AGAIN).build().unwrap();
            proxy.send(Event::new("placed")).unwrap();
            proxy.send(Event::new("placed")).unwrap();
            proxy.flush_blocking(LONG).unwrap();
            let requests = stub.requests();
            assert_eq!(requests.len(), 2);
            assert_eq!(requests[0].events, requests[1].events);
            assert_ne!(requests[0].ids()[0], requests[0].ids()[1]);
            assert_eq!((proxy.stats().sent, proxy.stats().retried), (2, 2));
        }
    }
}

#[test]
fn nothing_is_sent_before_retry_after() {
    let stub = Stub::start([Reply::Later(429, "3600")]);
    let proxy = stub.client().retry(Retry { give_up_after: SHORT, ..SOON }).build().unwrap();
    for _ in 0..2 {
        proxy.send(Event::new("placed")).unwrap();
        proxy.flush_blocking(LONG).unwrap();
    }
    assert_eq!(stub.requests().len(), 1);
    assert_eq!(proxy.stats().dropped.given_up, 2);
}

#[test]
fn an_event_whose_answer_is_lost_keeps_its_id() {
    let stub = Stub::start([Reply::Never]);
    let proxy = stub.client().request_timeout(Duration::from_millis(200)).retry(SOON).build().unwrap();
    proxy.send(Event::new("placed")).unwrap();
    proxy.flush_blocking(LONG).unwrap();
    let requests = stub.requests();
    assert!(requests.len() >= 2);
    assert!(requests.iter().all(|request| request.events == requests[0].events));
    assert_eq!(proxy.stats().sent, 1);
}

#[test]
fn later_events_wait_for_one_that_is_tried_again() {
    let stub = Stub::start([Reply::Status(500), Reply::Status(500)]);
    let proxy = stub.client().batch_events(1).retry(SOON).build().unwrap();
    for number in 0..3 {
        proxy.send(Event::new("placed").data(number)).unwrap();
    }
    proxy.flush_blocking(LONG).unwrap();
    let numbers: Vec<_> = stub.events().iter().map(|event| event["data"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [0, 0, 0, 1, 2]);
}

#[test]
fn the_next_address_takes_over_from_one_that_dies() {
    let (mut first, second) = (Stub::start([]), Stub::start([]));
    let proxy = first.client().url(&second.url).retry(NEVER_AGAIN).build().unwrap();
    proxy.send(Event::new("placed").id("before")).unwrap();
    proxy.flush_blocking(LONG).unwrap();
    assert_eq!(first.requests()[0].ids(), ["before"]);

    first.stop();
    for id in ["after", "later"] {
        proxy.send(Event::new("placed").id(id)).unwrap();
        proxy.flush_blocking(LONG).unwrap();
    }
    let ids: Vec<_> = second.events().iter().map(|event| event["id"].clone()).collect();
    assert_eq!(ids, ["after", "later"]);
    assert_eq!(proxy.stats().sent, 3);
}

#[test]
fn the_first_address_is_used_again_when_it_works() {
    let (first, second) = (Stub::start([Reply::Status(500)]), Stub::start([]));
    let proxy = first.client().url(&second.url).failback_after(SHORT).build().unwrap();
    // the bound is far from what it takes
    for _ in 0..10_000 {
        proxy.send(Event::new("placed")).unwrap();
        proxy.flush_blocking(LONG).unwrap();
        if first.requests().len() == 2 {
            break;
        }
    }
    assert!(!second.requests().is_empty());
    assert_eq!(first.requests().len(), 2);
}

#[test]
fn a_proxy_that_is_only_busy_is_not_left() {
    let (first, second) = (Stub::start([Reply::Later(429, "0")]), Stub::start([]));
    let proxy = first.client().url(&second.url).build().unwrap();
    proxy.send(Event::new("placed")).unwrap();
    proxy.flush_blocking(LONG).unwrap();
    assert_eq!((first.requests().len(), second.requests().len()), (2, 0));
}

#[test]
fn each_event_of_a_mixed_answer_has_its_own_fate() {
    let stub = Stub::start([Reply::Items(&[202, 422, 429, 503]), Reply::Items(&[202])]);
    let proxy = stub.client().retry(SOON).build().unwrap();
    for id in ["good", "bad", "early", "unlucky"] {
        proxy.send(Event::new("placed").id(id)).unwrap();
    }
    proxy.flush_blocking(LONG).unwrap();
    let requests = stub.requests();
    assert_eq!(requests[0].ids(), ["good", "bad", "early", "unlucky"]);
    // the second answer has too few items to mean anything
    assert_eq!(requests[1].ids(), ["early", "unlucky"]);
    assert_eq!(requests[2].ids(), ["early", "unlucky"]);
    let stats = proxy.stats();
    assert_eq!((requests.len(), stats.sent, stats.dropped.refused, stats.retried), (3, 3, 1, 4));
}

#[test]
fn a_refused_batch_does_not_hold_up_the_next() {
    let stub = Stub::start([Reply::Status(422), Reply::Status(422), Reply::Status(422)]);
    let proxy = stub.client().batch_events(2).build().unwrap();
    for _ in 0..4 {
        proxy.send(Event::new("placed")).unwrap();
    }
    proxy.flush_blocking(LONG).unwrap();
    let stats = proxy.stats();
    assert_eq!((stub.requests().len(), stats.sent, stats.dropped.refused), (4, 2, 2));
}

#[test]
fn of_a_refused_batch_only_the_event_to_blame_is_lost() {
    let refused_with = |id: &str, requests: &str| {
        let reply = |ids: &str| Reply::Status(if ids.contains(id) { 422 } else { 202 });
        requests.split(' ').map(reply).collect::<Vec<_>>()
    };
    let expected = "abcdefgh abcd ab cdef cd c d ef gh";
    let stub = Stub::start(refused_with("c", expected));
    let proxy = stub.client().build().unwrap();
    for id in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        proxy.send(Event::new("placed").id(id)).unwrap();
    }
    proxy.flush_blocking(LONG).unwrap();
    let ids: Vec<_> = stub.requests().iter().map(|request| request.ids().concat()).collect();
    assert_eq!(ids.join(" "), expected);
    assert_eq!((proxy.stats().sent, proxy.stats().dropped.refused), (7, 1));
}

#[test]
fn what_a_proxy_would_refuse_of_anybody_goes_to_the_next_address() {
    for status in [401, 403, 404, 405, 407, 408, 421, 425] {
        let (first, second) = (Stub::start([Reply::Status(status)]), Stub::start([]));
        let proxy = first.client().url(&second.url).retry(NEVER_AGAIN).build().unwrap();
        for _ in 0..2 {
            proxy.send(Event::new("placed")).unwrap();
            proxy.flush_blocking(LONG).unwrap();
        }
        assert_eq!((first.requests().len(), second.requests().len()), (1, 2), "{status}");
        assert_eq!((proxy.stats().sent, proxy.stats().dropped.total()), (2, 0), "{status}");
    }
}

#[test]
fn a_key_that_is_refused_costs_no_events() {
    let stub = Stub::start([Reply::Status(403), Reply::Status(403), Reply::Items(&[202, 403])]);
    let proxy = stub.client().retry(SOON).build().unwrap();
    for _ in 0..2 {
        proxy.send(Event::new("placed")).unwrap();
    }
    proxy.flush_blocking(LONG).unwrap();
    // the last answer was about one event
    let stats = proxy.stats();
    assert_eq!((stub.requests().len(), stats.sent, stats.dropped.refused), (3, 1, 1));
}

#[test]
fn a_batch_that_is_too_large_is_sent_in_parts() {
    let stub = Stub::start([Reply::Status(413), Reply::Status(413)]);
    let proxy = stub.client().build().unwrap();
    for id in ["a", "b", "c", "d"] {
        proxy.send(Event::new("placed").id(id)).unwrap();
    }
    proxy.flush_blocking(LONG).unwrap();
    let requests = stub.requests();
    let ids: Vec<_> = requests.iter().map(|request| request.ids().concat()).collect();
    assert_eq!(ids, ["abcd", "ab", "a", "b", "c", "d"]);
    assert_eq!(proxy.stats().sent, 4);
}

#[test]
fn what_nobody_takes_is_given_up_and_counted() {
    let mut stub = Stub::start([]);
    stub.stop();
    let proxy = stub.client().retry(Retry { give_up_after: SHORT, ..SOON }).build().unwrap();
    proxy.send(Event::new("placed")).unwrap();
    proxy.send(Event::new("placed")).unwrap();
    proxy.flush_blocking(LONG).unwrap();
    let stats = proxy.stats();
    assert_eq!((stats.dropped.given_up, stats.sent, stats.queued), (2, 0, 0));
}
