//! Log events of `tracing` as events of the proxy.

use std::error::Error;
use std::fmt::Debug;

use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{Filtered, Targets};
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::error::{BuildError, chain, text};
use crate::event::{Event, check_setting, is_name};
use crate::proxy::EventProxy;
use crate::worker;

/// Field with the type of a log event.
const TYPE_FIELD: &str = "event_type";

/// Ships log events of `tracing`: by default errors.
///
/// ```no_run
/// use event_proxy_client::{EventProxy, ProxyLayer};
/// use tracing_subscriber::prelude::*;
///
/// # fn doc(proxy: EventProxy) -> Result<(), event_proxy_client::BuildError> {
/// tracing_subscriber::registry().with(ProxyLayer::builder(proxy).build()?).init();
///
/// let _span = tracing::info_span!("payment", order = 17).entered();
/// tracing::error!(event_type = "payment-failed", reason = "card expired", "the payment failed");
/// # Ok(())
/// # }
/// ```
///
/// The event's data are `message`, `target`, `module`, `file`, `line`, `fields`, and `spans`: the enclosing spans,
/// the outermost first, with `name` and `fields`. The type is the value of the field `event_type` if valid, else
/// [`ProxyLayerBuilder::event_type`]. Log events of clients are not shipped.
pub struct ProxyLayer {
    proxy: EventProxy,
    service: Option<String>,
    event_type: String,
}

/// The settings of a [`ProxyLayer`].
#[must_use = "a layer comes from `build`"]
pub struct ProxyLayerBuilder {
    layer: ProxyLayer,
    choice: Choice,
}

impl ProxyLayer {
    /// Starts a layer that sends by `proxy`.
    pub fn builder(proxy: EventProxy) -> ProxyLayerBuilder {
        let events = Targets::new().with_default(LevelFilter::ERROR);
        ProxyLayerBuilder {
            layer: Self { proxy, service: None, event_type: "log".to_owned() },
            choice: Choice { events, spans: LevelFilter::INFO },
        }
    }
}

impl ProxyLayerBuilder {
    /// Sets the service of the events, if not the client's own.
    pub fn service(mut self, service: impl Into<String>) -> Self {
        self.layer.service = Some(service.into());
        self
    }

    /// Sets the type of events without a type, default `log`.
    pub fn event_type(mut self, event_type: impl Into<String>) -> Self {
        self.layer.event_type = event_type.into();
        self
    }

    /// Sets the shipped events, by target and level; default `error` for all targets.
    pub fn events(mut self, events: Targets) -> Self {
        self.choice.events = events;
        self
    }

    /// Sets the reported spans, default `INFO` and above. Other spans cost nothing.
    pub fn spans(mut self, spans: LevelFilter) -> Self {
        self.choice.spans = spans;
        self
    }

    /// Returns the layer, with a filter that leaves other layers alone.
    ///
    /// # Errors
    /// An invalid service or type, or a missing service, both here and in the client.
    pub fn build<S: Subscriber + for<'a> LookupSpan<'a>>(self) -> Result<Filtered<ProxyLayer, Choice, S>, BuildError> {
        let service = self.layer.service.as_deref().or(self.layer.proxy.default_service());
        let missing = || BuildError::setting("service", "is missing, and the client has none of its own");
        check_setting("service", service.ok_or_else(missing)?)?;
        check_setting("event_type", &self.layer.event_type)?;
        Ok(self.layer.with_filter(self.choice))
    }
}

/// Filter of shipped events and reported spans. See [`ProxyLayerBuilder`].
pub struct Choice {
    events: Targets,
    spans: LevelFilter,
}

impl Choice {
    fn includes(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.is_span() {
            return *metadata.level() <= self.spans;
        }
        self.events.would_enable(metadata.target(), metadata.level())
    }
}

impl<S> Filter<S> for Choice {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.includes(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.includes(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Filter::<S>::max_level_hint(&self.events).map(|events| events.max(self.spans))
    }
}

/// Fields of a span.
struct SpanFields(Map<String, Value>);

impl ProxyLayer {
    fn take_type(&self, fields: &mut Map<String, Value>) -> String {
        match fields.remove(TYPE_FIELD) {
            Some(Value::String(kind)) if is_name(&kind) => return kind,
            Some(other) => drop(fields.insert(TYPE_FIELD.to_owned(), other)),
            None => {}
        }
        self.event_type.clone()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for ProxyLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().replace(SpanFields(fields.0));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        // before the extensions are locked: a value's `Debug` may log, which reads them
        let mut fields = Fields::default();
        values.record(&mut fields);
        if let Some(span) = context.span(id)
            && let Some(known) = span.extensions_mut().get_mut::<SpanFields>()
        {
            known.0.extend(fields.0);
        }
    }

    fn on_event(&self, logged: &tracing::Event<'_>, context: Context<'_, S>) {
        if worker::is_ours() {
            return;
        }
        let mut fields = Fields::default();
        logged.record(&mut fields);
        let Fields(mut fields) = fields;
        let kind = self.take_type(&mut fields);
        let metadata = logged.metadata();
        let scope = context.event_scope(logged).into_iter().flat_map(tracing_subscriber::registry::Scope::from_root);
        let data = Data {
            message: fields.remove("message"),
            target: metadata.target(),
            module: metadata.module_path(),
            file: metadata.file(),
            line: metadata.line(),
            fields,
            spans: scope.map(|span| Span::of(&span)).collect(),
        };
        let event = Event::new(kind).level((*metadata.level()).into()).data(data);
        let event = match &self.service {
            Some(service) => event.service(service),
            None => event,
        };
        // counted by the client; to log it here would come back here
        let _ = self.proxy.send(event);
    }
}

#[derive(Serialize)]
struct Data<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Value>,
    target: &'a str,
    module: Option<&'a str>,
    file: Option<&'a str>,
    line: Option<u32>,
    fields: Map<String, Value>,
    spans: Vec<Span>,
}

#[derive(Serialize)]
struct Span {
    name: &'static str,
    fields: Map<String, Value>,
}

impl Span {
    fn of<S: for<'a> LookupSpan<'a>>(span: &SpanRef<'_, S>) -> Self {
        let fields = span.extensions().get::<SpanFields>().map(|known| known.0.clone()).unwrap_or_default();
        Self { name: span.name(), fields }
    }
}

/// Collects fields as JSON.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.add(field, chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, text(format_args!("{value:?}")));
    }
}
