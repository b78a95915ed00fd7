//! Foreign topics: other programs write them to a bus that is elsewhere, so that the log neither numbers nor knows them.
//!
//! A group's position in one is the offset there, which means nothing on another cluster: the source of such positions is
//! the cluster. Which topics and partitions there are is asked now and then; those that a group subscribes to get their
//! rows in the database, and the members of the group share them like any other partition. What is not there any more,
//! or not subscribed to, keeps its rows, and no member handles it.
//!
//! What writes there may repeat itself, and number as it likes. So a record is handled at least once, in the order of its
//! partition, and the event's id tells a repeat.

mod looking;
mod reading;
mod store;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use db::types::Id;
use db::{Conn, Database, Tx};
use parking_lot::{Mutex, MutexGuard};

use crate::admin::{self, ConsumerLag, ResetError, ResetTo};
use crate::bus::{Bus, BusError};
use crate::handler::{Group, Replay};
use crate::log::Log;

/// The offsets of what each partition of a topic holds: from the first to that which comes next.
type Held = Vec<Range<i64>>;

/// A bus that is elsewhere, with topics that others write.
#[async_trait]
pub trait ForeignBus: Send + Sync + 'static {
    /// What tells this cluster from any other.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]
    async fn cluster(&self) -> Result<String, BusError>;

    /// All topics that are there, each with its number of partitions.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]
    async fn topics(&self) -> Result<BTreeMap<String, i32>, BusError>;

    /// Of each of the topic's partitions the offsets of what it holds: from the first to that which comes next.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]
    async fn held(&self, topic: &str, partitions: i32) -> Result<Vec<Range<i64>>, BusError>;

    /// Reads them. Positions are offsets; what is no event, or repeats one, comes as [`Event::skipped`].
    ///
    /// [`Event::skipped`]: crate::Event::skipped
    fn read(&self) -> Arc<dyn Bus>;
}

/// Which foreign topics a group reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub group: &'static str,
    /// By their names.
    pub topics: Vec<String>,
    /// And all whose names begin so.
    pub prefix: Option<String>,
}

impl Subscription {
    fn includes(&self, topic: &str) -> bool {
        // two underscores begin what Kafka keeps for itself
        let by_prefix = |prefix: &str| topic.starts_with(prefix) && !topic.starts_with("__");
        self.topics.iter().any(|name| name == topic) || self.prefix.as_deref().is_some_and(by_prefix)
    }
}

/// The foreign topics of a process; clones share what is known of them.
#[derive(Clone)]
pub struct Foreign {
    shared: Arc<Shared>,
}

struct Shared {
    db: Database,
    log: Log,
    bus: Option<Arc<dyn ForeignBus>>,
    subscriptions: Vec<Subscription>,
    /// Names on the bus that are not others'.
    own: Vec<String>,
    seen: Mutex<Seen>,
}

/// What the last look found.
#[derive(Default)]
struct Seen {
    /// Of the cluster.
    source: Option<Id>,
    /// The topics that any group subscribes to.
    held: BTreeMap<String, Held>,
}

impl Foreign {
    /// Over an open database and log. `bus` must be there when there are subscriptions. `own` are the names on it that are
    /// the log's, whatever the subscriptions say.
    pub fn new(
        db: Database,
        log: Log,
        bus: Option<Arc<dyn ForeignBus>>,
        subscriptions: Vec<Subscription>,
        own: Vec<String>,
    ) -> Self {
        Self { shared: Arc::new(Shared { db, log, bus, subscriptions, own, seen: Mutex::default() }) }
    }

    /// A bus that reads them.
    pub fn bus(&self) -> Arc<dyn Bus> {
        Arc::new(reading::ForeignReading { foreign: self.clone() })
    }

    /// Returns true if a group of this name subscribes to any.
    pub fn is_read_by(&self, group: &str) -> bool {
        self.shared.subscriptions.iter().any(|subscription| subscription.group == group)
    }

    /// How far each group is in those that are there, by group, topic and partition.
    ///
    /// # Errors
    /// Any error of the database.
    pub fn lags(&self, conn: &mut Conn) -> db::Result<Vec<ConsumerLag>> {
        let (source, held) = {
            let seen = self.seen();
            let Some(source) = seen.source else { return Ok(Vec::new()) };
            (source, seen.held.clone())
        };
        let mut lags = store::lags(conn, source)?;
        lags.retain_mut(|lag| {
            let topic = held.get(&lag.topic).filter(|_| self.reads(&lag.group, &lag.topic));
            let Some(range) = topic.and_then(|held| held.get(usize::try_from(lag.partition).ok()?)) else {
                return false;
            };
            (lag.end, lag.lag) = (range.end - 1, waiting(range, lag.position));
            true
        });
        Ok(lags)
    }

    /// [`admin::reset`], of foreign topics too.
    ///
    /// # Errors
    /// As [`ResetError`] says.
    pub fn reset(
        &self,
        tx: &mut Tx<'_>,
        groups: &[Group],
        name: &str,
        topic: &str,
        to: ResetTo,
    ) -> Result<(), ResetError> {
        let group = groups.iter().find(|group| group.name == name).filter(|_| self.reads(name, topic));
        let Some(group) = group else { return admin::reset(tx, groups, name, topic, to) };
        if let Replay::Once(why) = group.replay {
            return Err(ResetError::MustNotRepeat(why));
        }
        let (source, held) = {
            let seen = self.seen();
            (seen.source, seen.held.get(topic).cloned())
        };
        let (Some(source), Some(held)) = (source, held) else { return Err(ResetError::NotSeen) };
        let begin = |range: &Range<i64>| match to {
            // the start may rise meanwhile, which is no loss then
            ResetTo::Earliest => Ok(0),
            ResetTo::Latest => Ok(range.end),
            ResetTo::Position(position) => Ok(position.clamp(0, range.end)),
            ResetTo::Timestamp(_) => Err(ResetError::NoTimestamp),
        };
        let begins: Vec<i64> = held.iter().map(begin).collect::<Result<_, _>>()?;
        Ok(store::reset(tx, name, topic, source, &begins)?)
    }

    /// Returns true if the topic is one of them, and the group subscribes to it.
    fn reads(&self, group: &str, topic: &str) -> bool {
        let is_own = self.shared.log.partitions(topic) > 0 || self.shared.own.iter().any(|own| own == topic);
        let mut subscriptions = self.shared.subscriptions.iter();
        !is_own && subscriptions.any(|subscription| subscription.group == group && subscription.includes(topic))
    }

    /// The cluster, if the topic is there and the group reads it.
    fn source(&self, group: &str, topic: &str) -> Option<Id> {
        let seen = self.seen();
        seen.source.filter(|_| seen.held.contains_key(topic) && self.reads(group, topic))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.seen.lock()
    }
}

/// Records behind `position` that the partition holds.
fn waiting(held: &Range<i64>, position: i64) -> i64 {
    (held.end - held.start.max(position + 1)).max(0)
}
