//! Capacity of the log: bounds the undelivered events by bytes and by age. Without a bus all events count, until
//! deleted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use db::types::Time;
use db::{Conn, Database};
use messaging::{Event, log_bytes, oldest_unrelayed, unrelayed_bytes};
use parking_lot::Mutex;
use rest::Problem;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::delivery::quarantine;
use crate::delivery::retry::Part;
use crate::http::problems;
use crate::settings::LogLimitSettings;
use crate::topics::Topics;

/// Interval of measurements of the delivery rate.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// Weight of the last measurement.
const NEWEST: f64 = 0.3;
/// Retry-After without any delivery.
const UNKNOWN: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(3600);

/// The room of a log.
pub(crate) struct Room {
    limit: LogLimitSettings,
    to_kafka: bool,
    /// Bytes of undelivered or quarantined payloads; without Kafka of all payloads.
    bytes: AtomicU64,
    /// Bytes of all payloads ever delivered.
    drained: AtomicU64,
    /// Counted position of each partition.
    counted: Mutex<HashMap<Part, i64>>,
    /// Bytes a second.
    rate: AtomicU64,
    /// Time of the oldest undelivered event in microseconds since 1970; [`i64::MAX`] without any.
    oldest: AtomicI64,
}

impl Room {
    /// Counts the current content of the log.
    ///
    /// # Errors
    /// Any error of the database.
    pub(crate) async fn open(db: &Database, limit: &LogLimitSettings, to_kafka: bool) -> db::Result<Arc<Self>> {
        let count = move |conn: &mut Conn| -> db::Result<_> {
            Ok(if to_kafka { unrelayed_bytes(conn)? } else { log_bytes(conn)? } + quarantine::bytes(conn)?)
        };
        let bytes = db.read(count).await?;
        Ok(Arc::new(Self {
            limit: limit.clone(),
            to_kafka,
            bytes: AtomicU64::new(bytes.max(0) as u64),
            drained: AtomicU64::new(0),
            counted: Mutex::default(),
            rate: AtomicU64::new(0),
            oldest: AtomicI64::new(i64::MAX),
        }))
    }

    /// Reserves room for bytes; the bytes count until the result is dropped, unless [kept](Reserved::keep).
    ///
    /// # Errors
    /// `log-full`, with the time until there is room again, if known.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: usize) -> Result<Reserved, Problem> {
        let (bytes, max) = (bytes as u64, self.limit.max_bytes.0 as u64);
        let all = self.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let reserved = Reserved { room: self.clone(), bytes };
        if all > max {
            let detail = self.told(all - bytes);
            return Err(self.full(all - max, &detail));
        }
        match self.too_old() {
            Some(detail) => Err(self.full(all, &detail)),
            None => Ok(reserved),
        }
    }

    /// Returns the reason for accepting no events, if any.
    pub(crate) fn closed(&self) -> Option<String> {
        let (used, max) = self.used();
        if used >= max { Some(self.told(used)) } else { self.too_old() }
    }

    fn told(&self, used: u64) -> String {
        let max = self.limit.max_bytes.0;
        match self.to_kafka {
            true => format!("{used} of {max} bytes wait for Kafka"),
            false => format!("the log keeps {used} of {max} bytes"),
        }
    }

    /// Returns the reason for accepting no events, if the oldest event waits too long.
    fn too_old(&self) -> Option<String> {
        let age = Time::now().micros().saturating_sub(self.oldest.load(Ordering::Relaxed));
        let is_over = age > self.limit.max_age.as_micros() as i64;
        is_over.then(|| format!("events wait for {} s for Kafka", age / 1_000_000))
    }

    fn full(&self, over: u64, detail: &str) -> Problem {
        let wait = match self.rate.load(Ordering::Relaxed) {
            0 => UNKNOWN,
            rate => Duration::from_secs(over.div_ceil(rate)).clamp(Duration::from_secs(1), LONGEST),
        };
        Problem::new(&problems::LOG_FULL).detail(detail).retry_after(wait)
    }

    /// Notes the delivery of a partition's events to Kafka.
    pub(crate) fn delivered(&self, part: &Part, events: &[Event]) {
        let Some(last) = events.last() else { return };
        let mut counted = self.counted.lock();
        let mark = counted.entry(part.clone()).or_insert(-1);
        let before = std::mem::replace(mark, last.position.max(*mark));
        drop(counted);
        // what is sent twice drains once
        let new = events.iter().filter(|event| event.position > before);
        self.drain(new.map(|event| event.payload.len()).sum::<usize>() as u64);
    }

    /// Notes that old events of this size left the log.
    pub(crate) fn forgotten(&self, bytes: u64) {
        if !self.to_kafka {
            self.drain(bytes);
        }
    }

    /// Notes the discard of an event.
    pub(crate) fn discarded(&self, bytes: usize) {
        self.drain(bytes as u64);
    }

    fn drain(&self, bytes: u64) {
        self.drained.fetch_add(bytes, Ordering::Relaxed);
        self.give_back(bytes);
    }

    fn give_back(&self, bytes: u64) {
        let less = |all: u64| Some(all.saturating_sub(bytes));
        // an error is what the closure never gives
        let _ = self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    /// Returns the bytes of undelivered or quarantined events, and the limit.
    pub(crate) fn used(&self) -> (u64, u64) {
        (self.bytes.load(Ordering::Relaxed), self.limit.max_bytes.0 as u64)
    }

    /// Returns the time of the oldest undelivered event, if any.
    pub(crate) fn oldest(&self) -> Option<Time> {
        match self.oldest.load(Ordering::Relaxed) {
            i64::MAX => None,
            micros => Time::from_micros(micros),
        }
    }

    /// Measures the delivery rate and the age of the oldest event, until stopped.
    pub(crate) async fn measure(&self, db: &Database, topics: &Topics, stop: &CancellationToken) {
        let (mut since, mut drained) = (Instant::now(), 0);
        while !stop.is_cancelled() {
            tokio::select! { () = stop.cancelled() => return, () = sleep(MEASURE_EVERY) => {} }
            let now = self.drained.load(Ordering::Relaxed);
            let rate = (now - drained) as f64 / since.elapsed().as_secs_f64();
            let smooth = rate.mul_add(NEWEST, self.rate.load(Ordering::Relaxed) as f64 * (1.0 - NEWEST));
            self.rate.store(smooth as u64, Ordering::Relaxed);
            (since, drained) = (Instant::now(), now);
            let oldest =
                if self.bytes.load(Ordering::Relaxed) == 0 { Ok(None) } else { oldest(db, topics.at_rest()).await };
            match oldest {
                Ok(oldest) => self.oldest.store(oldest.map_or(i64::MAX, Time::micros), Ordering::Relaxed),
                Err(error) => tracing::warn!(%error, "how long events wait is not known"),
            }
        }
    }
}

/// Returns the oldest undelivered event, without topics that need an action: other topics can go on.
async fn oldest(db: &Database, at_rest: HashSet<String>) -> db::Result<Option<Time>> {
    db.read(move |conn: &mut Conn| -> db::Result<_> {
        let (in_log, held) = (oldest_unrelayed(conn, &at_rest)?, quarantine::oldest(conn, &at_rest)?);
        Ok(in_log.into_iter().chain(held).min())
    })
    .await
}

/// Reserved bytes.
pub(crate) struct Reserved {
    room: Arc<Room>,
    bytes: u64,
}

impl Reserved {
    /// Keeps the bytes of events now in the log.
    pub(crate) fn keep(mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes as u64);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.room.give_back(self.bytes);
    }
}
