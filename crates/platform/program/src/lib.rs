//! Common parts of the programs: sources of settings, stop signals, and exit codes.
//!
//! A program describes the settings as a struct, and reads the struct with [`settings::Sources`].

pub mod password;
pub mod process;
mod secret;
mod secret_file;
pub mod settings;

pub use secret::Secret;
pub use secret_file::{kept_secret, known_secret, new_secret};
