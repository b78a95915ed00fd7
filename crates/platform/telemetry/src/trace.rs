//! One trace id on the way from the HTTP request through the event log into each handler.

use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use uuid::Uuid;

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// A W3C trace context: the trace, and the causing span.
///
/// Source: <https://www.w3.org/TR/trace-context/>, version 00.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    sampled: bool,
}

impl TraceContext {
    /// Starts a new trace.
    pub fn new() -> Self {
        let id = Uuid::new_v4().as_u128();
        Self { trace_id: id, span_id: Uuid::new_v4().as_u64_pair().1, sampled: true }
    }

    /// Returns the context of the running task, if any.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|context| *context).ok()
    }

    /// Returns the same trace with a new span.
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

    /// Returns the ids as numbers, and true if the trace is sampled: trace, span, sampled.
    pub fn parts(&self) -> (u128, u64, bool) {
        (self.trace_id, self.span_id, self.sampled)
    }
}

impl Default for TraceContext {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs `work` inside `span`; the span continues the trace of `parent` or begins a trace.
///
/// During `work`, [`TraceContext::current`] is the span's own context, for caused events and calls. The span must
/// have an empty field `trace_id` (`info_span!("…", trace_id = field::Empty)`), shown in log lines.
pub async fn traced<F: Future>(parent: Option<TraceContext>, span: Span, work: F) -> F::Output {
    let context = exported(parent, &span).unwrap_or_else(|| parent.map(TraceContext::child).unwrap_or_default());
    span.record("trace_id", tracing::field::display(format_args!("{:032x}", context.trace_id)));
    context.scope(work.instrument(span)).await
}

static EXPORT: AtomicBool = AtomicBool::new(false);

/// Starts the export of spans.
pub(crate) fn export() {
    EXPORT.store(true, Ordering::Relaxed);
}

/// Returns the exporter's context of `span`; `None` for spans without export or a filtered span.
fn exported(parent: Option<TraceContext>, span: &Span) -> Option<TraceContext> {
    if !EXPORT.load(Ordering::Relaxed) || span.is_disabled() {
        return None;
    }
    if let Some(parent) = parent {
        let remote = opentelemetry::Context::new().with_remote_span_context(parent.into());
        span.set_parent(remote).ok()?;
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then(|| TraceContext {
        trace_id: u128::from_be_bytes(context.trace_id().to_bytes()),
        span_id: u64::from_be_bytes(context.span_id().to_bytes()),
        sampled: context.is_sampled(),
    })
}

impl From<TraceContext> for SpanContext {
    fn from(context: TraceContext) -> Self {
        let (trace, span) = (TraceId::from(context.trace_id), SpanId::from(context.span_id));
        let flags = if context.sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
        SpanContext::new(trace, span, flags, true, TraceState::NONE)
    }
}

/// The `traceparent` header.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// Error for a text that is no trace context, with the reason.
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
