//! Errors for callers.

use std::error::Error;
use std::fmt::{Display, Write};
use std::io;

/// Failure to build a client.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// An unusable setting.
    #[error("{setting}: {reason}")]
    Setting {
        /// The builder's function: `url`.
        setting: &'static str,
        /// The error in the value.
        reason: String,
    },
    /// The system refused a thread, or resources of the thread's runtime.
    #[error("the client's thread did not start")]
    Thread(#[source] io::Error),
}

impl BuildError {
    pub(crate) fn setting(setting: &'static str, reason: impl Into<String>) -> Self {
        Self::Setting { setting, reason: reason.into() }
    }
}

/// Refusal of an event. The event is dropped, and counted as dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The buffer is full: the proxy takes events too slowly, or not at all.
    #[error("the buffer is full")]
    Full,
    /// The proxy would refuse the event.
    #[error("{field}: {reason}")]
    Invalid {
        /// The proxy's name of the field: `type`.
        field: &'static str,
        /// The error in the value.
        reason: String,
    },
}

/// Events were still queued at the end of the time. The events stay queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not all events were delivered in time")]
pub struct NotFlushed;

/// Error of a second process-wide client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a client was installed before")]
pub struct AlreadyInstalled;

/// Returns an error with the causes, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    causes(error.source()).fold(text(error), |chain, cause| format!("{chain}: {}", text(cause)))
}

/// Returns the text shown before any failure: `to_string` panics on a failing `Display`.
pub(crate) fn text(shown: impl Display) -> String {
    let mut text = String::new();
    let _ = write!(text, "{shown}");
    text
}

/// Returns the source of an error, the source's source, and so on.
pub(crate) fn causes<'a>(source: Option<&'a (dyn Error + 'static)>) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(source, |error: &&'a (dyn Error + 'static)| (**error).source())
}
