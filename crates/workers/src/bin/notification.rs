//! Tells members what happened: in the app, by e-mail, by webhooks.

use workers::{Task, Worker};

fn main() -> std::process::ExitCode {
    workers::run(Worker {
        name: "notification",
        about: "Tells members what happened: in the app, by e-mail, by webhooks.",
        task: Task::Groups(&["notification", "notification-email", "notification-webhook"]),
    })
}
