//! The promises of publisher and subscriber, on librdkafka's mock cluster with injected failures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use db::types::{Id, Time};
use futures::future::join_all;
use messaging::{Bus, Event, FIRST_EPOCH, ForeignBus, Publisher, Subscriber};
use messaging_kafka::{Kafka, KafkaOptions, MockKafka, Refusal, TopicOptions};
use tokio::time::timeout;

const TOPIC: &str = "things";

fn events(source: Id, positions: std::ops::Range<i64>) -> Vec<Event> {
    let event = |position| Event {
        id: Id::new(),
        source,
        epoch: if position % 2 == 0 { FIRST_EPOCH } else { Id::new() },
        topic: TOPIC.into(),
        partition: 0,
        position,
        key: format!("key-{}", position % 7),
        kind: "test.thing".into(),
        version: 2,
        aggregate_version: position * 10,
        occurred_at: Time::now(),
        traceparent: (position % 2 == 0).then(|| "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        payload: format!(r#"{{"position":{position},"text":"장터"}}"#),
    };
    positions.map(event).collect()
}

fn cluster() -> (MockKafka, Kafka) {
    let mock = MockKafka::new(&[(TOPIC, 1)]);
    let kafka = mock.connect().expect("its options");
    (mock, kafka)
}

/// Returns all events behind `after` until the end of the partition.
async fn all(subscriber: &Arc<dyn Subscriber>, after: i64) -> Vec<Event> {
    let (mut all, mut after) = (Vec::new(), after);
    loop {
        let fetched = timeout(Duration::from_secs(60), subscriber.fetch(TOPIC, 0, after, 100)).await;
        let fetched = fetched.expect("an answer").expect("the mock cluster answers");
        let Some(last) = fetched.last() else { return all };
        after = last.position;
        all.extend(fetched);
    }
}

fn positions(events: &[Event]) -> Vec<i64> {
    events.iter().map(|event| event.position).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_comes_out_as_it_went_in() {
    let (_mock, kafka) = cluster();
    let source = Id::new();
    let sent = events(source, 0..250);
    kafka.publisher(Duration::ZERO).publish(&sent).await.expect("stored");
    assert_eq!(all(&kafka.bus(source).subscribe("readers"), -1).await, sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_may_go_back_and_forth() {
    let (_mock, kafka) = cluster();
    let source = Id::new();
    kafka.publisher(Duration::ZERO).publish(&events(source, 0..3000)).await.expect("stored");
    let subscriber = kafka.bus(source).subscribe("readers");
    for after in [-1, 2500, 10, 2998, 0] {
        let fetched = subscriber.fetch(TOPIC, 0, after, 5).await.expect("events");
        let expected: Vec<i64> = (after + 1..(after + 6).min(3000)).collect();
        assert!(
            !fetched.is_empty() && expected.starts_with(&positions(&fetched)),
            "{after}: {:?}",
            positions(&fetched)
        );
    }
    subscriber.release(TOPIC, 0);
    let again = subscriber.fetch(TOPIC, 0, 2000, 1).await.expect("events");
    assert_eq!(positions(&again), [2001]);
}

/// A log that lost positions gives these positions again, behind the records that a group drops.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_goes_on_behind_what_was_dropped() {
    let (_mock, kafka) = cluster();
    let source = Id::new();
    let (lost, given_again) = (events(source, 15..21), events(source, 15..30));
    let publisher = kafka.publisher(Duration::ZERO);
    for batch in [&events(source, 0..15), &lost, &given_again] {
        publisher.publish(batch).await.expect("stored");
    }
    let subscriber = kafka.bus(source).subscribe("readers");
    let mut dropped = Vec::new();
    while dropped.len() < lost.len() {
        dropped.extend(subscriber.fetch(TOPIC, 0, 14, lost.len() - dropped.len()).await.expect("events"));
        subscriber.dropped(TOPIC, 0, 14);
    }
    assert_eq!(dropped, lost);
    assert_eq!(all(&subscriber, 14).await, given_again);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_events_of_another_log_are_left_out() {
    let (_mock, kafka) = cluster();
    let (ours, other) = (Id::new(), Id::new());
    let publisher = kafka.publisher(Duration::ZERO);
    for round in 0..5 {
        publisher.publish(&events(other, round * 3..round * 3 + 3)).await.expect("stored");
        publisher.publish(&events(ours, round * 2..round * 2 + 2)).await.expect("stored");
    }
    assert_eq!(positions(&all(&kafka.bus(ours).subscribe("readers"), -1).await), Vec::from_iter(0..10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_others_write_repeats_and_what_is_no_event_are_skipped() {
    let (mock, kafka) = cluster();
    let (first, second) = (events(Id::new(), 0..10), events(Id::new(), 0..5));
    let publisher = kafka.publisher(Duration::ZERO);
    publisher.publish(&first).await.expect("stored");
    mock.store(TOPIC, 0, "no event");
    // as after an answer that was lost, by another proxy, and once more
    kafka.publisher(Duration::ZERO).publish(&first[4..]).await.expect("stored");
    publisher.publish(&second).await.expect("stored");
    mock.store(TOPIC, 0, "{}");
    publisher.publish(&second[..1]).await.expect("stored");
    let others = kafka.foreign();
    assert_eq!(others.topics().await.expect("they are told").get(TOPIC), Some(&1));
    assert_eq!(others.held(TOPIC, 1).await.expect("it is told").pop(), Some(0..24));
    let subscriber = others.read().subscribe("readers");
    let read = all(&subscriber, -1).await;
    assert!(positions(&read).is_sorted(), "{:?}", positions(&read));
    let ids: Vec<_> = read.iter().filter(|event| !event.is_skipped()).map(|event| event.id).collect();
    let expected: Vec<_> = first.iter().chain(&second).map(|event| event.id).collect();
    assert_eq!(ids, expected);
    assert_eq!(read.last().map(|last| last.position), Some(23), "what is skipped at the end counts as read");
    // whoever goes back reads the same again
    let again = subscriber.fetch(TOPIC, 0, 3, 4).await.expect("events");
    assert_eq!(again.iter().map(|event| event.id).collect::<Vec<_>>(), expected[4..4 + again.len()]);
}

/// Checks the records after any refusals: the first records of the events are in the order of positions without a
/// gap, and each acknowledged event is stored.
fn assert_in_order(records: &[Event], source: Id, count: i64, when: &str) {
    let mut first = BTreeMap::new();
    for (at, event) in records.iter().filter(|event| event.source == source).enumerate() {
        first.entry(event.position).or_insert(at);
    }
    assert!(first.keys().copied().eq(0..count), "{when}: {:?}", first.keys());
    assert!(first.values().is_sorted(), "{when}: {first:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_stored_without_all_before_it() {
    for (refusals, sends) in [
        (vec![Refusal::ForNow; 3], 1),
        (vec![Refusal::ForGood], 2),
        (vec![Refusal::ForNow, Refusal::ForGood], 2),
        (vec![Refusal::ForGood; 3], 4),
    ] {
        let mock = MockKafka::new(&[(TOPIC, 1)]);
        // unlike a broker the mock takes a batch that does not follow the last: so one is on its way at a time
        let kafka = mock.connect_with([("max.in.flight.requests.per.connection", "1")]).expect("its options");
        let (source, publisher) = (Id::new(), kafka.publisher(Duration::ZERO));
        publisher.publish(&events(source, 0..10)).await.expect("stored");
        mock.refuse(&refusals);
        let sent = events(source, 10..400);
        let mut tries = 1;
        while let Err(error) = publisher.publish(&sent).await {
            assert!(tries < sends, "{refusals:?}: {error}");
            tries += 1;
        }
        publisher.publish(&events(source, 400..410)).await.expect("stored");
        let records = kafka.records(TOPIC, 0).await.expect("the mock cluster answers");
        assert_in_order(&records, source, 410, &format!("{refusals:?}"));
    }
}

/// A broker refuses one event for its size, while many later events are under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_passes_an_event_that_a_broker_refuses() {
    let plain = [("compression.type", "none")];
    let Some(kafka) = testkit::kafka_with(&[(TOPIC, 1)], plain).await else { return };
    let (source, publisher) = (Id::new(), kafka.publisher(Duration::ZERO));
    let mut all = events(source, 0..5000);
    all[3000].payload = format!("\"{}\"", "x".repeat(800_000));
    kafka.limit_messages(TOPIC, 300_000).await.expect("a limit");
    publisher.publish(&all[..100]).await.expect("stored");
    publisher.publish(&all[100..]).await.expect_err("one is too large");
    publisher.publish(&all[100..]).await.expect_err("and stays so");
    let before = kafka.records(TOPIC, 0).await.expect("Kafka answers");
    assert!(before.iter().all(|event| event.position < 3000), "{:?}", before.iter().map(|it| it.position).max());
    kafka.limit_messages(TOPIC, 1_000_000).await.expect("no limit");
    // a broker may hear of the new limit a moment later
    let stored = async { while publisher.publish(&all[100..]).await.is_err() {} };
    timeout(Duration::from_secs(60), stored).await.expect("stored");
    assert_in_order(&kafka.records(TOPIC, 0).await.expect("Kafka answers"), source, 5000, "too large");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_waited_for() {
    let (mock, kafka) = cluster();
    let (source, publisher) = (Id::new(), kafka.publisher(Duration::ZERO));
    let subscriber = kafka.bus(source).subscribe("readers");
    publisher.publish(&events(source, 0..5)).await.expect("stored");
    assert_eq!(positions(&all(&subscriber, -1).await), Vec::from_iter(0..5));
    mock.set_up(false);
    let sent = events(source, 5..10);
    let (published, ()) = tokio::join!(publisher.publish(&sent), async { mock.set_up(true) });
    if published.is_err() {
        publisher.publish(&sent).await.expect("stored");
    }
    assert_eq!(positions(&all(&subscriber, 4).await), Vec::from_iter(5..10));
}

/// Brokers learn of a change of topics a moment later. Many topics at once make it likely to hit this moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_topics_is_there_when_it_is_answered() {
    let Some(kafka) = testkit::kafka(&[]).await else { return };
    let options = TopicOptions { retention: Some(Duration::from_secs(3600)), ..TopicOptions::default() };
    let ensure = async |topics: &[(String, i32)]| kafka.ensure_topics(topics, &options).await.expect("Kafka answers");
    let topics = |partitions: i32| (0..30).map(move |n| (format!("new-{n}"), partitions)).collect::<Vec<_>>();
    for (partitions, when) in [(2, "just made"), (5, "just given more partitions")] {
        let topics = topics(partitions);
        let each = topics.iter().map(|topic| ensure(std::slice::from_ref(topic)));
        assert_eq!(join_all(each).await.concat(), [], "{when}");
        let differ = kafka.compare_topics(&topics, &options).await.expect("Kafka answers");
        assert_eq!(differ, [], "{when}");
    }
    let differ = kafka.compare_topics(&topics(4), &TopicOptions::default()).await.expect("Kafka answers");
    assert!(differ.len() == 30 && differ.iter().all(|it| (it.what, &*it.found) == ("partitions", "5")), "{differ:?}");
    let longer = TopicOptions { retention: Some(Duration::from_secs(7200)), ..TopicOptions::default() };
    let differ = kafka.ensure_topics(&topics(5), &longer).await.expect("Kafka answers");
    assert!(differ.len() == 30 && differ.iter().all(|it| it.what == "retention.ms"), "{differ:?}");
}

#[test]
fn a_property_that_cannot_be_used_is_named() {
    let with = |name: &str, value: &str| {
        let properties = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        Kafka::new(KafkaOptions { bootstrap_servers: "127.0.0.1:1".into(), properties, ..KafkaOptions::default() })
    };
    for (name, value) in [("no.such.property", "1"), ("linger.ms", "soon"), ("acks", "0"), ("security.protocol", "x")] {
        assert_eq!(with(name, value).expect_err(name).name, name);
    }
    assert!(with("linger.ms", "5").is_ok());
    assert_eq!(Kafka::new(KafkaOptions::default()).expect_err("no servers").name, "bootstrap.servers");
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_told_in_one_line() {
    let options = KafkaOptions { bootstrap_servers: "127.0.0.1:1".into(), ..KafkaOptions::default() };
    let error = Kafka::new(options).expect("options").check().await.expect_err("nobody is there").to_string();
    assert!(error.contains("127.0.0.1:1") && error.contains("refused") && !error.contains('\n'), "{error}");
}
