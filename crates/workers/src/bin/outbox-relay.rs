//! Gives events their positions, and copies to Kafka the topics that are there.

use workers::{Task, Worker};

fn main() -> std::process::ExitCode {
    workers::run(Worker {
        name: "outbox-relay",
        about: "Gives events their positions, and copies to Kafka the topics that are there.",
        task: Task::Relay,
    })
}
