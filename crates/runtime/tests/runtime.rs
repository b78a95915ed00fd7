//! The promises of the runtime: settings with clear errors, a true settings file, and wired consumers. A shop opens,
//! runs and stops, and topics move to another bus and back.

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
