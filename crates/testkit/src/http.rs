//! An HTTP server on loopback that gives prepared answers and keeps the requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A received request.
#[derive(Debug, Clone)]
pub struct Request {
    pub target: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    /// Returns the header; empty if absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Returns the body.
    ///
    /// # Panics
    /// If the body is not UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    /// Returns the body's lines as JSON.
    ///
    /// # Panics
    /// If a line is not JSON.
    pub fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

type Respond = dyn Fn(&Request) -> (u16, String) + Send + Sync;

/// An HTTP server; stops when dropped.
pub struct Http {
    pub address: SocketAddr,
    got: Arc<Mutex<Vec<Request>>>,
    _serving: JoinSet<()>,
}

impl Http {
    /// Starts a server on a free port.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn answering(respond: impl Fn(&Request) -> (u16, String) + Send + Sync + 'static) -> Self {
        Self::at(([127, 0, 0, 1], 0).into(), respond).await
    }

    /// Starts a server at this address.
    ///
    /// # Panics
    /// If the address is in use.
    pub async fn at(address: SocketAddr, respond: impl Fn(&Request) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).await.expect("an address");
        let address = listener.local_addr().expect("bound");
        let got = Arc::new(Mutex::new(Vec::new()));
        let (kept, respond): (_, Arc<Respond>) = (got.clone(), Arc::new(respond));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve_http(stream, kept.clone(), respond.clone()));
            }
        });
        Self { address, got, _serving: serving }
    }

    /// Returns the URL without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns all requests so far.
    pub fn got(&self) -> Vec<Request> {
        self.got.lock().clone()
    }
}

async fn serve_http(stream: TcpStream, got: Arc<Mutex<Vec<Request>>>, respond: Arc<Respond>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream).await {
        let (status, body) = respond(&request);
        got.lock().push(request);
        let head = format!("HTTP/1.1 {status} Told\r\ncontent-length: {}\r\n\r\n", body.len());
        if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let target = line.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { target, headers, body })
}
