//! A bare handler in a separate process, like the proxy: parses the same bodies and discards the events.

use std::borrow::Cow;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Bytes, PayloadConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Maximum size of a body.
const LIMIT: usize = 8 << 20;

#[derive(Deserialize)]
struct Posted<'a> {
    #[serde(borrow)]
    service: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    level: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl Posted<'_> {
    fn bytes(&self) -> usize {
        let optional = |text: &Option<Cow<'_, str>>| text.as_ref().map_or(0, |text| text.len());
        self.service.len() + self.kind.len() + optional(&self.key) + optional(&self.level) + self.data.get().len()
    }
}

/// Serves until the process is ended, after a line with the address.
///
/// # Errors
/// The system's.
pub(crate) async fn serve() -> std::io::Result<()> {
    let app = || App::new().app_data(PayloadConfig::new(LIMIT)).route("/", web::post().to(parse));
    let server = HttpServer::new(app).bind("127.0.0.1:0")?;
    println!("{}", server.addrs()[0]);
    server.run().await
}

/// Answers with the number of events and bytes in the body.
async fn parse(request: HttpRequest, body: Bytes) -> HttpResponse {
    let is_lines = request.headers().get(CONTENT_TYPE).is_some_and(|media| media == "application/x-ndjson");
    let read = if is_lines {
        body.split(|byte| *byte == b'\n').map(serde_json::from_slice::<Posted<'_>>).collect()
    } else if body.first() == Some(&b'[') {
        serde_json::from_slice::<Vec<Posted<'_>>>(&body)
    } else {
        serde_json::from_slice::<Posted<'_>>(&body).map(|one| vec![one])
    };
    match read {
        Ok(events) => {
            let bytes: usize = events.iter().map(Posted::bytes).sum();
            HttpResponse::Accepted().content_type("application/json").body(format!("[{},{bytes}]", events.len()))
        }
        Err(error) => HttpResponse::BadRequest().body(error.to_string()),
    }
}

/// The process.
pub(super) struct Bare {
    process: Child,
    pub address: String,
}

impl Bare {
    /// # Panics
    /// If this program can't be started again.
    pub(super) fn start() -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut process = Command::new(program).arg("bare").stdout(Stdio::piped()).spawn().expect("a process");
        let mut line = String::new();
        let said = process.stdout.take().expect("it is piped");
        BufReader::new(said).read_line(&mut line).expect("a line");
        Self { process, address: line.trim().to_owned() }
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
