//! One trace id from the HTTP request through the event log into each handler.

use std::fmt;
use std::future::Future;
use std::str::FromStr;

use uuid::Uuid;

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// A W3C trace context: the trace, and the span in it that caused what follows.
///
/// Source: <https://www.w3.org/TR/trace-context/>, version 00.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    sampled: bool,
}

impl TraceContext {
    /// A trace of its own.
    pub fn new() -> Self {
        let id = Uuid::new_v4().as_u128();
        Self { trace_id: id, span_id: Uuid::new_v4().as_u64_pair().1, sampled: true }
    }

    /// The context of the running task, if it has one.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|context| *context).ok()
    }

    /// The same trace, with a span of its own.
    pub fn child(self) -> Self {
        Self { span_id: Uuid::new_v4().as_u64_pair().1, ..self }
    }

    /// Runs `work` with this as the [`current`](Self::current) context.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// The ids as numbers: trace, span, and whether the trace is sampled.
    pub fn parts(&self) -> (u128, u64, bool) {
        (self.trace_id, self.span_id, self.sampled)
    }
}

impl Default for TraceContext {
    fn default() -> Self {
        Self::new()
    }
}

/// The `traceparent` header.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// What is no trace context, with the reason.
#[derive(Debug, thiserror::Error)]
#[error("not a traceparent")]
pub struct NotATraceparent;

impl FromStr for TraceContext {
    type Err = NotATraceparent;

    fn from_str(header: &str) -> Result<Self, NotATraceparent> {
        let mut parts = header.split('-');
        let mut next = |digits: usize| parts.next().filter(|part| part.len() == digits).ok_or(NotATraceparent);
        let (version, trace, span, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
        let hex = |text| u128::from_str_radix(text, 16).map_err(|_| NotATraceparent);
        let (trace_id, span_id) = (hex(trace)?, hex(span)? as u64);
        if version == "ff" || trace_id == 0 || span_id == 0 {
            return Err(NotATraceparent);
        }
        Ok(Self { trace_id, span_id, sampled: hex(flags)? & 1 == 1 })
    }
}
