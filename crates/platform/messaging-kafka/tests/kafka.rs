//! The promises of publisher and subscriber, on librdkafka's mock cluster with injected failures.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use db::types::{Id, Time};
use futures::future::join_all;
use messaging::{Bus, Event, FIRST_EPOCH, ForeignBus, Publisher, Subscriber};
use messaging_kafka::{Kafka, KafkaOptions, MockKafka, Refusal, TopicOptions};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{ClientConfig, Message, Offset, Timestamp, TopicPartitionList};
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

/// A broker refuses one event for its size, while many that follow it are on their way. The topic takes smaller batches
/// than the producer makes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_passes_an_event_that_a_broker_refuses() {
    let plain = [("compression.type", "none")];
    let Some(kafka) = testkit::kafka_with(&[(TOPIC, 1)], plain).await else { return };
    let (source, publisher) = (Id::new(), kafka.publisher(Duration::ZERO));
    let mut all = events(source, 0..5000);
    all[3000].payload = format!("\"{}\"", "x".repeat(1_200_000));
    kafka.limit_messages(TOPIC, 300_000).await.expect("a limit");
    publisher.publish(&all[..100]).await.expect("stored");
    for when in ["one is too large", "and stays so"] {
        let published = publisher.publish(&all[100..]).await.expect("Kafka answers");
        assert_eq!(published.stored.len(), 2900, "{when}");
        assert!(published.refused.is_some_and(|why| why.contains("large")), "{when}");
    }
    assert_in_order(&kafka.records(TOPIC, 0).await.expect("Kafka answers"), source, 3000, "too large");
    let others = publisher.publish(&all[3001..]).await.expect("Kafka answers");
    assert_eq!((others.stored.len(), others.refused), (1999, None));
    kafka.limit_messages(TOPIC, 2_000_000).await.expect("no limit");
    let stored = async { while publisher.publish(&all[3000..3001]).await.is_ok_and(|it| it.refused.is_some()) {} };
    timeout(Duration::from_secs(60), stored).await.expect("stored");
    let mut first_seen = positions(&kafka.records(TOPIC, 0).await.expect("Kafka answers"));
    let mut seen = HashSet::new();
    first_seen.retain(|position| seen.insert(*position));
    let expected: Vec<i64> = (0..3000).chain(3001..5000).chain([3000]).collect();
    assert_eq!(first_seen, expected);
}

/// Timestamps and `ce_sequence` of the first records.
fn times_and_sequences(kafka: &Kafka, count: usize) -> Vec<(Timestamp, String)> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", std::env::var("KAFKA_BOOTSTRAP_SERVERS").expect("a cluster")).set("group.id", "t");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(&kafka.named(TOPIC), 0, Offset::Beginning).expect("a partition");
    consumer.assign(&from).expect("assigned");
    let read = |record: BorrowedMessage<'_>| {
        let headers = record.headers().expect("headers");
        let sequence = headers.iter().find(|header| header.key == "ce_sequence").and_then(|header| header.value);
        (record.timestamp(), String::from_utf8(sequence.expect("a position").to_vec()).expect("a text"))
    };
    consumer.iter().take(count).map(|record| read(record.expect("a record"))).collect()
}

/// The clock of the shop is two hours ahead, or its events are older than Kafka keeps records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_of_an_event_is_not_the_time_of_its_record() {
    let hour = Duration::from_secs(3600);
    let Some(kafka) = testkit::kafka(&[(TOPIC, 1)]).await else { return };
    let (source, publisher) = (Id::new(), kafka.publisher(Duration::ZERO));
    let mut all = events(source, 8..12);
    (all[0].occurred_at, all[1].occurred_at) = (Time::now() + 2 * hour, Time::now() - 24 * 30 * hour);
    (all[2].occurred_at, all[3].occurred_at) = (all[0].occurred_at, all[1].occurred_at);
    let begun = Time::now().micros() / 1000;
    let made_here = publisher.publish(&all[..2]).await.expect("Kafka answers");
    assert_eq!((made_here.stored.len(), made_here.refused), (2, None));
    kafka.set_topic(TOPIC, &[("message.timestamp.type", "CreateTime")]).await.expect("as topics of others are");
    let made_elsewhere = publisher.publish(&all[2..]).await.expect("Kafka answers");
    assert_eq!((made_elsewhere.stored.len(), made_elsewhere.refused), (2, None));
    assert_eq!(kafka.records(TOPIC, 0).await.expect("Kafka answers"), all, "the event keeps its time");
    let read = tokio::task::spawn_blocking(move || times_and_sequences(&kafka, 4)).await.expect("no panic");
    let (times, sequences): (Vec<_>, Vec<_>) = read.into_iter().unzip();
    assert!(sequences.is_sorted(), "texts have the order of the positions: {sequences:?}");
    let ended = Time::now().micros() / 1000;
    let now = |time: i64| (begun..=ended).contains(&time);
    for (at, time) in times.into_iter().enumerate() {
        match time {
            Timestamp::LogAppendTime(time) => assert!(at < 2 && now(time), "{at}: {time}"),
            Timestamp::CreateTime(time) => assert!(at >= 2 && now(time), "{at}: {time}"),
            Timestamp::NotAvailable => panic!("{at} has no time"),
        }
    }
}

/// An operator changed a topic, or the cluster has other defaults.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_rules_rest_on_is_compared() {
    let Some(kafka) = testkit::kafka(&[(TOPIC, 1)]).await else { return };
    let (topics, options) = ([(TOPIC.to_owned(), 1)], TopicOptions::default());
    let compare = async || kafka.ensure_topics(&topics, &options).await.expect("Kafka answers");
    assert_eq!(compare().await, [], "just made");
    let others =
        [("cleanup.policy", "compact"), ("max.message.bytes", "1000"), ("message.timestamp.type", "CreateTime")];
    kafka.set_topic(TOPIC, &others).await.expect("Kafka answers");
    let found: Vec<_> = compare().await.into_iter().map(|it| (it.what, it.found)).collect();
    let mut expected = others.map(|(name, value)| (name, value.to_owned())).to_vec();
    expected.sort_by_key(|(name, _)| found.iter().position(|(found, _)| found == name));
    assert_eq!(found, expected);
    let more =
        [("cleanup.policy", "delete"), ("max.message.bytes", "9000000"), ("message.timestamp.type", "LogAppendTime")];
    kafka.set_topic(TOPIC, &more).await.expect("Kafka answers");
    assert_eq!(compare().await, [], "a topic may take larger records");
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
