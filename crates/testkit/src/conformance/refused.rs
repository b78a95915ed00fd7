//! Events that Kafka refuses for their content: here, for their size.

use db::types::Id;
use messaging::{RELAY, admin};
use messaging_kafka::Kafka;
use uuid::Uuid;

use super::{Bed, Complaints, PARTITIONS, TICKS, Ticked, following, tick, until};

const READER: &str = "reader";
/// Bytes of a batch. An event with a [large key](large_key) is over the limit; most others are far below.
const LIMIT: u32 = 1500;
const NO_LIMIT: u32 = 1_000_000;

/// A key that no codec makes small.
fn large_key() -> String {
    (0..60).map(|_| Uuid::new_v4().simple().to_string()).collect()
}

impl Bed {
    fn cluster(&self) -> &Kafka {
        self.grows.as_ref().expect("a bed on Kafka")
    }

    async fn tick(&self, key: &str) {
        let key = key.to_owned();
        self.database.db.write(move |tx| tick(tx, &key)).await.expect("a tick");
    }

    /// Numbers of the key on Kafka, each where it came first.
    async fn on_cluster(&self, key: &str) -> Vec<i64> {
        let mut numbers = Vec::new();
        for partition in 0..PARTITIONS {
            for event in self.cluster().records(TICKS, partition).await.expect("Kafka answers") {
                let ticked: Ticked = event.decode().expect("a tick");
                if ticked.key == key && !numbers.contains(&ticked.number) {
                    numbers.push(ticked.number);
                }
            }
        }
        numbers
    }

    /// For each event of the key, whether Kafka has the event.
    async fn relayed(&self, key: &str) -> Vec<bool> {
        let key = key.to_owned();
        let views = self.database.db.read(move |conn| admin::events_of_key(conn, &key)).await.expect("the events");
        views.iter().map(|view| view.relayed).collect()
    }

    async fn parked(&self, id: Id) -> i64 {
        let read = move |conn: &mut db::Conn| admin::dead_letter(conn, id);
        self.database.db.read(read).await.expect("a look").expect("a dead letter").1
    }
}

/// The key of a refused event waits, other keys go on. A group handles all in order, without an alarm, and once the topic
/// takes the event, it is sent again with all that waits behind it.
pub async fn a_refused_event_is_set_aside_and_its_key_waits(bed: Bed) {
    let (complaints, large) = (Complaints::default(), large_key());
    bed.cluster().limit_messages(TICKS, LIMIT).await.expect("Kafka answers");
    let consumers = bed.host(vec![following(READER, &complaints)]).await;
    bed.tick_all(6, 5, 8).await;
    for _ in 0..10 {
        bed.tick(&large).await;
    }
    bed.tick_all(6, 5, 8).await;
    bed.until_relayed(70).await;
    bed.until_handled(READER, 7, 10).await;
    let dead = bed.dead_letters(RELAY).await;
    assert_eq!((dead.len(), &dead[0].key), (1, &large), "{}", bed.name);
    assert!(dead[0].error.contains("large"), "{}: {}", bed.name, dead[0].error);
    assert_eq!(bed.parked(dead[0].id).await, 9, "{}", bed.name);
    assert!(bed.on_cluster(&large).await.is_empty(), "{}", bed.name);
    assert_eq!(bed.relayed(&large).await, [false; 10], "{}", bed.name);
    for n in 0..6 {
        assert_eq!(bed.on_cluster(&format!("key-{n}")).await, Vec::from_iter(0..10), "{}", bed.name);
    }

    bed.replay(dead[0].id).await;
    until("it was refused again", async || {
        bed.dead_letters(RELAY).await.first().is_some_and(|dead| dead.attempts == 2 && dead.status == "dead")
    })
    .await;
    bed.cluster().limit_messages(TICKS, NO_LIMIT).await.expect("Kafka answers");
    bed.replay(dead[0].id).await;
    until("all of the key are on Kafka", async || bed.on_cluster(&large).await.len() == 10).await;
    assert_eq!(bed.on_cluster(&large).await, Vec::from_iter(0..10), "{}", bed.name);
    assert_eq!(bed.relayed(&large).await, [true; 10], "{}", bed.name);
    assert!(bed.dead_letters(RELAY).await.is_empty(), "{}", bed.name);
    bed.tick(&large).await;
    until("the key goes on", async || bed.on_cluster(&large).await.len() == 11).await;
    bed.tick_all(6, 1, 8).await;
    bed.until_handled(READER, 7, 11).await;
    assert_eq!(consumers.alarms(), 0, "{}", bed.name);

    // what was set aside is no gap for a group that begins later either
    let late = bed.host(vec![following("late", &complaints)]).await;
    bed.until_handled("late", 7, 11).await;
    assert_eq!(late.alarms(), 0, "{}", bed.name);
    late.stop().await;
    consumers.stop().await;
    complaints.assert_none();
}

/// The key of a refused event goes on where the settings say so. The event comes behind the later ones, or never if it is
/// discarded.
pub async fn a_refused_event_is_set_aside_and_its_key_goes_on(bed: Bed) {
    let (complaints, large) = (Complaints::default(), large_key());
    let consumers = bed.host(vec![following(READER, &complaints)]).await;
    bed.cluster().limit_messages(TICKS, LIMIT).await.expect("Kafka answers");
    for _ in 0..3 {
        bed.tick(&large).await;
    }
    bed.until_relayed(3).await;
    let dead = bed.dead_letters(RELAY).await;
    assert!(dead.len() == 3 && dead.iter().all(|dead| dead.key == large), "{}: {}", bed.name, dead.len());
    bed.cluster().limit_messages(TICKS, NO_LIMIT).await.expect("Kafka answers");
    bed.tick(&large).await;
    bed.until_relayed(4).await;
    assert_eq!(bed.on_cluster(&large).await, [3], "{}: the key goes on", bed.name);
    // the newest is the first
    let (second, first) = (dead[1].id, dead[2].id);
    assert!(bed.database.db.write(move |tx| admin::discard(tx, second)).await.expect("a discard"), "{}", bed.name);
    bed.replay(first).await;
    until("it is on Kafka", async || bed.on_cluster(&large).await == [3, 0]).await;
    bed.replay(dead[0].id).await;
    until("another one is", async || bed.on_cluster(&large).await == [3, 0, 2]).await;
    bed.tick(&large).await;
    until("the key goes on", async || bed.on_cluster(&large).await == [3, 0, 2, 4]).await;
    bed.until_handled(READER, 1, 5).await;
    assert_eq!(consumers.alarms(), 0, "{}", bed.name);
    consumers.stop().await;
    complaints.assert_none();
}
