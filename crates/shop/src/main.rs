//! The binary `shop`.

/// A tenth faster than the C library's allocator, also for SQLite's allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    shop::cli::run()
}
