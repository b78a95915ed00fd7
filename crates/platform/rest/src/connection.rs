//! A connection with bounded buffers, between the socket and the HTTP library.
//!
//! The library reads up to 128 KiB from a connection and parses all requests in it before any limit of the library
//! applies: 1 KiB of short requests becomes 40 KiB of memory, and pieces of a chunked body grow as much. The library
//! gives a deadline only to the first head of a connection. So a [`Guarded`] stream hands over little in one turn: a
//! head, or 1 KiB of one, and 8 KiB of a body after the route has taken the previous part. While a request is
//! answered, no more heads are read. The stream itself answers a head that is too long or too slow. The library's
//! answer to invalid HTTP has no body; a problem document replaces this answer.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actix_web::HttpRequest;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::kinds::{self, Kind};
use crate::problem::{self, Problem};

/// Bytes of heads for each turn.
const HEADS: usize = 1 << 10;
/// Bytes of a body for each turn.
const BODY: usize = 8 << 10;
/// Maximum size of the rest of an unread body.
const MAX_DISCARD: usize = 256 << 10;
/// Maximum size of a head.
const MAX_HEAD: usize = 32 << 10;
/// Maximum number of header lines: the library's limit.
const MAX_HEADERS: usize = 96;

/// Idle time until the HTTP library closes a connection.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// State of a connection, shared with the connection's requests.
#[derive(Default)]
pub struct Connection {
    mode: Cell<Mode>,
    /// Bytes of heads since the connection last waited for a head.
    unclaimed: Cell<usize>,
    /// True if a request came of these bytes; more requests may be in the library's queue.
    is_claimed: Cell<bool>,
    /// True if the body of the last request was read to the end.
    is_read: Cell<bool>,
    /// A request came.
    is_used: Cell<bool>,
    /// The deadline of the next head is set.
    is_timed: Cell<bool>,
    /// Told when the request is answered.
    waiting: RefCell<Option<Waker>>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Between requests.
    #[default]
    Heads,
    /// A request is answered, and nothing of the body is read now.
    Busy,
    /// A request is answered, and the route waits for more of the body.
    Body,
    /// The rest of a body is thrown away.
    Discard,
}

impl Connection {
    /// Returns the connection of a request; `None` outside of a [`Guarded`] stream.
    pub fn of(request: &HttpRequest) -> Option<Rc<Self>> {
        request.conn_data::<Rc<Self>>().cloned()
    }

    /// Begins a request; the request lasts until the result is dropped.
    pub fn begin(self: Rc<Self>, has_body: bool) -> Answering {
        self.is_claimed.set(true);
        self.is_timed.set(false);
        self.is_used.set(true);
        self.is_read.set(!has_body);
        self.mode.set(Mode::Busy);
        Answering(self)
    }

    /// Reads the next piece of the request's body.
    pub fn read_body(&self) {
        if self.mode.get() == Mode::Busy {
            self.turn_to(Mode::Body);
        }
    }

    /// Pauses the reading of the body until the route asks for more.
    fn pause_body(&self, waker: &Waker) {
        self.mode.set(Mode::Busy);
        self.waiting.replace(Some(waker.clone()));
    }

    /// Notes that the body was read to the end.
    pub fn end_body(&self) {
        self.is_read.set(true);
        self.mode.set(Mode::Busy);
    }

    fn turn_to(&self, mode: Mode) {
        self.mode.set(mode);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}

/// A request under way.
pub struct Answering(Rc<Connection>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.turn_to(if self.0.is_read.get() { Mode::Heads } else { Mode::Discard });
    }
}

/// A stream that hands over only what the [`Connection`] may take.
pub struct Guarded<S> {
    stream: S,
    connection: Rc<Connection>,
    patience: Duration,
    /// Bytes behind a head, for a later turn.
    kept: Vec<u8>,
    /// Bytes since the last turn of other connections.
    turn: usize,
    head: Pin<Box<Sleep>>,
    is_over: bool,
    /// Rest of the document that replaces the library's last answer.
    last: Option<Vec<u8>>,
}

impl<S> Guarded<S> {
    /// Wraps a connection; a head may take `patience`.
    pub fn new(stream: S, patience: Duration) -> Self {
        let head = Box::pin(sleep_until(Instant::now() + patience));
        Self {
            stream,
            connection: Rc::default(),
            patience,
            kept: Vec::new(),
            turn: 0,
            head,
            is_over: false,
            last: None,
        }
    }

    /// Returns the state shared by the requests.
    pub fn connection(&self) -> Rc<Connection> {
        self.connection.clone()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guarded<S> {
    /// Returns the answer to an invalid request; the connection ends after this answer.
    fn refusal(&self, kind: &'static Kind) -> Vec<u8> {
        let wait = self.patience.as_secs_f64();
        let detail = format!("a head may have {MAX_HEAD} bytes in {MAX_HEADERS} lines, and may take {wait} s");
        let problem = Problem::new(kind);
        let is_of_head = [&kinds::HEAD_TOO_LARGE, &kinds::HEAD_TIMEOUT].contains(&kind);
        let problem = if is_of_head { problem.detail(detail) } else { problem };
        let (status, body) = (kind.status, problem.document(None));
        let (length, media) = (body.len(), problem::MEDIA_TYPE);
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {media}\r\ncontent-length: {length}\r\nconnection: close\r\n\
             cache-control: no-store\r\nx-content-type-options: nosniff\r\n\r\n{body}"
        );
        answer.into_bytes()
    }

    /// Answers a refused head, and ends the stream.
    fn refuse(&mut self, cx: &mut Context<'_>, kind: &'static Kind) {
        let answer = self.refusal(kind);
        // no answer is on its way, so there is room for this one, or the client is gone
        let _ = Pin::new(&mut self.stream).poll_write(cx, &answer);
        let _ = Pin::new(&mut self.stream).poll_flush(cx);
        self.is_over = true;
    }

    /// Ends the stream without a further answer.
    fn end(&mut self) -> Poll<io::Result<()>> {
        self.is_over = true;
        Poll::Ready(Ok(()))
    }

    fn poll_guarded(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let connection = self.connection.clone();
        let mode = connection.mode.get();
        if mode == Mode::Heads && connection.is_claimed.replace(false) {
            connection.unclaimed.set(0);
        }
        let unclaimed = connection.unclaimed.get();
        let is_head = matches!(mode, Mode::Heads | Mode::Busy);
        // the library reads a head from its beginning each time, so a long one comes in fewer turns
        let most = if is_head { unclaimed.clamp(HEADS, BODY) } else { BODY };
        // 1. enough in this turn; of a body, until the route has taken it
        if self.turn >= most {
            self.turn = 0;
            match mode {
                Mode::Body => connection.pause_body(cx.waker()),
                _ => cx.waker().wake_by_ref(),
            }
            return Poll::Pending;
        }
        // 2. enough until the request is answered
        if mode == Mode::Busy && (unclaimed >= HEADS || !self.kept.is_empty()) {
            self.turn = 0;
            connection.waiting.replace(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        if mode == Mode::Heads && unclaimed >= MAX_HEAD {
            self.refuse(cx, &kinds::HEAD_TOO_LARGE);
            return Poll::Ready(Ok(()));
        }
        if mode == Mode::Discard && unclaimed >= MAX_DISCARD {
            return self.end();
        }
        // 3. what is there; of several heads the first one
        let mut some = ReadBuf::new(buf.initialize_unfilled_to(buf.remaining().min(most - self.turn)));
        let polled = match self.kept.is_empty() {
            true => Pin::new(&mut self.stream).poll_read(cx, &mut some),
            false => {
                let rest = self.kept.split_off(self.kept.len().min(some.remaining()));
                some.put_slice(&std::mem::replace(&mut self.kept, rest));
                Poll::Ready(Ok(()))
            }
        };
        let came = some.filled();
        let bytes = if mode == Mode::Heads { first_head(came) } else { came.len() };
        let is_cut = bytes < came.len();
        self.kept.splice(..0, came[bytes..].iter().copied());
        buf.advance(bytes);
        self.turn = if is_cut { BODY } else { self.turn + bytes };
        if is_head || mode == Mode::Discard {
            connection.unclaimed.set(unclaimed + bytes);
        }
        if is_head && unclaimed == 0 && bytes > 0 {
            connection.is_timed.set(false);
        }
        if polled.is_ready() {
            return polled;
        }
        // 4. nothing: a head that has begun has its time
        self.turn = 0;
        if mode == Mode::Heads {
            if !connection.is_timed.replace(true) {
                let is_due = unclaimed > 0 || !connection.is_used.get();
                // a head may have come with the last request; a connection that is idle is closed before
                let idle = if is_due { Duration::ZERO } else { KEEP_ALIVE };
                self.head.as_mut().reset(Instant::now() + idle + self.patience);
            }
            if self.head.as_mut().poll(cx).is_ready() {
                self.refuse(cx, &kinds::HEAD_TIMEOUT);
                return Poll::Ready(Ok(()));
            }
        }
        // so has the rest of a body that nobody reads
        if mode == Mode::Discard {
            if !connection.is_timed.replace(true) {
                self.head.as_mut().reset(Instant::now() + self.patience);
            }
            if self.head.as_mut().poll(cx).is_ready() {
                return self.end();
            }
        }
        Poll::Pending
    }
}

/// Returns the length of the first head if a second one is complete, too, or else of all.
fn first_head(bytes: &[u8]) -> usize {
    const END: &[u8] = b"\r\n\r\n";
    let end = |from: usize| bytes[from..].windows(END.len()).position(|it| it == END).map(|at| from + at + END.len());
    end(0).filter(|first| end(*first).is_some()).unwrap_or(bytes.len())
}

/// Finds the library's answer to invalid HTTP at the end of the written bytes, and the kind of problem. This answer
/// is the last of a connection. Answers of routes with such a status always have a body.
fn bare_answer(written: &[u8]) -> Option<(usize, &'static Kind)> {
    const MOST: usize = 256;
    let from = written.len().saturating_sub(MOST);
    let head = written[from..].strip_suffix(b"\r\n\r\n")?;
    let start = head.windows(9).rposition(|it| it == b"HTTP/1.1 ")?;
    let mut lines = std::str::from_utf8(&head[start..]).ok()?.split("\r\n");
    let kind = match lines.next()?.get(9..12)? {
        "400" => &kinds::BAD_REQUEST,
        "431" => &kinds::HEAD_TOO_LARGE,
        "500" => &kinds::INTERNAL,
        _ => return None,
    };
    let is_bare = lines.next() == Some("content-length: 0")
        && lines.all(|line| ["date: ", "connection: "].iter().any(|name| line.starts_with(name)));
    is_bare.then_some((from + start, kind))
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_over { Poll::Ready(Ok(())) } else { this.poll_guarded(cx, buf) }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mode = this.connection.mode.get();
        // while a request is answered, no other answer is written
        let bare = if matches!(mode, Mode::Heads | Mode::Discard) { bare_answer(buf) } else { None };
        let Some((start, kind)) = bare else { return Pin::new(&mut this.stream).poll_write(cx, buf) };
        if start > 0 {
            return Pin::new(&mut this.stream).poll_write(cx, &buf[..start]);
        }
        let mut last = this.last.take().unwrap_or_else(|| match mode {
            // the rest of a body, and the request has its answer
            Mode::Discard => Vec::new(),
            _ => this.refusal(kind),
        });
        while !last.is_empty() {
            match Pin::new(&mut this.stream).poll_write(cx, &last) {
                Poll::Ready(Ok(bytes @ 1..)) => drop(last.drain(..bytes)),
                Poll::Pending => {
                    this.last = Some(last);
                    return Poll::Pending;
                }
                failed => return failed,
            }
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
