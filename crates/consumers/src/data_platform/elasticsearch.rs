//! The sink into Elasticsearch or OpenSearch: `_bulk`, with the event's id as the document's.
//!
//! Documents are created, never overwritten: 409 means an existing document, and counts as success.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use db::types::Id;
use messaging::{EffectHandler, Event, HandlerError, Lease};
use parking_lot::Mutex;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::line::{self, Line};
use super::settings::ElasticsearchSettings;
use crate::outbound::{Target, parcels};
use program::settings::SettingError;

pub(super) struct Elasticsearch {
    target: Target,
    authorization: Option<HeaderValue>,
    index_prefix: String,
    max_body_bytes: usize,
    /// Outcomes of a batch in which documents were refused, by event: the runtime handles its events one by one then, and
    /// each is answered once without another request.
    outcomes: Mutex<HashMap<Id, Outcome>>,
}

/// The reason why a document was refused, if it was.
type Outcome = Option<String>;

impl Elasticsearch {
    pub(super) fn new(settings: &ElasticsearchSettings) -> Result<Self, SettingError> {
        let (url, ca_file) = (settings.url.as_deref(), settings.ca_file.as_deref());
        let target = Target::new("export.elasticsearch", url, "/_bulk", ca_file, settings.timeout)?;
        let authorization = authorization(settings)?;
        let index_prefix = settings.index_prefix.clone();
        let (max_body_bytes, outcomes) = (settings.max_body_bytes, Mutex::default());
        Ok(Self { target, authorization, index_prefix, max_body_bytes, outcomes })
    }

    /// Returns the two lines of each event.
    fn documents(&self, events: &[Event]) -> Result<Vec<Vec<u8>>, HandlerError> {
        let document = |event: &Event| {
            let mut document = Vec::with_capacity(640);
            // a topic of others may have capitals, an index may not
            let index = format!("{}{}", self.index_prefix, event.topic.to_lowercase());
            line::write(&mut document, &Action { create: Create { _index: index, _id: event.id.to_string() } })?;
            document.push(b'\n');
            line::write(&mut document, &Line::new(event, &line::data(event)?).with_timestamp())?;
            document.push(b'\n');
            Ok(document)
        };
        events.iter().map(document).collect()
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        headers
    }
}

fn authorization(settings: &ElasticsearchSettings) -> Result<Option<HeaderValue>, SettingError> {
    let (key, text) = if !settings.api_key.is_empty() {
        if settings.username.is_some() {
            return Err(SettingError::new("export.elasticsearch.api_key", "is set beside a username; one is enough"));
        }
        ("export.elasticsearch.api_key", format!("ApiKey {}", settings.api_key.expose()))
    } else if let Some(username) = &settings.username {
        let pair = format!("{username}:{}", settings.password.expose());
        ("export.elasticsearch.username", format!("Basic {}", BASE64_STANDARD.encode(pair)))
    } else {
        return Ok(None);
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| SettingError::new(key, "does not fit into a header"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[derive(Serialize)]
struct Action {
    create: Create,
}

#[derive(Serialize)]
struct Create {
    _index: String,
    _id: String,
}

#[derive(Deserialize)]
struct Answer<'a> {
    errors: bool,
    /// Items by the name of the action.
    #[serde(default, borrow)]
    items: Vec<BTreeMap<&'a str, Item<'a>>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    status: u16,
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
}

impl Item<'_> {
    /// Returns true if the document itself cannot be indexed. A cluster that has no room for another index, or no such
    /// pipeline, answers 400 as well.
    fn refuses_content(&self) -> bool {
        #[derive(Deserialize)]
        struct Reason {
            #[serde(default, rename = "type")]
            kind: String,
            #[serde(default)]
            reason: String,
        }
        let reason = self.error.and_then(|error| serde_json::from_str::<Reason>(error.get()).ok());
        let is_of_document = reason.is_some_and(|Reason { kind, reason }| match kind.as_str() {
            "illegal_argument_exception" => ["mapper", "field", "term"].iter().any(|word| reason.contains(word)),
            kind => ["mapp", "pars"].iter().any(|word| kind.contains(word)),
        });
        matches!(self.status, 413 | 422) || (self.status == 400 && is_of_document)
    }
}

/// Returns the outcome of each document.
///
/// # Errors
/// `Unavailable` if any item must wait, for then the batch comes again and what is stored answers 409.
fn judge(body: &[u8], sent: usize) -> Result<Vec<Outcome>, HandlerError> {
    let strange = |why: String| HandlerError::Unavailable(format!("the answer to _bulk makes no sense: {why}"));
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(|error| strange(error.to_string()))?;
    if !answer.errors {
        return Ok(vec![None; sent]);
    }
    if answer.items.len() != sent {
        return Err(strange(format!("{} items for {sent} events", answer.items.len())));
    }
    let outcome = |item: &Item<'_>| {
        if matches!(item.status, 200..300 | 409) {
            return Ok(None);
        }
        let error: String = item.error.map(RawValue::get).unwrap_or_default().chars().take(300).collect();
        let text = format!("{}: {error}", item.status);
        if item.refuses_content() { Ok(Some(text)) } else { Err(HandlerError::Unavailable(text)) }
    };
    answer.items.iter().flat_map(BTreeMap::values).map(outcome).collect()
}

#[async_trait]
impl EffectHandler for Elasticsearch {
    async fn handle(&self, _lease: &Lease, events: &[Event]) -> Result<(), HandlerError> {
        let failed = |reason: String| Err(HandlerError::Failed(reason));
        if let [event] = events
            && let Some(outcome) = self.outcomes.lock().remove(&event.id)
        {
            return outcome.map_or(Ok(()), failed);
        }
        let documents = self.documents(events)?;
        let mut outcomes = Vec::with_capacity(events.len());
        for parcel in parcels(&documents, self.max_body_bytes) {
            let answer = self.target.post(self.headers(), parcel.concat()).await?;
            outcomes.extend(judge(&answer, parcel.len())?);
        }
        let Some(reason) = outcomes.iter().flatten().next().cloned() else { return Ok(()) };
        if events.len() > 1 {
            *self.outcomes.lock() = events.iter().map(|event| event.id).zip(outcomes).collect();
        }
        failed(reason)
    }
}
