//! Takes events into the log, each once.

use db::types::Id;
use rest::Problem;
use rest::fair::pause;
use tokio::time::Instant;

use crate::Proxy;
use crate::http::problems;
use crate::ingest::capacity::Reserved;
use crate::ingest::event::{Entry, Refusal};
use crate::ingest::writer::{Routed, Taken};

/// Time of an event's acknowledgement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// After queueing; the event is lost if the process is killed.
    Memory,
    /// After the write to the disk.
    #[default]
    Disk,
    /// After all in-sync replicas of Kafka have the event, or after the time-out.
    Kafka,
}

impl Proxy {
    /// Accepts events, in order: each is in the log at the return, or with `ack=memory` on the way to the log.
    /// Refused events do not affect the rest.
    ///
    /// # Errors
    /// The database's; then nothing is known to be taken.
    pub async fn accept(
        &self,
        entries: Vec<Result<Entry, Refusal>>,
        ack: Ack,
    ) -> Result<Vec<Result<Taken, Problem>>, Problem> {
        let (mut routed, mut answers) = (Vec::with_capacity(entries.len()), Vec::with_capacity(entries.len()));
        let traceparent = telemetry::TraceContext::current().map(|trace| trace.to_string());
        for entry in entries {
            pause().await;
            answers.push(match self.route(entry).await {
                Ok((mut entry, topic)) => {
                    let traceparent = entry.traceparent.take().or_else(|| traceparent.clone());
                    routed.push(Routed { entry, topic, traceparent });
                    None
                }
                Err(Refusal { service, problem }) => {
                    self.topics.count_refused(service.as_deref(), &problem);
                    Some(problem)
                }
            });
        }
        let mut taken = self.take(routed, ack).await?.into_iter();
        let answer = |refused: Option<Problem>| match refused {
            Some(refusal) => Err(refusal),
            None => taken.next().unwrap_or_else(|| Err(Problem::internal("fewer events were taken than came"))),
        };
        Ok(answers.into_iter().map(answer).collect())
    }

    async fn route(&self, entry: Result<Entry, Refusal>) -> Result<(Entry, String), Refusal> {
        let entry = entry?;
        match self.topics.ensure(&entry.service, &entry.kind).await {
            Ok(topic) => Ok((entry, topic)),
            Err(problem) => Err(Refusal { service: Some(entry.service), problem }),
        }
    }

    async fn take(&self, routed: Vec<Routed>, ack: Ack) -> Result<Vec<Result<Taken, Problem>>, Problem> {
        if routed.is_empty() {
            return Ok(Vec::new());
        }
        let bytes = routed.iter().map(|event| event.entry.payload.len()).sum();
        let room = self.room.reserve(bytes).inspect_err(|problem| {
            routed.iter().for_each(|event| self.topics.count_refused(Some(&event.entry.service), problem));
        })?;
        match ack {
            // of a fault that is known nobody can tell whether it ends before the process does
            Ack::Memory if let Some(fault) = self.db.storage_fault() => {
                Err(db::Error::Unavailable(fault.to_string()).into())
            }
            Ack::Memory => self.intake.take_later(routed, room),
            Ack::Disk => self.store(routed, room).await,
            Ack::Kafka => self.deliver(routed, room).await,
        }
    }

    /// Stores the events and waits until Kafka has the events, up to a time-out: then the events are in the log, and
    /// on the way.
    async fn deliver(&self, routed: Vec<Routed>, room: Reserved) -> Result<Vec<Result<Taken, Problem>>, Problem> {
        let wait = self.delivery.waiting.wait_for(routed.iter().map(|event| event.entry.id));
        let stored = self.store(routed, room).await?;
        let new: Vec<Id> = stored.iter().flatten().filter(|taken| !taken.duplicate).map(|taken| taken.id).collect();
        let delivered = wait.until(Instant::now() + self.settings.delivery.ack_timeout, new).await;
        let told = |taken: Taken| match delivered.get(&taken.id) {
            Some(Ok(place)) => Ok(Taken { place: Some(place.clone()), ..taken }),
            Some(Err(reason)) => Err(Problem::new(&problems::REFUSED_BY_KAFKA)
                .detail(reason)
                .with("receipt", self.receipts.of(taken.id))
                .with("id", taken.id)),
            None => Ok(Taken { fallback: true, ..taken }),
        };
        Ok(stored.into_iter().map(|taken| taken.and_then(told)).collect())
    }

    async fn store(&self, routed: Vec<Routed>, room: Reserved) -> Result<Vec<Result<Taken, Problem>>, Problem> {
        let answered = self.intake.take(routed, room)?.await;
        Ok(answered.map_err(|_| rest::problem::unavailable("the proxy is stopping"))??)
    }
}
