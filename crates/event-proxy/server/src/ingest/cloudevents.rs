//! CloudEvents 1.0 as events of the proxy
//! (<https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/http-protocol-binding.md>).
//!
//! Names of service and type come from `source` and `type`: each run of characters that a name cannot have is a `-`. The
//! extension attributes `service` and `level` say more than the specification's own, and `partitionkey` or else
//! `subject` is the key. All attributes are kept beside the data, and are headers of the record on Kafka.

use std::borrow::Cow;
use std::collections::BTreeMap;

use actix_web::http::header::HeaderMap;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use db::types::Time;
use percent_encoding::percent_decode_str;
use rest::Problem;
use rest::kinds;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::ingest::event::{Data, Level, MAX_ATTRIBUTES, MAX_NAME, MAX_TEXT, Posted};
use crate::ingest::same::Members;

/// Media types of the structured and the batched mode.
pub(crate) const STRUCTURED: &str = "application/cloudevents+json";
pub(crate) const BATCHED: &str = "application/cloudevents-batch+json";
/// Begins the media types of all event formats.
pub(crate) const FORMATS: &str = "application/cloudevents";
/// Begins the names of headers that are attributes.
const PREFIX: &str = "ce-";
/// Attributes that every event has.
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// Attributes of an event by name, as text.
pub(crate) type Attributes = BTreeMap<String, String>;

/// Returns true if the headers are those of the binary mode, or half of them.
pub(crate) fn is_binary(headers: &HeaderMap) -> bool {
    REQUIRED.iter().any(|name| headers.contains_key(format!("{PREFIX}{name}")))
}

/// The event of the structured mode.
///
/// # Errors
/// `invalid-request`, naming the attribute.
pub(crate) fn structured(members: Members<'_>) -> Result<Posted<'_>, Problem> {
    let (mut attributes, mut data) = (Attributes::new(), None);
    for (name, value) in members.0 {
        let is_data = name == "data" || name == "data_base64";
        if (is_data && data.is_some()) || attributes.contains_key(&name) {
            return Err(wrong(&name, "data, data_base64 and each attribute can be there once"));
        }
        match name.as_str() {
            "data" => data = Some(Data::Json(Cow::Borrowed(value))),
            "data_base64" => data = Some(base64(value)?),
            _ => drop(simple(&name, value)?.map(|value| attributes.insert(name, value))),
        }
    }
    posted(attributes, data.unwrap_or(Data::Json(Cow::Borrowed(RawValue::NULL))), "")
}

/// The event of the binary mode, whose data is `data`.
///
/// # Errors
/// `invalid-request`, naming the header.
pub(crate) fn binary<'a>(headers: &HeaderMap, media: Option<&str>, data: Data<'a>) -> Result<Posted<'a>, Problem> {
    let mut attributes = Attributes::new();
    for (header, value) in headers {
        let Some(name) = header.as_str().strip_prefix(PREFIX) else { continue };
        if name == "datacontenttype" {
            return Err(wrong(header, "send it as Content-Type"));
        }
        let text = value.to_str().map_err(|_| wrong(header, "must be percent-encoded, as UTF-8"))?;
        let text = unquoted(text);
        let text = percent_decode_str(&text).decode_utf8().map_err(|_| wrong(header, "is not UTF-8"))?;
        if attributes.insert(name.to_owned(), text.into_owned()).is_some() {
            return Err(wrong(header, "can be there once"));
        }
    }
    attributes.extend(media.map(|media| ("datacontenttype".to_owned(), media.to_owned())));
    posted(attributes, data, PREFIX)
}

/// The event with these attributes; `prefix` begins their names in the request.
fn posted<'a>(mut attributes: Attributes, data: Data<'a>, prefix: &str) -> Result<Posted<'a>, Problem> {
    let field = |name: &str| format!("{prefix}{name}");
    for (name, value) in &attributes {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()) {
            return Err(wrong(field(name), "an attribute's name is of lower-case letters and digits"));
        }
        if value.is_empty() || value.chars().any(char::is_control) {
            return Err(wrong(field(name), "must be a text without control characters"));
        }
    }
    if attributes.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MAX_ATTRIBUTES {
        return Err(wrong("attributes", format_args!("must be at most {MAX_ATTRIBUTES} bytes together")));
    }
    let get = |name: &str| attributes.get(name).map(|value| Cow::Owned(value.clone()));
    let due = |name: &str| get(name).ok_or_else(|| wrong(field(name), "is missing"));
    if due("specversion")? != "1.0" {
        return Err(wrong(field("specversion"), "must be 1.0"));
    }
    let (id, source, kind) = (due("id")?, due("source")?, due("type")?);
    let of_key = if attributes.contains_key("partitionkey") { "partitionkey" } else { "subject" };
    let key = get(of_key);
    for (name, text) in [("id", Some(&id)), (of_key, key.as_ref())] {
        if text.is_some_and(|text| text.len() > MAX_TEXT) {
            return Err(wrong(field(name), format_args!("must be at most {MAX_TEXT} bytes")));
        }
    }
    let named = |of: &str, text: &str| {
        let name = name(text);
        if name.is_empty() { Err(wrong(field(of), "must have a letter or a digit")) } else { Ok(name) }
    };
    let service = get("service").map_or_else(|| named("source", &source), Ok)?;
    let kind = named("type", &kind)?;
    let time = get("time").map(|text| time(&text).ok_or_else(|| wrong(field("time"), "must be as in RFC 3339")));
    let level = get("level").map(|text| text.parse::<Level>().map_err(|why| wrong(field("level"), why)));
    let (time, level) = (time.transpose()?, level.transpose()?);
    attributes.remove("specversion");
    Ok(Posted { service, kind, key, id: Some(id), time, level, data, attributes })
}

/// The text as a name: what a name cannot have is `-`, and a long one ends in a hash.
fn name(text: &str) -> Cow<'static, str> {
    let is_known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let words: Vec<&str> = text.split(|c| !is_known(c)).filter(|word| !word.is_empty()).collect();
    let mut name = words.join("-");
    if name.len() > MAX_NAME {
        let hash = Uuid::new_v5(&Uuid::NAMESPACE_URL, text.as_bytes()).simple().to_string();
        name.truncate(MAX_NAME - 9);
        name = format!("{name}-{}", &hash[..8]);
    }
    name.into()
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    text.parse::<Time>().ok().map(Time::to_chrono)
}

/// An attribute as text; `None` for null, which is none.
fn simple(name: &str, value: &RawValue) -> Result<Option<String>, Problem> {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str(text).map(Some).map_err(|_| wrong(name, "must be a text")),
        Some(b't' | b'f') => Ok(Some(text.to_owned())),
        Some(b'n') => Ok(None),
        _ if text.parse::<i32>().is_ok() => Ok(Some(text.to_owned())),
        _ => Err(wrong(name, "must be a text, a boolean or an integer of 32 bits")),
    }
}

fn base64(value: &RawValue) -> Result<Data<'static>, Problem> {
    let text: Option<String> = serde_json::from_str(value.get()).ok();
    let text = text.filter(|text| BASE64_STANDARD.decode(text).is_ok());
    text.map(Data::Base64).ok_or_else(|| wrong("data_base64", "must be base64 (RFC 4648, section 4)"))
}

/// A header's value without its quotes (RFC 9110, section 5.6.4).
fn unquoted(text: &str) -> Cow<'_, str> {
    let Some(quoted) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else { return text.into() };
    let (mut plain, mut chars) = (String::with_capacity(quoted.len()), quoted.chars());
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain.into()
}

fn wrong(field: impl std::fmt::Display, detail: impl std::fmt::Display) -> Problem {
    Problem::new(&kinds::INVALID_REQUEST).field(field, detail)
}
