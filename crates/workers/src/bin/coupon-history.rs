//! Keeps the history of each member's coupons.

use workers::{Task, Worker};

fn main() -> std::process::ExitCode {
    workers::run(Worker {
        name: "coupon-history",
        about: "Keeps the history of each member's coupons.",
        task: Task::Groups(&["coupon-history"]),
    })
}
