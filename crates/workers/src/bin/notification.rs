//! Tells members what happened, in the app, by e-mail and by webhooks, and opens incidents.

use workers::{Task, Worker};

fn main() -> std::process::ExitCode {
    workers::run(Worker {
        name: "notification",
        about: "Tells members what happened, in the app, by e-mail and by webhooks, and opens incidents.",
        task: Task::Groups(&["notification", "notification-email", "notification-webhook", "incident"]),
    })
}
