//! Exports payments, orders and topics of event proxies to the data platform.

use workers::{Task, Worker};

fn main() -> std::process::ExitCode {
    workers::run(Worker {
        name: "data-platform",
        about: "Exports payments, orders and topics of event proxies to the data platform.",
        task: Task::Groups(&["data-platform"]),
    })
}
