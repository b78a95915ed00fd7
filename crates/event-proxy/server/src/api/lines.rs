//! Events of an NDJSON body, accepted during the upload.
//!
//! The cost of a body is bounded. The memory of a line, of pending lines and of the answer counts as memory of
//! bodies; lines are found in one pass; and after [`REFUSED`] refusals the reading ends. After any early end the
//! answer names the first line neither accepted nor refused.

use actix_web::HttpResponse;
use actix_web::http::header::RETRY_AFTER;
use rest::Problem;
use rest::body::{Incoming, Memory};
use rest::fair::pause;
use rest::kinds;
use rest::server::SMALL;
use serde_json::value::RawValue;
use tokio::time::{Duration, Instant, timeout_at};

use super::events::{Fate, Item, Items, Tally, Unread, item};
use crate::Proxy;
use crate::auth::caller::Caller;
use crate::ingest::event::{Entry, MEMORY, Refusal};
use crate::ingest::parse::{Reader, without_mark};
use crate::ingest::quota::{Cost, Exceeded};
use crate::ingest::service::Ack;

/// Maximum number of lines with an answer each; beyond, only refused lines have an answer.
const ANSWERED: usize = 10_000;
/// Number of refused lines that ends the reading of a body.
const REFUSED: usize = 1_000;
/// Lines accepted in one unit of work.
const CHUNK: usize = 2000;
/// Bytes accepted in one unit of work.
const CHUNK_BYTES: usize = 1 << 20;
/// Time after which pending lines are accepted, though more may come.
const AT_THE_LATEST: Duration = Duration::from_secs(1);
/// Memory of an answered line, without the texts of a refusal.
const ITEM: usize = 256;

/// Accepts events line by line, during the upload.
pub(super) struct Lines<'p> {
    proxy: &'p Proxy,
    caller: &'p Caller,
    reader: &'p Reader<'p>,
    ack: Ack,
    body: Incoming,
    memory: Memory,
    /// Bytes of `memory`.
    held: usize,
    /// Beginning of an incomplete line; `None` for a line above the maximum.
    begun: Option<Vec<u8>>,
    /// Complete lines so far, blank lines included.
    complete: usize,
    chunk: Vec<Result<Entry, Refusal>>,
    /// Number of the line of each entry of the chunk.
    numbers: Vec<usize>,
    /// Refused entries of the chunk.
    bad: usize,
    /// Size of the lines of the chunk.
    bytes: usize,
    /// Memory of the chunk.
    chunk_memory: usize,
    /// Time to take the chunk.
    due: Instant,
    /// Set once the caller's quota was used up: later lines are not accepted, because they would come before the
    /// refused lines.
    exceeded: Option<Exceeded>,
    items: Vec<Item>,
    /// Memory of the items.
    items_memory: usize,
    tally: Tally,
}

impl<'p> Lines<'p> {
    /// Returns the lines of a body.
    pub(super) fn new(proxy: &'p Proxy, caller: &'p Caller, reader: &'p Reader<'p>, ack: Ack, body: Incoming) -> Self {
        let memory = body.memory();
        Self {
            proxy,
            caller,
            reader,
            ack,
            body,
            memory,
            held: 0,
            begun: Some(Vec::new()),
            complete: 0,
            chunk: Vec::new(),
            numbers: Vec::new(),
            bad: 0,
            bytes: 0,
            chunk_memory: 0,
            due: Instant::now(),
            exceeded: None,
            items: Vec::new(),
            items_memory: 0,
            tally: Tally::default(),
        }
    }

    /// Reads and takes all lines.
    ///
    /// # Errors
    /// The reason why no line was taken.
    pub(super) async fn read(mut self) -> Result<HttpResponse, Problem> {
        match self.read_all().await {
            Err(problem) if self.lines() == 0 => Err(problem),
            read => Ok(self.answer(read.err())),
        }
    }

    /// Returns the number of accepted or refused lines.
    fn lines(&self) -> usize {
        self.tally.accepted() + self.tally.refused
    }

    async fn read_all(&mut self) -> Result<(), Problem> {
        loop {
            let piece = match self.chunk.is_empty() {
                true => self.body.next().await,
                false => match timeout_at(self.due, self.body.next()).await {
                    Ok(piece) => piece,
                    Err(_) => {
                        self.take().await?;
                        continue;
                    }
                },
            };
            match piece {
                Ok(Some(piece)) => self.split(&piece).await?,
                Ok(None) => return self.end().await,
                // complete lines are taken all the same
                Err(problem) => return self.take().await.and(Err(problem)),
            }
            if !self.chunk.is_empty() && Instant::now() >= self.due {
                self.take().await?;
            }
        }
    }

    async fn split(&mut self, piece: &[u8]) -> Result<(), Problem> {
        let before = self.complete;
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.begin(&rest[..end]).await?;
            self.complete().await?;
            rest = &rest[end + 1..];
        }
        if self.complete > before {
            self.body.restart();
        }
        self.begin(rest).await
    }

    /// Ends the body; the last line may lack a line break.
    async fn end(&mut self) -> Result<(), Problem> {
        self.complete().await?;
        self.take().await
    }

    /// Adds to the incomplete line.
    async fn begin(&mut self, part: &[u8]) -> Result<(), Problem> {
        let ingest = &self.proxy.settings.ingest;
        // a line is an event as it was posted, which may be larger than it is stored
        let longest = ingest.max_event.0.saturating_mul(2).min(ingest.max_body.0);
        let Some(begun) = &mut self.begun else { return Ok(()) };
        if begun.len() + part.len() > longest {
            self.begun = None;
            let detail = format!("a line may have {longest} bytes");
            return self.push(Err(Problem::new(&kinds::TOO_LARGE).detail(detail).into()), 0).await;
        }
        begun.extend_from_slice(part);
        self.reserve().await
    }

    /// Completes the line.
    async fn complete(&mut self) -> Result<(), Problem> {
        pause().await;
        self.complete += 1;
        let Some(line) = self.begun.replace(Vec::new()) else { return Ok(()) };
        let text = if self.complete == 1 { without_mark(&line) } else { &line };
        if text.trim_ascii().is_empty() {
            return Ok(());
        }
        let entry = self.reader.event(text);
        self.push(entry, line.len()).await
    }

    async fn push(&mut self, entry: Result<Entry, Refusal>, bytes: usize) -> Result<(), Problem> {
        if self.chunk.is_empty() {
            self.due = Instant::now() + AT_THE_LATEST;
        }
        self.chunk_memory += entry.as_ref().map_or_else(|refusal| MEMORY + refusal.problem.memory(), Entry::memory);
        self.bytes += bytes;
        self.bad += usize::from(entry.is_err());
        // a line that is too long is not complete yet
        self.numbers.push(self.complete + usize::from(self.begun.is_none()));
        self.chunk.push(entry);
        self.reserve().await?;
        let is_full = self.chunk.len() >= CHUNK || self.bytes >= CHUNK_BYTES;
        if is_full || self.tally.refused + self.bad >= REFUSED { self.take().await } else { Ok(()) }
    }

    /// Holds memory for all kept data; accepts pending lines sooner without memory.
    async fn reserve(&mut self) -> Result<(), Problem> {
        let kept = |lines: &Self| {
            let begun = lines.begun.as_ref().map_or(0, Vec::capacity);
            let all = begun + lines.chunk_memory + lines.items_memory;
            all.next_multiple_of(SMALL)
        };
        if kept(self) > self.held && self.memory.resize(kept(self)).is_err() {
            self.take().await?;
            self.memory.resize(kept(self))?;
        }
        self.held = self.held.max(kept(self));
        Ok(())
    }

    async fn take(&mut self) -> Result<(), Problem> {
        let (mut chunk, numbers) = (std::mem::take(&mut self.chunk), std::mem::take(&mut self.numbers));
        let first = numbers.first().copied();
        (self.bad, self.bytes, self.chunk_memory) = (0, 0, 0);
        let taken = match self.admit(&mut chunk) {
            Ok(cost) => self.proxy.accept(chunk, self.ack).await.inspect_err(|_| self.caller.give_back(cost)),
            Err(problem) => Err(problem),
        };
        let taken = taken.inspect_err(|_| self.complete = first.map_or(self.complete, |first| first - 1))?;
        for (number, taken) in numbers.into_iter().zip(taken) {
            pause().await;
            self.tally.count(&taken);
            if self.lines() == ANSWERED + 1 {
                self.items.retain(|item| matches!(item.fate, Fate::Refused { .. }));
            }
            if self.lines() <= ANSWERED || (taken.is_err() && self.items.len() < REFUSED) {
                let mut item = item(self.proxy, taken);
                item.line = Some(number);
                self.items.push(item);
            }
        }
        self.held = 0;
        self.items_memory = self.items.iter().map(|item| ITEM + item.fate.texts()).sum();
        if self.tally.refused >= REFUSED {
            let detail = format!("{REFUSED} lines or more were refused, so the rest was not read");
            return Err(Problem::new(&kinds::INVALID_REQUEST).detail(detail));
        }
        Ok(())
    }

    /// Refuses lines of other services and lines above the quota; refuses the whole body if no line was accepted
    /// before.
    fn admit(&mut self, chunk: &mut [Result<Entry, Refusal>]) -> Result<Cost, Problem> {
        let exceeded = match self.exceeded.map_or_else(|| self.caller.admit(chunk), Err) {
            Ok(cost) => return Ok(cost),
            Err(exceeded) if self.lines() == 0 => return Err(exceeded.into()),
            Err(exceeded) => exceeded,
        };
        self.exceeded = Some(exceeded);
        for entry in chunk {
            if let Ok(taken) = entry {
                let service = Some(std::mem::take(&mut taken.service));
                *entry = Err(Refusal { service, problem: exceeded.into() });
            }
        }
        Ok(Cost::default())
    }

    /// Returns the answer; `ended` is the reason for the early end of the reading.
    fn answer(mut self, ended: Option<Problem>) -> HttpResponse {
        let (is_many, wait) = (self.lines() > ANSWERED, ended.as_ref().and_then(Problem::wait));
        let unread = ended.map(|problem| Unread {
            from_line: self.complete + 1,
            problem: RawValue::from_string(problem.document(None)).ok(),
        });
        let is_short = !is_many && unread.is_none();
        if is_short {
            self.items.iter_mut().for_each(|item| item.line = None);
        }
        let count = |lines: usize| (!is_short).then_some(lines);
        let (accepted, refused) = (count(self.tally.accepted()), count(self.tally.refused));
        let mut response = self.tally.answer(Items { items: self.items, accepted, refused, unread });
        let wait = self.exceeded.map(Exceeded::seconds).or(wait.map(|wait| wait.as_secs().max(1)));
        if let Some(seconds) = wait {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        // until the answer is sent
        response.extensions_mut().insert(self.memory);
        response
    }
}
