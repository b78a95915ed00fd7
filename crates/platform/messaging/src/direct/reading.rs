//! Reads direct topics, epoch after epoch.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::{Direct, Epoch, waiting};
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
            let epochs = self.direct.known(topic).epochs;
            let next = epochs.iter().find(|epoch| !epoch.is_done(partition, after));
            let fetched = async {
                match next {
                    Some(epoch) => self.fetch_of(epoch, topic, partition, after.max(epoch.begin(partition) - 1), max).await,
                    None => std::future::pending().await,
                }
            };
            let fetched = tokio::select! {
                _ = changed.changed() => continue,
                fetched = fetched => fetched?,
            };
            let Some((epoch, end)) = next.and_then(|epoch| Some((epoch, epoch.end(partition)?))) else {
                return Ok(fetched);
            };
            let of_epoch: Vec<Event> = fetched.into_iter().filter(|event| event.position < end).collect();
            if !of_epoch.is_empty() {
                return Ok(of_epoch);
            }
            // what is left before its end, if anything, was sent in another epoch
            if !self.shows_all(epoch, topic, partition, end).await? {
                return Ok(Vec::new());
            }
            after = end - 1;
        }
    }

    fn release(&self, topic: &str, partition: i32) {
        self.log.release(topic, partition);
        self.on_bus.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(|on_bus| {
            on_bus.release(topic, partition);
        });
    }

    fn waiting(&self, topic: &str, partition: i32, after: i64) -> Option<i64> {
        let known = self.direct.known(topic);
        Some(waiting(&known.epochs, &known.ends, partition, after))
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
        let base = epoch.base();
        let mut events = self.on_bus(epoch)?.fetch(topic, partition, after - base, max).await?;
        events.iter_mut().for_each(|event| event.position += base);
        Ok(events)
    }

    fn on_bus(&self, epoch: &Epoch) -> Result<Arc<dyn Subscriber>, BusError> {
        let bus = self.direct.shared.bus.as_ref();
        let bus = bus.ok_or_else(|| BusError::Unavailable("events wait on a bus that is not set".into()))?;
        let mut on_bus = self.on_bus.lock().unwrap_or_else(PoisonError::into_inner);
        let open = || bus.read(epoch.source).subscribe(&self.group);
        Ok(on_bus.entry(epoch.number).or_insert_with(open).clone())
    }

    /// Whether a bus that showed nothing more of the epoch has all that was stored in it.
    async fn shows_all(&self, epoch: &Epoch, topic: &str, partition: i32, end: i64) -> Result<bool, BusError> {
        let Some(bus) = self.direct.shared.bus.as_ref().filter(|_| epoch.direct) else { return Ok(true) };
        let partitions = self.direct.shared.log.partitions(topic);
        let is_there = epoch.cluster == Some(bus.cluster().await?);
        let offset = bus.ends(topic, partitions).await?.get(partition as usize).copied().unwrap_or_default();
        Ok(is_there && epoch.base() + offset >= end)
    }
}
