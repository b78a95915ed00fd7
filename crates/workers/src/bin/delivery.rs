//! Prepares the delivery of what was paid.

use workers::{Task, Worker};

fn main() -> std::process::ExitCode {
    workers::run(Worker {
        name: "delivery",
        about: "Prepares the delivery of what was paid.",
        task: Task::Groups(&["delivery"]),
    })
}
