//! Sees every failed statement of a connection, also those that a unit of work ignores.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diesel::connection::{Connection, Instrumentation, InstrumentationEvent};

use crate::Conn;
use crate::error::Fault;

/// The first fault since it was cleared, and whether there were more.
#[derive(Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    first: Option<Fault>,
    more: bool,
}

impl Faults {
    pub(crate) fn clear(&self) {
        self.take();
    }

    pub(crate) fn take(&self) -> Option<Fault> {
        std::mem::take(&mut *self.seen()).first
    }

    /// Whether statements went on failing after the first.
    pub(crate) fn are_several(&self) -> bool {
        self.seen().more
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Instrumentation for Faults {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        if let InstrumentationEvent::FinishQuery { error: Some(error), .. } = event
            && let Some(fault) = Fault::of(error)
        {
            let mut seen = self.seen();
            seen.more = seen.first.is_some();
            seen.first.get_or_insert(fault);
        }
    }
}

/// A connection whose faults are seen.
pub(crate) struct Watched {
    pub(crate) conn: Conn,
    pub(crate) faults: Faults,
    /// Not to be used again.
    pub(crate) broken: bool,
}

impl Watched {
    pub(crate) fn new(mut conn: Conn) -> Self {
        let faults = Faults::default();
        conn.set_instrumentation(faults.clone());
        Self { conn, faults, broken: false }
    }
}
