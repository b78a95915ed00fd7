//! Ledger: outcomes of all events, by topic. Each number is counted independently, so that a lost event shows:
//! accepted events by given positions, delivered events by the relay's position, the rest by rows.

use std::collections::BTreeMap;

use db::{Conn, Tx, on_each};
use diesel::dsl::count_star;
use diesel::prelude::*;
use messaging::{admin, tombstone};
use serde::{Deserialize, Serialize};

use crate::delivery::quarantine::State;
use crate::schema::{held, ledger};

/// Outcomes of all events of a topic: `accepted` is the sum of the other numbers.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct TopicLedger {
    pub accepted: i64,
    /// Events on Kafka; without a bus, events in the log.
    pub delivered: i64,
    /// Events in the log, on the way to Kafka.
    pub queued: i64,
    /// Events that Kafka refused, or events behind a refused event of the key; these are sent again.
    pub retrying: i64,
    /// Events that Kafka refused for good; these rest until someone acts.
    pub dead: i64,
    /// Given up by someone.
    pub discarded: i64,
}

impl TopicLedger {
    /// Returns the counter of events ahead of the relay.
    fn ahead(&mut self, to_kafka: bool) -> &mut i64 {
        if to_kafka { &mut self.queued } else { &mut self.delivered }
    }
}

/// A change of a topic's counts.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Change {
    /// Positions given to events with an earlier position.
    pub appended_again: i64,
    /// Positions that the relay passed without delivery.
    pub passed: i64,
    pub discarded: i64,
}

/// Counts a change, in the unit of the change.
///
/// # Errors
/// Any error of the database.
pub(crate) fn change(tx: &mut Tx<'_>, topic: &str, change: Change) -> db::Result<()> {
    let first = (
        ledger::topic.eq(topic),
        ledger::appended_again.eq(change.appended_again),
        ledger::passed.eq(change.passed),
        ledger::discarded.eq(change.discarded),
    );
    let more = (
        ledger::appended_again.eq(ledger::appended_again + change.appended_again),
        ledger::passed.eq(ledger::passed + change.passed),
        ledger::discarded.eq(ledger::discarded + change.discarded),
    );
    let row = diesel::insert_into(ledger::table).values(first).on_conflict(ledger::topic).do_update().set(more);
    on_each!(&mut **tx, |conn| row.execute(conn))?;
    Ok(())
}

/// Returns the counts of all topics. Without Kafka, events in the log count as delivered.
///
/// # Errors
/// Any error of the database.
pub(crate) fn count(conn: &mut Conn, to_kafka: bool) -> db::Result<BTreeMap<String, TopicLedger>> {
    let mut topics = BTreeMap::<String, TopicLedger>::new();
    for place in admin::partitions(conn)? {
        let (end, mark) = (place.end + 1, place.relayed + 1);
        let ahead = tombstone::positions(conn, &place.topic, place.partition, mark..=i64::MAX)?.len() as i64;
        let topic = topics.entry(place.topic).or_default();
        topic.accepted += end;
        topic.delivered += mark;
        *topic.ahead(to_kafka) += end - mark - ahead;
    }
    for (topic, appended_again, passed, discarded) in ledger::table.load::<(String, i64, i64, i64)>(conn)? {
        let topic = topics.entry(topic).or_default();
        topic.accepted -= appended_again;
        topic.delivered -= passed;
        topic.discarded += discarded;
    }
    let by_state = held::table.group_by((held::topic, held::state)).select((held::topic, held::state, count_star()));
    for (topic, state, events) in by_state.load::<(String, State, i64)>(conn)? {
        let topic = topics.entry(topic).or_default();
        match state {
            State::Retrying | State::Behind => topic.retrying += events,
            State::Resending => {
                topic.retrying += events;
                *topic.ahead(to_kafka) -= events;
            }
            State::Dead => topic.dead += events,
            State::Discarded => {}
        }
    }
    Ok(topics)
}
