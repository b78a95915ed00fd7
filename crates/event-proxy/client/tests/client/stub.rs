//! A proxy that gives prepared answers, and keeps the requests.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, rt};
use event_proxy_client::{Builder, EventProxy};
use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};

/// A time-out far longer than any step here.
pub(super) const LONG: Duration = Duration::from_secs(30);
/// A time so long that any wait for it fails the test.
pub(super) const FOREVER: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone)]
pub(super) struct Request {
    pub events: Vec<Value>,
    pub query: String,
    pub authorization: Option<String>,
    /// The other end of the connection.
    pub peer: Option<SocketAddr>,
}

impl Request {
    pub(super) fn ids(&self) -> Vec<&str> {
        self.events.iter().map(|event| event["id"].as_str().unwrap()).collect()
    }
}

/// Prepared answer; without one, all events are accepted.
pub(super) enum Reply {
    Status(u16),
    /// A status, and when to come again.
    Later(u16, &'static str),
    /// 207 with a status for each event.
    Items(&'static [u16]),
    Never,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    replies: VecDeque<Reply>,
    stopped: bool,
}

impl State {
    fn take(&mut self, request: Request) -> Option<Reply> {
        if self.stopped {
            return Some(Reply::Never);
        }
        self.requests.push(request);
        self.replies.pop_front()
    }
}

pub(super) struct Stub {
    pub url: String,
    shared: Arc<Shared>,
    server: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl Stub {
    /// Starts the proxy on a separate thread, because dropping a client blocks the test's thread.
    pub(super) fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let shared = Arc::new(Shared::default());
        shared.state.lock().replies.extend(replies);
        let (started, start) = sync_channel(1);
        let data = Data::from(Arc::clone(&shared));
        let thread = thread::spawn(move || {
            rt::System::new().block_on(async {
                let app = move || App::new().app_data(data.clone()).route("/v1/events", web::post().to(take));
                let server = HttpServer::new(app).workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
                let address = server.addrs()[0];
                let server = server.run();
                started.send((address, server.handle())).unwrap();
                server.await.unwrap();
            });
        });
        let (address, server) = start.recv().unwrap();
        Self { url: format!("http://{address}"), shared, server, thread: Some(thread) }
    }

    /// Returns a client of this proxy with batches that wait until full.
    pub(super) fn client(&self) -> Builder {
        EventProxy::builder().url(&self.url).service("order").batch_time(FOREVER)
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.shared.state.lock().requests.clone()
    }

    pub(super) fn events(&self) -> Vec<Value> {
        self.requests().into_iter().flat_map(|request| request.events).collect()
    }

    /// Waits for a number of requests, and returns the requests.
    pub(super) fn wait_for(&self, requests: usize) -> Vec<Request> {
        let mut state = self.shared.state.lock();
        let too_few = |state: &mut State| state.requests.len() < requests;
        let waited = self.shared.changed.wait_while_for(&mut state, too_few, LONG);
        assert!(!waited.timed_out(), "{} requests", state.requests.len());
        state.requests.clone()
    }

    /// Closes the connections and the address.
    pub(super) fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // connections live a little longer than the server
            self.shared.state.lock().stopped = true;
            drop(self.server.stop(false));
            thread.join().unwrap();
        }
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn take(request: HttpRequest, body: Bytes, shared: Data<Shared>) -> HttpResponse {
    let header = |name| Some(request.headers().get(name)?.to_str().unwrap().to_owned());
    assert_eq!(header("content-type").unwrap(), "application/json");
    let events: Vec<Value> = serde_json::from_slice(&body).unwrap();
    let count = events.len();
    let query = request.query_string().to_owned();
    let request = Request { events, query, authorization: header("authorization"), peer: request.peer_addr() };
    let reply = shared.state.lock().take(request);
    shared.changed.notify_all();
    match reply {
        None => items(StatusCode::ACCEPTED, &vec![202; count]),
        Some(Reply::Items(statuses)) => items(StatusCode::MULTI_STATUS, statuses),
        Some(Reply::Status(status)) => HttpResponse::build(StatusCode::from_u16(status).unwrap()).finish(),
        Some(Reply::Later(status, when)) => {
            HttpResponse::build(StatusCode::from_u16(status).unwrap()).insert_header(("Retry-After", when)).finish()
        }
        Some(Reply::Never) => std::future::pending().await,
    }
}

fn items(status: StatusCode, statuses: &[u16]) -> HttpResponse {
    let item = |status: &u16| match status {
        202 => json!({ "status": status, "receipt": "node-1" }),
        _ => json!({ "status": status, "problem": { "title": "Refused", "detail": "because" } }),
    };
    HttpResponse::build(status).json(json!({ "items": statuses.iter().map(item).collect::<Vec<_>>() }))
}
