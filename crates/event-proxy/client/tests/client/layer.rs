//! Log events of `tracing`.

use std::fmt;
use std::sync::Arc;

use event_proxy_client::{BuildError, Event, EventProxy, ProxyLayer, ProxyLayerBuilder};
use parking_lot::Mutex;
use serde::{Serialize, Serializer, ser::Error as _};
use serde_json::{Value, json};
use tracing::field::Field;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber, debug_span, error, info, info_span, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry, registry};

use super::stub::{LONG, Reply, Stub};

/// Returns the shipped log events of `log`, through a layer with `settings`.
fn shipped(settings: impl FnOnce(ProxyLayerBuilder) -> ProxyLayerBuilder, log: impl FnOnce()) -> Vec<Value> {
    let stub = Stub::start([]);
    let proxy = stub.client().build().unwrap();
    let layer = settings(ProxyLayer::builder(proxy.clone())).build().unwrap();
    tracing::subscriber::with_default(registry().with(layer), log);
    proxy.flush_blocking(LONG).unwrap();
    stub.events()
}

/// Logs when displayed.
struct Chatty;

impl fmt::Debug for Chatty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        error!("shown");
        f.write_str("Chatty")
    }
}

/// Can't be shown.
struct Unspeakable;

impl fmt::Debug for Unspeakable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unsp")?;
        Err(fmt::Error)
    }
}

impl Serialize for Unspeakable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("no words for it"))
    }
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let stub = Stub::start([]);
    let (one, other) = (stub.client().build().unwrap(), EventProxy::builder().url(&stub.url).build().unwrap());
    let fine = || ProxyLayer::builder(one.clone());
    let cases = [
        ("service", fine().service("or.der")),
        ("service", ProxyLayer::builder(other.clone())),
        ("event_type", fine().event_type("")),
    ];
    for (wrong, builder) in cases {
        let error = builder.build::<Registry>().err().unwrap();
        assert!(matches!(&error, BuildError::Setting { setting, .. } if *setting == wrong), "{wrong}: {error}");
    }
    assert!(ProxyLayer::builder(other).service("order").build::<Registry>().is_ok());
}

#[test]
fn a_value_that_cannot_be_shown_costs_only_itself() {
    let events = shipped(|layer| layer, || error!(value = ?Unspeakable, "last"));
    assert_eq!(events[0]["data"]["fields"], json!({ "value": "Unsp" }));
}

#[test]
fn errors_go_with_their_fields_and_spans() {
    let events = shipped(
        |layer| layer,
        || {
            let outer = info_span!("request", path = "/orders", status = tracing::field::Empty);
            let _outer = outer.clone().entered();
            let _unseen = debug_span!("unseen").entered();
            let _inner = info_span!("payment", order = 17).entered();
            outer.record("status", 500);
            info!("not shipped");
            let cause = std::io::Error::other("card expired");
            error!(amount = 1200, ratio = 0.5, ok = false, error = &cause as &dyn std::error::Error, "it {}", "failed");
        },
    );
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!((&event["service"], &event["type"], &event["level"]), (&json!("order"), &json!("log"), &json!("error")));
    let data = &event["data"];
    assert_eq!(data["message"], "it failed");
    assert_eq!(data["target"], module_path!());
    assert_eq!(data["file"], file!());
    assert_eq!(data["fields"], json!({ "amount": 1200, "ratio": 0.5, "ok": false, "error": "card expired" }));
    let spans = json!([
        { "name": "request", "fields": { "path": "/orders", "status": 500 } },
        { "name": "payment", "fields": { "order": 17 } },
    ]);
    assert_eq!(data["spans"], spans);
}

#[test]
fn a_field_gives_the_type() {
    let events = shipped(
        |layer| layer.event_type("failure").service("billing"),
        || {
            error!(event_type = "payment-failed", "one");
            error!(event_type = "no type", "two");
            error!(event_type = 3, "three");
        },
    );
    let types: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["payment-failed", "failure", "failure"]);
    let fields: Vec<_> = events.iter().map(|event| event["data"]["fields"].clone()).collect();
    assert_eq!(fields, [json!({}), json!({ "event_type": "no type" }), json!({ "event_type": 3 })]);
    assert_eq!(events[0]["service"], "billing");
}

#[test]
fn events_are_chosen_by_target_and_level_and_spans_by_level() {
    let chosen = Targets::new().with_target("shop::orders", Level::WARN).with_target("shop", LevelFilter::OFF);
    let events = shipped(
        |layer| layer.events(chosen).spans(LevelFilter::DEBUG),
        || {
            let _span = debug_span!("seen").entered();
            warn!(target: "shop::orders", "yes");
            info!(target: "shop::orders", "no");
            error!(target: "shop::stock", "no");
            error!("no");
        },
    );
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0]["data"]["message"], &events[0]["level"]), (&json!("yes"), &json!("warn")));
    assert_eq!(events[0]["data"]["spans"][0]["name"], "seen");
}

#[test]
fn values_that_log_when_shown_do_no_harm() {
    let events = shipped(
        |layer| layer,
        || {
            let span = info_span!("span", value = tracing::field::Empty);
            let _entered = span.clone().entered();
            span.record("value", tracing::field::debug(Chatty));
            error!(value = ?Chatty, "last");
        },
    );
    let last = events.last().unwrap();
    assert_eq!(last["data"]["message"], "last");
    assert_eq!(last["data"]["spans"][0]["fields"]["value"], "Chatty");
}

/// Log events of clients.
#[derive(Clone, Default)]
struct OfClients(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for OfClients {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target().starts_with("event_proxy_client") {
            let mut text = String::new();
            event.record(&mut |field: &Field, value: &dyn fmt::Debug| text += &format!("{field}={value:?} "));
            self.0.lock().push(text);
        }
    }
}

/// The only test with a subscriber of all threads, including the clients' threads.
#[test]
fn what_clients_log_is_not_shipped() {
    let stub = Stub::start([Reply::Later(503, "0"), Reply::Status(422)]);
    let proxy = stub.client().build().unwrap();
    let logged = OfClients::default();
    let everything = ["event_proxy_client", "reqwest", "hyper", "hyper_util", "rustls"].map(|it| (it, Level::TRACE));
    let layer = ProxyLayer::builder(proxy.clone()).events(Targets::new().with_targets(everything));
    let layer = layer.build().unwrap();
    tracing::subscriber::set_global_default(registry().with(logged.clone()).with(layer)).unwrap();

    proxy.send(Event::new("placed").data(Unspeakable)).unwrap_err();
    proxy.send(Event::new("placed")).unwrap();
    proxy.flush_blocking(LONG).unwrap();
    proxy.flush_blocking(LONG).unwrap();
    let logged = logged.0.lock();
    for part in ["Service Unavailable", "Unprocessable", "events=1 reason=\"data: no words for it\""] {
        assert!(logged.iter().any(|text| text.contains(part)), "{part}: {logged:?}");
    }
    assert_eq!(stub.requests().len(), 2);
    assert_eq!((proxy.stats().dropped.refused, proxy.stats().sent), (1, 0));
}
