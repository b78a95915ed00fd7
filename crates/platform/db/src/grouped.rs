//! Many small units as one transaction with one flush: a few large commits absorb a spike.

use std::sync::Arc;

use telemetry::TraceContext;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;

use crate::Database;
use crate::answer;
use crate::error::{Error, Result};
use crate::unit::Tx;

/// Maximum units of one transaction.
const MOST: usize = 1000;
/// Maximum units that wait; more are told that the database is busy.
const QUEUE: usize = 8192;

type Unit = Box<dyn Fn(&mut Tx<'_>) -> Result<()> + Send + Sync>;

struct Waiting {
    unit: Unit,
    trace: Option<TraceContext>,
    answer: oneshot::Sender<Result<()>>,
}

/// Writes units together: a transaction takes all units that came while the transaction before was written.
pub struct Grouped {
    queue: mpsc::Sender<Waiting>,
}

impl Grouped {
    /// Starts a task that writes to `db` until the handle is dropped.
    pub fn start(db: Database) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(run(db, waiting));
        Self { queue }
    }

    /// As [`Database::write`], in one transaction with other units and in the order of the calls. A unit that fails is
    /// left out, and the others are written. A unit whose caller leaves before the group is taken is not written.
    ///
    /// # Errors
    /// As [`Database::write`].
    pub async fn write(&self, unit: impl Fn(&mut Tx<'_>) -> Result<()> + Send + Sync + 'static) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { unit: Box::new(unit), trace: TraceContext::current(), answer };
        self.queue.try_send(waiting).map_err(|error| {
            Error::Unavailable(match error {
                TrySendError::Full(_) => "too many units of work wait for the database".into(),
                TrySendError::Closed(_) => "the database is closed".into(),
            })
        })?;
        let written = answered.await.unwrap_or_else(|_| Err(Error::UnknownOutcome("the writer ended".into())));
        if written.is_ok() {
            answer::flushed();
        }
        written
    }
}

async fn run(db: Database, mut queue: mpsc::Receiver<Waiting>) {
    let mut group = Vec::new();
    while queue.recv_many(&mut group, MOST).await > 0 {
        group.retain(|waiting| !waiting.answer.is_closed());
        if !group.is_empty() {
            write(&db, std::mem::take(&mut group)).await;
        }
    }
}

/// Writes a group and answers. A group with a unit that fails is halved until that unit is alone.
async fn write(db: &Database, group: Vec<Waiting>) {
    let count = group.len();
    let (units, answers): (Vec<_>, Vec<_>) =
        group.into_iter().map(|Waiting { unit, trace, answer }| ((unit, trace), answer)).unzip();
    let (units, mut answers) = (Arc::<[_]>::from(units), answers.into_iter());
    // the first of them last, so that parts are written and answered in order
    let mut parts = vec![(0, count)];
    while let Some((start, end)) = parts.pop() {
        let units = units.clone();
        let all = move |tx: &mut Tx<'_>| -> Result<()> {
            units[start..end].iter().try_for_each(|(unit, trace)| {
                tx.belong_to(*trace);
                unit(tx)
            })
        };
        let written = db.write(all).await;
        // what is unavailable is so for all, and what may have been done is not done again
        let may_be_one =
            matches!(written, Err(Error::Constraint(_) | Error::NotFound | Error::Panicked(_) | Error::Defect(_)));
        if may_be_one && end - start > 1 {
            let middle = start.midpoint(end);
            parts.extend([(middle, end), (start, middle)]);
            continue;
        }
        for answer in answers.by_ref().take(end - start) {
            drop(answer.send(written.clone())); // whoever left needs no answer
        }
    }
}
