//! PostgreSQL: units of work on pooled connections.

use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection;

use crate::error::{Error, Fault, Result};
use crate::faults::Watched;
use crate::job::{Job, Ran};
use crate::pool::Pool;
use crate::unit::Recorder;

/// How often a transaction that PostgreSQL chose as a victim is run again.
const VICTIM_RETRIES: u32 = 8;

/// How an attempt ended.
enum Attempt {
    Answer(Result<()>),
    /// Nothing was done, and a new attempt is right.
    Again(Fault),
}

/// Runs the unit until it is committed, refused, or it is clear that the database is away.
pub(crate) fn run_unit(pool: &Pool, recorder: &dyn Recorder, mut job: Box<dyn Job>) {
    let mut victim = 0;
    let mut stale = 0;
    let answer = loop {
        let mut conn = match pool.get() {
            Ok(conn) => conn,
            Err(error) => break Err(Error::Unavailable(error.to_string())),
        };
        match attempt(&mut conn, recorder, &mut *job) {
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
    job.answer(answer);
}

fn attempt(conn: &mut Watched, recorder: &dyn Recorder, job: &mut dyn Job) -> Attempt {
    if let Err(error) = conn.conn.batch_execute("BEGIN") {
        conn.broken = true;
        return Attempt::Again(Fault::Away(error.to_string()));
    }
    match job.run(conn) {
        Ran::Done(staged, after_commit) => {
            let mut wakes = after_commit;
            if !staged.is_empty() {
                match recorder.record(&mut conn.conn, staged) {
                    Ok(wake) => wakes.push(wake),
                    Err(error) => {
                        let fault = conn.faults.take().unwrap_or(Fault::Defect(error.to_string()));
                        return failed(conn, fault);
                    }
                }
            }
            let committed = commit(conn);
            if matches!(committed, Attempt::Answer(Ok(()))) {
                wakes.into_iter().for_each(|wake| wake());
            }
            committed
        }
        Ran::Refused => {
            roll_back(conn);
            Attempt::Answer(Ok(()))
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

fn failed(conn: &mut Watched, fault: Fault) -> Attempt {
    match fault {
        Fault::Victim(_) => {
            roll_back(conn);
            Attempt::Again(fault)
        }
        Fault::Away(_) if roll_back(conn) => Attempt::Answer(Err(fault.into())), // the server is there: a time-out
        Fault::Away(_) => Attempt::Again(fault),
        Fault::Constraint(_) | Fault::Defect(_) => {
            roll_back(conn);
            Attempt::Answer(Err(fault.into()))
        }
    }
}

fn commit(conn: &mut Watched) -> Attempt {
    let Err(error) = conn.conn.batch_execute("COMMIT") else { return Attempt::Answer(Ok(())) };
    match Fault::of(&error) {
        Some(fault @ (Fault::Victim(_) | Fault::Constraint(_))) => failed(conn, fault),
        _ => {
            conn.broken = true;
            tracing::error!(%error, "a commit failed; its outcome is unknown");
            Attempt::Answer(Err(Error::UnknownOutcome(error.to_string())))
        }
    }
}

/// Whether the connection is still good.
pub(crate) fn roll_back(conn: &mut Watched) -> bool {
    conn.broken = conn.conn.batch_execute("ROLLBACK").is_err();
    !conn.broken
}
