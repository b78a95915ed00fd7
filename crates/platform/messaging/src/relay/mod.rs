//! The relay: copies topics from the log to an external bus, each partition in the order of positions.
//!
//! The relay is an ordinary consumer group, with leases, pauses, drains and lag. The relay's position is the end of
//! the events acknowledged by the bus. The position only rises, and is kept as the partition's `relayed` when the
//! relay leaves a topic.

pub(crate) mod set_aside;

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use db::types::Time;
use db::{Conn, Tx};
use diesel::prelude::*;
use serde::Deserialize;

use crate::admin::{self, PartitionStatus};
use crate::bus::Publisher;
use crate::consumer::group::{EffectHandler, Group, Handler, HandlerError, Lease, Refused, Replay, Start};
use crate::consumer::offsets;
use crate::event::Event;
use crate::log::Log;
use crate::log::rows;
use crate::schema::event_log;

/// The group's name.
pub const RELAY: &str = "relay";

/// Later events of the key of an event that the bus refuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusedKey {
    /// They wait until the event is sent again or discarded.
    #[default]
    Waits,
    /// They are copied; the refused event comes behind them, if it is sent again.
    GoesOn,
}

/// The group that copies `topics` of the log to `publisher`. An event that the bus refuses becomes a dead letter.
///
/// The relay must read the log itself, independent of the consumers' bus.
pub fn relay_group(publisher: Arc<dyn Publisher>, topics: Vec<&'static str>, refused_key: RefusedKey) -> Group {
    relay_group_by(Arc::new(Relay { publisher, refused_key }), topics)
}

/// Returns the group that copies `topics` by a special handler.
pub fn relay_group_by(handler: Arc<dyn EffectHandler>, topics: Vec<&'static str>) -> Group {
    Group {
        name: RELAY,
        topics,
        replay: Replay::Once("the bus would hold every event twice"),
        start: Start::Relayed,
        handler: Handler::Effect(handler),
    }
}

/// Registers the relay for `topics`, behind the relayed events: from now on the log keeps later events for the relay.
///
/// # Errors
/// Any error of the database.
pub fn begin_relaying(tx: &mut Tx<'_>, log: &Log, topics: &[&str]) -> db::Result<()> {
    offsets::begin(tx, log, RELAY, Start::Relayed, topics)
}

/// Removes the relay from `topics` that are no longer on another bus: the log keeps only the relay's position.
///
/// # Errors
/// Any error of the database.
pub fn end_relaying(tx: &mut Tx<'_>, topics: &[&str]) -> db::Result<()> {
    let mut topics = topics.to_vec();
    topics.sort_unstable();
    for topic in topics {
        // before the leases, as registration does
        rows::lock_partitions(tx, topic)?;
        for (partition, position) in offsets::forget(tx, RELAY, topic)? {
            rows::raise_relayed(tx, topic, partition, position)?;
        }
    }
    Ok(())
}

struct Relay {
    publisher: Arc<dyn Publisher>,
    refused_key: RefusedKey,
}

#[async_trait]
impl EffectHandler for Relay {
    async fn handle(&self, _: &Lease, events: &[Event]) -> Result<(), HandlerError> {
        let published = self.publisher.publish(events).await;
        let published = published.map_err(|error| HandlerError::Unavailable(error.to_string()))?;
        let Some(why) = published.refused else { return Ok(()) };
        let key_waits = self.refused_key == RefusedKey::Waits;
        Err(HandlerError::Refused(Refused { handled: published.stored.len(), why, key_waits }))
    }

    fn gives_up(&self) -> bool {
        false
    }

    /// True, because readers notice repeats.
    fn records_together(&self) -> bool {
        true
    }
}

/// Returns the bytes of all events that the relay has still to copy.
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
        all += rows.select(rows::payload_bytes()).first::<i64>(conn)?;
    }
    Ok(all)
}

/// Returns the append time of the oldest event that the relay has still to copy, ignoring the topics `without`.
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

/// Returns the partitions with events to relay.
fn behind(conn: &mut Conn) -> db::Result<Vec<PartitionStatus>> {
    let all = admin::partitions(conn)?;
    Ok(all.into_iter().filter(|place| place.to_relay.is_some_and(|events| events > 0)).collect())
}
