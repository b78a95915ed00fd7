//! The handle that callers have.

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
/// It has a thread of its own, so it works inside a tokio runtime, outside of one, and while one shuts down.
///
/// Events are posted in the order of `send`, batch after batch, with one request under way at a time. So events of one
/// key reach Kafka in that order, with two exceptions: when the client goes to another address, for each proxy keeps
/// the order of what it got itself; and when a proxy, in its answer to one batch, puts an event off (429, 503) but takes
/// a later one.
///
/// Dropping the last clone sends what waits, for at most [`Builder::shutdown_timeout`], and blocks that long. A client
/// that was [installed](crate::install) is never dropped: end the program with a [flush](Self::flush).
#[derive(Clone)]
pub struct EventProxy {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) buffer: Arc<Buffer>,
    pub(crate) default_service: Option<String>,
    /// Of the client's thread.
    pub(crate) runtime: Handle,
    /// Always there, until it is dropped.
    pub(crate) thread: Option<JoinHandle<()>>,
}

impl EventProxy {
    /// A client is made by its settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// Puts the event into the buffer, and returns at once.
    ///
    /// Here it gets its id and time if it has none: however often it is sent from then on, the proxy takes it once.
    ///
    /// # Errors
    /// The event is dropped, and counted in [`Stats::dropped`], if it could not be accepted as it is, or if the buffer
    /// is full. Callers that can do nothing about it may ignore that.
    pub fn send(&self, event: Event) -> Result<(), SendError> {
        let buffer = &self.inner.buffer;
        let json = event.into_json(self.inner.default_service.as_deref());
        buffer.push(json.inspect_err(|reason| buffer.count_invalid(reason))?)
    }

    /// The service of events that do not name one.
    pub(crate) fn default_service(&self) -> Option<&str> {
        self.inner.default_service.as_deref()
    }

    /// Where its events have gone until now.
    pub fn stats(&self) -> Stats {
        self.inner.buffer.stats()
    }

    /// Waits until everything sent before is accepted, refused or given up; on whatever runtime.
    ///
    /// # Errors
    /// [`NotFlushed`] when that takes longer than `timeout`.
    pub async fn flush(&self, timeout: Duration) -> Result<(), NotFlushed> {
        let (reply, done) = oneshot::channel();
        // whoever waited may have gone
        self.when_flushed(timeout, move |in_time| _ = reply.send(in_time));
        if done.await == Ok(true) { Ok(()) } else { Err(NotFlushed) }
    }

    /// [`flush`](Self::flush) for code that is not async. It blocks the thread.
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
