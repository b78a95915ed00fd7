//! Delivers a partition of the log to Kafka. An event that Kafka refuses goes into quarantine, and with it the later
//! events of the key (see `docs/event-proxy.md`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use db::types::Id;
use db::{Conn, Database, Tx};
use messaging::tombstone::{self, TOMBSTONE};
use messaging::{BusError, EffectHandler, Event, HandlerError, Lease, Published, Publisher};
use parking_lot::Mutex;
use tokio::time::sleep;

use crate::delivery::acks::Waiting;
use crate::delivery::ledger::{self, Change};
use crate::delivery::offset_index::{self, Span};
use crate::delivery::quarantine::{self, Cause};
use crate::delivery::retry::{Part, Refusals};
use crate::ingest::capacity::Room;

/// Pause of a partition without waiting requests, so that more events go together: a request to Kafka costs proxy and
/// broker more than most of its content.
const REST: Duration = Duration::from_millis(10);

/// Time between two records of a partition's outcomes.
const RECORD_WITHIN: Duration = Duration::from_millis(50);

/// The handler of the relay's group.
pub(crate) struct Relay {
    pub publisher: Arc<dyn Publisher>,
    pub db: Database,
    pub waiting: Arc<Waiting>,
    pub refusals: Arc<Refusals>,
    pub room: Arc<Room>,
    /// Outcomes of the last batches of each partition, until recorded.
    pub batches: Arc<Mutex<HashMap<Part, Arc<Batch>>>>,
}

/// Outcomes of a batch, or of several batches recorded together.
#[derive(Default)]
pub(crate) struct Batch {
    spans: Vec<Span>,
    refused: Vec<(Event, String)>,
    behind: Vec<Event>,
    /// Ids of events refused before and delivered now.
    at_last: Vec<Id>,
    /// Numbers of earlier refusals of the batch's events.
    attempts: HashMap<Id, i32>,
    /// Number of positions without a delivery.
    passed: i64,
}

/// Data in the database about a batch of a partition with refusals.
#[derive(Default)]
struct Known {
    blocked: HashSet<String>,
    left: HashSet<i64>,
    attempts: HashMap<Id, i32>,
}

#[async_trait]
impl EffectHandler for Relay {
    async fn handle(&self, lease: &Lease, events: &[Event]) -> Result<(), HandlerError> {
        let part = (lease.topic.clone(), lease.partition);
        let batch = match self.refusals.of(&part) {
            None if events.iter().all(|event| event.kind != TOMBSTONE) => {
                let (places, refused) = self.publish(&part, events).await?;
                let rest = &events[places.len()..];
                let batch = Batch { spans: Span::all(places), ..Batch::default() };
                match refused {
                    None => batch,
                    Some(_) => batch.and(self.bring_what_can_be(&part, rest, Known::default()).await?),
                }
            }
            version => {
                let known = self.look(&part, version, events).await?;
                self.bring_what_can_be(&part, events, known).await?
            }
        };
        if !batch.refused.is_empty() {
            self.refusals.note(&part);
        }
        self.keep(part, batch);
        Ok(())
    }

    async fn rest(&self) {
        tokio::select! { () = sleep(REST) => {}, () = self.waiting.anyone() => {} }
    }

    /// Returns the time between records: zero with events in quarantine, because the data about quarantined events
    /// must be true before the next batch.
    fn records_within(&self, lease: &Lease) -> Duration {
        let is_plain = self.refusals.of(&(lease.topic.clone(), lease.partition)).is_none();
        if is_plain { RECORD_WITHIN } else { Duration::ZERO }
    }

    fn gives_up(&self) -> bool {
        false
    }

    fn record(&self, tx: &mut Tx<'_>, lease: &Lease, _: &[Event]) -> db::Result<()> {
        let part = (lease.topic.clone(), lease.partition);
        let batch = self.batches.lock().get(&part).cloned();
        let batch = batch.ok_or_else(|| db::Error::Defect("a batch is recorded that was not handled".into()))?;
        for span in &batch.spans {
            offset_index::note(tx, &part.0, part.1, *span)?;
        }
        if batch.passed > 0 {
            ledger::change(tx, &part.0, Change { passed: batch.passed, ..Change::default() })?;
        }
        if !batch.at_last.is_empty() {
            quarantine::delete(tx, &batch.at_last)?;
        }
        for (event, reason) in &batch.refused {
            let attempts = batch.attempts.get(&event.id).copied().unwrap_or(0) + 1;
            let next_attempt_at = tx.now()? + self.refusals.pause_after(attempts);
            hold(tx, event, &Cause::Refused { attempts, next_attempt_at, reason: reason.clone() })?;
        }
        batch.behind.iter().try_for_each(|event| hold(tx, event, &Cause::Behind))?;
        let (batches, refusals, is_any_refused) =
            (self.batches.clone(), self.refusals.clone(), !batch.refused.is_empty());
        tx.after_commit(move || {
            batches.lock().remove(&part);
            if is_any_refused {
                refusals.due.notify_one();
            }
        });
        Ok(())
    }

    /// Drops unrecorded outcomes: their events come again.
    async fn taken(&self, lease: &Lease) -> Result<(), HandlerError> {
        let part = (lease.topic.clone(), lease.partition);
        self.batches.lock().remove(&part);
        Ok(())
    }
}

/// Puts an event into quarantine, unless the event was appended again meanwhile, behind the events it waited for.
fn hold(tx: &mut Tx<'_>, event: &Event, cause: &Cause) -> db::Result<()> {
    if tombstone::replace(tx, event)? { quarantine::hold(tx, event, cause) } else { Ok(()) }
}

impl Batch {
    /// Merges two batches, this batch first.
    fn and(mut self, next: Self) -> Self {
        next.spans.into_iter().for_each(|span| span.behind(&mut self.spans));
        self.refused.extend(next.refused);
        self.behind.extend(next.behind);
        self.at_last.extend(next.at_last);
        self.attempts.extend(next.attempts);
        self.passed += next.passed;
        self
    }
}

impl Relay {
    /// Keeps the batch until recorded, together with earlier batches.
    fn keep(&self, part: Part, batch: Batch) {
        let mut batches = self.batches.lock();
        let before = batches.remove(&part).and_then(Arc::into_inner).unwrap_or_default();
        batches.insert(part, Arc::new(before.and(batch)));
    }

    /// Delivers all events to Kafka, except refused events and the later events of their keys.
    async fn bring_what_can_be(&self, part: &Part, events: &[Event], known: Known) -> Result<Batch, HandlerError> {
        let Known { blocked, left, attempts } = known;
        let there = |event: &&Event| event.kind != TOMBSTONE && !left.contains(&event.position);
        let (mut behind, mut queue): (Vec<Event>, Vec<Event>) =
            events.iter().filter(there).cloned().partition(|event| blocked.contains(&event.key));
        let (mut places, mut at_last, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        while !queue.is_empty() {
            let (there, reason) = self.publish(part, &queue).await?;
            at_last.extend(queue.drain(..there.len()).map(|event| event.id).filter(|id| attempts.contains_key(id)));
            places.extend(there);
            let Some(reason) = reason else { break };
            let event = queue.remove(0);
            let (topic, partition, position) = (&*part.0, part.1, event.position);
            tracing::warn!(topic, partition, position, reason, "Kafka refused an event; it is sent again later");
            behind.extend(queue.extract_if(.., |later| later.key == event.key));
            refused.push((event, reason));
        }
        refused.iter().for_each(|(event, reason)| self.waiting.refuse(&event.id, reason));
        behind.iter().for_each(|event| self.waiting.refuse(&event.id, "an event of its key before it was refused"));
        let passed = (events.len() - places.len()) as i64;
        Ok(Batch { spans: Span::all(places), refused, behind, at_last, attempts, passed })
    }

    /// Where Kafka has the first events: their positions and offsets; and why it refuses the next one, if it does.
    async fn publish(&self, part: &Part, events: &[Event]) -> Result<(Vec<(i64, i64)>, Option<String>), HandlerError> {
        let published = self.publisher.publish(events).await;
        let away = |(BusError::Unavailable(why) | BusError::Refused(why))| HandlerError::Unavailable(why);
        let Published { stored, refused } = published.map_err(away)?;
        let there = &events[..stored.len()];
        self.waiting.tell(there, &stored);
        self.room.delivered(part, there);
        Ok((there.iter().map(|event| event.position).zip(stored).collect(), refused))
    }

    /// Reads the data of a partition with refusals; a partition without events in quarantine becomes plain again.
    async fn look(&self, part: &Part, version: Option<u64>, events: &[Event]) -> db::Result<Known> {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(Known::default()) };
        let (first, last) = (first.position, last.position);
        let ids: Vec<Id> = events.iter().map(|event| event.id).collect();
        let (topic, partition) = part.clone();
        let of_batch = move |conn: &mut Conn| -> db::Result<_> {
            let left = tombstone::positions(conn, &topic, partition, first..=i64::MAX)?;
            let is_over = left.is_empty() && !quarantine::is_any_moving(conn, &topic, partition)?;
            let left = left.into_iter().filter(|position| *position <= last).collect();
            let (blocked, attempts) =
                (quarantine::blocked(conn, &topic, partition)?, quarantine::attempts(conn, &ids)?);
            Ok((Known { blocked, left, attempts }, is_over))
        };
        let (known, is_over) = self.db.read(of_batch).await?;
        if let (true, Some(version)) = (is_over, version) {
            self.refusals.forget(part, version);
        }
        Ok(known)
    }
}
