//! Bootstrap server for tests: forwards to a broker, or answers as fenced brokers do.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;

const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
const LEADER_NOT_AVAILABLE: i16 = 5;

/// A server that clients of a cluster know as their only bootstrap server.
pub struct Door {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

/// Answer to whom comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Forwards to this broker.
    To(SocketAddr),
    /// Answers that the cluster has no brokers.
    Fenced,
}

struct Shared {
    way: Way,
    open: Vec<TcpStream>,
    /// Metadata without brokers that clients were given.
    fenced_answers: usize,
}

impl Door {
    /// Opens a door to a broker.
    ///
    /// # Panics
    /// If the machine has no free port.
    pub fn to(broker: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Mutex::new(Shared { way: Way::To(broker), open: Vec::new(), fenced_answers: 0 }));
        let of_thread = Arc::downgrade(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Some(shared) = of_thread.upgrade() else { return };
                thread::spawn(move || drop(serve(client, &shared)));
            }
        });
        Self { address, shared }
    }

    /// `host:port`
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Changes the way of all connections from now on, and closes the open ones.
    pub fn set(&self, way: Way) {
        let mut shared = self.shared.lock();
        shared.way = way;
        for client in shared.open.drain(..) {
            drop(client.shutdown(Shutdown::Both)); // fails if the client has closed the connection
        }
    }

    /// Returns how often clients were told that the cluster has no brokers.
    pub fn fenced_answers(&self) -> usize {
        self.shared.lock().fenced_answers
    }
}

fn serve(mut client: TcpStream, shared: &Mutex<Shared>) -> io::Result<()> {
    let way = {
        let mut shared = shared.lock();
        shared.open.push(client.try_clone()?);
        shared.way
    };
    match way {
        Way::To(broker) => forward(client, TcpStream::connect(broker)?),
        Way::Fenced => loop {
            let request = read_frame(&mut client)?;
            let (api, correlation) = (&request[..2], &request[4..8]);
            let body = match i16::from_be_bytes([api[0], api[1]]) {
                API_VERSIONS => api_versions(),
                METADATA => no_brokers(),
                _ => return Ok(()), // closes the connection
            };
            let mut answer = i32::try_from(body.len() + 4).expect("a short answer").to_be_bytes().to_vec();
            answer.extend(correlation);
            answer.extend(&body);
            client.write_all(&answer)?;
            shared.lock().fenced_answers += usize::from(body == no_brokers());
        },
    }
}

fn forward(client: TcpStream, broker: TcpStream) -> io::Result<()> {
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        thread::spawn(move || {
            drop(io::copy(&mut from, &mut to));
            drop(to.shutdown(Shutdown::Both)); // fails if the other side has closed the connection
        });
    };
    copy(client.try_clone()?, broker.try_clone()?);
    copy(broker, client);
    Ok(())
}

fn read_frame(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    client.read_exact(&mut length)?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    client.read_exact(&mut frame)?;
    Ok(frame)
}

/// ApiVersionsResponse, version 3: Metadata and ApiVersions alone.
fn api_versions() -> Vec<u8> {
    let mut body = vec![0, 0, 3]; // no error; two keys as a compact array
    for (api, newest) in [(METADATA, 1_i16), (API_VERSIONS, 3)] {
        body.extend([api.to_be_bytes(), [0, 0], newest.to_be_bytes()].concat());
        body.push(0); // no tagged fields
    }
    body.extend([0; 5]); // no throttling; no tagged fields
    body
}

/// MetadataResponse, version 1: no brokers, no controller, and a topic without partitions. librdkafka 2.12 parses no shorter
/// answer: the memory for the parsed answer grows with the length.
fn no_brokers() -> Vec<u8> {
    let name = [b't'; 64];
    let mut body = 0_i32.to_be_bytes().to_vec();
    body.extend((-1_i32).to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend(LEADER_NOT_AVAILABLE.to_be_bytes());
    body.extend([0, 64]); // length of the name
    body.extend(name);
    body.push(0); // not internal
    body.extend(0_i32.to_be_bytes());
    body
}
