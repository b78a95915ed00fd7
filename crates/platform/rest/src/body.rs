//! Bodies of requests, read within the limits of the server: memory, time, and size after unpacking.
//!
//! The memory of all bodies of a process is one semaphore of bytes. A body takes permits for the bytes that came, and
//! keeps them until its work is done. Bytes that were announced and do not come take none.

use std::io::{self, BufRead, ErrorKind, Read};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::web::{Bytes, Data};
use flate2::bufread::MultiGzDecoder;
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::connection::Connection;
use crate::kinds;
use crate::problem::{Problem, unavailable};
use crate::server::{LimitSettings, SMALL};

/// Bytes that are unpacked in one step.
const STEP: usize = 16 << 10;
/// Memory of the state of an unpacker.
const UNPACKER: usize = 48 << 10;
/// Maximum ratio of unpacked to packed bytes; text that programs write stays below 50.
const RATIO: u64 = 200;
/// Unpacked bytes that any ratio may have.
const ANY_RATIO: u64 = 1 << 20;
/// Bytes between two turns of other requests of the thread.
const TURN: usize = 64 << 10;
/// Time that a stopping server waits for the rest of a body.
const GRACE: Duration = Duration::from_secs(1);

/// Limits of all bodies of a server, and their memory.
pub struct Bodies {
    limits: LimitSettings,
    memory: Arc<Semaphore>,
    /// Cancelled when the server stops.
    stopping: CancellationToken,
}

impl Bodies {
    /// Application data of a server with these limits.
    pub fn new(limits: &LimitSettings, stopping: CancellationToken) -> Data<Self> {
        let memory = Arc::new(Semaphore::new(limits.memory.0.min(Semaphore::MAX_PERMITS)));
        Data::new(Self { limits: limits.clone(), memory, stopping })
    }
}

/// Memory of a body, given back when it is dropped.
pub struct Memory {
    bodies: Data<Bodies>,
    held: Option<OwnedSemaphorePermit>,
}

impl Memory {
    /// Memory of a server, of which nothing is held yet.
    pub fn of(bodies: &Data<Bodies>) -> Self {
        Self { bodies: bodies.clone(), held: None }
    }

    /// Holds so many bytes from now on.
    ///
    /// # Errors
    /// `unavailable` if other bodies use the memory.
    pub fn resize(&mut self, bytes: usize) -> Result<(), Problem> {
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if bytes <= held {
            let less = self.held.as_mut().and_then(|permit| permit.split(held - bytes));
            drop(less);
            return Ok(());
        }
        let (memory, more) = (&self.bodies.memory, bytes - held);
        let of_small = if bytes > SMALL { self.bodies.limits.memory.0 / 3 } else { 0 };
        let is_there = memory.available_permits() >= more.saturating_add(of_small);
        let permit = match u32::try_from(more) {
            Ok(more) if is_there => memory.clone().try_acquire_many_owned(more),
            _ => Err(TryAcquireError::NoPermits),
        };
        let permit = permit.map_err(|_| unavailable("the memory for bodies is in use"))?;
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        Ok(())
    }
}

/// A whole body.
pub struct Whole {
    pub bytes: Vec<u8>,
    pub memory: Memory,
}

/// A body that is read as it comes.
pub struct Incoming {
    bodies: Data<Bodies>,
    connection: Option<Rc<Connection>>,
    stream: Payload,
    gzip: Option<Box<MultiGzDecoder<Wire>>>,
    _of_unpacker: Memory,
    /// Length that the client announced.
    announced: Option<u64>,
    /// Start of the time limit.
    since: Instant,
    /// Time of the last piece; a silence is as long as the time limit at most, however much came before.
    heard: Instant,
    /// Bytes that extend the time limit.
    timed: u64,
    /// Latest end, once the server stops.
    last: Option<Instant>,
    packed: u64,
    unpacked: u64,
    /// Bytes and pieces since the last turn of others.
    turn: usize,
}

impl Incoming {
    /// The body of a request, which may be packed with gzip if `may_be_packed`.
    ///
    /// # Errors
    /// `unsupported-media-type` for any other encoding, and `unavailable` without memory to unpack it.
    pub fn of(request: &HttpRequest, stream: Payload, may_be_packed: bool) -> Result<Self, Problem> {
        let bodies = request.app_data::<Data<Bodies>>().ok_or_else(|| Problem::internal("no limits for bodies"))?;
        let is_packed = is_packed(request, may_be_packed)?;
        let mut of_unpacker = Memory::of(bodies);
        of_unpacker.resize(if is_packed { UNPACKER } else { 0 })?;
        let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        Ok(Self {
            bodies: bodies.clone(),
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
            turn: 0,
        })
    }

    /// Memory for the body, of which nothing is held yet.
    pub fn memory(&self) -> Memory {
        Memory::of(&self.bodies)
    }

    /// Starts the time limit again: for streams, whose time counts from the last complete line.
    pub fn restart(&mut self) {
        (self.since, self.timed) = (Instant::now(), 0);
    }

    /// The next piece; `None` at the end. A call that is dropped loses nothing.
    ///
    /// # Errors
    /// `bad-request` if the body breaks off or is not packed as it says, `body-timeout`, `body-too-large` for what
    /// unpacks to far more than came, and `unavailable` when the server stops.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            if self.turn > TURN {
                self.turn = 0;
                yield_now().await;
            }
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
            // a piece costs something, however short it is; fewer in a turn would queue up
            self.turn += bytes + 2;
            match &mut self.gzip {
                Some(gzip) => gzip.get_mut().take(piece),
                None => return Ok(piece),
            }
        }
    }

    /// The whole body.
    ///
    /// # Errors
    /// Those of [`next`](Self::next), `body-too-large` with more than `limit` bytes, and `unavailable` without memory.
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
        self.turn += step.len();
        if self.unpacked > ANY_RATIO.max(self.packed.saturating_mul(RATIO)) {
            let detail = format!("the body unpacks to more than {RATIO} times its size");
            return Err(Problem::new(&kinds::TOO_LARGE).detail(detail));
        }
        Ok(Bytes::copy_from_slice(step))
    }

    /// The next piece as it came.
    async fn piece(&mut self) -> Result<Option<Bytes>, Problem> {
        if let Some(connection) = &self.connection {
            connection.read_body();
        }
        loop {
            let limits = &self.bodies.limits;
            let more = Duration::from_secs(self.timed / limits.body_rate.0 as u64);
            let end = (self.since + more).min(self.heard) + limits.body_timeout;
            tokio::select! {
                biased;
                piece = self.stream.next() => {
                    if let (None, Some(connection)) = (&piece, &self.connection) {
                        connection.end_body();
                    }
                    return piece.transpose().map_err(|_| broken("it broke off"));
                }
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

/// What came of a packed body and was not unpacked yet.
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
    /// `WouldBlock` until more comes.
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
