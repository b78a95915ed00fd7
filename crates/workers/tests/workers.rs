//! The worker binaries themselves, on PostgreSQL: each does its part of what the shop leaves to it, several share it,
//! and each says why it does not.

#[path = "workers/command_line.rs"]
mod command_line;
#[path = "workers/process.rs"]
mod process;
#[path = "workers/waiting.rs"]
mod waiting;
#[path = "workers/work.rs"]
mod work;
