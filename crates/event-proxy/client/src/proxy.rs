//! The callers' handle of a client.

use std::fmt;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::buffer::{Buffer, Stats};
use crate::builder::Builder;
use crate::error::{NotFlushed, SendError};
use crate::event::Event;

/// A client of the event proxy. A clone is the same client.
///
/// The client has a thread of its own, so a client works inside a tokio runtime, outside, and during a runtime's
/// shutdown.
///
/// Events are posted in the order of `send`, batch after batch, with one request under way at a time. So events of
/// one key reach Kafka in this order, with two exceptions. A move to another address breaks the order, because each
/// proxy keeps only the order of the events received there. A proxy that puts an event off (429, 503) and takes a
/// later event of the same batch also breaks the order.
///
/// The drop of the last clone sends the queue, for at most [`Builder::shutdown_timeout`], and blocks during this
/// time. An [installed](crate::install) client is never dropped: end the program with a [flush](Self::flush).
#[derive(Clone)]
pub struct EventProxy {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) buffer: Arc<Buffer>,
    pub(crate) default_service: Option<String>,
    /// Runtime of the client's thread.
    pub(crate) runtime: Handle,
    /// Present until the drop.
    pub(crate) thread: Option<JoinHandle<()>>,
}

impl EventProxy {
    /// Returns the settings for a new client.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// Puts the event into the buffer, and returns at once.
    ///
    /// The event gets an id and a time here, if absent: however often the client then sends the event, the proxy
    /// takes the event once.
    ///
    /// # Errors
    /// An invalid event or an event for a full buffer is dropped, and counted in [`Stats::dropped`]. Callers without
    /// a remedy may ignore the error.
    pub fn send(&self, event: Event) -> Result<(), SendError> {
        let buffer = &self.inner.buffer;
        let json = event.into_json(self.inner.default_service.as_deref());
        buffer.push(json.inspect_err(|reason| buffer.count_invalid(reason))?)
    }

    /// Returns the service of events without a service.
    pub(crate) fn default_service(&self) -> Option<&str> {
        self.inner.default_service.as_deref()
    }

    /// Returns the counts of events so far.
    pub fn stats(&self) -> Stats {
        self.inner.buffer.stats()
    }

    /// Waits until every event sent before is accepted, refused or given up; works on any runtime.
    ///
    /// # Errors
    /// [`NotFlushed`] after `timeout`.
    pub async fn flush(&self, timeout: Duration) -> Result<(), NotFlushed> {
        let (reply, done) = oneshot::channel();
        // whoever waited may have gone
        self.when_flushed(timeout, move |in_time| _ = reply.send(in_time));
        if done.await == Ok(true) { Ok(()) } else { Err(NotFlushed) }
    }

    /// Flushes like [`flush`](Self::flush), for code that is not async. Blocks the thread.
    ///
    /// # Errors
    /// As above.
    pub fn flush_blocking(&self, timeout: Duration) -> Result<(), NotFlushed> {
        let (reply, done) = mpsc::sync_channel(1);
        self.when_flushed(timeout, move |in_time| _ = reply.send(in_time));
        // the time counts here too: the client's thread may be gone
        if done.recv_timeout(timeout) == Ok(true) { Ok(()) } else { Err(NotFlushed) }
    }

    fn when_flushed(&self, limit: Duration, reply: impl FnOnce(bool) + Send + 'static) {
        let flushed = self.inner.buffer.flush();
        self.inner.runtime.spawn(async move { reply(timeout(limit, flushed).await.is_ok()) });
    }
}

impl fmt::Debug for EventProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventProxy").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.buffer.close();
        // its end is bounded by the time for shutdown, and a panic there is no reason for one here
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Limits;

    #[test]
    fn a_blocking_flush_ends_without_the_thread() {
        let many = 100;
        let batch_time = Duration::from_secs(3600);
        let limits = Limits { max_events: many, max_bytes: many, batch_events: many, batch_bytes: many, batch_time };
        // nobody drives it
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let buffer = Arc::new(Buffer::new(limits));
        let inner = Inner { buffer, default_service: None, runtime: runtime.handle().clone(), thread: None };
        assert_eq!(EventProxy::new(inner).flush_blocking(Duration::from_millis(1)), Err(NotFlushed));
    }
}
