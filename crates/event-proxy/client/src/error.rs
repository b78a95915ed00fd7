//! What can go wrong for a caller.

use std::error::Error;
use std::fmt::{Display, Write};
use std::io;

/// A client that can't be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A setting that can't be used.
    #[error("{setting}: {reason}")]
    Setting {
        /// The builder's function: `url`.
        setting: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The system gave no thread, or not what its runtime needs.
    #[error("the client's thread did not start")]
    Thread(#[source] io::Error),
}

impl BuildError {
    pub(crate) fn setting(setting: &'static str, reason: impl Into<String>) -> Self {
        Self::Setting { setting, reason: reason.into() }
    }
}

/// An event that was not taken. It is dropped, and counted as such.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The buffer is full: the proxy takes events more slowly than they come, or none at all.
    #[error("the buffer is full")]
    Full,
    /// The proxy would refuse it.
    #[error("{field}: {reason}")]
    Invalid {
        /// As the proxy calls it: `type`.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// Events were still waiting when the time was up. They go on waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not all events were delivered in time")]
pub struct NotFlushed;

/// There is a process-wide client already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a client was installed before")]
pub struct AlreadyInstalled;

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    causes(error.source()).fold(text(error), |chain, cause| format!("{chain}: {}", text(cause)))
}

/// How it shows, as far as it goes: `to_string` panics when `Display` fails.
pub(crate) fn text(shown: impl Display) -> String {
    let mut text = String::new();
    let _ = write!(text, "{shown}");
    text
}

/// The source of an error, its source, and so on.
pub(crate) fn causes<'a>(source: Option<&'a (dyn Error + 'static)>) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(source, |error: &&'a (dyn Error + 'static)| (**error).source())
}
