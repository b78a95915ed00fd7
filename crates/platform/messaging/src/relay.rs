//! The relay: copies topics from the log to a bus that is elsewhere, each partition in the order of its positions.
//!
//! It is a consumer group like any other, so leases, pauses, drains and lag come with it. Its position is the end of
//! what the bus has acknowledged. It only rises, and is kept as the partition's `relayed` when the relay leaves a topic.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use db::types::Time;
use db::{Conn, Tx};
use diesel::prelude::*;

use crate::admin::{self, PartitionStatus};
use crate::bus::Publisher;
use crate::event::Event;
use crate::handler::{EffectHandler, Group, Handler, HandlerError, Lease, Replay, Start};
use crate::log::Log;
use crate::schema::event_log;
use crate::{place, store};

/// The group's name.
pub const RELAY: &str = "relay";

/// The group that copies `topics` of the log to `publisher`.
///
/// It must read the log itself, whatever the topics' consumers read.
pub fn relay_group(publisher: Arc<dyn Publisher>, topics: Vec<&'static str>) -> Group {
    relay_group_by(Arc::new(Relay { publisher }), topics)
}

/// The group that copies `topics` by a handler of its own.
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
/// Any error of the database.
pub fn begin_relaying(tx: &mut Tx<'_>, log: &Log, topics: &[&str]) -> db::Result<()> {
    place::begin(tx, log, RELAY, Start::Relayed, topics)
}

/// Takes the relay away from `topics`, which are on another bus no more: the log keeps nothing for it, but how far it was.
///
/// # Errors
/// Any error of the database.
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
}

/// Bytes of all events that the relay has still to copy.
///
/// # Errors
/// Any error of the database.
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
/// Any error of the database.
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
