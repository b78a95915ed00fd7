//! The settings of the channels that reach outside: section `notification`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use program::Secret;

/// A channel exists once it is configured: e-mail by `email.host`, webhooks by `webhook.url`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NotificationSettings {
    pub email: EmailSettings,
    pub webhook: WebhookSettings,
}

/// How the connection to the SMTP server is secured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpSecurity {
    /// Not at all: a server on the same machine, or a test.
    None,
    /// Plain at first; refused when the server does not offer TLS.
    #[default]
    Starttls,
    /// TLS from the first byte.
    Tls,
}

/// The longest that one mail or one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Section `notification.email`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmailSettings {
    /// The SMTP server. No e-mail unless set.
    pub host: Option<String>,
    /// 25, 587 or 465 by `security` unless set.
    pub port: Option<u16>,
    pub security: SmtpSecurity,
    /// Logs in with `password` if set.
    pub username: Option<String>,
    pub password: Secret,
    /// `Name <address>` or an address.
    pub from: String,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Time after which a mail is sent again whose mailbox takes none now.
    #[serde(with = "humantime_serde")]
    pub resend_after: Duration,
    /// Certificates (PEM) that are trusted besides the usual ones.
    pub ca_file: Option<PathBuf>,
}

impl Default for EmailSettings {
    fn default() -> Self {
        Self {
            host: None,
            port: None,
            security: SmtpSecurity::default(),
            username: None,
            password: Secret::default(),
            from: "Jangteo <no-reply@shop.local>".into(),
            timeout: TIMEOUT,
            resend_after: Duration::from_secs(300),
            ca_file: None,
        }
    }
}

/// Section `notification.webhook`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookSettings {
    /// No webhooks unless set.
    pub url: Option<String>,
    /// `whsec_` and the key in base64, as Standard Webhooks has it; required with `url`.
    pub secret: Secret,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Certificates (PEM) trusted besides the system's.
    pub ca_file: Option<PathBuf>,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self { url: None, secret: Secret::default(), timeout: TIMEOUT, ca_file: None }
    }
}
