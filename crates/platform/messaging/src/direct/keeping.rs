//! Looks after the epochs: where they begin and end.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use db::types::Id;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::epochs::{self, Epoch};
use super::{CLOSED, Direct, DirectBus, GRACE, Known, LONGEST_LOOK, LOOK_EVERY};
use crate::bus::BusError;
use crate::event::{self, Event};

/// What a bus said of a topic: its cluster, and what each partition holds.
type Seen = (String, Vec<Range<i64>>);

impl Direct {
    /// Keeps an eye on the epochs and on the bus, until `stop`. It must run where events are taken or handled.
    pub async fn keep(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep_looking() => {}
            () = self.keep_looking_at_bus() => {}
        }
    }

    async fn keep_looking(&self) {
        let mut pause = LOOK_EVERY;
        loop {
            let before = self.locked().clone();
            let looked = async {
                self.look().await?;
                self.set_ends_of_log().await
            };
            if let Err(error) = looked.await {
                tracing::debug!(%error, "which epoch it is was not looked up");
            }
            let is_at_rest = self.locked().iter().all(|(topic, known)| {
                before.get(topic).is_some_and(|before| known.is_as(before))
                    && !known.epochs.iter().any(Epoch::lacks_ends)
            });
            pause = if is_at_rest { (pause * 2).min(LONGEST_LOOK) } else { LOOK_EVERY };
            sleep(pause).await;
        }
    }

    async fn keep_looking_at_bus(&self) {
        let mut every = every();
        loop {
            every.tick().await;
            if let Err(error) = self.end_on_bus().await {
                tracing::debug!(%error, "what the bus says was not written down");
            }
        }
    }

    async fn set_ends_of_log(&self) -> db::Result<()> {
        for topic in &self.shared.topics {
            let (name, grace) = (topic.name, self.grace());
            let over = self.of(name, |known| known.to_be_ended(false, grace).map(|over| over.number));
            if let Some(number) = over {
                self.shared.db.write(move |tx| epochs::set_log_ends(tx, name, number)).await?;
                self.look().await?;
            }
        }
        Ok(())
    }

    /// SQLite means one process, so that nobody else saw the epoch open.
    fn grace(&self) -> Duration {
        if self.shared.db.is_shared() { GRACE } else { Duration::ZERO }
    }

    /// Asks the bus how far each topic is, where something waits there or goes there.
    pub(super) async fn look_at_bus(&self) {
        for topic in &self.shared.topics {
            self.see(topic.name).await;
        }
    }

    /// Ends what was closed, and gives up what was deleted.
    async fn end_on_bus(&self) -> db::Result<()> {
        let Some(bus) = &self.shared.bus else { return Ok(()) };
        for topic in self.shared.topics.iter().map(|topic| topic.name) {
            let before = self.of(topic, Known::clone);
            let Some((_, held)) = self.see(topic).await else { continue };
            // positions from before the ends were asked for: the ends of the same topic can't be behind them
            let shrunk = before.is_ahead_of(&held);
            let was = std::mem::replace(&mut self.locked().entry(topic).or_default().shrunk, shrunk);
            if let Some(open) = before.open_epoch().filter(|_| shrunk && was) {
                let number = open.number;
                tracing::error!(topic, "the topic was deleted on the bus; what nobody had handled yet is lost");
                self.shared.db.write(move |tx| epochs::give_up(tx, topic, number)).await?;
            } else if let Some(over) = self.of(topic, |known| known.to_be_ended(true, self.grace()).cloned()) {
                let Ok(last) = self.send_last(bus, topic, &over).await else { continue };
                self.shared.db.write(move |tx| epochs::set_bus_ends(tx, topic, &over, &last)).await?;
            } else {
                continue;
            }
            self.look().await?;
        }
        Ok(())
    }

    /// Has those epochs begin in which an event is to be sent for the first time.
    pub(super) async fn begin_on_bus(&self) -> db::Result<()> {
        for topic in self.shared.topics.iter().map(|topic| topic.name) {
            let new = self.of(topic, |known| known.open_epoch().filter(|_| known.is_to_begin()).cloned());
            let (Some(new), Some((cluster, held))) = (new, self.see(topic).await) else { continue };
            self.shared.db.write(move |tx| epochs::set_begins(tx, topic, new.number, &cluster, &held)).await?;
            self.look().await?;
        }
        Ok(())
    }

    /// What the bus says of a topic; `None` when it is not needed, does not answer, or is another than it should be.
    async fn see(&self, topic: &'static str) -> Option<Seen> {
        let bus = self.shared.bus.as_ref()?;
        let known = self.of(topic, Known::clone);
        let is_needed = |epoch: &&Epoch| epoch.direct && (epoch.is_open() || !epoch.is_handled(&known.positions));
        let Some(epoch) = known.epochs.iter().find(is_needed) else {
            self.locked().entry(topic).or_default().away = None;
            return None;
        };
        let partitions = self.shared.log.partitions(topic);
        let answer = async { Ok::<_, BusError>((bus.cluster().await?, bus.held(topic, partitions).await?)) }.await;
        let mut locked = self.locked();
        let known = locked.entry(topic).or_default();
        let (cluster, held) = match answer {
            Ok(seen) => seen,
            Err(BusError::Unavailable(why) | BusError::Refused(why)) => {
                known.away = Some(why);
                return None;
            }
        };
        known.cluster = Some(cluster.clone());
        if let Some(other) = epoch.cluster.as_ref().filter(|other| **other != cluster) {
            known.away = Some(format!(
                "events of {topic} wait on the cluster {other}, and this is {cluster}: end what is on the former first \
                 (shop drain, with the settings it had)"
            ));
            return None;
        }
        known.away = None;
        known.ends.bus = (0..).zip(held.iter().cloned()).collect();
        known.count_waiting();
        Some((cluster, held))
    }

    /// Sends the last record of a closed epoch to each partition, and returns their offsets.
    async fn send_last(
        &self,
        bus: &Arc<dyn DirectBus>,
        topic: &str,
        epoch: &Epoch,
    ) -> Result<Vec<(i32, i64)>, BusError> {
        let mut last = Vec::new();
        for partition in 0..self.shared.log.partitions(topic) {
            let record = Event {
                id: Id::new(),
                source: epoch.source,
                kind: CLOSED.into(),
                version: 1,
                aggregate_version: epoch.number,
                occurred_at: self.now(),
                payload: "{}".into(),
                ..Event::skipped(topic.into(), partition, event::UNNUMBERED)
            };
            last.push((partition, bus.send(&record).await?));
        }
        Ok(last)
    }
}

impl Known {
    /// Returns true if two looks at the database found the same.
    fn is_as(&self, before: &Self) -> bool {
        self.epochs == before.epochs && self.ends.log == before.ends.log && self.positions == before.positions
    }

    /// Whether more was handled in the open epoch than the bus shows.
    fn is_ahead_of(&self, held: &[Range<i64>]) -> bool {
        let Some(open) = self.open_epoch().filter(|open| open.direct && !open.lacks_begins()) else { return false };
        self.positions.iter().any(|(_, partition, position)| {
            held.get(*partition as usize).is_some_and(|held| open.base() + held.end <= *position)
        })
    }
}

fn every() -> Interval {
    let mut every = interval(LOOK_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    every
}
