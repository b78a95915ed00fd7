//! Flushing, and the end of a client.

use std::time::Duration;

use event_proxy_client::{Event, NotFlushed, Retry};

use super::stub::{FOREVER, LONG, Reply, Stub};

const SHORT: Duration = Duration::from_millis(20);

#[test]
fn dropping_the_last_clone_sends_what_waits() {
    let stub = Stub::start([]);
    let proxy = stub.client().shutdown_timeout(LONG).batch_events(2).build().unwrap();
    let clone = proxy.clone();
    for _ in 0..5 {
        proxy.send(Event::new("placed")).unwrap();
    }
    drop(proxy);
    clone.send(Event::new("placed")).unwrap();
    drop(clone);
    assert_eq!(stub.events().len(), 6);
}

#[tokio::test]
async fn it_can_be_dropped_inside_a_runtime() {
    let stub = Stub::start([]);
    let proxy = stub.client().shutdown_timeout(LONG).build().unwrap();
    proxy.send(Event::new("placed")).unwrap();
    drop(proxy);
    assert_eq!(stub.events().len(), 1);
}

#[test]
fn the_end_does_not_wait_out_a_pause() {
    let stub = Stub::start([Reply::Status(500)]);
    let pause = Retry { first_pause: FOREVER, longest_pause: FOREVER, give_up_after: FOREVER };
    let proxy = stub.client().retry(pause).shutdown_timeout(LONG).batch_events(1).build().unwrap();
    proxy.send(Event::new("placed")).unwrap();
    stub.wait_for(1);
    drop(proxy);
    assert_eq!(stub.requests().len(), 2);
}

#[test]
fn the_end_is_bounded() {
    let stub = Stub::start([Reply::Never]);
    let proxy = stub.client().request_timeout(FOREVER).shutdown_timeout(SHORT).batch_events(1).build().unwrap();
    proxy.send(Event::new("placed")).unwrap();
    stub.wait_for(1);
    drop(proxy);
    assert_eq!(stub.requests().len(), 1);
}

#[tokio::test]
async fn a_flush_says_when_it_took_too_long() {
    let stub = Stub::start([Reply::Never]);
    let proxy = stub.client().request_timeout(FOREVER).shutdown_timeout(SHORT).build().unwrap();
    proxy.flush(LONG).await.unwrap();
    proxy.send(Event::new("placed")).unwrap();
    assert_eq!(proxy.flush(SHORT).await, Err(NotFlushed));
    assert_eq!(proxy.flush_blocking(SHORT), Err(NotFlushed));
    assert_eq!(proxy.stats().queued, 1);
}
