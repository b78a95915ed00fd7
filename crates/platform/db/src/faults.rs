//! Records every failed statement of a connection, also failures that a unit of work ignores.

use std::cell::RefCell;
use std::time::Instant;

use diesel::connection::{Connection, Instrumentation, InstrumentationEvent};

use crate::Conn;
use crate::error::Fault;
use crate::life::Life;
use crate::progress;

/// Faults on this thread since the last clearing; a unit runs on one thread from beginning to end.
#[derive(Default)]
struct Seen {
    first: Option<Fault>,
    more: bool,
}

thread_local! {
    static SEEN: RefCell<Seen> = RefCell::default();
}

/// Records a fault. Diesel reports a failed statement, except on SQLite a failure during the reading of rows: such a
/// failure is recorded by the conversion to an [`enum@crate::Error`]. A fault recorded twice counts once.
pub(crate) fn note(fault: &Fault) {
    SEEN.with_borrow_mut(|seen| match &seen.first {
        None => seen.first = Some(fault.clone()),
        Some(first) => seen.more |= first != fault,
    });
}

pub(crate) fn clear() {
    take();
}

/// Returns the first fault since the last clearing.
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

/// A connection with recorded faults.
pub(crate) struct Watched {
    pub(crate) conn: Conn,
    /// True if the connection must not be used again.
    pub(crate) broken: bool,
    pub(crate) opened: Instant,
    /// Life of the storage behind the connection.
    pub(crate) life: Life,
}

impl Watched {
    pub(crate) fn new(mut conn: Conn, life: Life) -> Self {
        conn.set_instrumentation(Watch);
        Self { conn, broken: false, opened: Instant::now(), life }
    }
}
