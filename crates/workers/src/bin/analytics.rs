//! The worker `analytics` of deploy/programs.toml.

fn main() -> std::process::ExitCode {
    workers::run(env!("CARGO_BIN_NAME"))
}
