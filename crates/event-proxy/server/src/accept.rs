//! Takes events into the log, each once.

use rest::Problem;
use tokio::time::Instant;

use crate::Proxy;
use crate::event::Entry;
use crate::intake::{Routed, Taken};
use crate::room::Reserved;

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

impl Proxy {
    /// Takes events, in their order: each is in the log once this returns, or with `ack=memory` on its way there.
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
        let traceparent = telemetry::TraceContext::current().map(|trace| trace.to_string());
        for entry in entries {
            answers.push(match self.route(entry).await {
                Ok((entry, topic)) => {
                    routed.push(Routed { entry, topic, traceparent: traceparent.clone() });
                    None
                }
                Err(refusal) => Some(refusal),
            });
        }
        let room = self.room_for(&routed)?;
        let taken = match ack {
            Ack::Memory => self.intake.take_later(routed, room)?,
            Ack::Disk => self.store(routed, room).await?,
            Ack::Kafka => self.deliver(routed, room).await?,
        };
        let mut taken = taken.into_iter();
        let answer = |refused: Option<Problem>| match refused {
            Some(refusal) => Err(refusal),
            None => taken.next().ok_or_else(|| Problem::internal("fewer events were taken than came")),
        };
        Ok(answers.into_iter().map(answer).collect())
    }

    async fn route(&self, entry: Result<Entry, Problem>) -> Result<(Entry, String), Problem> {
        let entry = entry?;
        let topic = self.topics.ensure(&entry.service, &entry.kind).await?;
        Ok((entry, topic))
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

    async fn store(&self, routed: Vec<Routed>, room: Option<Reserved>) -> Result<Vec<Taken>, Problem> {
        if routed.is_empty() {
            return Ok(Vec::new());
        }
        let answered = self.intake.take(routed, room)?.await;
        Ok(answered.map_err(|_| rest::problem::unavailable("the proxy is stopping"))??)
    }
}
