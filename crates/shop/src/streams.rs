//! Open notification streams, counted and limited.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contracts::MemberId;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::auth::TicketId;
use crate::http::kinds;
use crate::http::problem::{Problem, unavailable};

/// Time in which a ticket can reopen an ended stream.
const REOPENED_WITHIN: Duration = Duration::from_secs(300);
/// Retry-After for a member with too many streams.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// Streams of this process; clones share the streams.
#[derive(Clone)]
pub struct Streams {
    open: Arc<Mutex<Open>>,
    per_member: usize,
    max: usize,
}

#[derive(Default)]
struct Open {
    all: usize,
    by_member: HashMap<MemberId, usize>,
    by_ticket: HashMap<TicketId, Ticketed>,
}

/// A ticket with a stream in this process.
struct Ticketed {
    /// Ends the last stream of the ticket.
    end: CancellationToken,
    /// Time of the stream's end.
    ended: Option<Instant>,
}

impl Streams {
    /// Returns a counter for at most `per_member` streams of one member, and `max` of all members.
    pub fn new(per_member: usize, max: usize) -> Self {
        Self { open: Arc::default(), per_member, max }
    }

    /// Returns true if the ticket has or recently had a stream here: the ticket reopens this stream, also after the
    /// ticket's time.
    pub fn knows(&self, ticket: &TicketId) -> bool {
        self.open.lock().by_ticket.get(ticket).is_some_and(Ticketed::can_reopen)
    }

    /// Counts a stream of a member until the result is dropped. A ticket has one stream at a time: the next stream
    /// ends the stream before.
    ///
    /// # Errors
    /// `too-many-requests` for a member with too many streams, `unavailable` when all streams are taken.
    pub fn open(&self, member: MemberId, ticket: Option<TicketId>) -> Result<OpenStream, Problem> {
        let mut open = self.open.lock();
        let is_takeover = ticket.and_then(|ticket| open.by_ticket.get(&ticket)).is_some_and(|it| it.ended.is_none());
        let of_member = open.by_member.get(&member).copied().unwrap_or_default();
        if !is_takeover && of_member >= self.per_member {
            let detail = format_args!("a member may have {} notification streams", self.per_member);
            return Err(Problem::new(&kinds::TOO_MANY_REQUESTS).detail(detail).retry_after(RETRY_AFTER));
        }
        if !is_takeover && open.all >= self.max {
            return Err(unavailable("all notification streams are taken"));
        }
        open.all += 1;
        *open.by_member.entry(member).or_default() += 1;
        let end = CancellationToken::new();
        if let Some(ticket) = ticket {
            let before = open.by_ticket.insert(ticket, Ticketed { end: end.clone(), ended: None });
            before.inspect(|before| before.end.cancel());
        }
        Ok(OpenStream { streams: self.clone(), member, ticket, end })
    }

    /// Forgets tickets without a stream to reopen.
    pub fn tidy(&self) {
        self.open.lock().by_ticket.retain(|_, ticketed| ticketed.can_reopen());
    }
}

impl Ticketed {
    fn can_reopen(&self) -> bool {
        self.ended.is_none_or(|ended| ended.elapsed() < REOPENED_WITHIN)
    }
}

/// A counted stream.
pub struct OpenStream {
    streams: Streams,
    member: MemberId,
    ticket: Option<TicketId>,
    /// Cancelled when the ticket opens another stream.
    pub end: CancellationToken,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock();
        open.all -= 1;
        if let Some(of_member) = open.by_member.get_mut(&self.member) {
            *of_member -= 1;
            if *of_member == 0 {
                open.by_member.remove(&self.member);
            }
        }
        let ticketed = self.ticket.and_then(|ticket| open.by_ticket.get_mut(&ticket));
        // a ticket that was taken over belongs to the next stream
        if let Some(ticketed) = ticketed.filter(|_| !self.end.is_cancelled()) {
            ticketed.ended = Some(Instant::now());
        }
    }
}
