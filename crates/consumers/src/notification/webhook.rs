//! The group `notification-webhook`: a POST for each event that somebody is told of, signed as Standard Webhooks has
//! it.
//!
//! `webhook-id` is the id of the event, the same each time it is sent. Source: the Standard Webhooks specification,
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use contracts::MemberId;
use db::Database;
use db::types::{Id, Time};
use messaging::{EffectHandler, Event, HandlerError, Lease};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::value::RawValue;

use super::model::{self, Audience, Notice};
use super::settings::WebhookSettings;
use super::store::{self, Channel};
use crate::outbound::{Target, hmac_sha256};
use program::Secret;
use program::settings::SettingError;

/// There is one endpoint, whoever is told.
const RECIPIENT: &str = "endpoint";

pub(super) struct Webhook {
    target: Target,
    key: Vec<u8>,
    db: Database,
}

impl Webhook {
    /// `None` unless a URL is set.
    pub(super) fn new(settings: &WebhookSettings, db: Database) -> Result<Option<Self>, SettingError> {
        Ok(way(settings)?.map(|(target, key)| Self { target, key, db }))
    }

    fn headers(&self, event: Id, body: &[u8]) -> HeaderMap {
        let (id, timestamp) = (event.to_string(), Time::now().to_chrono().timestamp().to_string());
        let mac = hmac_sha256(&self.key, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in [
            ("webhook-id", id),
            ("webhook-timestamp", timestamp),
            ("webhook-signature", format!("v1,{}", BASE64_STANDARD.encode(mac))),
        ] {
            // digits, letters and base64
            headers.insert(HeaderName::from_static(name), value.parse().expect("a header value"));
        }
        headers
    }

    async fn send(&self, event: &Event, notice: &Notice) -> Result<(), HandlerError> {
        let body = body(event, notice)?;
        self.target.post(self.headers(event.id, &body), body).await?;
        let id = event.id;
        let mark = move |tx: &mut db::Tx<'_>| {
            let now = tx.now()?;
            store::mark_sent(tx, id, Channel::Webhook, RECIPIENT, None, now)
        };
        Ok(self.db.write(mark).await?)
    }
}

/// The endpoint and the key of signatures; `None` unless a URL is set.
pub(super) fn way(settings: &WebhookSettings) -> Result<Option<(Target, Vec<u8>)>, SettingError> {
    let Some(url) = settings.url.as_deref().filter(|url| !url.is_empty()) else { return Ok(None) };
    let key = key(&settings.secret)?;
    let target = Target::new("notification.webhook", Some(url), "", settings.ca_file.as_deref(), settings.timeout)?;
    Ok(Some((target, key)))
}

fn key(secret: &Secret) -> Result<Vec<u8>, SettingError> {
    let bad = |reason| SettingError::new("notification.webhook.secret", reason);
    if secret.is_empty() {
        return Err(bad("is not set"));
    }
    let base64 = secret.expose().strip_prefix("whsec_").ok_or_else(|| bad("must begin with whsec_"))?;
    let key = BASE64_STANDARD.decode(base64).map_err(|_| bad("must be base64 behind whsec_"))?;
    if (24..=64).contains(&key.len()) { Ok(key) } else { Err(bad("must have 24 to 64 bytes behind whsec_, in base64")) }
}

#[derive(Serialize)]
struct Body<'e> {
    #[serde(rename = "type")]
    kind: &'e str,
    timestamp: Time,
    data: Data<'e>,
}

#[derive(Serialize)]
struct Data<'e> {
    kind: &'e str,
    text: &'e str,
    /// Left out when every admin is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    member_id: Option<MemberId>,
    event: &'e RawValue,
}

fn body(event: &Event, notice: &Notice) -> Result<Vec<u8>, HandlerError> {
    let failed = |error: serde_json::Error| HandlerError::Failed(format!("{}: {error}", event.kind));
    let member_id = match notice.audience {
        Audience::Member(member) => Some(member),
        Audience::Admins => None,
    };
    let payload = serde_json::from_str(&event.payload).map_err(failed)?;
    let data = Data { kind: notice.kind.as_str(), text: &notice.text, member_id, event: payload };
    serde_json::to_vec(&Body { kind: &event.kind, timestamp: event.occurred_at, data }).map_err(failed)
}

#[async_trait]
impl EffectHandler for Webhook {
    async fn handle(&self, _lease: &Lease, events: &[Event]) -> Result<(), HandlerError> {
        let ids: Vec<Id> = events.iter().map(|event| event.id).collect();
        let sent = self.db.read(move |conn| store::sent(conn, Channel::Webhook, &ids)).await?;
        for event in events.iter().filter(|event| !sent.contains(&(event.id, RECIPIENT.to_owned()))) {
            if let Some(notice) = model::notice(event)? {
                self.send(event, &notice).await?;
            }
        }
        Ok(())
    }
}
