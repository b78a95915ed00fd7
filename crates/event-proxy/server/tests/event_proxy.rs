//! The proxy from the view of a service: over HTTP.

mod event_proxy {
    mod answers;
    mod cloudevents;
    mod control;
    mod cost;
    mod door;
    mod ingest;
    mod kafka;
    mod keys;
    mod limits;
    mod pages;
    mod peers;
    mod program;
    mod quotas;
    mod refusals;
    mod settings;
    mod storage;
    mod support;
    mod tls;
    mod topics;
    mod values;
}
