//! Clients that have lost all brokers: each is replaced, and loses nothing.

use std::time::Duration;

use db::types::{Id, Time};
use messaging::{Bus, Event, FIRST_EPOCH, ForeignBus, Publisher};
use messaging_kafka::{Cluster, Door, Kafka, KafkaSettings, MockKafka};
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

/// A cluster behind a door.
struct Place {
    mock: MockKafka,
    door: Door,
    cluster: Cluster,
    kafka: Kafka,
}

impl Place {
    fn new() -> Self {
        let mock = MockKafka::new(&[(TOPIC, 1)]);
        let door = Door::to(mock.broker());
        let settings = KafkaSettings { bootstrap_servers: Some(door.address()), ..KafkaSettings::default() };
        let cluster = Cluster::new(&settings).expect("its settings");
        Self { mock, door, kafka: cluster.kafka().clone(), cluster }
    }

    /// Stores events by a client that never goes through the door.
    async fn store(&self, events: &[Event]) {
        let publisher = self.mock.connect().expect("its options").publisher(Duration::ZERO);
        publisher.publish(events).await.expect("stored");
    }

    /// Has so many clients hear from a broker that the cluster has no brokers, and brings all brokers back.
    async fn fence(&self, clients: usize) {
        self.door.set_fenced(None);
        self.mock.set_up(false);
        until(|| self.door.fenced_answers() >= clients).await;
        self.mock.set_up(true);
        self.door.set_fenced(Some(self.mock.broker()));
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
    let (place, source) = (Place::new(), Id::new());
    let sent = events(source, 0..10);
    place.store(&sent[..5]).await;
    let subscriber = place.kafka.bus(source).subscribe("readers");
    let mut read = Vec::new();
    while read.len() < 5 {
        read.extend(subscriber.fetch(TOPIC, 0, read.len() as i64 - 1, 100).await.expect("events"));
    }
    place.fence(1).await;
    place.store(&sent[5..]).await;
    let rest = async {
        while read.len() < 10 {
            let after = read.len() as i64 - 1;
            read.extend(subscriber.fetch(TOPIC, 0, after, 100).await.expect("a client that is replaced"));
        }
    };
    tokio::select! {
        () = place.cluster.watch(Vec::new, CancellationToken::new()) => unreachable!("it is not stopped"),
        read = timeout(Duration::from_secs(60), rest) => read.expect("the reader hears Kafka again"),
    }
    assert_eq!(read, sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_lost_all_brokers_is_replaced_before_the_next_batch() {
    let (place, source) = (Place::new(), Id::new());
    let (sent, publisher) = (events(source, 0..10), place.kafka.publisher(Duration::ZERO));
    publisher.publish(&sent[..5]).await.expect("stored");
    place.fence(1).await;
    place.see_to_clients().await;
    publisher.publish(&sent[5..]).await.expect("stored at once");
    assert_eq!(place.mock.connect().expect("its options").records(TOPIC, 0).await.expect("records"), sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_for_metadata_that_lost_all_brokers_is_replaced() {
    let place = Place::new();
    let others = place.kafka.foreign();
    others.topics().await.expect("they are told");
    place.fence(1).await;
    place.see_to_clients().await;
    assert_eq!(others.topics().await.expect("they are told again").get(TOPIC), Some(&1));
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
    place.door.set_fenced(None);
    let error = place.kafka.check().await.expect_err("no broker is named").to_string();
    assert!(error.contains("no brokers yet"), "{error}");
}
