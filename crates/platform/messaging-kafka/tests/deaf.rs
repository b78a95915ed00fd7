//! Clients that have lost all brokers: each is replaced, and loses nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use db::types::{Id, Time};
use messaging::{Bus, Event, FIRST_EPOCH, ForeignBus, Publisher, Silence, Subscriber};
use messaging_kafka::{Cluster, Door, Kafka, KafkaOptions, KafkaSettings, MockKafka, SeeToTopics, Way};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

const TOPIC: &str = "things";

fn events(source: Id, positions: std::ops::Range<i64>) -> Vec<Event> {
    let event = |position| Event {
        id: Id::new(),
        source,
        epoch: FIRST_EPOCH,
        topic: TOPIC.into(),
        partition: 0,
        position,
        key: "key".into(),
        kind: "test.thing".into(),
        version: 1,
        aggregate_version: position,
        occurred_at: Time::now(),
        traceparent: None,
        payload: position.to_string(),
    };
    positions.map(event).collect()
}

/// A cluster behind a door, and clients that never look for other brokers once they know some.
struct Place {
    mock: MockKafka,
    door: Door,
    kafka: Kafka,
}

impl Place {
    fn new() -> Self {
        let mock = MockKafka::new(&[(TOPIC, 1)]);
        let door = Door::to(mock.broker());
        let properties = [("metadata.recovery.strategy".to_owned(), "none".to_owned())].into();
        let options = KafkaOptions { bootstrap_servers: door.address(), properties, ..KafkaOptions::default() };
        Self { mock, door, kafka: Kafka::new(options).expect("its options") }
    }

    /// Takes all brokers away for good. The door leads to other brokers.
    fn move_to(&self, other: &MockKafka) {
        self.mock.set_up(false);
        self.door.set(Way::To(other.broker()));
    }

    /// Probes until a client does not answer, and then until all that are left answer.
    async fn see_to_clients(&self) {
        let seen = async {
            while !self.kafka.see_to_clients(true).await {}
            while self.kafka.see_to_clients(true).await {}
        };
        timeout(Duration::from_secs(60), seen).await.expect("the deaf client is noticed");
    }
}

/// Stores events by a client that goes through no door.
async fn store(mock: &MockKafka, events: &[Event]) {
    let publisher = mock.connect().expect("its options").publisher(Duration::ZERO);
    publisher.publish(events).await.expect("stored");
}

/// Adds what comes behind the last event until there are `count`.
async fn read_until(count: usize, read: &mut Vec<Event>, subscriber: &Arc<dyn Subscriber>) {
    let all = async {
        while read.len() < count {
            let after = read.len() as i64 - 1;
            read.extend(subscriber.fetch(TOPIC, 0, after, 100).await.expect("no client fails for good"));
        }
    };
    timeout(Duration::from_secs(60), all).await.expect("the reader hears Kafka");
}

async fn until(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), met).await.expect("the condition is met");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_lost_all_brokers_is_replaced_and_goes_on() {
    let (place, other, source) = (Place::new(), MockKafka::new(&[(TOPIC, 1)]), Id::new());
    let (sent, mut read) = (events(source, 0..10), Vec::new());
    store(&place.mock, &sent[..5]).await;
    store(&other, &sent).await;
    let subscriber = place.kafka.bus(source).subscribe("readers");
    read_until(5, &mut read, &subscriber).await;
    place.move_to(&other);
    place.see_to_clients().await;
    read_until(10, &mut read, &subscriber).await;
    assert_eq!(read, sent);
}

/// Brokers that have just started answer that there are none, and librdkafka may forget all brokers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_goes_on_after_brokers_were_fenced() {
    let mock = MockKafka::new(&[(TOPIC, 1)]);
    let door = Door::to(mock.broker());
    let settings = KafkaSettings { bootstrap_servers: Some(door.address()), ..KafkaSettings::default() };
    let cluster = Cluster::new(&settings).expect("its settings");
    let (source, mut read) = (Id::new(), Vec::new());
    let sent = events(source, 0..10);
    store(&mock, &sent[..5]).await;
    let subscriber = cluster.kafka().bus(source).subscribe("readers");
    read_until(5, &mut read, &subscriber).await;
    door.set(Way::Fenced);
    mock.set_up(false);
    until(|| door.fenced_answers() > 0).await;
    mock.set_up(true);
    door.set(Way::To(mock.broker()));
    store(&mock, &sent[5..]).await;
    tokio::select! {
        () = cluster.watch(Vec::new, CancellationToken::new()) => unreachable!("it is not stopped"),
        () = read_until(10, &mut read, &subscriber) => {}
    }
    assert_eq!(read, sent);
}

/// Topics that Kafka never makes.
struct Refused;

#[async_trait]
impl SeeToTopics for Refused {
    async fn see_to(&self, _: &Cluster) -> Result<(), String> {
        Err("the topic is refused".into())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_cannot_be_made_hides_no_deaf_client() {
    let (mock, other) = (MockKafka::new(&[(TOPIC, 1)]), MockKafka::new(&[(TOPIC, 1)]));
    let door = Door::to(mock.broker());
    let properties = [("metadata.recovery.strategy".to_owned(), "none".to_owned().into())].into();
    let settings = KafkaSettings { bootstrap_servers: Some(door.address()), properties, ..KafkaSettings::default() };
    let cluster = Cluster::new(&settings).expect("its settings");
    let (source, mut read, more) = (Id::new(), Vec::new(), Notify::new());
    let sent = events(source, 0..10);
    store(&mock, &sent[..5]).await;
    store(&other, &sent).await;
    let subscriber = cluster.kafka().bus(source).subscribe("readers");
    read_until(5, &mut read, &subscriber).await;
    mock.set_up(false);
    door.set(Way::To(other.broker()));
    tokio::select! {
        () = cluster.watch_by(&Refused, &more, CancellationToken::new()) => unreachable!("it is not stopped"),
        () = read_until(10, &mut read, &subscriber) => {}
    }
    assert_eq!(read, sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_lost_all_brokers_is_replaced_before_the_next_batch() {
    let (place, other, source) = (Place::new(), MockKafka::new(&[(TOPIC, 1)]), Id::new());
    let (sent, publisher) = (events(source, 0..10), place.kafka.publisher(Duration::ZERO));
    publisher.publish(&sent[..5]).await.expect("stored");
    place.move_to(&other);
    place.see_to_clients().await;
    publisher.publish(&sent[5..]).await.expect("stored at once");
    let stored = other.connect().expect("its options").records(TOPIC, 0).await.expect("records");
    assert_eq!(stored, sent[5..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_for_metadata_that_lost_all_brokers_is_replaced() {
    let (place, other) = (Place::new(), MockKafka::new(&[("others", 3)]));
    let external = place.kafka.foreign();
    assert_eq!(external.topics().await.expect("topics").get(TOPIC), Some(&1));
    place.move_to(&other);
    place.see_to_clients().await;
    assert_eq!(external.topics().await.expect("topics").get("others"), Some(&3));
}

/// Kafka holds no more; or it holds more, and the client answers and does not deliver.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_late_and_deaf_are_told_apart() {
    let (mock, source) = (MockKafka::new(&[(TOPIC, 1)]), Id::new());
    let subscriber = mock.connect().expect("its options").bus(source).subscribe("readers");
    let (sent, mut read) = (events(source, 0..10), Vec::new());
    store(&mock, &sent[..5]).await;
    read_until(5, &mut read, &subscriber).await;
    let more = async || subscriber.fetch(TOPIC, 0, 4, 100).await.expect("no error");
    assert_eq!(more().await, []);
    assert_eq!(subscriber.silence(TOPIC, 0).await, Silence::Lost);
    mock.set_gives_records(false);
    assert_eq!(more().await, [], "no request is under way that could bring more");
    store(&mock, &sent[5..]).await;
    assert_eq!(subscriber.silence(TOPIC, 0).await, Silence::Late);
    let deaf = async {
        while subscriber.silence(TOPIC, 0).await != Silence::Deaf {
            assert_eq!(more().await, []);
        }
    };
    timeout(Duration::from_secs(60), deaf).await.expect("the client is replaced");
    mock.set_gives_records(true);
    read_until(10, &mut read, &subscriber).await;
    assert_eq!(read, sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_not_replaced_because_brokers_are_slow_or_away() {
    let (place, source) = (Place::new(), Id::new());
    let publisher = place.kafka.publisher(Duration::ZERO);
    publisher.publish(&events(source, 0..5)).await.expect("stored");
    place.mock.set_round_trip(Duration::from_secs(2));
    for _ in 0..4 {
        assert!(!place.kafka.see_to_clients(true).await, "a slow answer is an answer");
    }
    place.mock.set_round_trip(Duration::ZERO);
    place.mock.set_up(false);
    for _ in 0..4 {
        assert!(!place.kafka.see_to_clients(false).await, "nothing is probed while Kafka is away");
    }
}

/// What a new client is told while brokers start is no answer either.
#[tokio::test]
async fn a_cluster_without_brokers_is_away() {
    let place = Place::new();
    place.kafka.check().await.expect("it is there");
    place.door.set(Way::Fenced);
    let error = place.kafka.check().await.expect_err("no broker is named").to_string();
    assert!(error.contains("no brokers yet"), "{error}");
}
