//! Decides who gets a first-come coupon.

use workers::{Task, Worker};

fn main() -> std::process::ExitCode {
    workers::run(Worker {
        name: "coupon-issuer",
        about: "Decides who gets a first-come coupon.",
        task: Task::Groups(&["coupon-issuer"]),
    })
}
