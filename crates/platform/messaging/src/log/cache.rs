//! Recent-events cache: newest events of a partition in memory, so that groups without a lag read nothing from the
//! database.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::event::Event;

/// Events kept at the most.
const EVENTS: usize = 2048;
/// Bytes of payload kept at the most.
const BYTES: usize = 2 << 20;

#[derive(Default)]
pub(crate) struct Tail {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Events by position. Units are answered in another order than the order of commits, so the cache may have gaps.
    events: BTreeMap<i64, Event>,
    bytes: usize,
}

impl Tail {
    /// Adds committed events.
    pub(crate) fn push(&self, events: Vec<Event>) {
        let mut kept = self.kept.lock();
        for event in events {
            kept.bytes += event.payload.len();
            kept.events.insert(event.position, event);
        }
        while kept.events.len() > EVENTS || kept.bytes > BYTES {
            let Some((_, oldest)) = kept.events.pop_first() else { break };
            kept.bytes -= oldest.payload.len();
        }
    }

    /// Removes the events for which `keeps` returns false.
    pub(crate) fn retain(&self, keeps: impl Fn(&Event) -> bool) {
        let mut kept = self.kept.lock();
        kept.events.retain(|_, event| keeps(event));
        kept.bytes = kept.events.values().map(|event| event.payload.len()).sum();
    }

    /// Returns at most `max` events from `after + 1` on, or `None` if the first of these is not cached.
    pub(crate) fn after(&self, after: i64, max: usize) -> Option<Vec<Event>> {
        let kept = self.kept.lock();
        let following = (after + 1..).zip(kept.events.range(after + 1..));
        let events: Vec<_> = following
            .take_while(|(due, (position, _))| due == *position)
            .map(|(_, (_, event))| event.clone())
            .take(max)
            .collect();
        (!events.is_empty()).then_some(events)
    }
}
