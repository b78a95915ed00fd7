//! Reads direct topics, epoch after epoch.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::timeout;

use super::{CLOSED, Direct, Epoch, LOOK_EVERY, SKIPPED, waiting};
use crate::bus::{Bus, BusError, Subscriber};
use crate::event::Event;

pub(super) struct DirectReading {
    pub(super) direct: Direct,
    pub(super) log: Arc<dyn Bus>,
}

impl Bus for DirectReading {
    fn subscribe(&self, group: &str) -> Arc<dyn Subscriber> {
        Arc::new(EpochSubscriber {
            direct: self.direct.clone(),
            log: self.log.subscribe(group),
            group: group.to_owned(),
            on_bus: Mutex::default(),
        })
    }
}

struct EpochSubscriber {
    direct: Direct,
    log: Arc<dyn Subscriber>,
    group: String,
    /// By the epoch's number.
    on_bus: Mutex<HashMap<i64, Arc<dyn Subscriber>>>,
}

#[async_trait]
impl Subscriber for EpochSubscriber {
    async fn fetch(&self, topic: &str, partition: i32, mut after: i64, max: usize) -> Result<Vec<Event>, BusError> {
        let mut changed = self.direct.shared.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let epochs = self.direct.of(topic, |known| known.epochs.clone());
            let next = epochs.iter().find(|epoch| !epoch.is_done(partition, after));
            let fetched = async {
                match next {
                    Some(epoch) if !epoch.lacks_begins() => {
                        self.fetch_of(epoch, topic, partition, after.max(epoch.begin(partition) - 1), max).await
                    }
                    _ => std::future::pending().await,
                }
            };
            let fetched = tokio::select! {
                _ = changed.changed() => continue,
                fetched = fetched => fetched?,
            };
            let Some(epoch) = next else { return Ok(fetched) };
            let end = epoch.end(partition).unwrap_or_else(|| epoch.limit());
            let is_more = fetched.last().is_some_and(|last| last.position >= end);
            let events: Vec<Event> = fetched.into_iter().filter(|event| event.position < end).collect();
            if !events.is_empty() {
                return Ok(events);
            }
            if epoch.end(partition).is_some() && is_more {
                after = end - 1;
            } else if epoch.end(partition).is_some() && self.is_deleted(epoch, topic, partition, end).await? {
                return Ok(vec![Event::skipped(topic.into(), partition, end - 1)]);
            } else if is_more {
                // of an epoch that this process has not heard of yet, or before it is known where this one ends
                drop(timeout(LOOK_EVERY, changed.changed()).await);
            } else {
                return Ok(events);
            }
        }
    }

    fn release(&self, topic: &str, partition: i32) {
        self.log.release(topic, partition);
        self.on_bus.lock().values().for_each(|on_bus| {
            on_bus.release(topic, partition);
        });
    }

    fn waiting(&self, topic: &str, partition: i32, after: i64) -> Option<i64> {
        Some(self.direct.of(topic, |known| waiting(&known.epochs, &known.ends, partition, after)))
    }
}

impl EpochSubscriber {
    async fn fetch_of(
        &self,
        epoch: &Epoch,
        topic: &str,
        partition: i32,
        after: i64,
        max: usize,
    ) -> Result<Vec<Event>, BusError> {
        if !epoch.direct {
            return self.log.fetch(topic, partition, after, max).await;
        }
        // what another cluster holds is not of this epoch, and to move past it would be to lose what is
        let seen = self.direct.of(topic, |known| known.cluster.clone());
        if seen.is_none() || seen != epoch.cluster {
            return Err(BusError::Unavailable("the cluster that events wait on was not seen".into()));
        }
        let base = epoch.base();
        let mut events = self.on_bus(epoch)?.fetch(topic, partition, after - base, max).await?;
        for event in &mut events {
            event.position += base;
            if event.source != epoch.source || event.kind == CLOSED {
                event.kind = SKIPPED.into();
            }
        }
        Ok(events)
    }

    fn on_bus(&self, epoch: &Epoch) -> Result<Arc<dyn Subscriber>, BusError> {
        let bus = self.direct.shared.bus.as_ref();
        let bus = bus.ok_or_else(|| BusError::Unavailable("events wait on a bus that is not set".into()))?;
        let mut on_bus = self.on_bus.lock();
        let open = || bus.read().subscribe(&self.group);
        Ok(on_bus.entry(epoch.number).or_insert_with(open).clone())
    }

    /// Whether the bus holds nothing of the epoch any more, though it was not handled.
    async fn is_deleted(&self, epoch: &Epoch, topic: &str, partition: i32, end: i64) -> Result<bool, BusError> {
        let Some(bus) = self.direct.shared.bus.as_ref().filter(|_| epoch.direct) else {
            return Ok(false);
        };
        let held = bus.held(topic, self.direct.shared.log.partitions(topic)).await?;
        let is_deleted = held.get(partition as usize).is_some_and(|held| epoch.base() + held.start >= end);
        if is_deleted {
            tracing::error!(topic, partition, "ALARM: records were deleted on the bus before they were handled");
        }
        Ok(is_deleted)
    }
}
