//! Adds up each day's takings.

use workers::{Task, Worker};

fn main() -> std::process::ExitCode {
    workers::run(Worker {
        name: "settlement",
        about: "Adds up each day's takings.",
        task: Task::Groups(&["settlement"]),
    })
}
