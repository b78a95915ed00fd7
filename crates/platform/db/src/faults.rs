//! Sees every failed statement of a connection, also those that a unit of work ignores.

use std::cell::RefCell;
use std::time::Instant;

use diesel::connection::{Connection, Instrumentation, InstrumentationEvent};

use crate::Conn;
use crate::error::Fault;
use crate::life::Life;
use crate::progress;

/// What failed on this thread since it was cleared; a unit runs on one thread from its beginning to its end.
#[derive(Default)]
struct Seen {
    first: Option<Fault>,
    more: bool,
}

thread_local! {
    static SEEN: RefCell<Seen> = RefCell::default();
}

/// Diesel reports a failed statement, but on SQLite not one that fails while its rows are read: those are noted when
/// they become an [`enum@crate::Error`]. What is noted twice counts once.
pub(crate) fn note(fault: &Fault) {
    SEEN.with_borrow_mut(|seen| match &seen.first {
        None => seen.first = Some(fault.clone()),
        Some(first) => seen.more |= first != fault,
    });
}

pub(crate) fn clear() {
    take();
}

/// The first fault since it was cleared.
pub(crate) fn take() -> Option<Fault> {
    SEEN.take().first
}

/// Returns true if statements went on failing after the first.
pub(crate) fn are_several() -> bool {
    SEEN.with_borrow(|seen| seen.more)
}

struct Watch;

impl Instrumentation for Watch {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        match event {
            InstrumentationEvent::StartQuery { .. } => progress::asked(),
            InstrumentationEvent::FinishQuery { error, .. } => {
                progress::answered();
                if let Some(fault) = error.and_then(Fault::of) {
                    note(&fault);
                }
            }
            _ => {}
        }
    }
}

/// A connection whose faults are seen.
pub(crate) struct Watched {
    pub(crate) conn: Conn,
    /// Not to be used again.
    pub(crate) broken: bool,
    pub(crate) opened: Instant,
    /// Of the storage that it leads to.
    pub(crate) life: Life,
}

impl Watched {
    pub(crate) fn new(mut conn: Conn, life: Life) -> Self {
        conn.set_instrumentation(Watch);
        Self { conn, broken: false, opened: Instant::now(), life }
    }
}
