//! The sink into Splunk: the HTTP event collector, with the event's id as the field `event_id`.
//!
//! The collector does not know repeats: after a failure the same `event_id` may be there twice.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use db::types::{Id, Time};
use messaging::{EffectHandler, Event, HandlerError, Lease};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::sleep;

use super::line::{self, Line};
use super::settings::SplunkSettings;
use crate::outbound::{Target, parcels};
use program::settings::SettingError;

/// Time between two questions whether events are indexed.
const BETWEEN_ACKS: Duration = Duration::from_millis(200);

pub(super) struct Splunk {
    target: Target,
    /// Tells whether what was sent is indexed, where the token asks for acknowledgements.
    acks: Target,
    /// Channel of the acknowledgements.
    channel: HeaderValue,
    patience: Duration,
    authorization: HeaderValue,
    index: Option<String>,
    sourcetype: String,
    max_body_bytes: usize,
}

impl Splunk {
    pub(super) fn new(settings: &SplunkSettings) -> Result<Self, SettingError> {
        let token = |reason| SettingError::new("export.splunk.token", reason);
        if settings.token.is_empty() {
            return Err(token("is not set"));
        }
        let mut authorization = HeaderValue::from_str(&format!("Splunk {}", settings.token.expose()))
            .map_err(|_| token("does not fit into a header"))?;
        authorization.set_sensitive(true);
        let (url, ca_file) = (settings.url.as_deref(), settings.ca_file.as_deref());
        let target = Target::new("export.splunk", url, "/services/collector/event", ca_file, settings.timeout)?;
        let acks = Target::new("export.splunk", url, "/services/collector/ack", ca_file, settings.timeout)?;
        // hexadecimal digits and hyphens
        let channel = Id::new().to_string().parse().expect("a header value");
        Ok(Self {
            target,
            acks,
            channel,
            patience: settings.timeout,
            authorization,
            index: settings.index.clone(),
            sourcetype: settings.sourcetype.clone(),
            max_body_bytes: settings.max_body_bytes,
        })
    }

    fn documents(&self, events: &[Event]) -> Result<Vec<Vec<u8>>, HandlerError> {
        let document = |event: &Event| {
            let data = line::data(event)?;
            let mut document = Vec::with_capacity(768);
            let envelope = Envelope {
                time: seconds(event.occurred_at)?,
                source: format!("jangteo/{}", event.topic),
                sourcetype: &self.sourcetype,
                index: self.index.as_deref(),
                event: Line::new(event, &data),
                fields: Fields { event_id: event.id },
            };
            line::write(&mut document, &envelope)?;
            document.push(b'\n');
            Ok(document)
        };
        events.iter().map(document).collect()
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(AUTHORIZATION, self.authorization.clone());
        headers.insert("x-splunk-request-channel", self.channel.clone());
        headers
    }

    /// Waits until Splunk has indexed what it acknowledges by this number.
    async fn wait_for(&self, ack: u64) -> Result<(), HandlerError> {
        let deadline = Instant::now() + self.patience;
        loop {
            let body = self.acks.post(self.headers(), format!(r#"{{"acks":[{ack}]}}"#).into_bytes()).await;
            let body = body.map_err(|error| HandlerError::Unavailable(error.to_string()))?;
            let strange = |error| HandlerError::Unavailable(format!("the acknowledgement makes no sense: {error}"));
            let answer: Acks = serde_json::from_slice(&body).map_err(strange)?;
            if answer.acks.get(&ack.to_string()) == Some(&true) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(HandlerError::Unavailable("Splunk did not acknowledge the events in time".into()));
            }
            sleep(BETWEEN_ACKS).await;
        }
    }
}

#[derive(Serialize)]
struct Envelope<'e> {
    time: Box<RawValue>,
    source: String,
    sourcetype: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<&'e str>,
    event: Line<'e>,
    fields: Fields,
}

/// Indexed beside the event: Splunk makes no fields of nested values.
#[derive(Serialize)]
struct Fields {
    event_id: Id,
}

/// Seconds since 1970, exact to the microsecond.
fn seconds(time: Time) -> Result<Box<RawValue>, HandlerError> {
    let (micros, sign) = (time.micros().unsigned_abs(), if time.micros() < 0 { "-" } else { "" });
    let text = format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    RawValue::from_string(text).map_err(|error| HandlerError::Failed(error.to_string()))
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    text: String,
    code: i64,
    #[serde(default, rename = "ackId")]
    ack: Option<u64>,
}

#[derive(Deserialize)]
struct Acks {
    acks: HashMap<String, bool>,
}

/// Codes that speak of the events: no data, invalid data format, event field required, event field blank, error in handling
/// indexed fields. All others speak of the set-up, though the status is 400.
///
/// Source: Splunk, "Troubleshoot HTTP Event Collector", possible error codes.
const OF_EVENTS: [i64; 5] = [5, 6, 12, 13, 15];

/// Returns the number of the acknowledgement to wait for, if there is one.
fn judge(answer: Result<Vec<u8>, HandlerError>) -> Result<Option<u64>, HandlerError> {
    match answer {
        // a collector behind a balancer may say no more than that it took them
        Ok(body) if body.trim_ascii().is_empty() => Ok(None),
        Ok(body) => match serde_json::from_slice::<Answer>(&body) {
            Ok(Answer { code: 0, ack, .. }) => Ok(ack),
            Ok(Answer { text, code, .. }) => Err(HandlerError::Unavailable(format!("code {code}: {text}"))),
            Err(error) => Err(HandlerError::Unavailable(format!("the answer makes no sense: {error}"))),
        },
        Err(HandlerError::Failed(text)) => {
            let code = text.split_once(": ").and_then(|(_, body)| serde_json::from_str::<Answer>(body).ok());
            let is_of_events = code.is_none_or(|answer| OF_EVENTS.contains(&answer.code));
            Err(if is_of_events { HandlerError::Failed(text) } else { HandlerError::Unavailable(text) })
        }
        Err(away) => Err(away),
    }
}

#[async_trait]
impl EffectHandler for Splunk {
    async fn handle(&self, _lease: &Lease, events: &[Event]) -> Result<(), HandlerError> {
        let documents = self.documents(events)?;
        for parcel in parcels(&documents, self.max_body_bytes) {
            if let Some(ack) = judge(self.target.post(self.headers(), parcel.concat()).await)? {
                self.wait_for(ack).await?;
            }
        }
        Ok(())
    }
}
