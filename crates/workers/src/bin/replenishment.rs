//! Orders more of a product that runs low.

use workers::{Task, Worker};

fn main() -> std::process::ExitCode {
    workers::run(Worker {
        name: "replenishment",
        about: "Orders more of a product that runs low.",
        task: Task::Groups(&["replenishment"]),
    })
}
