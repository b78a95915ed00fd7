//! Distinguishes an event refused by the database from an unavailable database.
//!
//! Every database error except a constraint violation is *unavailable*: the partition pauses, and the same event is
//! tried again. An event counts as failed if it alone keeps failing for minutes, while the group handles events of
//! other partitions between the attempts. Offsets in the database show this for any process that handles these
//! partitions.

use std::time::Instant;

use db::types::Id;

use crate::consumer::offsets;
use crate::consumer::worker::batch::Handled;
use crate::consumer::worker::{Stop, Worker};
use crate::event::Event;

/// A single event refused by the database, and the time of the first refusal.
pub(crate) struct Failing {
    event: Id,
    since: Instant,
    /// Sum of the group's offsets in other partitions at the last try.
    others: i64,
    /// Failed attempts with other events of the group handled in between.
    witnessed: u32,
}

/// Minimum of such attempts: a single failed attempt may be the last one of a fault that just ended for other
/// partitions.
const WITNESSED: u32 = 5;

impl Worker {
    /// Passes the outcome of `events` on. An error of the database becomes a failure of a lone event that counts as failed.
    pub(crate) async fn judge(&mut self, events: &[Event], handled: Handled) -> Handled {
        match (handled, events) {
            (Err(Stop::Away(why)), [event]) => match self.is_condemned(event).await {
                true => Ok(Err(why)),
                false => Err(Stop::Away(why)),
            },
            (handled, _) => handled,
        }
    }

    async fn is_condemned(&mut self, event: &Event) -> bool {
        // also a probe: while the database does not answer, no time counts
        let Some(others) = self.others().await else {
            self.failing = None;
            return false;
        };
        match &mut self.failing {
            Some(failing) if failing.event == event.id => {
                failing.witnessed += u32::from(others > failing.others);
                failing.others = others;
                failing.witnessed >= WITNESSED && failing.since.elapsed() >= self.context.options.fails_alone
            }
            failing => {
                *failing = Some(Failing { event: event.id, since: Instant::now(), others, witnessed: 0 });
                false
            }
        }
    }

    /// Returns the sum of the group's offsets in other partitions; `None` if the database does not answer.
    async fn others(&self) -> Option<i64> {
        let (group, topic, partition) = (self.place.group, self.place.topic.clone(), self.place.partition);
        let offsets = self.context.db.read(move |conn| offsets::positions_by_source(conn, group)).await.ok()?;
        let others = offsets.iter().filter(|(_, row)| (&*row.topic, row.partition) != (&*topic, partition));
        Some(others.map(|(_, row)| row.position).sum())
    }
}
