//! Reads external topics for subscribed groups.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Foreign, waiting};
use crate::bus::{Bus, BusError, Numbers, Silence, Subscriber};
use crate::event::Event;

pub(super) struct ForeignReading {
    pub(super) foreign: Foreign,
}

impl Bus for ForeignReading {
    fn subscribe(&self, group: &str) -> Arc<dyn Subscriber> {
        let on_bus = self.foreign.shared.bus.as_ref().map(|bus| bus.read().subscribe(group));
        Arc::new(ForeignSubscriber { foreign: self.foreign.clone(), group: group.to_owned(), on_bus })
    }
}

struct ForeignSubscriber {
    foreign: Foreign,
    group: String,
    on_bus: Option<Arc<dyn Subscriber>>,
}

#[async_trait]
impl Subscriber for ForeignSubscriber {
    async fn fetch(&self, topic: &str, partition: i32, after: i64, max: usize) -> Result<Vec<Event>, BusError> {
        match &self.on_bus {
            Some(on_bus) => on_bus.fetch(topic, partition, after, max).await,
            None => Err(BusError::Unavailable(format!("{topic} is on no bus that is set"))),
        }
    }

    fn release(&self, topic: &str, partition: i32) {
        if let Some(on_bus) = &self.on_bus {
            on_bus.release(topic, partition);
        }
    }

    async fn silence(&self, topic: &str, partition: i32) -> Silence {
        match &self.on_bus {
            Some(on_bus) => on_bus.silence(topic, partition).await,
            None => Silence::Late,
        }
    }

    fn waiting(&self, topic: &str, partition: i32, after: i64) -> Option<i64> {
        let seen = self.foreign.seen();
        seen.held.get(topic)?.get(usize::try_from(partition).ok()?).map(|held| waiting(held, after))
    }

    fn numbers(&self, topic: &str) -> Numbers {
        Numbers::OfBus(self.foreign.source(&self.group, topic))
    }
}
