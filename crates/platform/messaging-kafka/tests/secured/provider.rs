//! An identity provider: grants tokens to clients with the secret, in the unsigned form for brokers without a check.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// `shop:of-the-shop`
const AUTHORIZATION: &str = "Basic c2hvcDpvZi10aGUtc2hvcA==";

pub struct Provider {
    address: SocketAddr,
    granted: Arc<AtomicUsize>,
}

impl Provider {
    /// Starts a provider with tokens of this lifetime. The provider answers until the tests end.
    pub fn start(lifetime: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let granted = Arc::new(AtomicUsize::new(0));
        let counted = granted.clone();
        thread::spawn(move || {
            for caller in listener.incoming() {
                if answer(&mut caller.expect("a caller"), lifetime) {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        Self { address, granted }
    }

    pub fn url(&self) -> String {
        format!("http://{}/token", self.address)
    }

    pub fn granted(&self) -> usize {
        self.granted.load(Ordering::SeqCst)
    }
}

/// Returns true if a token was granted.
fn answer(caller: &mut TcpStream, lifetime: Duration) -> bool {
    let (mut head, mut length) = (Vec::new(), 0);
    let mut reader = BufReader::new(caller.try_clone().expect("a caller"));
    for line in reader.by_ref().lines().map(|line| line.expect("a line")).take_while(|line| !line.is_empty()) {
        if let Some((_, value)) = line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        {
            length = value.parse().expect("a length");
        }
        head.push(line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    let is_known = head.iter().any(|line| line.ends_with(AUTHORIZATION))
        && body == b"grant_type=client_credentials&scope=kafka+events";
    let (status, text) = if is_known {
        let seconds = lifetime.as_secs();
        ("200 OK", format!(r#"{{"access_token":"{}","token_type":"Bearer","expires_in":{seconds}}}"#, token(lifetime)))
    } else {
        ("401 Unauthorized", r#"{"error":"invalid_client"}"#.to_owned())
    };
    let length = text.len();
    write!(caller, "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{text}").expect("told");
    is_known
}

fn token(lifetime: Duration) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
    let claims = format!(r#"{{"sub":"shop","iat":{now},"exp":{}}}"#, now + lifetime.as_secs());
    let [head, claims] = [r#"{"alg":"none"}"#, &claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    format!("{head}.{claims}.")
}
