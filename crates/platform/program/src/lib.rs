//! What our programs have in common: where their settings come from, how they are asked to stop, and how they end.
//!
//! A program describes its settings as a struct, and reads it with [`settings::Sources`].

pub mod password;
pub mod process;
mod secret;
mod secret_file;
pub mod settings;

pub use secret::Secret;
pub use secret_file::{kept_secret, known_secret, new_secret};
