//! Notices repeated events.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use db::types::Id;

/// Remembered events of a partition: more than a relay sends again after an error.
const REMEMBERED: usize = 4_096;

/// The newest events of a partition, each with the offset of the first record.
#[derive(Default)]
pub(crate) struct Repeats {
    offsets: HashMap<Id, i64>,
    order: VecDeque<Id>,
}

impl Repeats {
    /// Returns true if a record before this one had the same event. The same record may be read again, and is no repeat.
    pub(crate) fn is_repeat(&mut self, id: Id, offset: i64) -> bool {
        match self.offsets.entry(id) {
            Entry::Occupied(first) if *first.get() < offset => return true,
            Entry::Occupied(mut first) => drop(first.insert(offset)),
            Entry::Vacant(new) => {
                new.insert(offset);
                self.order.push_back(id);
            }
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.offsets.remove(&oldest);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_repeat_behind_its_first_record_only() {
        let (mut repeats, ids) = (Repeats::default(), Vec::from_iter((0..3).map(|_| Id::new())));
        let met: Vec<_> = ids.iter().zip(10..).map(|(id, offset)| repeats.is_repeat(*id, offset)).collect();
        assert_eq!(met, [false; 3]);
        assert_eq!([repeats.is_repeat(ids[0], 13), repeats.is_repeat(ids[2], 14)], [true; 2]);
        assert_eq!([repeats.is_repeat(ids[0], 10), repeats.is_repeat(ids[1], 5)], [false; 2], "read again");
        assert!(repeats.is_repeat(ids[1], 11), "an earlier record was met since");
    }

    #[test]
    fn only_the_newest_are_remembered() {
        let mut repeats = Repeats::default();
        let (first, rest) = (Id::new(), Vec::from_iter((0..REMEMBERED).map(|_| Id::new())));
        assert!(!repeats.is_repeat(first, 0));
        assert!(rest.iter().zip(1..).all(|(id, offset)| !repeats.is_repeat(*id, offset)));
        assert!(!repeats.is_repeat(first, 9_000));
        assert_eq!((repeats.order.len(), repeats.offsets.len()), (REMEMBERED, REMEMBERED));
    }
}
