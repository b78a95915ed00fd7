//! Explores the scenarios of the large size, or the scenarios of either size that the arguments name.

use std::process::ExitCode;

use model::{LARGE, SMALL, check};

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let is_named = |name: &str| names.iter().any(|it| it == name);
    let small = SMALL.iter().filter(|scenario| is_named(scenario.name));
    let large = LARGE.iter().filter(|scenario| names.is_empty() || is_named(scenario.name));
    let mut holds = true;
    for scenario in small.chain(large) {
        let report = check(scenario, 2);
        println!("{}: {report}", scenario.name);
        holds &= report.holds();
    }
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
