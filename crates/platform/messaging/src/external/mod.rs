//! External topics: other programs write these topics to an external bus, so the log neither numbers nor knows the
//! events.
//!
//! A group's position in an external topic is the offset there, meaningless on another cluster: the source of such
//! positions is the cluster. A poll lists the topics and partitions. Subscribed partitions get rows in the database,
//! and the members of the group share these partitions like any other. A missing or no longer subscribed partition
//! keeps the rows, and no member handles it.
//!
//! The writer may repeat events, and number events freely. So a record is handled at least once, in the order of the
//! partition, and the event's id identifies a repeat.

mod discovery;
mod rows;
mod subscriber;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use db::types::Id;
use db::{Conn, Database, Tx};
use parking_lot::{Mutex, MutexGuard};

use crate::admin::{self, ConsumerLag, ResetError, ResetTo};
use crate::bus::{Bus, BusError};
use crate::consumer::group::{Group, Replay};
use crate::log::Log;

/// Offsets of each partition of a topic: from the first kept offset to the end offset.
type Held = Vec<Range<i64>>;

/// An external bus with external topics.
#[async_trait]
pub trait ForeignBus: Send + Sync + 'static {
    /// Returns the id of the cluster.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]
    async fn cluster(&self) -> Result<String, BusError>;

    /// Returns all topics on the bus, each with the number of partitions.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]
    async fn topics(&self) -> Result<BTreeMap<String, i32>, BusError>;

    /// Returns the offsets of each partition of the topic: from the first kept offset to the end offset.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]
    async fn held(&self, topic: &str, partitions: i32) -> Result<Vec<Range<i64>>, BusError>;

    /// Returns a bus of external topics. Positions are offsets; a record without an event, or a repeat, comes as
    /// [`Event::skipped`].
    ///
    /// [`Event::skipped`]: crate::Event::skipped
    fn read(&self) -> Arc<dyn Bus>;
}

/// External topics of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub group: &'static str,
    /// Names of topics.
    pub topics: Vec<String>,
    /// Prefix: all topics under this prefix are read, too.
    pub prefix: Option<String>,
}

impl Subscription {
    fn includes(&self, topic: &str) -> bool {
        // two underscores begin what Kafka keeps for itself
        let by_prefix = |prefix: &str| topic.starts_with(prefix) && !topic.starts_with("__");
        self.topics.iter().any(|name| name == topic) || self.prefix.as_deref().is_some_and(by_prefix)
    }
}

/// The external topics of a process; clones share the state.
#[derive(Clone)]
pub struct Foreign {
    shared: Arc<Shared>,
}

struct Shared {
    db: Database,
    log: Log,
    bus: Option<Arc<dyn ForeignBus>>,
    subscriptions: Vec<Subscription>,
    /// Names on the bus that belong to the log.
    own: Vec<String>,
    seen: Mutex<Seen>,
}

/// Result of the last poll.
#[derive(Default)]
struct Seen {
    /// Source of the cluster.
    source: Option<Id>,
    /// Topics with a subscribed group.
    held: BTreeMap<String, Held>,
}

impl Foreign {
    /// Wraps an open database and log. `bus` is required with subscriptions. `own` are the log's names on the bus,
    /// excluded from all subscriptions.
    pub fn new(
        db: Database,
        log: Log,
        bus: Option<Arc<dyn ForeignBus>>,
        subscriptions: Vec<Subscription>,
        own: Vec<String>,
    ) -> Self {
        Self { shared: Arc::new(Shared { db, log, bus, subscriptions, own, seen: Mutex::default() }) }
    }

    /// Returns a bus that reads the external topics.
    pub fn bus(&self) -> Arc<dyn Bus> {
        Arc::new(subscriber::ForeignReading { foreign: self.clone() })
    }

    /// Returns true if a group of this name subscribes to any.
    pub fn is_read_by(&self, group: &str) -> bool {
        self.shared.subscriptions.iter().any(|subscription| subscription.group == group)
    }

    /// Returns the lag of each group in the existing topics, by group, topic and partition.
    ///
    /// # Errors
    /// Any error of the database.
    pub fn lags(&self, conn: &mut Conn) -> db::Result<Vec<ConsumerLag>> {
        let (source, held) = {
            let seen = self.seen();
            let Some(source) = seen.source else { return Ok(Vec::new()) };
            (source, seen.held.clone())
        };
        let mut lags = rows::lags(conn, source)?;
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
        Ok(rows::reset(tx, name, topic, source, &begins)?)
    }

    /// Returns true for an external topic with a subscription of the group.
    fn reads(&self, group: &str, topic: &str) -> bool {
        let is_own = self.shared.log.partitions(topic) > 0 || self.shared.own.iter().any(|own| own == topic);
        let mut subscriptions = self.shared.subscriptions.iter();
        !is_own && subscriptions.any(|subscription| subscription.group == group && subscription.includes(topic))
    }

    /// Returns the cluster, if the topic exists and the group reads the topic.
    fn source(&self, group: &str, topic: &str) -> Option<Id> {
        let seen = self.seen();
        seen.source.filter(|_| seen.held.contains_key(topic) && self.reads(group, topic))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.seen.lock()
    }
}

/// Returns the number of records behind `position` in the partition.
fn waiting(held: &Range<i64>, position: i64) -> i64 {
    (held.end - held.start.max(position + 1)).max(0)
}
