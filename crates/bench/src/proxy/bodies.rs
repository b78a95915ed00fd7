//! Request bodies of the load, built once, so that the proxy gets most of the machine.

use std::sync::Arc;

/// Bytes of a posted event.
const EVENT: usize = 300;
const KEYS: usize = 1024;
/// Requests sent in turn by a connection.
const IN_TURN: usize = 16;

/// A kind of request: number and format of the events.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub connections: usize,
    /// Events in one request.
    pub events: usize,
    media: &'static str,
}

/// An event a request.
pub(super) const SINGLE: Shape = Shape { connections: 64, events: 1, media: "application/json" };
/// Arrays of a hundred.
pub(super) const BATCH: Shape = Shape { connections: 64, events: 100, media: "application/json" };
/// A thousand lines.
pub(super) const LINES: Shape = Shape { connections: 8, events: 1000, media: "application/x-ndjson" };

impl Shape {
    /// Returns the requests of a connection: an equal share of all requests for each connection.
    pub(super) fn requests(self, path: &str, connection: usize) -> Arc<[Vec<u8>]> {
        let in_turn = if self.events > 100 { 1 } else { IN_TURN };
        (0..in_turn).map(|n| self.request(path, (connection * IN_TURN + n) * self.events)).collect()
    }

    fn request(self, path: &str, first: usize) -> Vec<u8> {
        let events: Vec<String> = (first..first + self.events).map(event).collect();
        let body = match self.media {
            "application/x-ndjson" => events.join("\n"),
            _ if self.events == 1 => events.concat(),
            _ => format!("[{}]", events.join(",")),
        };
        let (media, length) = (self.media, body.len());
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media}\r\nContent-Length: {length}\r\n\r\n"
        );
        [head, body].concat().into_bytes()
    }
}

/// Returns the event `number`, with one of [`KEYS`] keys.
pub(super) fn event(number: usize) -> String {
    let head = format!(
        r#"{{"service":"bench","type":"sold","key":"order-{:05}","level":"info","data":{{"number":{number},"text":""#,
        number % KEYS
    );
    let text = "a product with a name, a price and a quantity; ".repeat(EVENT / 40);
    format!("{head}{}\"}}}}", &text[..EVENT - head.len() - 3])
}
