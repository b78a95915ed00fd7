//! Promises of the bus on every bus, and rules of the code base.

#[path = "testkit/conformance.rs"]
mod conformance;
#[path = "testkit/counts.rs"]
mod counts;
#[path = "testkit/direct_topics.rs"]
mod direct_topics;
#[path = "testkit/edges.rs"]
mod edges;
#[path = "testkit/foreign.rs"]
mod foreign;
#[path = "testkit/numbering.rs"]
mod numbering;
