//! PostgreSQL: units of work on pooled connections.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;

use crate::error::{Error, Fault, Result};
use crate::faults::{self, Watched};
use crate::flusher::{Flusher, IsThere, Ticket, Waiting};
use crate::job::{Job, Ran, panic_text};
use crate::pool::{Pool, take};
use crate::progress;
use crate::storage::Storage;
use crate::unit::{AfterCommit, Done, Recorded, Recorder, Staged, run_all};

/// Maximum number of retries of a transaction chosen as a victim by PostgreSQL.
const VICTIM_RETRIES: u32 = 8;

/// End of an attempt.
enum Attempt {
    /// The unit was committed or refused; the answer is valid once everything before is durable.
    Ended {
        ticket: Ticket,
        ended: Instant,
        is_there: Option<IsThere>,
        wakes: Vec<AfterCommit>,
        is_refused: bool,
    },
    Answer(Result<()>),
    /// Nothing was done; a new attempt is right.
    Again(Fault),
}

/// Resources of units of work.
pub(crate) struct Units {
    pub(crate) recorder: Arc<dyn Recorder>,
    pub(crate) storage: Arc<Storage>,
    pub(crate) flusher: Flusher,
}

impl Units {
    /// Runs the unit until the unit is committed or refused, or the database is unavailable.
    pub(crate) fn run(&self, pool: &Pool, mut job: Box<dyn Job>) {
        let (mut victim, mut stale) = (0, 0);
        let answer = loop {
            let mut conn = match take(pool, &*self.recorder) {
                Ok(conn) => conn,
                Err(error) => break Err(error),
            };
            match self.attempt(&mut conn, &mut *job) {
                Attempt::Ended { ticket, ended, is_there, wakes, is_refused } => {
                    let done = Box::new(move |flushed: Result<()>| match flushed {
                        Ok(()) => {
                            run_all(wakes);
                            job.answer(Ok(()));
                        }
                        Err(error) if is_refused => job.answer(Err(Error::Unavailable(error.to_string()))),
                        Err(error) => job.answer(Err(error)),
                    });
                    progress::awaits_flush();
                    return self.flusher.submit(Waiting { ticket, ended, is_there, done });
                }
                Attempt::Answer(answer) => break answer,
                Attempt::Again(Fault::Victim(text)) if victim >= VICTIM_RETRIES => break Err(Error::Unavailable(text)),
                Attempt::Again(Fault::Victim(_)) => {
                    victim += 1;
                    drop(conn);
                    thread::sleep(Duration::from_millis(rand::random_range(0..(2 << victim))));
                }
                // every pooled connection may be stale after a restart of the server
                Attempt::Again(fault) if stale > pool.max_size() => break Err(fault.into()),
                Attempt::Again(_) => stale += 1,
            }
        };
        if matches!(answer, Err(Error::Unavailable(_) | Error::UnknownOutcome(_))) {
            self.storage.suspect();
        }
        job.answer(answer);
    }

    fn attempt(&self, conn: &mut Watched, job: &mut dyn Job) -> Attempt {
        progress::begins();
        if let Err(error) = conn.conn.batch_execute("BEGIN") {
            conn.broken = true;
            return Attempt::Again(Fault::Away(error.to_string()));
        }
        progress::has_begun();
        let ticket = match self.flusher.ticket(conn.life) {
            Ok(ticket) => ticket,
            Err(error) => {
                conn.broken = true; // it may lead to another server than the flusher's
                return Attempt::Answer(Err(error));
            }
        };
        match job.run(conn) {
            Ran::Done(Done { staged, after_commit: mut wakes, may_be_lost }) => {
                let mut is_there = None;
                if !staged.is_empty() {
                    match record(conn, &*self.recorder, staged) {
                        Ok(recorded) => {
                            wakes.push(recorded.wake);
                            is_there = Some(recorded.is_there);
                        }
                        Err(attempt) => return attempt,
                    }
                }
                if !progress::may_commit() {
                    conn.broken = true; // nobody waits for the answer, and the server undoes the unit
                    return Attempt::Answer(Err(Error::Unavailable("the unit was given up".into())));
                }
                let ended = Instant::now();
                match commit(conn) {
                    Ok(()) if may_be_lost => Attempt::Answer(Ok(())),
                    Ok(()) => Attempt::Ended { ticket, ended, is_there, wakes, is_refused: false },
                    Err(attempt) => attempt,
                }
            }
            Ran::Refused => {
                roll_back(conn);
                Attempt::Ended { ticket, ended: Instant::now(), is_there: None, wakes: Vec::new(), is_refused: true }
            }
            Ran::Swallowed(fault) => {
                roll_back(conn);
                Attempt::Answer(Err(fault.into()))
            }
            Ran::Fault(fault) => failed(conn, fault),
            Ran::Panicked(text) => {
                conn.broken = true;
                Attempt::Answer(Err(Error::Panicked(text)))
            }
        }
    }
}

fn record(conn: &mut Watched, recorder: &dyn Recorder, staged: Vec<Staged>) -> Result<Recorded, Attempt> {
    match catch_unwind(AssertUnwindSafe(|| recorder.record(&mut conn.conn, staged))) {
        Ok(Ok(recorded)) => Ok(recorded),
        Ok(Err(error)) => Err(match faults::take() {
            Some(fault) => failed(conn, fault),
            None => {
                roll_back(conn);
                Attempt::Answer(Err(error))
            }
        }),
        Err(panic) => {
            conn.broken = true;
            Err(Attempt::Answer(Err(Error::Panicked(panic_text(&*panic)))))
        }
    }
}

fn failed(conn: &mut Watched, fault: Fault) -> Attempt {
    // whether the connection is gone shows here, whatever the statement said and in whatever language
    let is_there = roll_back(conn);
    // a session of a server that is read-only now stays read-only when another server takes over
    conn.broken |= matches!(fault, Fault::ReadOnly(_));
    let fault = if is_there { fault } else { fault.of_lost_connection() };
    if matches!(fault, Fault::Victim(_)) || !is_there {
        Attempt::Again(fault)
    } else {
        Attempt::Answer(Err(fault.into()))
    }
}

fn commit(conn: &mut Watched) -> Result<(), Attempt> {
    let Err(error) = conn.conn.batch_execute("COMMIT") else { return Ok(()) };
    Err(match Fault::of(&error) {
        Some(fault @ (Fault::Victim(_) | Fault::Constraint(_))) => failed(conn, fault),
        // the server answered with an error, so the transaction is undone
        Some(fault) if roll_back(conn) => failed(conn, fault),
        _ => {
            tracing::error!(%error, "a commit failed; its outcome is unknown");
            Attempt::Answer(Err(Error::UnknownOutcome(error.to_string())))
        }
    })
}

/// Returns true if the connection is still good.
pub(crate) fn roll_back(conn: &mut Watched) -> bool {
    conn.broken = conn.conn.batch_execute("ROLLBACK").is_err();
    !conn.broken
}
