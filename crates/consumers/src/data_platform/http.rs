//! The sink over HTTP: a signed POST.
//!
//! | header | |
//! | --- | --- |
//! | `content-type` | `application/json` (an array) or `application/x-ndjson` |
//! | `idempotency-key` | the id of the event; of several, SHA-256 (hex) of their ids joined by `,` |
//! | `x-jangteo-timestamp` | seconds since 1970, at the time of sending |
//! | `x-jangteo-signature` | `v1=` and HMAC-SHA256 (hex) of timestamp, `.` and body, by `export.http.secret` |
//!
//! After a failure the same events may come again, also in another batch: compare by `id`.

use async_trait::async_trait;
use messaging::{EffectHandler, Event, HandlerError, Lease};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use super::line;
use super::settings::{BodyFormat, HttpSettings};
use crate::outbound::{Target, hex, hmac_sha256, parcels};
use program::Secret;
use program::settings::SettingError;

pub(super) struct Http {
    target: Target,
    secret: Secret,
    format: BodyFormat,
    max_body_bytes: usize,
}

impl Http {
    pub(super) fn new(settings: &HttpSettings) -> Result<Self, SettingError> {
        if settings.secret.is_empty() {
            return Err(SettingError::new("export.http.secret", "is not set"));
        }
        let (url, ca_file) = (settings.url.as_deref(), settings.ca_file.as_deref());
        let target = Target::new("export.http", url, "", ca_file, settings.timeout)?;
        let (secret, format) = (settings.secret.clone(), settings.format);
        Ok(Self { target, secret, format, max_body_bytes: settings.max_body_bytes })
    }

    fn body(&self, documents: &[Vec<u8>]) -> Vec<u8> {
        match self.format {
            BodyFormat::Array => [b"[".as_slice(), &documents.join(&b','), b"]"].concat(),
            BodyFormat::Ndjson => [documents.join(&b'\n').as_slice(), b"\n"].concat(),
        }
    }

    fn headers(&self, events: &[Event], body: &[u8]) -> HeaderMap {
        let content_type = match self.format {
            BodyFormat::Array => "application/json",
            BodyFormat::Ndjson => "application/x-ndjson",
        };
        let timestamp = db::types::Time::now().to_chrono().timestamp().to_string();
        let mac = hmac_sha256(self.secret.expose().as_bytes(), &[timestamp.as_bytes(), b".", body]);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        for (name, value) in [
            ("idempotency-key", idempotency_key(events)),
            ("x-jangteo-timestamp", timestamp),
            ("x-jangteo-signature", format!("v1={}", hex(&mac))),
        ] {
            // hexadecimal digits and hyphens
            headers.insert(HeaderName::from_static(name), value.parse().expect("a header value"));
        }
        headers
    }
}

fn idempotency_key(events: &[Event]) -> String {
    if let [event] = events {
        return event.id.to_string();
    }
    let ids: Vec<String> = events.iter().map(|event| event.id.to_string()).collect();
    hex(&Sha256::digest(ids.join(",")))
}

#[async_trait]
impl EffectHandler for Http {
    async fn handle(&self, _lease: &Lease, events: &[Event]) -> Result<(), HandlerError> {
        let documents = line::documents(events)?;
        let mut left = events;
        for parcel in parcels(&documents, self.max_body_bytes) {
            let (now, later) = left.split_at(parcel.len());
            let body = self.body(parcel);
            self.target.post(self.headers(now, &body), body).await?;
            left = later;
        }
        Ok(())
    }
}
