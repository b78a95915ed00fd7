//! The sink into Splunk: the HTTP event collector, with the event's id as the field `event_id`.
//!
//! The collector does not know repeats: after a failure the same `event_id` may be there twice.

use async_trait::async_trait;
use db::types::{Id, Time};
use messaging::{EffectHandler, Event, HandlerError, Lease};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::line::{self, Line};
use super::settings::SplunkSettings;
use crate::outbound::{Target, parcels};
use program::settings::SettingError;

pub(super) struct Splunk {
    target: Target,
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
        let (index, sourcetype) = (settings.index.clone(), settings.sourcetype.clone());
        Ok(Self { target, authorization, index, sourcetype, max_body_bytes: settings.max_body_bytes })
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
        headers
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
    let micros = time.micros();
    let text = format!("{}.{:06}", micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    RawValue::from_string(text).map_err(|error| HandlerError::Failed(error.to_string()))
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    text: String,
    code: i64,
}

/// Codes that speak of the set-up and not of the event, though the status is 400: incorrect index, data channel
/// missing or invalid, acknowledgement disabled.
///
/// Source: Splunk, "Troubleshoot HTTP Event Collector", possible error codes.
const SET_UP: [i64; 4] = [7, 10, 11, 14];

fn judge(answer: Result<Vec<u8>, HandlerError>) -> Result<(), HandlerError> {
    match answer {
        Ok(body) => match serde_json::from_slice::<Answer>(&body) {
            Ok(Answer { code: 0, .. }) => Ok(()),
            Ok(Answer { text, code }) => Err(HandlerError::Unavailable(format!("code {code}: {text}"))),
            Err(error) => Err(HandlerError::Unavailable(format!("the answer makes no sense: {error}"))),
        },
        Err(HandlerError::Failed(text)) => {
            let code = text.split_once(": ").and_then(|(_, body)| serde_json::from_str::<Answer>(body).ok());
            let set_up = code.is_some_and(|answer| SET_UP.contains(&answer.code));
            Err(if set_up { HandlerError::Unavailable(text) } else { HandlerError::Failed(text) })
        }
        Err(away) => Err(away),
    }
}

#[async_trait]
impl EffectHandler for Splunk {
    async fn handle(&self, _lease: &Lease, events: &[Event]) -> Result<(), HandlerError> {
        let documents = self.documents(events)?;
        for parcel in parcels(&documents, self.max_body_bytes) {
            judge(self.target.post(self.headers(), parcel.concat()).await)?;
        }
        Ok(())
    }
}
