//! A thin HTTP client, so that the server gets most of the machine.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One connection with one request at a time.
pub(crate) struct Client {
    stream: TcpStream,
    read: Vec<u8>,
    written: Vec<u8>,
}

/// A status and a body.
pub(crate) struct Reply {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Reply {
    /// Returns a string field of the body, found without reading the rest: `"name":"…"`.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let body = std::str::from_utf8(&self.body).ok()?;
        let begin = body.find(&format!("\"{name}\":\""))? + name.len() + 4;
        body[begin..].split('"').next()
    }
}

impl Client {
    pub(crate) async fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::with_capacity(4096), written: Vec::with_capacity(1024) })
    }

    /// Sends one request and reads the answer. `headers` end with a line break each.
    pub(crate) async fn call(&mut self, method: &str, path: &str, headers: &str, body: &str) -> io::Result<Reply> {
        use std::io::Write;
        self.written.clear();
        write!(
            self.written,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        self.stream.write_all(&self.written).await?;
        self.answer().await
    }

    /// Sends a request unchanged and reads the answer.
    pub(crate) async fn send(&mut self, request: &[u8]) -> io::Result<Reply> {
        self.stream.write_all(request).await?;
        self.answer().await
    }

    async fn answer(&mut self) -> io::Result<Reply> {
        self.read.clear();
        loop {
            if let Some(reply) = self.parsed()? {
                return Ok(reply);
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn parsed(&self) -> io::Result<Option<Reply>> {
        let Some(head) = self.read.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let bad = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
        let text = std::str::from_utf8(&self.read[..head]).map_err(|_| bad("a head that is not UTF-8"))?;
        let status = text.get(9..12).and_then(|code| code.parse().ok()).ok_or_else(|| bad("no status"))?;
        let length = text
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.parse::<usize>().ok())
            .ok_or_else(|| bad("no content-length"))?;
        let body = &self.read[head + 4..];
        Ok((body.len() >= length).then(|| Reply { status, body: body[..length].to_vec() }))
    }
}
