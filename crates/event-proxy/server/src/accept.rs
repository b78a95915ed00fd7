//! Takes events into the log, each once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use db::Staged;
use db::types::Id;
use messaging::admin;
use rest::Problem;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Proxy;
use crate::event::Entry;
use crate::held;
use crate::http::kinds;
use crate::room::Reserved;
use crate::waiting::Place;

/// When an event is acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// Once it is queued; it is lost if the process is killed.
    Memory,
    /// Once it is on the disk.
    #[default]
    Disk,
    /// Once all in-sync replicas of Kafka have it, or in time.
    Kafka,
}

/// An event that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub id: Id,
    /// It had been taken before.
    pub duplicate: bool,
    /// Where Kafka has it, if that was waited for.
    pub place: Option<Place>,
    /// Kafka did not have it in time.
    pub fallback: bool,
}

impl Taken {
    fn new(id: Id, duplicate: bool) -> Self {
        Self { id, duplicate, place: None, fallback: false }
    }
}

/// An event with the topic it goes to.
struct Routed {
    entry: Entry,
    topic: String,
}

impl Proxy {
    /// Takes events, in their order: each is in the log once this returns, or with [`Ack::Memory`] on its way there.
    /// Those that can't be taken cost the others nothing.
    ///
    /// # Errors
    /// The database's; then nothing is known to be taken.
    pub async fn accept(
        &self,
        entries: Vec<Result<Entry, Problem>>,
        ack: Ack,
    ) -> Result<Vec<Result<Taken, Problem>>, Problem> {
        let (mut routed, mut answers) = (Vec::with_capacity(entries.len()), Vec::with_capacity(entries.len()));
        for entry in entries {
            answers.push(match self.route(entry).await {
                Ok(event) => {
                    routed.push(event);
                    None
                }
                Err(refusal) => Some(refusal),
            });
        }
        let taken = match self.room_for(&routed)? {
            room if ack == Ack::Disk => self.store(routed, room).await?,
            room if ack == Ack::Memory => self.store_later(routed, room)?,
            room => self.deliver(routed, room).await?,
        };
        let mut taken = taken.into_iter();
        let answer = |refused: Option<Problem>| match refused {
            Some(refusal) => Err(refusal),
            None => taken.next().ok_or_else(|| Problem::internal("fewer events were taken than came")),
        };
        Ok(answers.into_iter().map(answer).collect())
    }

    async fn route(&self, entry: Result<Entry, Problem>) -> Result<Routed, Problem> {
        let entry = entry?;
        let topic = self.topics.ensure(&entry.service, &entry.kind).await?;
        Ok(Routed { entry, topic })
    }

    /// Room in the log; there is no end of it when nothing waits for Kafka.
    fn room_for(&self, routed: &[Routed]) -> Result<Option<Reserved>, Problem> {
        let bytes = routed.iter().map(|event| event.entry.payload.len()).sum();
        self.delivery.is_there().then(|| self.room.reserve(bytes)).transpose()
    }

    /// Stores the events and waits until Kafka has them, but not for ever: then they are in the log, and on their way.
    async fn deliver(&self, routed: Vec<Routed>, room: Option<Reserved>) -> Result<Vec<Taken>, Problem> {
        let wait = self.delivery.waiting.wait_for(routed.iter().map(|event| event.entry.id));
        let stored = self.store(routed, room).await?;
        let new = stored.iter().filter(|taken| !taken.duplicate).map(|taken| taken.id);
        let places = wait.until(Instant::now() + self.settings.delivery.ack_timeout, new).await;
        let place_of = |mut taken: Taken| {
            taken.place = places.get(&taken.id).cloned();
            taken.fallback = taken.place.is_none();
            taken
        };
        Ok(stored.into_iter().map(place_of).collect())
    }

    fn store_later(&self, routed: Vec<Routed>, reserved: Option<Reserved>) -> Result<Vec<Taken>, Problem> {
        let bytes: usize = routed.iter().map(|event| event.entry.payload.len()).sum();
        let room = u32::try_from(bytes).ok().and_then(|bytes| self.memory.clone().try_acquire_many_owned(bytes).ok());
        let full = || Problem::new(&kinds::LOG_FULL).retry_after(std::time::Duration::from_secs(1));
        let room = room.ok_or_else(full)?;
        let taken = routed.iter().map(|event| Taken::new(event.entry.id, false)).collect();
        let proxy = self.clone();
        self.runtime.spawn(async move {
            if let Err(error) = proxy.store(routed, reserved).await {
                tracing::error!(%error, "events that were acknowledged from memory are lost");
            }
            drop(room);
        });
        Ok(taken)
    }

    async fn store(&self, routed: Vec<Routed>, room: Option<Reserved>) -> Result<Vec<Taken>, Problem> {
        if routed.is_empty() {
            return Ok(Vec::new());
        }
        // the log's index would refuse the second of two that come together, and all that is committed with it
        let own = routed.iter().filter(|event| event.entry.may_be_known).map(|event| event.entry.id);
        let _turn = self.in_flight.enter(own.collect()).await;
        let events: Arc<[Routed]> = routed.into();
        let taken = self.db.write(move |tx| -> db::Result<_> {
            let own: Vec<Id> = events.iter().filter(|it| it.entry.may_be_known).map(|it| it.entry.id).collect();
            let mut known: HashSet<Id> = admin::places(tx, &own)?.into_iter().map(|(id, _)| id).collect();
            if !own.is_empty() {
                known.extend(held::known(tx, &own)?);
            }
            let (mut taken, mut bytes) = (Vec::with_capacity(events.len()), 0);
            for Routed { entry, topic } in events.iter() {
                let duplicate = entry.may_be_known && !known.insert(entry.id);
                if !duplicate {
                    tx.stage(staged(entry, topic));
                    bytes += entry.payload.len();
                }
                taken.push(Taken::new(entry.id, duplicate));
            }
            Ok((taken, bytes))
        });
        let (taken, bytes) = taken.await?;
        room.into_iter().for_each(|room| room.keep(bytes));
        Ok(taken)
    }
}

fn staged(entry: &Entry, topic: &str) -> Staged {
    Staged {
        id: entry.id,
        topic: topic.to_owned().into(),
        key: entry.key.clone(),
        kind: format!("{}.{}", entry.service, entry.kind).into(),
        version: 1,
        aggregate_version: 0,
        occurred_at: entry.occurred_at,
        traceparent: telemetry::TraceContext::current().map(|trace| trace.to_string()),
        payload: entry.payload.clone(),
    }
}

/// Ids of events that are being taken, each by one request at a time.
#[derive(Default)]
pub struct InFlight {
    ids: Mutex<HashSet<Id>>,
    left: Notify,
}

impl InFlight {
    /// Waits until none of `ids` is being taken by another request.
    async fn enter(self: &Arc<Self>, mut ids: Vec<Id>) -> Turn {
        ids.sort_unstable();
        ids.dedup();
        loop {
            let left = self.left.notified();
            if self.try_enter(&ids) {
                return Turn { of: self.clone(), ids };
            }
            left.await;
        }
    }

    fn try_enter(&self, ids: &[Id]) -> bool {
        let mut taken = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = ids.iter().all(|id| !taken.contains(id));
        if is_free {
            taken.extend(ids);
        }
        is_free
    }
}

struct Turn {
    of: Arc<InFlight>,
    ids: Vec<Id>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.ids.is_empty() {
            return;
        }
        let mut taken = self.of.ids.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|id| self.ids.binary_search(id).is_err());
        drop(taken);
        self.of.left.notify_waiters();
    }
}
