//! Passwords and keys, kept out of logs.

use std::fmt;

use serde::Deserialize;

/// A secret of the configuration: [`Debug`](fmt::Debug) shows only the presence of a secret.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Returns the secret itself, for the one user of the secret.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns true if no secret is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl From<&str> for Secret {
    fn from(secret: &str) -> Self {
        Self(secret.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "unset" } else { "[redacted]" })
    }
}
