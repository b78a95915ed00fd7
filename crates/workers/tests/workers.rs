//! The worker binaries, on PostgreSQL: each does its part of the work beside a shop, several processes share the
//! work, and each explains a failure.

#[path = "workers/command_line.rs"]
mod command_line;
#[path = "workers/process.rs"]
mod process;
#[path = "workers/waiting.rs"]
mod waiting;
#[path = "workers/work.rs"]
mod work;
