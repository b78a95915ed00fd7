//! What the runtime promises: settings that say what is wrong with them, a file that tells the truth, every consumer
//! wired, a shop that opens, runs and stops, and topics that move to another bus and back.

#[path = "runtime/buses.rs"]
mod buses;
#[path = "runtime/file.rs"]
mod file;
#[path = "runtime/hosting.rs"]
mod hosting;
#[path = "runtime/opening.rs"]
mod opening;
#[path = "runtime/settings.rs"]
mod settings;
#[path = "runtime/wiring.rs"]
mod wiring;
