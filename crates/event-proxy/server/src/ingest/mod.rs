//! The way of an event from a request into the event log.

pub(crate) mod capacity;
pub(crate) mod cloudevents;
pub(crate) mod event;
pub(crate) mod parse;
pub(crate) mod quota;
pub(crate) mod receipt;
mod same;
pub(crate) mod service;
pub(crate) mod writer;
