//! Refused events: the concerned partitions, and the schedule of retries.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use db::{Conn, Database, Tx};
use messaging::{Log, admin, tombstone};
use parking_lot::Mutex;
use rand::RngExt;
use telemetry::metrics;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::delivery::ledger::{self, Change};
use crate::delivery::quarantine::{self, Held, State};
use crate::settings::DeliverySettings;

/// A topic partition.
pub(crate) type Part = (Arc<str>, i32);

/// Maximum lag of the relay for a resend: a resend searches these events for all later events of the key, while
/// nothing else is written.
const BACKLOG: i64 = 10_000;
/// Interval of checks for due events, without a notification.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Interval of checks while Kafka is unavailable.
const AWAY: Duration = Duration::from_secs(1);

/// Partitions with events in quarantine, and the schedule.
pub(crate) struct Refusals {
    settings: DeliverySettings,
    parts: Mutex<HashMap<Part, Concerned>>,
    /// Rung when something may be due earlier than was known.
    pub due: Notify,
}

/// A partition that may have events in quarantine.
#[derive(Default)]
struct Concerned {
    /// Changes whenever more may be held.
    version: u64,
    /// Number of tasks about to add events to the quarantine or the log.
    pins: u32,
}

/// Keeps a partition from being forgotten.
pub(crate) struct Pin {
    refusals: Arc<Refusals>,
    part: Part,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut parts = self.refusals.parts.lock();
        if let Some(concerned) = parts.get_mut(&self.part) {
            concerned.pins = concerned.pins.saturating_sub(1);
        }
    }
}

impl Refusals {
    /// Reads the events in quarantine, and the events appended again and not delivered yet.
    ///
    /// # Errors
    /// Any error of the database.
    pub(crate) async fn open(db: &Database, settings: &DeliverySettings) -> db::Result<Arc<Self>> {
        let concerned = db.read(|conn: &mut Conn| -> db::Result<Vec<Part>> {
            let mut concerned = Vec::new();
            for place in admin::partitions(conn)? {
                let left = tombstone::positions(conn, &place.topic, place.partition, place.relayed + 1..=i64::MAX)?;
                if !left.is_empty() || quarantine::is_any_moving(conn, &place.topic, place.partition)? {
                    concerned.push((place.topic.into(), place.partition));
                }
            }
            Ok(concerned)
        });
        let parts = concerned.await?.into_iter().map(|part| (part, Concerned::default())).collect();
        Ok(Arc::new(Self { settings: settings.clone(), parts: Mutex::new(parts), due: Notify::new() }))
    }

    /// Returns a version if events of the partition may be in quarantine, or may have left their positions.
    pub(crate) fn of(&self, part: &Part) -> Option<u64> {
        self.parts.lock().get(part).map(|concerned| concerned.version)
    }

    /// Notes possible changes. Call this before an event of the partition goes into quarantine or is appended again.
    pub(crate) fn note(&self, part: &Part) {
        self.parts.lock().entry(part.clone()).or_default().version += 1;
    }

    /// Notes like [`note`](Self::note), for a task that the relay does not wait for: until the result is dropped, the
    /// relay's data about the partition may be outdated.
    pub(crate) fn pin(self: &Arc<Self>, part: Part) -> Pin {
        self.parts.lock().entry(part.clone()).or_default().pins += 1;
        Pin { refusals: self.clone(), part }
    }

    /// Notes an empty quarantine of the partition, unless [noted](Self::note) otherwise since `version`.
    pub(crate) fn forget(&self, part: &Part, version: u64) {
        let mut parts = self.parts.lock();
        if parts.get(part).is_some_and(|concerned| concerned.version == version && concerned.pins == 0) {
            parts.remove(part);
        }
    }

    /// Returns the pause of an event after so many refusals: doubling, with jitter.
    pub(crate) fn pause_after(&self, attempts: i32) -> Duration {
        if attempts > self.max_resends() {
            return Duration::ZERO; // to be told dead
        }
        let doubled = self.settings.resend_after.saturating_mul(1 << (attempts - 1).clamp(0, 30));
        doubled.min(self.settings.longest_pause).mul_f64(rand::rng().random_range(0.5..1.0))
    }

    /// Resends due events, until stopped. During an outage nothing is due.
    pub(crate) async fn resend(&self, db: &Database, log: &Log, is_away: impl Fn() -> bool, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let pause = if is_away() { AWAY } else { self.resend_due(db, log).await };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.due.notified() => {}
                () = sleep(pause) => {}
            }
        }
    }

    fn max_resends(&self) -> i32 {
        i32::try_from(self.settings.max_resends).unwrap_or(i32::MAX)
    }

    async fn resend_due(&self, db: &Database, log: &Log) -> Duration {
        let (max, longest) = (self.max_resends(), self.settings.longest_pause);
        let its_log = log.clone();
        let unit = move |tx: &mut Tx<'_>| -> db::Result<Duration> {
            let now = tx.now()?;
            // one at a time, so that others write in between
            if let Some(held) = quarantine::due(tx, now, now + longest)? {
                act_on(tx, &its_log, &held, max)?;
            }
            let next = quarantine::next_due(tx)?;
            let until = |next: db::types::Time| Duration::from_micros((next.micros() - now.micros()).max(0) as u64);
            Ok(next.map_or(LOOK_EVERY, |next| until(next).min(LOOK_EVERY)))
        };
        // what came before must be seen, for it comes behind what is sent again
        db.write_after_staged(unit).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "what was refused is not sent again yet");
            AWAY
        })
    }
}

/// Resends a due event, or marks the event as dead; the later events of the key follow behind.
fn act_on(tx: &mut Tx<'_>, log: &Log, held: &Held, max_resends: i32) -> db::Result<()> {
    let mark = tombstone::relayed(tx, log, &held.topic.as_str().into(), held.partition)?;
    if log.end(&held.topic, held.partition).is_some_and(|end| *end.borrow() - mark > BACKLOG) {
        let later = tx.now()? + AWAY;
        return quarantine::postpone(tx, held.id, later);
    }
    if held.attempts > max_resends {
        quarantine::set_state(tx, held.id, State::Dead)?;
        let (topic, id, reason) = (&*held.topic, held.id, &held.reason);
        tracing::error!(topic, %id, reason, "an event is dead: Kafka refused it to the end");
        metrics::EVENT_PROXY_DEAD_LETTERS.of([held.topic.clone().into()]).increment(1);
    } else {
        append_again(tx, held)?;
    }
    release(tx, held, mark)
}

/// Appends a held event to the log again.
///
/// # Errors
/// Any error of the database.
pub(crate) fn append_again(tx: &mut Tx<'_>, held: &Held) -> db::Result<()> {
    quarantine::set_state(tx, held.id, State::Resending)?;
    tx.stage(held.staged());
    ledger::change(tx, &held.topic, Change { appended_again: 1, ..Change::default() })
}

/// Appends the events waiting behind the event again, and then all later events of the key: so the key keeps the
/// order.
fn release(tx: &mut Tx<'_>, held: &Held, mark: i64) -> db::Result<()> {
    let behind = quarantine::behind(tx, &held.topic, held.partition, &held.key)?;
    behind.iter().for_each(|held| tx.stage(held.staged()));
    quarantine::delete_behind(tx, &held.topic, held.partition, &held.key)?;
    let mut again = behind.len() as i64;
    let topic: Arc<str> = held.topic.as_str().into();
    for event in tombstone::events_of_key(tx, &topic, held.partition, &held.key, mark)? {
        if tombstone::replace(tx, &event)? {
            tx.stage(event.staged());
            again += 1;
        }
    }
    ledger::change(tx, &held.topic, Change { appended_again: again, ..Change::default() })
}
