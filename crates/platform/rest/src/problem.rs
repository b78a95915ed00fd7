//! Problem documents (RFC 9457), and the rule about errors shown to clients.
//!
//! **The rule:** a client sees a [`Kind`] of a table, and a detail written for the client beside a route: an error in
//! the client's request, or the state of the client's resources. The text of any other error (a database, a panic, a
//! library) goes to the log, under the request id given to the client, and the client gets `internal` or
//! `unavailable`.
//!
//! Every answer of status 400 and above is such a document, from any source: a route, an extractor, or the framework.
//! The alternative is a page with the same content for people.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use actix_web::http::header::HeaderName;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use telemetry::TraceContext;

use crate::kinds::{self, Kind};
use crate::sparse::Sparse;

/// The media type of RFC 9457.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Maximum length of a detail, in bytes: a library may repeat a client's input.
const MAX_DETAIL: usize = 1_000;
/// Maximum length of a field's name, in bytes.
const MAX_FIELD: usize = 200;

/// Error in one field of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Path of the field: `items[0].quantity`.
    pub field: String,
    pub detail: String,
}

/// A refusal or a failure as an answer.
#[derive(Debug)]
pub struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: &'static Kind,
    detail: Option<String>,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
    header: Option<(HeaderName, String)>,
    challenge: &'static str,
    more: BTreeMap<String, Box<RawValue>>,
}

/// The document as sent, and the schema in the OpenAPI description.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct Document {
    /// A stable reference: `/problems/{code}`.
    #[serde(rename = "type")]
    pub type_: String,
    pub code: &'static str,
    pub title: &'static str,
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Id of the request in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    #[serde(flatten)]
    #[schema(ignore)]
    pub more: BTreeMap<String, Box<RawValue>>,
}

impl Problem {
    /// Returns an occurrence of `kind`.
    pub fn new(kind: &'static Kind) -> Self {
        Self(Box::new(Inner {
            kind,
            detail: None,
            errors: vec![],
            retry_after: None,
            header: None,
            challenge: "Bearer",
            more: BTreeMap::new(),
        }))
    }

    /// Sets the detail of this occurrence; written for the client.
    pub fn detail(mut self, detail: impl fmt::Display) -> Self {
        self.0.detail = Some(shortened(detail, MAX_DETAIL));
        self
    }

    /// Names a wrong field.
    pub fn field(mut self, field: impl fmt::Display, detail: impl fmt::Display) -> Self {
        self.0.errors.push(FieldError { field: shortened(field, MAX_FIELD), detail: shortened(detail, MAX_DETAIL) });
        self
    }

    /// Adds a member to the document, under a name that RFC 9457 does not use.
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        if let Ok(value) = to_raw_value(&value) {
            self.0.more.insert(name.to_owned(), value);
        }
        self
    }

    /// Adds the members of an object, under names that RFC 9457 does not use.
    pub fn with_all(mut self, members: &impl Serialize) -> Self {
        let members = to_raw_value(members).and_then(|members| serde_json::from_str(members.get()));
        self.0.more.extend::<BTreeMap<_, _>>(members.unwrap_or_default());
        self
    }

    /// Sets the time until a retry.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Sets the known methods of a route.
    pub fn allow(mut self, methods: String) -> Self {
        self.0.header = Some((header::ALLOW, methods));
        self
    }

    /// Sets the known encodings of a body.
    pub fn accept_encoding(mut self, encodings: &str) -> Self {
        self.0.header = Some((header::ACCEPT_ENCODING, encodings.to_owned()));
        self
    }

    /// Sets the challenge of a 401; by default a Bearer token.
    pub fn challenge(mut self, challenge: &'static str) -> Self {
        self.0.challenge = challenge;
        self
    }

    /// Returns the problem of a resource that does not exist, or belongs to another member.
    pub fn not_found(what: &str) -> Self {
        Self::new(&kinds::NOT_FOUND).detail(format_args!("no such {what}"))
    }

    /// Returns a failure of the server: `reason` goes to the log alone.
    pub fn internal(reason: impl fmt::Display) -> Self {
        tracing::error!(request_id = request_id(), "internal error: {reason}");
        Self::new(&kinds::INTERNAL)
    }

    /// Returns the type of the problem.
    pub fn kind(&self) -> &'static Kind {
        self.0.kind
    }

    /// Returns the text for a person: the detail and each wrong field, or else the title.
    pub fn told(&self) -> String {
        let errors = self.0.errors.iter().map(|error| format!("{}: {}", error.field, error.detail));
        let told: Vec<String> = self.0.detail.iter().cloned().chain(errors).collect();
        if told.is_empty() { self.0.kind.title.to_owned() } else { told.join("; ") }
    }

    /// Returns the time until a retry, if set.
    pub fn wait(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns true if the client is at fault (4xx); other problems are never stored or replayed.
    pub fn is_refusal(&self) -> bool {
        self.0.kind.status.is_client_error()
    }

    /// Returns the bytes of the texts.
    pub fn memory(&self) -> usize {
        let errors = self.0.errors.iter().map(|error| error.field.len() + error.detail.len());
        let more = self.0.more.values().map(|value| value.get().len());
        self.0.detail.as_ref().map_or(0, String::len) + errors.chain(more).sum::<usize>()
    }

    /// Returns the document, with the request id only for a single request (a stored document also serves repeats).
    pub fn document(&self, request_id: Option<String>) -> String {
        let inner = &*self.0;
        let document = Document {
            type_: format!("/problems/{}", inner.kind.code),
            code: inner.kind.code,
            title: inner.kind.title,
            status: inner.kind.status.as_u16(),
            detail: inner.detail.clone(),
            errors: inner.errors.clone(),
            request_id,
            more: inner.more.clone(),
        };
        serde_json::to_string(&document).expect("strings and JSON values always make a document")
    }
}

/// Cuts a text off behind `most` bytes, without formatting the rest.
fn shortened(text: impl fmt::Display, most: usize) -> String {
    struct Cut(String, usize);

    impl fmt::Write for Cut {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let room = self.1.saturating_sub(self.0.len());
            let end = text.floor_char_boundary(room.min(text.len()));
            self.0.push_str(&text[..end]);
            if end < text.len() { Err(fmt::Error) } else { Ok(()) }
        }
    }

    let mut cut = Cut(String::new(), most);
    if fmt::write(&mut cut, format_args!("{text}")).is_err() {
        cut.0.push('…');
    }
    cut.0
}

/// Returns the id of the running request.
pub fn request_id() -> Option<String> {
    TraceContext::current().map(|trace| trace.trace_id())
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.detail {
            Some(detail) => write!(f, "{}: {detail}", self.0.kind.code),
            None => f.write_str(self.0.kind.code),
        }
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.0.kind.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponseBuilder::new(self.0.kind.status);
        if self.0.kind.status == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, self.0.challenge));
        }
        if let Some(wait) = self.0.retry_after {
            response.insert_header((header::RETRY_AFTER, wait.as_secs_f64().ceil().max(1.0) as u64));
        }
        if let Some((name, value)) = &self.0.header {
            response.insert_header((name.clone(), value.as_str()));
        }
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        response.content_type(MEDIA_TYPE).body(self.document(request_id()))
    }
}

static UNAVAILABLE: Sparse = Sparse::new();

impl From<db::Error> for Problem {
    fn from(error: db::Error) -> Self {
        match &error {
            db::Error::Unavailable(reason) => {
                // db logs the begin and the end of a storage fault
                UNAVAILABLE.tell(|left_out| {
                    tracing::warn!(request_id = request_id(), left_out, "database unavailable: {reason}");
                });
                let wait = error.retry_after().unwrap_or(Duration::from_secs(1));
                Self::new(&kinds::UNAVAILABLE).retry_after(wait)
            }
            db::Error::UnknownOutcome(reason) => {
                tracing::error!(request_id = request_id(), "outcome of a commit unknown: {reason}");
                Self::new(&kinds::OUTCOME_UNKNOWN).retry_after(Duration::from_secs(1))
            }
            _ => Self::internal(error),
        }
    }
}

/// Returns the problem of a service that is not ready, or stopping.
pub fn unavailable(detail: &str) -> Problem {
    Problem::new(&kinds::UNAVAILABLE).detail(detail).retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn sent(error: db::Error) -> (u16, Option<u64>, String) {
        let response = Problem::from(error).error_response();
        let wait = response.headers().get(header::RETRY_AFTER).map(|wait| wait.to_str().unwrap().parse().unwrap());
        let body = actix_web::body::MessageBody::try_into_bytes(response.into_body()).unwrap();
        let document: Value = serde_json::from_slice(&body).unwrap();
        let code = document["code"].as_str().unwrap().to_owned();
        assert!(!String::from_utf8_lossy(&body).contains("secret"), "the reason is for the log");
        (document["status"].as_u64().unwrap() as u16, wait, code)
    }

    #[test]
    fn texts_of_clients_are_cut_off() {
        let long = "ü".repeat(100_000);
        let problem = Problem::new(&kinds::INVALID_REQUEST).detail(format_args!("x{long}")).field(&long, &long);
        let document = problem.document(None);
        assert!(document.len() < 3_000, "{} bytes", document.len());
        assert!(document.contains("ü…"), "{document}");
        let short = Problem::new(&kinds::INVALID_REQUEST).detail("ü".repeat(MAX_DETAIL / 2));
        assert!(!short.document(None).contains('…'));
    }

    #[test]
    fn what_the_database_says_reaches_nobody() {
        let secret = || "secret".to_owned();
        assert_eq!(sent(db::Error::Unavailable(secret())), (503, Some(1), "unavailable".into()));
        assert_eq!(sent(db::Error::UnknownOutcome(secret())), (503, Some(1), "outcome-unknown".into()));
        for error in [db::Error::Constraint(secret()), db::Error::Defect(secret()), db::Error::Panicked(secret())] {
            assert_eq!(sent(error), (500, None, "internal".into()));
        }
    }
}
