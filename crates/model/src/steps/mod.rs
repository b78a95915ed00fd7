//! Steps of the participants, by section of docs/protocol.md.

mod effects;
mod faults;
mod group;
mod letters;
mod relay;
mod writing;
