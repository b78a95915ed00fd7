//! Keeps figures: what sells, and what coupons do.

use workers::{Task, Worker};

fn main() -> std::process::ExitCode {
    workers::run(Worker {
        name: "analytics",
        about: "Keeps figures: what sells, and what coupons do.",
        task: Task::Groups(&["analytics"]),
    })
}
