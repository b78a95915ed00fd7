//! The one way into the log, for all events whatever they are acknowledged by: a queue in memory, of which all that
//! there is goes into the log at once, in its order.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use db::types::Id;
use db::{Database, Staged, Tx};
use messaging::admin;
use rest::Problem;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::sleep;

use crate::event::Entry;
use crate::held;
use crate::http::kinds;
use crate::room::Reserved;
use crate::waiting::Place;

/// Events that one unit of work takes, or a few more.
const MOST: usize = 4096;
/// Before what nobody waits for is written again, after a failure.
const PAUSE: Duration = Duration::from_millis(200);

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
    /// In the log, or on its way there.
    pub fn new(id: Id, duplicate: bool) -> Self {
        Self { id, duplicate, place: None, fallback: false }
    }
}

/// An event with the topic it goes to.
pub struct Routed {
    pub entry: Entry,
    pub topic: String,
    /// W3C `traceparent` of the request.
    pub traceparent: Option<String>,
}

/// The queue.
pub struct Intake {
    queue: mpsc::UnboundedSender<Batch>,
    /// Bytes of events that are in it.
    memory: Arc<Semaphore>,
    limit: u32,
}

/// Events that came together.
struct Batch {
    events: Arc<[Routed]>,
    room: Option<Reserved>,
    /// `None` when they are acknowledged already.
    answer: Option<oneshot::Sender<db::Result<Vec<Taken>>>>,
    _memory: OwnedSemaphorePermit,
}

impl Intake {
    /// Into the log of `db`, with so many bytes on the way at the most.
    pub fn start(db: Database, limit: usize) -> Self {
        let (queue, waiting) = mpsc::unbounded_channel();
        tokio::spawn(run(db, waiting));
        let limit = u32::try_from(limit.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self { queue, memory: Arc::new(Semaphore::new(limit as usize)), limit }
    }

    /// Queues the events: they are in the log once the answer comes.
    ///
    /// # Errors
    /// `log-full` when too much is on its way already.
    pub fn take(
        &self,
        events: Vec<Routed>,
        room: Option<Reserved>,
    ) -> Result<oneshot::Receiver<db::Result<Vec<Taken>>>, Problem> {
        let (answer, answered) = oneshot::channel();
        self.enqueue(events, room, Some(answer))?;
        Ok(answered)
    }

    /// Queues events that are acknowledged with this; they will be in the log unless the process is killed.
    ///
    /// # Errors
    /// `log-full` when too much is on its way already.
    pub fn take_later(&self, events: Vec<Routed>, room: Option<Reserved>) -> Result<Vec<Taken>, Problem> {
        let taken = events.iter().map(|event| Taken::new(event.entry.id, false)).collect();
        self.enqueue(events, room, None)?;
        Ok(taken)
    }

    fn enqueue(
        &self,
        events: Vec<Routed>,
        room: Option<Reserved>,
        answer: Option<oneshot::Sender<db::Result<Vec<Taken>>>>,
    ) -> Result<(), Problem> {
        let bytes: usize = events.iter().map(|event| event.entry.payload.len()).sum();
        let full =
            || Problem::new(&kinds::LOG_FULL).detail("too much is on its way").retry_after(Duration::from_secs(1));
        let bytes = u32::try_from(bytes).map_err(|_| full())?;
        let memory = self.memory.clone().try_acquire_many_owned(bytes).map_err(|_| full())?;
        let batch = Batch { events: events.into(), room, answer, _memory: memory };
        self.queue.send(batch).map_err(|_| rest::problem::unavailable("the proxy is stopping"))
    }

    /// Waits until all that was queued is in the log.
    pub async fn finish(&self) {
        drop(self.memory.acquire_many(self.limit).await);
    }
}

async fn run(db: Database, mut queue: mpsc::UnboundedReceiver<Batch>) {
    while let Some(first) = queue.recv().await {
        let (mut events, mut batches) = (first.events.len(), vec![first]);
        while events < MOST
            && let Ok(batch) = queue.try_recv()
        {
            events += batch.events.len();
            batches.push(batch);
        }
        write(&db, batches).await;
    }
}

/// Writes the batches, and answers. After a failure those who wait are told; what nobody waits for is written again,
/// for it is acknowledged already.
async fn write(db: &Database, mut batches: Vec<Batch>) {
    let mut is_again = false;
    while !batches.is_empty() {
        let events: Vec<_> = batches.iter().map(|batch| batch.events.clone()).collect();
        let error = match db.write(move |tx| stage_all(tx, &events, is_again)).await {
            Ok(taken) => return batches.into_iter().zip(taken).for_each(|(batch, taken)| batch.done(taken)),
            Err(error) => error,
        };
        batches = batches.into_iter().filter_map(|batch| batch.failed(&error)).collect();
        // what failed may have been committed, so all may be known
        is_again = true;
        sleep(PAUSE).await;
    }
}

/// Stages what is not known already; what becomes of each event of each batch.
fn stage_all(tx: &mut Tx<'_>, batches: &[Arc<[Routed]>], may_be_known: bool) -> db::Result<Vec<Vec<Taken>>> {
    let all = || batches.iter().flat_map(|events| events.iter());
    let own: Vec<Id> = all().map(|it| &it.entry).filter(|it| may_be_known || it.may_be_known).map(|it| it.id).collect();
    let mut known = HashSet::new();
    if !own.is_empty() {
        known.extend(admin::places(tx, &own)?.into_iter().map(|(id, _)| id));
        known.extend(held::known(tx, &own)?);
    }
    let mut take = |event: &Routed| {
        let is_asked_for = may_be_known || event.entry.may_be_known;
        let duplicate = is_asked_for && !known.insert(event.entry.id);
        if !duplicate {
            tx.stage(event.staged());
        }
        Taken::new(event.entry.id, duplicate)
    };
    Ok(batches.iter().map(|events| events.iter().map(&mut take).collect()).collect())
}

impl Batch {
    fn done(self, taken: Vec<Taken>) {
        let new = self.events.iter().zip(&taken).filter(|(_, taken)| !taken.duplicate);
        let bytes = new.map(|(event, _)| event.entry.payload.len()).sum();
        self.room.into_iter().for_each(|room| room.keep(bytes));
        if let Some(answer) = self.answer {
            drop(answer.send(Ok(taken))); // who waited may be gone
        }
    }

    /// The batch, if it is to be written again.
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
