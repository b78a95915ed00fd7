//! What operators see of events that are on the bus and not in the log.

use std::sync::Arc;

use db::types::{Id, Time};

use super::{CLOSED, Direct, Epoch, SKIPPED};
use crate::admin::{EventQuery, StoredEvent};
use crate::bus::BusError;
use crate::event::Event;

/// Records of each partition read at first, and at the most.
const FIRST: usize = 500;
const MOST: usize = 32_000;
/// Microseconds by which events may lie in another order than their ids.
const SLACK: i64 = 2_000_000;
/// Microseconds from an event's id until it is stored, at the most.
const STORED_WITHIN: i64 = 15_000_000;

/// What was read of the bus.
struct Seen {
    events: Vec<Event>,
    /// Nothing is missing that is newer than this; `None` when nothing is missing.
    since: Option<i64>,
}

impl Direct {
    /// Events of a topic that the bus holds, the newest first by their ids; at most 32,000 records of each partition are
    /// read. They count as appended when they were emitted.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]
    pub async fn events(&self, query: &EventQuery, limit: usize) -> Result<Vec<StoredEvent>, BusError> {
        let Some(topic) = self.shared.topics.iter().find(|known| query.topic.as_deref() == Some(known.name)) else {
            return Ok(Vec::new());
        };
        let is_asked = |event: &Event| {
            query.key.as_ref().is_none_or(|key| *key == event.key) && query.after.is_none_or(|after| event.id < after)
        };
        let newest = |mut events: Vec<Event>| {
            events.retain(is_asked);
            events.sort_unstable_by_key(|event| std::cmp::Reverse(event.id));
            events.truncate(limit);
            events
        };
        let before = query.after.and_then(|after| self.time_of(after)).map(|after| after + SLACK);
        let is_enough = |seen: &Seen, since: i64| {
            let newest = newest(seen.events.clone());
            newest.len() == limit && newest.last().and_then(|last| self.time_of(last.id)) > Some(since + SLACK)
        };
        let seen = self.read_back(topic.name, before, is_enough).await?;
        let stored = |event: Event| StoredEvent { appended_at: event.occurred_at, event };
        Ok(newest(seen.events).into_iter().map(stored).collect())
    }

    /// The event with this id, if the bus holds it.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]
    pub async fn event(&self, id: Id) -> Result<Option<Event>, BusError> {
        let Some(made) = self.time_of(id) else { return Ok(None) }; // none that was made here
        for topic in &self.shared.topics {
            let is_it = |event: &Event| event.id == id;
            let is_enough = |seen: &Seen, since: i64| since < made - SLACK || seen.events.iter().any(is_it);
            let seen = self.read_back(topic.name, Some(made + STORED_WITHIN), is_enough).await?;
            if let Some(event) = seen.events.into_iter().find(is_it) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Reads from `before` back, until it is enough.
    async fn read_back(
        &self,
        topic: &'static str,
        before: Option<i64>,
        is_enough: impl Fn(&Seen, i64) -> bool,
    ) -> Result<Seen, BusError> {
        self.look_if_old(topic).await?;
        let epochs = self.of(topic, |known| known.epochs.clone());
        let has_any = epochs.iter().any(|epoch| epoch.direct && !epoch.lacks_begins());
        let Some(bus) = self.shared.bus.as_ref().filter(|_| has_any) else {
            return Ok(Seen { events: Vec::new(), since: None });
        };
        if let Some(away) = self.of(topic, |known| known.away.clone()) {
            return Err(BusError::Unavailable(away));
        }
        let (partitions, before) = (self.shared.log.partitions(topic), before.and_then(Time::from_micros));
        let mut count = FIRST;
        loop {
            let read = bus.newest(topic, partitions, before, count).await?;
            let cut = read.iter().filter(|records| records.len() >= count);
            let oldest = |records: &Vec<Event>| records.iter().find_map(|event| self.time_of(event.id));
            let since = cut.filter_map(oldest).max();
            let events = read.into_iter().flatten().filter_map(|record| placed(&epochs, record)).collect();
            let seen = Seen { events, since };
            match seen.since {
                Some(since) if count < MOST && !is_enough(&seen, since) => count = (count * 4).min(MOST),
                _ => return Ok(seen),
            }
        }
    }

    /// When the id was made, by the database's clock in microseconds; `None` for one that does not tell.
    fn time_of(&self, id: Id) -> Option<i64> {
        let (seconds, nanos) = id.0.get_timestamp()?.to_unix();
        let made = i64::try_from(seconds).ok()?.checked_mul(1_000_000)? + i64::from(nanos / 1000);
        Some(made + self.shared.clock.load(std::sync::atomic::Ordering::Relaxed))
    }
}

/// The event with its position, if it was taken in an epoch.
fn placed(epochs: &Arc<[Epoch]>, mut event: Event) -> Option<Event> {
    let epoch = epochs.iter().find(|epoch| epoch.direct && epoch.source == event.source)?;
    event.position += epoch.base();
    let end = epoch.end(event.partition).unwrap_or_else(|| epoch.limit());
    let is_within = (epoch.begin(event.partition)..end).contains(&event.position);
    (is_within && event.kind != CLOSED && event.kind != SKIPPED).then_some(event)
}
