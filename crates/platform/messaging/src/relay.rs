//! The relay: copies topics from the log to a bus that is elsewhere, each partition in the order of its positions.
//!
//! It is a consumer group like any other, so leases, pauses, drains and lag come with it. Its position is the end of
//! what the bus has acknowledged. It only rises, and is kept as the partition's `relayed` when the relay leaves a topic.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use db::types::Time;
use db::{Conn, Database, Tx};
use diesel::prelude::*;
use parking_lot::Mutex;

use crate::admin::{self, PartitionStatus};
use crate::bus::Publisher;
use crate::event::Event;
use crate::handler::{EffectHandler, Group, Handler, HandlerError, Lease, Replay, Start};
use crate::log::Log;
use crate::moved::MOVED;
use crate::schema::event_log;
use crate::{place, store};

/// The group's name.
pub const RELAY: &str = "relay";

/// The group that copies `topics` of `log` to `publisher`.
///
/// It must read the log itself, whatever the topics' consumers read.
pub fn relay_group(publisher: Arc<dyn Publisher>, db: Database, log: Log, topics: Vec<&'static str>) -> Group {
    let not_ahead = NotAhead::new(publisher.clone(), db, log);
    relay_group_by(Arc::new(Relay { publisher, not_ahead }), topics)
}

/// The group that copies `topics` by a handler of its own, which must hold [`NotAhead`].
pub fn relay_group_by(handler: Arc<dyn EffectHandler>, topics: Vec<&'static str>) -> Group {
    Group {
        name: RELAY,
        topics,
        replay: Replay::Once("the bus would hold every event twice"),
        start: Start::Relayed,
        handler: Handler::Effect(handler),
    }
}

/// Registers the relay with `topics`, behind what it has relayed before: from now on the log keeps the rest for it.
///
/// # Errors
/// The database's.
pub fn begin_relaying(tx: &mut Tx<'_>, log: &Log, topics: &[&str]) -> db::Result<()> {
    place::begin(tx, log, RELAY, Start::Relayed, topics)
}

/// Takes the relay away from `topics`, which are on another bus no more: the log keeps nothing for it, but how far it was.
///
/// # Errors
/// The database's.
pub fn end_relaying(tx: &mut Tx<'_>, topics: &[&str]) -> db::Result<()> {
    let mut topics = topics.to_vec();
    topics.sort_unstable();
    for topic in topics {
        // before the leases, as registration does
        store::lock_partitions(tx, topic)?;
        for (partition, position) in place::forget(tx, RELAY, topic)? {
            store::raise_relayed(tx, topic, partition, position)?;
        }
    }
    Ok(())
}

struct Relay {
    publisher: Arc<dyn Publisher>,
    not_ahead: NotAhead,
}

#[async_trait]
impl EffectHandler for Relay {
    async fn handle(&self, _: &Lease, events: &[Event]) -> Result<(), HandlerError> {
        let sent = self.publisher.publish(events).await;
        sent.map(drop).map_err(|error| HandlerError::Unavailable(error.to_string()))
    }

    fn gives_up(&self) -> bool {
        false
    }

    /// Readers see what is sent twice.
    fn records_together(&self) -> bool {
        true
    }

    async fn taken(&self, lease: &Lease) -> Result<(), HandlerError> {
        self.not_ahead.check(lease).await
    }
}

/// Holds against a database that was restored from a backup: positions would be given a second time, to other events,
/// and groups would skip those.
pub struct NotAhead {
    publisher: Arc<dyn Publisher>,
    db: Database,
    log: Log,
    /// Partitions that are known not to be ahead of the log, each with the lease under which that was seen.
    compared: Mutex<HashMap<(Arc<str>, i32), i64>>,
}

impl NotAhead {
    /// Of the log, and the bus that `publisher` sends to.
    pub fn new(publisher: Arc<dyn Publisher>, db: Database, log: Log) -> Self {
        Self { publisher, db, log, compared: Mutex::default() }
    }

    /// To be called when a partition was [taken](EffectHandler::taken).
    ///
    /// # Errors
    /// When the bus holds another event than the log, or one that the log has not come to; or can't be asked.
    pub async fn check(&self, lease: &Lease) -> Result<(), HandlerError> {
        let part = (lease.topic.clone(), lease.partition);
        if self.compared.lock().get(&part) == Some(&lease.number) {
            return Ok(());
        }
        let (topic, partition, source) = (&*lease.topic, lease.partition, self.log.source());
        let away = |error: crate::BusError| HandlerError::Unavailable(error.to_string());
        let there = self.publisher.last_event(topic, partition, source).await.map_err(away)?;
        let ours = match &there {
            Some(there) => store::read_events(&self.db, &self.log, topic, partition, there.position - 1, 1).await?,
            None => Vec::new(),
        };
        match (there, ours.first()) {
            // what is on the bus and cut from the log is older than all that the log has
            // an event that left its place had come to Kafka, and was refused when it was sent again
            (Some(_), Some(ours)) if ours.kind == MOVED => self.is_not_ahead(part, lease),
            (Some(there), Some(ours)) if there.position == ours.position && there.id != ours.id => {
                Err(HandlerError::Unavailable(restored(topic, partition, there.position)))
            }
            (Some(there), None) => Err(HandlerError::Unavailable(restored(topic, partition, there.position))),
            _ => self.is_not_ahead(part, lease),
        }
    }

    fn is_not_ahead(&self, part: (Arc<str>, i32), lease: &Lease) -> Result<(), HandlerError> {
        self.compared.lock().insert(part, lease.number);
        Ok(())
    }
}

/// Bytes of all events that the relay has still to copy.
///
/// # Errors
/// The database's.
pub fn unrelayed_bytes(conn: &mut Conn) -> db::Result<i64> {
    let mut all = 0;
    for place in behind(conn)? {
        let rows = event_log::table
            .filter(event_log::topic.eq(place.topic))
            .filter(event_log::partition.eq(place.partition))
            .filter(event_log::position.gt(place.relayed));
        all += rows.select(store::payload_bytes()).first::<i64>(conn)?;
    }
    Ok(all)
}

/// When the oldest event was appended that the relay has still to copy, but those of the topics `without`.
///
/// # Errors
/// The database's.
pub fn oldest_unrelayed(conn: &mut Conn, without: &HashSet<String>) -> db::Result<Option<Time>> {
    let mut oldest = None;
    for place in behind(conn)?.into_iter().filter(|place| !without.contains(&place.topic)) {
        let first = event_log::table.find((place.topic, place.partition, place.relayed + 1));
        let appended: Option<Time> = first.select(event_log::appended_at).first(conn).optional()?;
        oldest = oldest.into_iter().chain(appended).min();
    }
    Ok(oldest)
}

/// Partitions that the relay has something of to copy.
fn behind(conn: &mut Conn) -> db::Result<Vec<PartitionStatus>> {
    let all = admin::partitions(conn)?;
    Ok(all.into_iter().filter(|place| place.to_relay.is_some_and(|events| events > 0)).collect())
}

/// What to say of a bus that knows more than the log.
pub(crate) fn restored(topic: &str, partition: i32, position: i64) -> String {
    format!(
        "the bus holds an event at position {position} of {topic}/{partition} that the log does not know: was the \
         database restored from a backup? Positions would be given twice (shop renew-log makes it another log)"
    )
}
