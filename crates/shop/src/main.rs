//! The binary `shop`.

fn main() -> std::process::ExitCode {
    shop::cli::run()
}
