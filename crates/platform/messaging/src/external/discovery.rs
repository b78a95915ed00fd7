//! Polls the bus for external topics and their records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use db::types::Id;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::rows::{self, Part};
use super::{Foreign, ForeignBus, Held};
use crate::bus::BusError;

/// Interval of polls.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Namespace of [`Uuid::new_v5`], for the sources of clusters.
const CLUSTERS: Uuid = Uuid::from_u128(0x1e0c_6d9a_83b4_5f27_a6d1_0f5b_97e3_42cd);

/// State kept from one poll to the next.
#[derive(Default)]
struct Looked {
    /// Positions beyond the end of the partition. In two polls: the topic was created anew.
    ahead: BTreeSet<(Part, i64)>,
    /// Awaited topics with a log line already written.
    missing: BTreeSet<String>,
}

impl Foreign {
    /// Polls the external topics until `stop`. Run this where the topics are handled.
    pub async fn keep(self, stop: CancellationToken) {
        let Some(bus) = self.shared.bus.clone().filter(|_| !self.shared.subscriptions.is_empty()) else { return };
        let mut looked = Looked::default();
        while !stop.is_cancelled() {
            let look = async {
                if let Err(error) = self.look(&bus, &mut looked).await {
                    // whoever watches the bus has said so
                    tracing::debug!(%error, "which topics of others there are was not looked up");
                }
                sleep(LOOK_EVERY).await;
            };
            tokio::select! { () = stop.cancelled() => {}, () = look => {} }
        }
    }

    async fn look(&self, bus: &Arc<dyn ForeignBus>, looked: &mut Looked) -> Result<(), BusError> {
        let source = source_of(&bus.cluster().await?);
        // before the ends are asked for: those of the same topic can't be behind them
        let positions = self.shared.db.read(move |conn| rows::positions(conn, source)).await?;
        let held = self.held(bus).await?;
        self.tell_missing(&held, looked);
        let registered: BTreeSet<&Part> = positions.iter().map(|(part, _)| part).collect();
        let new: BTreeSet<Part> = self.parts(&held).filter(|part| !registered.contains(part)).collect();
        let ahead: BTreeSet<_> = positions.into_iter().filter(|at| is_ahead(at, &held)).collect();
        let shrunk: BTreeSet<_> = ahead.intersection(&looked.ahead).cloned().collect();
        looked.ahead = ahead;
        let is_news = {
            let mut seen = self.seen();
            let is_news = seen.source != Some(source) || !seen.held.keys().eq(held.keys());
            (seen.source, seen.held) = (Some(source), held);
            is_news
        };
        if !new.is_empty() || !shrunk.is_empty() {
            for ((group, topic, partition), position) in &shrunk {
                tracing::error!(
                    group,
                    topic,
                    partition,
                    position,
                    "ALARM: a topic was made anew; it is read from its start"
                );
            }
            for (group, topic, _) in new.iter().filter(|(.., partition)| *partition == 0) {
                tracing::info!(group, topic, "a topic of others is there; it is read from its start");
            }
            let write = move |tx: &mut db::Tx<'_>| {
                rows::register(tx, source, &new)?;
                rows::begin_again(tx, source, &shrunk)
            };
            self.shared.db.write(write).await?;
        } else if !is_news {
            return Ok(());
        }
        self.shared.log.ask_groups();
        Ok(())
    }

    /// Returns the external topics that any group reads, with their offsets.
    async fn held(&self, bus: &Arc<dyn ForeignBus>) -> Result<BTreeMap<String, Held>, BusError> {
        let groups: Vec<_> = self.shared.subscriptions.iter().map(|subscription| subscription.group).collect();
        let mut all = BTreeMap::new();
        for (topic, partitions) in bus.topics().await? {
            if !groups.iter().any(|group| self.reads(group, &topic)) {
                continue;
            }
            match bus.held(&topic, partitions).await {
                Ok(held) => drop(all.insert(topic, held)),
                // it is being made or deleted, or brokers change: as it was, if it was
                Err(error) => {
                    tracing::debug!(topic, %error, "how much a topic of others holds was not looked up");
                    let known = self.seen().held.get(&topic).cloned();
                    all.extend(known.map(|known| (topic, known)));
                }
            }
        }
        Ok(all)
    }

    fn parts<'a>(&'a self, held: &'a BTreeMap<String, Held>) -> impl Iterator<Item = Part> + 'a {
        self.shared.subscriptions.iter().flat_map(move |subscription| {
            let read = held.iter().filter(|(topic, _)| self.reads(subscription.group, topic));
            read.flat_map(|(topic, held)| {
                (0..).zip(held).map(|(partition, _)| (subscription.group.to_owned(), topic.clone(), partition))
            })
        })
    }

    fn tell_missing(&self, held: &BTreeMap<String, Held>, looked: &mut Looked) {
        let named = self.shared.subscriptions.iter().flat_map(|subscription| &subscription.topics);
        let missing: BTreeSet<String> = named.filter(|topic| !held.contains_key(*topic)).cloned().collect();
        for topic in missing.difference(&looked.missing) {
            tracing::info!(topic, "a topic of others is not there; it is read once it is");
        }
        looked.missing = missing;
    }
}

/// Returns true if more was handled than there is.
fn is_ahead(((_, topic, partition), position): &(Part, i64), held: &BTreeMap<String, Held>) -> bool {
    let range = held.get(topic).and_then(|held| held.get(usize::try_from(*partition).ok()?));
    range.is_some_and(|range| *position >= range.end)
}

fn source_of(cluster: &str) -> Id {
    Id(Uuid::new_v5(&CLUSTERS, cluster.as_bytes()))
}
