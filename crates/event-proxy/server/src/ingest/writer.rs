//! Intake into the log, for all events with any acknowledgement: a queue in memory. The whole queue goes into the log
//! at once, in order.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use db::types::Id;
use db::{Database, Staged, Tx};
use messaging::admin;
use rest::Problem;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::sleep;

use crate::delivery::acks::Place;
use crate::delivery::quarantine;
use crate::http::problems;
use crate::ingest::capacity::Reserved;
use crate::ingest::event::Entry;
use crate::ingest::same::is_same;
use crate::topics::Topics;

/// Approximate maximum of events in one unit of work.
const MOST: usize = 4096;
/// Pause before acknowledged batches are written again, after a failure.
const PAUSE: Duration = Duration::from_millis(200);

/// An accepted event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub id: Id,
    /// True if the event had been accepted before.
    pub duplicate: bool,
    /// Place on Kafka, if the request waited for Kafka.
    pub place: Option<Place>,
    /// True if Kafka did not have the event in time.
    pub fallback: bool,
}

impl Taken {
    /// Returns an event in the log, or on the way to the log.
    pub fn new(id: Id, duplicate: bool) -> Self {
        Self { id, duplicate, place: None, fallback: false }
    }
}

/// An event with the event's topic.
pub(crate) struct Routed {
    pub entry: Entry,
    pub topic: String,
    /// W3C `traceparent` of the event, or else of the request.
    pub traceparent: Option<String>,
}

/// Outcome of each event of a batch.
type Fates = Vec<Result<Taken, Problem>>;

/// The queue.
pub(crate) struct Intake {
    queue: mpsc::UnboundedSender<Batch>,
    /// Memory of the queued events.
    memory: Arc<Semaphore>,
    limit: u32,
    topics: Arc<Topics>,
}

/// Events of one request.
struct Batch {
    events: Arc<[Routed]>,
    room: Reserved,
    /// Sender of the answer; `None` for already acknowledged events.
    answer: Option<oneshot::Sender<db::Result<Fates>>>,
    _memory: OwnedSemaphorePermit,
}

impl Intake {
    /// Starts the intake into the log of `db`, with at most `limit` bytes in the queue.
    pub(crate) fn start(db: Database, limit: usize, topics: Arc<Topics>) -> Self {
        let (queue, waiting) = mpsc::unbounded_channel();
        tokio::spawn(run(db, waiting, topics.clone()));
        let limit = u32::try_from(limit.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self { queue, memory: Arc::new(Semaphore::new(limit as usize)), limit, topics }
    }

    /// Queues the events: the events are in the log when the answer comes.
    ///
    /// # Errors
    /// `log-full` if the queue is full.
    pub(crate) fn take(
        &self,
        events: Vec<Routed>,
        room: Reserved,
    ) -> Result<oneshot::Receiver<db::Result<Fates>>, Problem> {
        let (answer, answered) = oneshot::channel();
        self.enqueue(events, room, Some(answer))?;
        Ok(answered)
    }

    /// Queues events and acknowledges them at once; the events will be in the log unless the process is killed.
    ///
    /// # Errors
    /// `log-full` if the queue is full.
    pub(crate) fn take_later(&self, events: Vec<Routed>, room: Reserved) -> Result<Fates, Problem> {
        let taken = events.iter().map(|event| Ok(Taken::new(event.entry.id, false))).collect();
        self.enqueue(events, room, None)?;
        Ok(taken)
    }

    fn enqueue(
        &self,
        events: Vec<Routed>,
        room: Reserved,
        answer: Option<oneshot::Sender<db::Result<Fates>>>,
    ) -> Result<(), Problem> {
        let bytes: usize = events.iter().map(|event| event.entry.memory()).sum();
        let full = || {
            let problem = Problem::new(&problems::LOG_FULL).detail("too much is on its way");
            events.iter().for_each(|event| self.topics.count_refused(Some(&event.entry.service), &problem));
            problem.retry_after(Duration::from_secs(1))
        };
        let bytes = u32::try_from(bytes).map_err(|_| full())?;
        let memory = self.memory.clone().try_acquire_many_owned(bytes).map_err(|_| full())?;
        let batch = Batch { events: events.into(), room, answer, _memory: memory };
        self.queue.send(batch).map_err(|_| rest::problem::unavailable("the proxy is stopping"))
    }

    /// Waits until all queued events are in the log.
    pub(crate) async fn finish(&self) {
        drop(self.memory.acquire_many(self.limit).await);
    }
}

async fn run(db: Database, mut queue: mpsc::UnboundedReceiver<Batch>, topics: Arc<Topics>) {
    while let Some(first) = queue.recv().await {
        let (mut events, mut batches) = (first.events.len(), vec![first]);
        while events < MOST
            && let Ok(batch) = queue.try_recv()
        {
            events += batch.events.len();
            batches.push(batch);
        }
        write(&db, batches, &topics).await;
    }
}

/// Writes the batches, and answers. After a failure, waiting requests get an error; acknowledged batches are written
/// again.
async fn write(db: &Database, mut batches: Vec<Batch>, topics: &Topics) {
    let mut is_again = false;
    while !batches.is_empty() {
        let events: Vec<_> = batches.iter().map(|batch| batch.events.clone()).collect();
        let error = match db.write(move |tx| stage_all(tx, &events, is_again)).await {
            Ok(taken) => return batches.into_iter().zip(taken).for_each(|(batch, taken)| batch.done(taken, topics)),
            Err(error) => error,
        };
        batches = batches.into_iter().filter_map(|batch| batch.failed(&error)).collect();
        // what failed may have been committed, so all may be known
        is_again = true;
        sleep(PAUSE).await;
    }
}

/// Stages new events; returns the outcome of each event of each batch.
fn stage_all(tx: &mut Tx<'_>, batches: &[Arc<[Routed]>], may_be_known: bool) -> db::Result<Vec<Fates>> {
    let all = || batches.iter().flat_map(|events| events.iter());
    let own: Vec<Id> = all().map(|it| &it.entry).filter(|it| may_be_known || it.may_be_known).map(|it| it.id).collect();
    let mut known: HashMap<Id, Cow<'_, str>> = HashMap::new();
    if !own.is_empty() {
        let stored = admin::payloads(tx, &own)?.into_iter().chain(quarantine::payloads(tx, &own)?);
        known.extend(stored.map(|(id, payload)| (id, payload.into())));
    }
    let mut fates = Vec::with_capacity(batches.len());
    for events in batches {
        let fates_of_batch = events.iter().map(|event| {
            let entry = &event.entry;
            match known.get(&entry.id) {
                // a discarded event has no content to compare
                Some(stored) if stored != "null" && !is_same(stored, &entry.payload) => {
                    return Err(Problem::new(&problems::ID_REUSED));
                }
                Some(_) => return Ok(Taken::new(entry.id, true)),
                None if may_be_known || entry.may_be_known => drop(known.insert(entry.id, (&*entry.payload).into())),
                None => {}
            }
            tx.stage(event.staged());
            Ok(Taken::new(entry.id, false))
        });
        fates.push(fates_of_batch.collect());
    }
    Ok(fates)
}

impl Batch {
    fn done(self, taken: Fates, topics: &Topics) {
        let mut bytes = 0;
        for (event, taken) in self.events.iter().zip(&taken) {
            match taken {
                Ok(taken) if taken.duplicate => {}
                Ok(_) => bytes += event.entry.payload.len(),
                Err(problem) => topics.count_refused(Some(&event.entry.service), problem),
            }
        }
        self.room.keep(bytes);
        if let Some(answer) = self.answer {
            drop(answer.send(Ok(taken))); // who waited may be gone
        }
    }

    /// Returns the batch, if the batch is to be written again.
    fn failed(self, error: &db::Error) -> Option<Self> {
        let may_pass = matches!(error, db::Error::Unavailable(_) | db::Error::UnknownOutcome(_));
        match self.answer {
            None if may_pass => return Some(self),
            None => tracing::error!(%error, "events that were acknowledged from memory are lost"),
            Some(answer) => drop(answer.send(Err(error.clone()))),
        }
        None
    }
}

impl Routed {
    fn staged(&self) -> Staged {
        Staged {
            id: self.entry.id,
            topic: self.topic.clone().into(),
            key: self.entry.key.clone(),
            kind: format!("{}.{}", self.entry.service, self.entry.kind).into(),
            version: 1,
            aggregate_version: 0,
            occurred_at: self.entry.occurred_at,
            traceparent: self.traceparent.clone(),
            payload: self.entry.payload.clone(),
        }
    }
}
