//! Meaning of a proxy's answer for the events of a request.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use crate::buffer::Fate;
use crate::error::chain;
use crate::retry::Failure;

/// Characters of a refusal's text in the log.
const QUOTED: usize = 300;
/// Bytes read of an answer without a use. A connection with an unread answer is closed.
const LONGEST_READ: usize = 2 << 20;

pub(crate) enum Answer {
    Accepted,
    /// The answer for each event, in order, and the requested pause.
    ByItem(Vec<Item>, Option<Duration>),
    /// At least one of the events is at fault.
    Refused(String),
    /// The events are too many for one request, or an event is too large.
    TooLarge(String),
    /// The proxy or another proxy may accept the same request later.
    Failed {
        failure: Failure,
        retry_after: Option<Duration>,
        reason: String,
    },
}

#[derive(Deserialize)]
pub(crate) struct Item {
    status: u16,
    problem: Option<Problem>,
}

#[derive(Deserialize)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
}

impl Item {
    /// Returns the fate of the event; `None` if the event is to be sent again.
    pub(crate) fn fate(&self) -> Option<Fate> {
        match self.status {
            200..300 => Some(Fate::Sent),
            // here it is about this event: it may not be sent with this key
            403 => Some(Fate::Refused),
            status => refuses_content(status).then_some(Fate::Refused),
        }
    }

    pub(crate) fn reason(&self) -> String {
        let problem = self.problem.as_ref();
        let text = problem.and_then(|problem| problem.detail.as_deref().or(problem.title.as_deref()));
        format!("{}: {}", self.status, text.unwrap_or("no reason given"))
    }
}

#[derive(Deserialize)]
struct Items {
    items: Vec<Item>,
}

/// Returns true if a status is about the events. Other statuses would answer any event, and are waited out.
fn refuses_content(status: u16) -> bool {
    (400..500).contains(&status) && !matches!(status, 401 | 403 | 404 | 405 | 407 | 408 | 421 | 425 | 429)
}

/// `events` is how many were in the request.
pub(crate) async fn read(result: reqwest::Result<Response>, events: usize) -> Answer {
    let response = match result {
        Ok(response) => response,
        Err(error) => return away(chain(&error.without_url()), None),
    };
    let (status, retry_after) = (response.status(), retry_after(response.headers()));
    if status.is_success() && status != StatusCode::MULTI_STATUS {
        // whatever else it says
        let _ = beginning(response).await;
        return Answer::Accepted;
    }
    if status == StatusCode::MULTI_STATUS {
        return by_item(response.bytes().await, events, retry_after);
    }
    // where no event was taken, a refusal has the items
    let body = match beginning(response).await {
        Ok(body) => body,
        Err(error) => return away(chain(&error.without_url()), retry_after),
    };
    if let Ok(Items { items }) = serde_json::from_slice(&body)
        && items.len() == events
    {
        return Answer::ByItem(items, retry_after);
    }
    let text = String::from_utf8_lossy(&body);
    let reason = format!("{status}: {}", text.chars().take(QUOTED).collect::<String>());
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => Answer::TooLarge(reason),
        _ if refuses_content(status.as_u16()) => Answer::Refused(reason),
        StatusCode::TOO_MANY_REQUESTS => Answer::Failed { failure: Failure::Busy, retry_after, reason },
        // a key that is not known here may be elsewhere; a redirect is not followed: it is not what a proxy answers
        _ => away(reason, retry_after),
    }
}

fn by_item(body: reqwest::Result<impl AsRef<[u8]>>, events: usize, retry_after: Option<Duration>) -> Answer {
    let body = match body {
        Ok(body) => body,
        Err(error) => return away(chain(&error.without_url()), retry_after),
    };
    match serde_json::from_slice(body.as_ref()) {
        Ok(Items { items }) if items.len() == events => Answer::ByItem(items, retry_after),
        Ok(_) => away("207: not an item for each event".to_owned(), retry_after),
        Err(error) => away(format!("207: {error}"), retry_after),
    }
}

/// Returns the body, up to the limit.
async fn beginning(mut response: Response) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while body.len() < LONGEST_READ
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn away(reason: String, retry_after: Option<Duration>) -> Answer {
    Answer::Failed { failure: Failure::Away, retry_after, reason }
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    // a date that is past is as good as now
    Some((date.to_utc() - Utc::now()).to_std().unwrap_or_default())
}
