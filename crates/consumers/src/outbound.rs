//! Requests to external services: the client, the meaning of answers, and signatures.

use program::settings::{SettingError, expect, positive};
use std::path::Path;
use std::time::{Duration, Instant};

use chrono::{DateTime, FixedOffset, Utc};
use hmac::{Hmac, KeyInit, Mac};
use messaging::HandlerError;
use parking_lot::Mutex;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Certificate, Client, StatusCode, Url, redirect};
use sha2::Sha256;

/// Timeout of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Characters of a refusal's body in the error's text.
const QUOTED: usize = 300;

/// Longest pause that a receiver can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// An HTTP endpoint for events.
pub(crate) struct Target {
    client: Client,
    url: Url,
    /// End of the pause that the receiver asked for.
    paused: Mutex<Option<Instant>>,
}

impl Target {
    /// `section` names the settings in errors; `path` is put behind the configured URL.
    ///
    /// # Errors
    /// [`SettingError`] for `<section>.url`, `<section>.timeout` and `<section>.ca_file`.
    pub(crate) fn new(
        section: &str,
        url: Option<&str>,
        path: &str,
        ca_file: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, SettingError> {
        let key = format!("{section}.url");
        let text = url.filter(|url| !url.is_empty()).ok_or_else(|| SettingError::new(&key, "is not set"))?;
        let full = if path.is_empty() { text.to_owned() } else { format!("{}{path}", text.trim_end_matches('/')) };
        let url = Url::parse(&full).map_err(|error| SettingError::new(&key, format!("is no URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(SettingError::new(&key, "must begin with http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(SettingError::new(&key, "must not hold credentials, for it is shown in logs"));
        }
        expect(&key, url.port() != Some(0), "must not have port 0")?;
        positive(&format!("{section}.timeout"), timeout)?;
        let client = client(&url, ca_file, timeout, section)?;
        Ok(Self { client, url, paused: Mutex::default() })
    }

    /// Posts `body`, and returns the body of a 2xx answer.
    ///
    /// # Errors
    /// [`HandlerError::Unavailable`] when nothing answers in time, and until the end of a pause that the receiver asked for
    /// (`Retry-After`); a refusal as [`refusal`] says.
    pub(crate) async fn post(&self, headers: HeaderMap, body: Vec<u8>) -> Result<Vec<u8>, HandlerError> {
        let left = self.paused.lock().map(|end| end.saturating_duration_since(Instant::now()));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            let text = format!("the receiver asked for a pause, of which {} s are left", left.as_secs() + 1);
            return Err(HandlerError::Unavailable(text));
        }
        let away = |error: reqwest::Error| HandlerError::Unavailable(chain(&error.without_url()));
        let answer = self.client.post(self.url.clone()).headers(headers).body(body).send().await.map_err(away)?;
        let status = answer.status();
        if let Some(pause) = retry_after(answer.headers()).filter(|_| !status.is_success()) {
            let end = Instant::now() + pause;
            let mut paused = self.paused.lock();
            *paused = Some(paused.map_or(end, |known| known.max(end)));
        }
        let body = answer.bytes().await.map_err(away)?;
        if status.is_success() {
            return Ok(body.to_vec());
        }
        Err(refusal(status, &String::from_utf8_lossy(&body)))
    }
}

fn client(url: &Url, ca_file: Option<&Path>, timeout: Duration, section: &str) -> Result<Client, SettingError> {
    // a redirect would lose the body or the signature, so it is an answer like any other that is not 2xx
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout)
        .user_agent(concat!("jangteo/", env!("CARGO_PKG_VERSION")));
    if let Some(file) = ca_file {
        builder = builder.tls_certs_merge(certificates(section, file)?.1);
    } else if url.scheme() == "http" {
        // the system's certificates are not needed, and not every container has them
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| SettingError::new(format!("{section}.url"), chain(&error)))
}

/// Returns the content of a file, and the certificates in it.
///
/// # Errors
/// [`SettingError`] for `<section>.ca_file`.
pub(crate) fn certificates(section: &str, file: &Path) -> Result<(Vec<u8>, Vec<Certificate>), SettingError> {
    let bad = |reason: &str| SettingError::new(format!("{section}.ca_file"), format!("{}: {reason}", file.display()));
    let pem = std::fs::read(file).map_err(|error| bad(&error.to_string()))?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| bad(&chain(&error)))?;
    if certificates.is_empty() { Err(bad("holds no certificate")) } else { Ok((pem, certificates)) }
}

/// The pause that an answer asks for, in seconds or as a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let until = |date: DateTime<FixedOffset>| (date.to_utc() - Utc::now()).to_std().unwrap_or_default();
    let pause = text.parse().map(Duration::from_secs).or_else(|_| DateTime::parse_from_rfc2822(text).map(until));
    pause.ok().map(|pause| pause.min(LONGEST_PAUSE))
}

/// Meaning of a status other than 2xx for the events.
///
/// Only the receiver's words about the *content* fail an event: 422, 413, and 400 with a reason. A batch that fails comes
/// again event by event, so that 413 fails the one that is too large. Any other answer, and any page of HTML, which a
/// balancer sends, would refuse every event alike: the events wait, and nothing is dead-lettered.
pub(crate) fn refusal(status: StatusCode, text: &str) -> HandlerError {
    let words = text.trim_start();
    let begins = |with: &str| words.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    let is_page = begins("<html") || begins("<!doctype");
    let is_content = match status.as_u16() {
        413 => true,
        422 => !is_page,
        400 => !is_page && !words.is_empty(),
        _ => false,
    };
    let text = format!("{status}: {}", text.chars().take(QUOTED).collect::<String>());
    if is_content { HandlerError::Failed(text) } else { HandlerError::Unavailable(text) }
}

/// Returns an error and the causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Returns HMAC-SHA256 over the concatenated `parts`.
pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes keys of any length
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length is a key");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Returns lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Cuts `documents` into parcels of at most `max_bytes`, in order; a larger document goes alone.
pub(crate) fn parcels(documents: &[Vec<u8>], max_bytes: usize) -> Vec<&[Vec<u8>]> {
    let mut parcels = Vec::new();
    let (mut start, mut size) = (0, 0);
    for (end, document) in documents.iter().enumerate() {
        if end > start && size + document.len() > max_bytes {
            parcels.push(&documents[start..end]);
            (start, size) = (end, 0);
        }
        size += document.len();
    }
    if start < documents.len() {
        parcels.push(&documents[start..]);
    }
    parcels
}
