//! The bus: moves events from the log to consumer groups, and decides nothing.

use async_trait::async_trait;
use db::Database;

use crate::event::Event;
use crate::log::Log;
use crate::store;

/// Why the bus gave no events.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// It is away for now; asking again later is right.
    #[error("the bus is unavailable: {0}")]
    Unavailable(String),
}

impl From<db::Error> for BusError {
    fn from(error: db::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Where consumer groups get their events. Groups keep their own positions; a subscriber keeps none.
#[async_trait]
pub trait Subscriber: Send + Sync + 'static {
    /// Waits until the partition has an event behind position `after`, and returns at most `max` of them.
    ///
    /// - Events come in the order of their positions, at least one.
    /// - An event may come again, also one at or before `after`; one may be left out. The caller tells by positions.
    /// - Dropping the future loses nothing: the same `after` may be asked for again.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]; the same call may be made again.
    async fn fetch(&self, topic: &str, partition: i32, after: i64, max: usize) -> Result<Vec<Event>, BusError>;
}

/// The bus inside one process, or among processes that share a PostgreSQL: it reads the event log.
#[derive(Clone)]
pub struct InProcess {
    db: Database,
    log: Log,
}

impl InProcess {
    /// Reads `log`, which is kept in `db`.
    pub fn new(db: Database, log: Log) -> Self {
        Self { db, log }
    }
}

#[async_trait]
impl Subscriber for InProcess {
    async fn fetch(&self, topic: &str, partition: i32, after: i64, max: usize) -> Result<Vec<Event>, BusError> {
        let no_partition = || BusError::Unavailable(format!("there is no partition {partition} of {topic}"));
        let mut end = self.log.end(topic, partition).ok_or_else(no_partition)?;
        loop {
            // the sender lives as long as the log that `self` holds
            end.wait_for(|end| *end > after + 1).await.map_err(|_| no_partition())?;
            if let Some(events) = self.log.recent(topic, partition, after, max) {
                return Ok(events);
            }
            let events = store::read_events(&self.db, &self.log, topic, partition, after, max).await?;
            if !events.is_empty() {
                return Ok(events);
            }
            // the log was cut: what lies behind `after` is gone, and the next event is not there yet
            end.changed().await.map_err(|_| no_partition())?;
        }
    }
}
