//! The newest events of a partition in memory, so that groups that keep up read nothing from the database.

use std::collections::VecDeque;

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
    events: VecDeque<Event>,
    bytes: usize,
}

impl Tail {
    /// Adds events that were committed; each follows the one before without a gap.
    pub(crate) fn push(&self, events: Vec<Event>) {
        let mut kept = self.kept.lock();
        let follows =
            kept.events.back().zip(events.first()).is_none_or(|(last, new)| last.position + 1 == new.position);
        if !follows {
            *kept = Kept::default();
        }
        for event in events {
            kept.bytes += event.payload.len();
            kept.events.push_back(event);
        }
        while kept.events.len() > EVENTS || kept.bytes > BYTES {
            let Some(oldest) = kept.events.pop_front() else { break };
            kept.bytes -= oldest.payload.len();
        }
    }

    /// At most `max` events from `after + 1` on, or `None` when that one is not kept.
    pub(crate) fn after(&self, after: i64, max: usize) -> Option<Vec<Event>> {
        let kept = self.kept.lock();
        let skip = usize::try_from(after + 1 - kept.events.front()?.position).ok()?;
        let events: Vec<_> = kept.events.iter().skip(skip).take(max).cloned().collect();
        (!events.is_empty()).then_some(events)
    }
}
