//! Live stream of a topic's events, out of the log.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, Responder, get};
use actix_web_lab::sse;
use db::Conn;
use db::text::search_form;
use db::types::{Id, Time};
use futures::future::select_all;
use futures::{Stream, stream};
use garde::Validate;
use messaging::admin::{self, StoredEvent};
use messaging::tombstone::TOMBSTONE;
use rest::Problem;
use rest::input::{Params, Segment};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::Proxy;
use crate::api::topics::view;
use crate::auth::admin::{Admin, Session};

/// Number of events shown at first.
const FIRST: usize = 50;
/// Maximum number of events shown at once, later.
const AT_ONCE: usize = 100;
/// Minimum pause between two reads, so that a busy topic costs no more.
const PAUSE: Duration = Duration::from_millis(250);
/// Events of a partition read in one go; earlier events are skipped.
const LOOKED_AT: i64 = 512;
/// Events in memory as a whole.
const CHUNK: i64 = 32;
/// Shown bytes of an event.
const SHOWN: usize = 16 << 10;
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const RETRY: Duration = Duration::from_secs(2);

/// Filter of events.
#[derive(Debug, Clone, Default, Deserialize, Validate)]
pub(super) struct TailQuery {
    #[garde(length(bytes, max = 255))]
    key: Option<String>,
    /// Part of the event, in letters of either case.
    #[garde(length(bytes, max = 255))]
    text: Option<String>,
}

/// An event as shown.
#[derive(Serialize)]
struct Shown {
    id: Id,
    partition: i32,
    position: i64,
    key: String,
    at: Time,
    /// The posted event, cut to the shown bytes.
    event: String,
    /// Number of cut bytes.
    cut: usize,
}

/// Message of the stream.
enum Said {
    Event(Shown),
    /// Number of skipped events, if too many came at once.
    Skipped(usize),
}

/// Streams a topic's events (Server-Sent Events), beginning with the last ones. `Last-Event-ID` resumes behind an
/// event.
#[get("/admin/topics/{name}/tail")]
pub(crate) async fn tail(
    proxy: Data<Proxy>,
    admin: Admin,
    request: HttpRequest,
    name: Segment<String>,
    query: Params<TailQuery>,
) -> Result<HttpResponse, Problem> {
    let topic = view(&proxy, &name.0).await?.name;
    let mut wanted = query.0;
    wanted.text = wanted.text.map(|text| search_form(&text));
    let mut feed = Tail {
        proxy,
        session: admin.session,
        topic,
        wanted,
        ends: vec![],
        at: vec![],
        ready: VecDeque::new(),
        next: Instant::now(),
    };
    feed.find_partitions();
    let is_new = !feed.go_on_from(&request);
    if is_new {
        feed.look(FIRST, true).await?;
    }
    let events = sse::Sse::from_stream(feed.events()).with_keep_alive(KEEP_ALIVE).with_retry_duration(RETRY);
    let mut response = events.respond_to(&request).map_into_boxed_body();
    // nginx would hold it back
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// An open stream.
struct Tail {
    proxy: Data<Proxy>,
    /// Session of the viewer; nothing is shown after the session's end.
    session: Option<Session>,
    topic: String,
    wanted: TailQuery,
    /// End offset of each partition.
    ends: Vec<watch::Receiver<i64>>,
    /// Last read position of each partition.
    at: Vec<i64>,
    ready: VecDeque<Said>,
    /// Earliest time of the next read.
    next: Instant,
}

impl Tail {
    fn find_partitions(&mut self) {
        let log = &self.proxy.log;
        let of = (0..log.partitions(&self.topic)).filter_map(|partition| log.end(&self.topic, partition));
        self.ends = of.collect();
        self.at.resize(self.ends.len(), -1);
    }

    /// Resumes at the end of an earlier stream; returns false for a new stream.
    fn go_on_from(&mut self, request: &HttpRequest) -> bool {
        let last = request.headers().get("last-event-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        let at: Vec<i64> = last.split('.').filter_map(|at| at.parse().ok()).collect();
        let is_one = !at.is_empty() && at.len() == self.at.len();
        if is_one {
            // a client may send any number
            let ends = self.ends.iter().map(|end| *end.borrow() - 1);
            self.at = at.into_iter().zip(ends).map(|(at, end)| at.clamp(-1, end.max(-1))).collect();
        }
        is_one
    }

    fn events(self) -> impl Stream<Item = Result<sse::Event, Infallible>> {
        stream::unfold(self, |mut feed| async move {
            let (name, data) = match feed.next().await? {
                Said::Event(shown) => ("event", sse::Data::new_json(shown).ok()?),
                Said::Skipped(events) => ("skipped", sse::Data::new(events.to_string())),
            };
            let places: Vec<String> = feed.at.iter().map(i64::to_string).collect();
            Some((Ok(data.id(places.join(".")).event(name).into()), feed))
        })
    }

    /// Returns the next message; `None` once the server stops or the session is over.
    async fn next(&mut self) -> Option<Said> {
        loop {
            let is_over = self.session.is_some_and(|session| !self.proxy.admin.is_live(&session));
            if is_over || self.proxy.stopping.is_cancelled() {
                return None;
            }
            if let Some(said) = self.ready.pop_front() {
                return Some(said);
            }
            self.wait().await?;
            if let Err(problem) = self.look(AT_ONCE, false).await {
                tracing::warn!(%problem, "a live tail could not read; it goes on");
            }
        }
    }

    /// Waits for events, at least for the pause after the last read.
    async fn wait(&mut self) -> Option<()> {
        let stopping = self.proxy.stopping.clone();
        tokio::select! {
            () = stopping.cancelled() => return None,
            () = sleep_until(self.next) => {}
        }
        if self.ends.is_empty() {
            tokio::select! {
                () = stopping.cancelled() => return None,
                () = sleep(RETRY) => self.find_partitions(),
            }
            return Some(());
        }
        let (ends, at) = (&mut self.ends, &self.at);
        let behind = ends.iter_mut().zip(at).map(|(end, at)| Box::pin(end.wait_for(move |end| *end > at + 1)));
        tokio::select! {
            () = stopping.cancelled() => None,
            // an error is a log that is gone
            _ = select_all(behind) => Some(()),
        }
    }

    /// Reads new events, and keeps the newest `most` events.
    async fn look(&mut self, most: usize, is_first: bool) -> Result<(), Problem> {
        self.next = Instant::now() + PAUSE;
        let last: Vec<i64> = self.ends.iter_mut().map(|end| *end.borrow_and_update() - 1).collect();
        let (topic, wanted, after, to) = (self.topic.clone(), self.wanted.clone(), self.at.clone(), last.clone());
        let read = move |conn: &mut Conn| -> db::Result<_> {
            let mut found = Vec::new();
            let mut skipped = 0_usize;
            for (partition, (after, to)) in (0..).zip(after.iter().copied().zip(to.iter().copied())) {
                let from = after.max(to - LOOKED_AT);
                skipped += usize::try_from(from - after).unwrap_or(0);
                found.extend(between(conn, &topic, partition, from, to, &wanted)?);
                // what is in memory is bounded, however many partitions there are
                found.sort_by_key(|event: &Shown| (event.at, event.partition, event.position));
                skipped += found.drain(..found.len().saturating_sub(most)).count();
            }
            Ok((found, skipped))
        };
        let (found, skipped) = self.proxy.db.read(read).await?;
        self.at = last;
        if skipped > 0 && !is_first {
            self.ready.push_back(Said::Skipped(skipped));
        }
        self.ready.extend(found.into_iter().map(Said::Event));
        Ok(())
    }
}

/// Returns the matching events behind `from` up to `to`.
fn between(
    conn: &mut Conn,
    topic: &str,
    partition: i32,
    mut from: i64,
    to: i64,
    wanted: &TailQuery,
) -> db::Result<Vec<Shown>> {
    let mut found = Vec::new();
    while from < to {
        let chunk = admin::behind(conn, topic, partition, from, CHUNK.min(to - from))?;
        let Some(last) = chunk.last() else { break };
        from = last.event.position;
        found.extend(chunk.into_iter().filter(|stored| wanted.has(stored)).map(Shown::from));
    }
    Ok(found)
}

impl TailQuery {
    fn has(&self, stored: &StoredEvent) -> bool {
        let event = &stored.event;
        event.kind != TOMBSTONE
            && self.key.as_ref().is_none_or(|key| *key == event.key)
            && self.text.as_ref().is_none_or(|text| search_form(&event.payload).contains(text.as_str()))
    }
}

impl From<StoredEvent> for Shown {
    fn from(stored: StoredEvent) -> Self {
        let mut event = stored.event;
        let end = event.payload.floor_char_boundary(SHOWN);
        let cut = event.payload.len() - end;
        event.payload.truncate(end);
        let (partition, position, key) = (event.partition, event.position, event.key);
        Self { id: event.id, partition, position, key, at: stored.appended_at, event: event.payload, cut }
    }
}
