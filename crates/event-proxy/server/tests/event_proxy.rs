//! The proxy as a service meets it: over HTTP.

mod event_proxy {
    mod ingest;
    mod kafka;
    mod limits;
    mod refusals;
    mod settings;
    mod support;
}
