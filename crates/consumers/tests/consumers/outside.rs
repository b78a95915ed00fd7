//! External servers on loopback, HTTP and SMTP, that give prepared answers and keep the requests; and a batch of an
//! effect handler.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use db::Database;
use db::types::Id;
use messaging::{EffectHandler, Event, Group, Handler, HandlerError, Lease};
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub(super) use testkit::Http;

/// A received mail.
#[derive(Debug, Clone)]
pub(super) struct Mail {
    pub to: String,
    pub text: String,
}

/// An SMTP server that refuses mail to any address with `refused` in it for good, and with `busy` for now; it goes down when
/// dropped.
pub(super) struct Smtp {
    pub address: SocketAddr,
    got: Arc<Mutex<Vec<Mail>>>,
    refused: Arc<AtomicUsize>,
    is_free: Arc<AtomicBool>,
    _serving: JoinSet<()>,
}

impl Smtp {
    pub(super) async fn start() -> Self {
        Self::at(([127, 0, 0, 1], 0).into()).await
    }

    pub(super) async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("an address");
        let address = listener.local_addr().expect("bound");
        let got = Arc::new(Mutex::new(Vec::new()));
        let refused = Arc::new(AtomicUsize::new(0));
        let is_free = Arc::new(AtomicBool::new(false));
        let (kept, counted, free) = (got.clone(), refused.clone(), is_free.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve_smtp(stream, kept.clone(), counted.clone(), free.clone()));
            }
        });
        Self { address, got, refused, is_free, _serving: serving }
    }

    /// Takes mail for busy mailboxes from now on.
    pub(super) fn free_mailboxes(&self) {
        self.is_free.store(true, Ordering::Relaxed);
    }

    /// Mails refused for good.
    pub(super) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    pub(super) fn got(&self) -> Vec<Mail> {
        self.got.lock().clone()
    }

    /// Returns the recipients in the order of arrival.
    pub(super) fn recipients(&self) -> Vec<String> {
        self.got().into_iter().map(|mail| mail.to).collect()
    }
}

/// Serves one SMTP connection; returns `None` when the client has gone.
async fn serve_smtp(
    stream: TcpStream,
    got: Arc<Mutex<Vec<Mail>>>,
    refused: Arc<AtomicUsize>,
    is_free: Arc<AtomicBool>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut to = String::new();
    stream.write_all(b"220 here\r\n").await.ok()?;
    loop {
        let command = read_line(&mut stream).await?;
        let answer = match command.to_ascii_uppercase().split(':').next()? {
            "RCPT TO" if command.contains("busy") && !is_free.load(Ordering::Relaxed) => {
                "450 4.2.1 the mailbox is busy"
            }
            "RCPT TO" if command.contains("refused") => {
                refused.fetch_add(1, Ordering::Relaxed);
                match command.split(['+', '@']).nth(1)? {
                    "unknown" => "550 5.1.1 no such mailbox",
                    "policy" => "550 5.7.1 relaying denied",
                    "sender" => "553 5.1.8 bad address of the sender",
                    _ => "550 no such mailbox",
                }
            }
            "RCPT TO" => {
                to = command.split(['<', '>']).nth(1)?.to_owned();
                "250 fine"
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await.ok()?;
                let mut text = String::new();
                loop {
                    match read_line(&mut stream).await?.as_str() {
                        "." => break,
                        line => text.extend([line, "\n"]),
                    }
                }
                got.lock().push(Mail { to: to.clone(), text });
                "250 taken"
            }
            "QUIT" => "221 bye",
            _ => "250 fine",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
    }
}

async fn read_line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    Some(line.trim_end().to_owned())
}

/// Returns an address without a listener.
pub(super) async fn nowhere() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
    listener.local_addr().expect("bound")
}

pub(super) fn effect(group: &Group) -> Arc<dyn EffectHandler> {
    let Handler::Effect(handler) = &group.handler else { panic!("{} is transactional", group.name) };
    handler.clone()
}

pub(super) fn lease(topic: &'static str, partition: i32, number: i64) -> Lease {
    Lease { topic: topic.into(), partition, number, holder: Id::new() }
}

/// Numbers events of a topic, from `first` on.
pub(super) fn numbered(first: i64, mut events: Vec<Event>) -> Vec<Event> {
    for (event, position) in events.iter_mut().zip(first..) {
        event.position = position;
    }
    events
}

/// Runs a batch from the handling to the commit of the position.
pub(super) async fn turn(
    db: &Database,
    handler: &Arc<dyn EffectHandler>,
    lease: &Lease,
    events: &[Event],
) -> Result<(), HandlerError> {
    handler.handle(lease, events).await?;
    let (handler, lease, events) = (handler.clone(), lease.clone(), events.to_vec());
    Ok(db.write(move |tx| handler.record(tx, &lease, &events)).await?)
}

pub(super) fn assert_unavailable(result: Result<(), HandlerError>) {
    assert!(matches!(result, Err(HandlerError::Unavailable(_))), "{result:?}");
}

pub(super) fn assert_failed(result: Result<(), HandlerError>) {
    assert!(matches!(result, Err(HandlerError::Failed(_))), "{result:?}");
}
