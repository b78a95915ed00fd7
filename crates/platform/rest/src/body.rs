//! Bodies of requests, read within the limits of the server: memory, time, and size after unpacking.
//!
//! All bodies of a process share one `Budget` of bytes. A body takes bytes on arrival, and keeps the bytes until the
//! work is done. Announced bytes take nothing before arrival. An address holds at most twice the amount left free, so
//! that other addresses find memory.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io::{self, BufRead, ErrorKind, Read};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::web::{Bytes, Data};
use flate2::bufread::MultiGzDecoder;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::client;
use crate::connection::Connection;
use crate::fair::pause;
use crate::kinds;
use crate::problem::{Problem, unavailable};
use crate::server::{LimitSettings, SMALL};

/// Bytes unpacked in one step.
const STEP: usize = 16 << 10;
/// Memory of the state of an unpacker.
const UNPACKER: usize = 48 << 10;
/// Maximum ratio of unpacked to packed bytes; text of programs stays below 50.
const RATIO: u64 = 200;
/// Unpacked bytes allowed at any ratio.
const ANY_RATIO: u64 = 1 << 20;
/// Maximum wait of a stopping server for the rest of a body.
const GRACE: Duration = Duration::from_secs(1);

/// Limits of all bodies of a server, and their memory.
pub struct Bodies {
    limits: LimitSettings,
    trust_forwarded: bool,
    budget: Mutex<Budget>,
    /// Cancelled when the server stops.
    stopping: CancellationToken,
}

/// Memory in use, in bytes.
#[derive(Default)]
struct Budget {
    used: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Budget {
    /// Replaces `held` bytes of an address by `bytes`.
    fn set(&mut self, address: IpAddr, held: usize, bytes: usize) {
        self.used = self.used - held + bytes;
        let of_address = self.by_address.entry(address).or_default();
        *of_address = *of_address - held + bytes;
        if *of_address == 0 {
            self.by_address.remove(&address);
        }
    }
}

impl Bodies {
    /// Returns the application data of a server with these limits.
    pub fn new(limits: &LimitSettings, trust_forwarded: bool, stopping: CancellationToken) -> Data<Self> {
        Data::new(Self { limits: limits.clone(), trust_forwarded, budget: Mutex::default(), stopping })
    }

    /// Returns the memory of a request, with nothing held yet.
    pub fn memory(self: &Arc<Self>, request: &HttpRequest) -> Memory {
        Memory::of(self, client::address(request, self.trust_forwarded))
    }
}

/// Memory of a body, given back by the drop.
pub struct Memory {
    bodies: Arc<Bodies>,
    /// Address charged for the memory.
    address: IpAddr,
    held: usize,
}

impl Memory {
    fn of(bodies: &Arc<Bodies>, address: IpAddr) -> Self {
        Self { bodies: bodies.clone(), address, held: 0 }
    }

    /// Holds so many bytes from now on.
    ///
    /// # Errors
    /// `unavailable` if other bodies use the memory, or the address's bodies use the address's share.
    pub fn resize(&mut self, bytes: usize) -> Result<(), Problem> {
        let mut budget = self.bodies.budget.lock();
        if bytes > self.held {
            let (more, all) = (bytes - self.held, self.bodies.limits.memory.0);
            let of_small = if bytes > SMALL { all / 3 } else { 0 };
            let left = all.checked_sub(budget.used.saturating_add(more).saturating_add(of_small));
            let left = left.ok_or_else(|| unavailable("the memory for bodies is in use"))?;
            let of_address = budget.by_address.get(&self.address).map_or(0, |held| *held);
            if of_address + more > left.saturating_mul(2) {
                return Err(unavailable("the bodies of this address use its share of the memory"));
            }
        }
        budget.set(self.address, self.held, bytes);
        self.held = bytes;
        Ok(())
    }

    /// Holds at least this number of bytes, even beyond the budget: for the answer to finished work.
    pub fn charge(&mut self, bytes: usize) {
        let bytes = bytes.max(self.held);
        self.bodies.budget.lock().set(self.address, self.held, bytes);
        self.held = bytes;
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.bodies.budget.lock().set(self.address, self.held, 0);
    }
}

/// A whole body.
pub struct Whole {
    pub bytes: Vec<u8>,
    pub memory: Memory,
}

/// A body read on arrival.
pub struct Incoming {
    bodies: Arc<Bodies>,
    /// Address charged for the memory.
    address: IpAddr,
    connection: Option<Rc<Connection>>,
    stream: Payload,
    gzip: Option<Box<MultiGzDecoder<Wire>>>,
    _of_unpacker: Memory,
    /// Length announced by the client.
    announced: Option<u64>,
    /// Start of the time limit.
    since: Instant,
    /// Time of the last piece; a silence is as long as the time limit at most, however much came before.
    heard: Instant,
    /// Bytes counted for the time limit.
    timed: u64,
    /// Latest end, once the server stops.
    last: Option<Instant>,
    packed: u64,
    unpacked: u64,
}

impl Incoming {
    /// Returns the body of a request, optionally packed with gzip if `may_be_packed`.
    ///
    /// # Errors
    /// `unsupported-media-type` for any other encoding, and `unavailable` without memory for unpacking.
    pub fn of(request: &HttpRequest, stream: Payload, may_be_packed: bool) -> Result<Self, Problem> {
        let bodies = request.app_data::<Data<Bodies>>().ok_or_else(|| Problem::internal("no limits for bodies"))?;
        let is_packed = is_packed(request, may_be_packed)?;
        let mut of_unpacker = bodies.memory(request);
        of_unpacker.resize(if is_packed { UNPACKER } else { 0 })?;
        let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        Ok(Self {
            bodies: bodies.clone().into_inner(),
            address: of_unpacker.address,
            connection: Connection::of(request),
            stream,
            gzip: is_packed.then(|| Box::new(MultiGzDecoder::new(Wire::default()))),
            _of_unpacker: of_unpacker,
            announced: announced.and_then(|length| length.parse().ok()).filter(|_| !is_packed),
            since: Instant::now(),
            heard: Instant::now(),
            timed: 0,
            last: None,
            packed: 0,
            unpacked: 0,
        })
    }

    /// Returns memory for the body, with nothing held yet.
    pub fn memory(&self) -> Memory {
        Memory::of(&self.bodies, self.address)
    }

    /// Restarts the time limit: for streams, with time counted from the last complete line.
    pub fn restart(&mut self) {
        (self.since, self.timed) = (Instant::now(), 0);
    }

    /// Returns the next piece; `None` at the end. A dropped call loses nothing.
    ///
    /// # Errors
    /// `bad-request` if the body breaks off or is wrongly packed, `body-timeout`, `body-too-large` for an excessive
    /// ratio of packing, and `unavailable` at the stop of the server.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            pause().await;
            if let Some(gzip) = &mut self.gzip {
                let mut step = [0; STEP];
                match gzip.read(&mut step) {
                    Ok(0) => return Ok(None),
                    Ok(bytes) => return self.unpacked(&step[..bytes]).map(Some),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return Err(broken("it is not gzip, or it is cut off")),
                }
            }
            let piece = self.piece().await?;
            let bytes = piece.as_ref().map_or(0, Bytes::len);
            self.heard = Instant::now();
            self.packed += bytes as u64;
            self.timed += bytes as u64;
            match &mut self.gzip {
                Some(gzip) => gzip.get_mut().take(piece),
                None => return Ok(piece),
            }
        }
    }

    /// Returns the whole body.
    ///
    /// # Errors
    /// Errors of [`next`](Self::next), `body-too-large` for more than `limit` bytes, and `unavailable` without
    /// memory.
    pub async fn whole(mut self, limit: usize) -> Result<Whole, Problem> {
        let too_large = || Problem::new(&kinds::TOO_LARGE).detail(format_args!("at most {limit} bytes, unpacked"));
        if self.announced.is_some_and(|length| length > limit as u64) {
            return Err(too_large());
        }
        let (mut bytes, mut memory) = (Vec::new(), self.memory());
        while let Some(piece) = self.next().await? {
            let length = bytes.len() + piece.len();
            if length > limit {
                return Err(too_large());
            }
            if length > bytes.capacity() {
                let announced = self.announced.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(limit);
                let most = if length <= SMALL { announced.min(SMALL) } else { announced };
                let capacity = (length + length / 2).min(most.max(length));
                memory.resize(capacity)?;
                bytes.reserve_exact(capacity - bytes.len());
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Whole { bytes, memory })
    }

    fn unpacked(&mut self, step: &[u8]) -> Result<Bytes, Problem> {
        self.unpacked += step.len() as u64;
        if self.unpacked > ANY_RATIO.max(self.packed.saturating_mul(RATIO)) {
            let detail = format!("the body unpacks to more than {RATIO} times its size");
            return Err(Problem::new(&kinds::TOO_LARGE).detail(detail));
        }
        Ok(Bytes::copy_from_slice(step))
    }

    /// Returns the next received piece.
    async fn piece(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let limits = &self.bodies.limits;
            let more = Duration::from_secs(self.timed / limits.body_rate.0 as u64);
            let end = (self.since + more).min(self.heard) + limits.body_timeout;
            let (stream, connection) = (&mut self.stream, self.connection.as_deref());
            let piece = poll_fn(|cx| {
                let polled = stream.poll_next_unpin(cx);
                match (&polled, connection) {
                    (Poll::Pending, Some(connection)) => connection.read_body(),
                    (Poll::Ready(None), Some(connection)) => connection.end_body(),
                    _ => {}
                }
                polled
            });
            tokio::select! {
                biased;
                piece = piece => return piece.transpose().map_err(|_| broken("it broke off")),
                () = self.bodies.stopping.cancelled(), if self.last.is_none() => {
                    self.last = Some(Instant::now() + GRACE);
                }
                () = sleep_until(self.last.map_or(end, |last| last.min(end))) => {
                    return Err(if self.last.is_some() { unavailable("the server is stopping") } else { late() });
                }
            }
        }
    }
}

fn is_packed(request: &HttpRequest, may_be: bool) -> Result<bool, Problem> {
    let mut codings = request.headers().get_all(header::CONTENT_ENCODING);
    let (first, more) = (codings.next(), codings.next());
    let coding = first.map_or("identity", |coding| coding.to_str().unwrap_or("?").trim());
    let is = |name: &str| coding.eq_ignore_ascii_case(name);
    match more {
        None if is("identity") || coding.is_empty() => Ok(false),
        None if may_be && (is("gzip") || is("x-gzip")) => Ok(true),
        _ => {
            let known = if may_be { "gzip, identity" } else { "identity" };
            let problem = Problem::new(&kinds::UNSUPPORTED_MEDIA_TYPE).accept_encoding(known);
            Err(problem.detail(format_args!("content-encoding may be: {known}")))
        }
    }
}

fn broken(why: &str) -> Problem {
    Problem::new(&kinds::BAD_REQUEST).detail(format_args!("the body could not be read: {why}"))
}

fn late() -> Problem {
    Problem::new(&kinds::BODY_TIMEOUT).detail("the rest of the body did not come in time")
}

/// Received and not yet unpacked part of a packed body.
#[derive(Default)]
struct Wire {
    piece: Bytes,
    is_over: bool,
}

impl Wire {
    fn take(&mut self, piece: Option<Bytes>) {
        self.is_over = piece.is_none();
        self.piece = piece.unwrap_or_default();
    }
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?.read(into)?;
        self.consume(bytes);
        Ok(bytes)
    }
}

impl BufRead for Wire {
    /// Returns `WouldBlock` until more data comes.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.piece.is_empty() && !self.is_over {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, bytes: usize) {
        drop(self.piece.split_to(bytes));
    }
}
