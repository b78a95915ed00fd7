//! A topic gains partitions while all is at work.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use diesel::prelude::*;
use messaging::admin;
use messaging::{
    Bus, Consumers, Group, HandlerError, InProcess, MAX_PARTITIONS, RaiseError, follow_log, partition_of,
    raise_partitions,
};
use messaging_kafka::TopicOptions;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::log::opened;
use super::{Bed, Complaints, PARTITIONS, TICKS, Ticked, effecting, following, following_but, options, tick, until};

/// Final number of partitions of the suite's topic; keys move among the old partitions, too.
pub const MOST: i32 = 9;
const BETWEEN: i32 = 6;
const KEYS: usize = 30;

diesel::table! {
    group_lease (grp, topic, partition) {
        grp -> Text,
        topic -> Text,
        partition -> Integer,
        holder -> Nullable<Binary>,
    }
}

impl Bed {
    /// Adds partitions like `shop bus partitions`.
    async fn raise(&self, count: i32) {
        self.try_raise(TICKS, count).await.expect("more partitions");
        if let Some(cluster) = &self.grows {
            let (topic, options) = ([(TICKS.into(), count)], TopicOptions::default());
            until(&format!("{}: Kafka has more partitions", self.name), async || {
                let differs = cluster.ensure_topics(&topic, &options).await.expect("Kafka answers");
                differs.iter().all(|differs| differs.what != "partitions")
            })
            .await;
        }
    }

    async fn try_raise(&self, topic: &'static str, count: i32) -> Result<i32, RaiseError> {
        let log = self.database.log.clone();
        self.database.db.write(move |tx| raise_partitions(tx, &log, topic, count)).await
    }

    /// Waits until `group` has nothing to do of `count` events.
    async fn until_idle(&self, group: &str, count: usize) {
        self.until_numbered(count).await;
        until(&format!("{}: {group} has nothing to do", self.name), async || {
            let lags = self.database.db.read(admin::consumers).await;
            lags.expect("the lag").iter().all(|lag| lag.group != group || lag.lag == 0)
        })
        .await;
    }
}

/// Builds a group without a database that complains about events out of sequence.
fn watching(group: &'static str, complaints: &Complaints) -> Group {
    let (next, complaints) = (Arc::new(Mutex::new(HashMap::<String, i64>::new())), complaints.clone());
    effecting(group, move |_, events| {
        let mut next = next.lock();
        for event in events {
            let ticked: Ticked = event.decode().expect("a tick");
            let due = next.entry(ticked.key.clone()).or_default();
            if ticked.number != *due {
                complaints.add(format!("{ticked:?} came to {}/{} and {due} was due", event.partition, event.position));
            }
            *due = ticked.number + 1;
        }
        async { Ok(()) }
    })
}

/// A second process, connected by the database alone.
struct Other {
    db: db::Database,
    consumers: Consumers,
    stop: CancellationToken,
}

impl Other {
    async fn beside(bed: &Bed, groups: Vec<Group>) -> Option<Self> {
        if !bed.database.db.is_shared() {
            return None;
        }
        let (db, log) = opened(&bed.database.url, &[]).await;
        let stop = CancellationToken::new();
        tokio::spawn(follow_log(db.clone(), log.clone(), stop.clone()));
        let in_process = || Arc::new(InProcess::new(db.clone(), log.clone())) as Arc<dyn Bus>;
        let bus = if bed.is_relayed() { bed.bus.clone() } else { in_process() };
        let consumers = Consumers::start(db.clone(), log, bus, groups, options()).await.expect("the groups start");
        Some(Self { db, consumers, stop })
    }

    async fn tick_all(&self, count: usize) {
        let units = futures::stream::iter((0..KEYS * count).map(|n| format!("key-{}", n % KEYS)));
        futures::StreamExt::for_each_concurrent(units, 8, |key| async move {
            self.db.write(move |tx| tick(tx, &key)).await.expect("a tick");
        })
        .await;
    }
}

/// Many keys, and two repartitionings under load: each group gets each event once, in the order of the key, across
/// all processes.
pub async fn a_topic_gains_partitions_under_load(bed: Bed) {
    const COUNT: usize = 60;
    let complaints = Complaints::default();
    let followed = || vec![following("mover", &complaints)];
    let watched = watching("watcher", &complaints);
    let consumers = bed.host(followed().into_iter().chain([watched]).collect()).await;
    let other = Other::beside(&bed, followed()).await;
    let numbered = || {
        let end = |n| bed.database.log.end(TICKS, n).map_or(0, |end| *end.borrow());
        (0..MOST).map(end).sum::<i64>() as usize
    };
    let raising = async {
        for (share, count) in [(4, BETWEEN), (2, MOST)] {
            until("some are numbered", async || numbered() > KEYS * COUNT / share).await;
            bed.raise(count).await;
            bed.raise(count).await; // as is done when it was cut off
        }
    };
    let of_other = async {
        match &other {
            Some(other) => other.tick_all(COUNT / 2).await,
            None => bed.tick_all(KEYS, COUNT / 2, 8).await,
        }
    };
    tokio::join!(bed.tick_all(KEYS, COUNT / 2, 16), of_other, raising);
    bed.until_handled("mover", KEYS, COUNT).await;
    bed.until_idle("watcher", KEYS * COUNT).await;
    let end = |n| *bed.database.log.end(TICKS, n).expect("a partition").borrow();
    assert!((PARTITIONS..MOST).any(|n| end(n) > 0), "{}: some went to new ones", bed.name);
    consumers.stop().await;
    if let Some(other) = other {
        other.consumers.stop().await;
        other.stop.cancel();
    }
    complaints.assert_none();
    let fewer = bed.try_raise(TICKS, PARTITIONS).await;
    assert!(matches!(fewer, Err(RaiseError::Fewer { there: MOST, .. })), "{}: {fewer:?}", bed.name);
    let many = bed.try_raise(TICKS, MAX_PARTITIONS + 1).await;
    assert!(matches!(many, Err(RaiseError::TooMany)), "{}: {many:?}", bed.name);
    let unknown = bed.try_raise("nothing", 5).await;
    assert!(matches!(unknown, Err(RaiseError::NoSuchTopic(_))), "{}: {unknown:?}", bed.name);
}

/// A group stuck in one partition handles no event numbered after the repartitioning, though another group has
/// handled all of them.
pub async fn what_was_numbered_later_waits_for_what_was_before(bed: Bed) {
    let (complaints, gate) = (Complaints::default(), Arc::new(Semaphore::new(0)));
    let (stuck, freed) = (gate.clone(), Arc::new(AtomicBool::new(false)));
    let (is_free, told) = (freed.clone(), complaints.clone());
    let group = effecting("stuck", move |_, events| {
        let ticks: Vec<Ticked> = events.iter().map(|event| event.decode().expect("a tick")).collect();
        let is_stuck = ticks.iter().any(|ticked| ticked.key == "key-0" && ticked.number == 0);
        for ticked in ticks.iter().filter(|ticked| ticked.number > 0 && !is_free.load(Ordering::SeqCst)) {
            told.add(format!("{ticked:?} was handled before the fence was passed"));
        }
        let stuck = stuck.clone();
        async move {
            if is_stuck {
                drop(stuck.acquire().await.expect("it is not closed"));
            }
            Ok(())
        }
    });
    let consumers = bed.host(vec![group, following("quick", &complaints)]).await;
    bed.tick_all(KEYS, 1, 8).await;
    bed.until_handled("quick", KEYS, 1).await;
    bed.raise(MOST).await;
    bed.tick_all(KEYS, 2, 8).await;
    bed.until_handled("quick", KEYS, 3).await;
    until("the new partitions are held", async || {
        let held = group_lease::table
            .filter(group_lease::grp.eq("stuck"))
            .filter(group_lease::partition.ge(PARTITIONS))
            .filter(group_lease::holder.is_not_null())
            .count();
        let count = move |conn: &mut db::Conn| -> db::Result<i64> { Ok(held.get_result(conn)?) };
        bed.database.db.read(count).await.expect("the leases") == i64::from(MOST - PARTITIONS)
    })
    .await;
    freed.store(true, Ordering::SeqCst);
    gate.add_permits(1);
    bed.until_idle("stuck", KEYS * 3).await;
    consumers.stop().await;
    complaints.assert_none();
}

/// Events behind a dead letter of the same key are parked in any partition, and resumed in order.
pub async fn a_dead_letter_holds_its_key_in_every_partition(bed: Bed) {
    let moves = |key: &String| {
        let places = [PARTITIONS, BETWEEN, MOST].map(|count| partition_of(key, count));
        places[0] != places[1] && places[1] != places[2] && places[0] != places[2]
    };
    let key = (0..KEYS).map(|n| format!("key-{n}")).find(moves).expect("a key that moves each time");
    let (complaints, broken) = (Complaints::default(), Arc::new(AtomicBool::new(true)));
    let its = broken.clone();
    let group = following_but("mended", &complaints, move |ticked: &Ticked| match ticked.key == key {
        true if its.load(Ordering::SeqCst) => Err(HandlerError::Failed("not yet".into())),
        _ => Ok(()),
    });
    let consumers = bed.host(vec![group]).await;
    let mut emitted = 0;
    for count in [PARTITIONS, BETWEEN, MOST] {
        bed.raise(count).await;
        bed.tick_all(KEYS, 2, 8).await;
        emitted += KEYS * 2;
        bed.until_idle("mended", emitted).await;
    }
    let dead = bed.dead_letters("mended").await;
    assert_eq!(dead.len(), 1, "{}: {dead:?}", bed.name);
    let id = dead[0].id;
    let letter = bed.database.db.read(move |conn| admin::dead_letter(conn, id)).await.expect("a dead letter");
    assert_eq!(letter.map(|(_, parked)| parked), Some(5), "{}", bed.name);
    broken.store(false, Ordering::SeqCst);
    bed.replay(id).await;
    bed.until_handled("mended", KEYS, 6).await;
    consumers.stop().await;
    complaints.assert_none();
}
