//! The settings of a client, and its start.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Certificate, Client, Url, redirect};
use tokio::runtime::{Handle, Runtime};

use crate::buffer::{Buffer, Limits};
use crate::error::{BuildError, chain};
use crate::event::check_setting;
use crate::proxy::{EventProxy, Inner};
use crate::retry::{Addresses, Retry};
use crate::worker::{Worker, mark_thread};

/// Guarantee behind a proxy's answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ack {
    /// The event is queued in memory, and lost if the proxy is killed.
    Memory,
    /// The event is on the proxy's disk.
    #[default]
    Disk,
    /// The event is on Kafka, or on the proxy's disk if Kafka does not confirm in time.
    Kafka,
}

impl Ack {
    fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Kafka => "kafka",
        }
    }
}

/// Keeps sums of times from overflowing.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The settings of an [`EventProxy`]. Only [`url`](Self::url) has no default.
#[derive(Clone)]
#[must_use = "a client starts with `build`"]
pub struct Builder {
    urls: Vec<String>,
    api_key: Option<String>,
    service: Option<String>,
    ack: Ack,
    max_events: usize,
    max_bytes: usize,
    batch_events: usize,
    batch_bytes: usize,
    batch_time: Duration,
    connect_timeout: Duration,
    request_timeout: Duration,
    shutdown_timeout: Duration,
    failback_after: Duration,
    retry: Retry,
    ca_certificates: Option<Vec<u8>>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            api_key: None,
            service: None,
            ack: Ack::default(),
            max_events: 10_000,
            max_bytes: 16 << 20,
            batch_events: 100,
            batch_bytes: 512 << 10,
            batch_time: Duration::from_millis(100),
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(5),
            failback_after: Duration::from_secs(30),
            retry: Retry::default(),
            ca_certificates: None,
        }
    }
}

impl Builder {
    /// Adds the address of a proxy, `http://127.0.0.1:8090`. With several addresses the client uses the first. The
    /// client moves to the next address if a proxy is unreachable, does not answer in time, or fails for any events
    /// (5xx, and 401, 403 or 404 for a whole request). The client comes back after
    /// [`failback_after`](Self::failback_after). A proxy that only asks for a pause (429), or puts single events off,
    /// keeps the client.
    ///
    /// Each proxy recognises repeats by itself. If the first proxy takes an event and the answer is lost, and another
    /// proxy takes the event again, the event comes twice, with the same id.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.urls.push(url.into());
        self
    }

    /// Sets the API key, sent as a bearer token.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// Sets the service of events without a service.
    pub fn service(mut self, service: impl Into<String>) -> Self {
        self.service = Some(service.into());
        self
    }

    /// Sets the acknowledgement, default [`Ack::Disk`].
    pub fn ack(mut self, ack: Ack) -> Self {
        self.ack = ack;
        self
    }

    /// Sets the maximum number of events queued or on the way, default 10,000.
    pub fn max_events(mut self, events: usize) -> Self {
        self.max_events = events;
        self
    }

    /// Sets the maximum length of these events as JSON, in bytes, default 16 MiB.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets the events of a request, default 100, at most 10,000. A full batch is sent at once.
    pub fn batch_events(mut self, events: usize) -> Self {
        self.batch_events = events;
        self
    }

    /// Sets the length of a batch as JSON, in bytes, default 512 KiB. A longer event goes alone.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// Sets the maximum wait of an event for a full batch, default 100 ms.
    pub fn batch_time(mut self, time: Duration) -> Self {
        self.batch_time = time.min(LONGEST);
        self
    }

    /// Sets the time-out of a connection attempt, default 2 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout.min(LONGEST);
        self
    }

    /// Sets the time-out of a request and its answer, default 10 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout.min(LONGEST);
        self
    }

    /// Sets the time that the drop of the last clone may take to send the queue, default 5 s.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = timeout.min(LONGEST);
        self
    }

    /// Sets the rest of a failed address while there are more addresses, default 30 s: doubled with each further
    /// failure, up to 5 minutes.
    pub fn failback_after(mut self, time: Duration) -> Self {
        self.failback_after = time.min(LONGEST);
        self
    }

    /// Sets the duration and the pauses of retries; see [`Retry`] for the defaults.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Retry {
            first_pause: retry.first_pause.min(LONGEST),
            longest_pause: retry.longest_pause.min(LONGEST),
            give_up_after: retry.give_up_after.min(LONGEST),
        };
        self
    }

    /// Adds trusted certificates (PEM) of the proxy, besides the system's.
    pub fn ca_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca_certificates = Some(pem.into());
        self
    }

    /// Starts the client. The client connects at the first event.
    ///
    /// # Errors
    /// An unusable setting, or a failure to start a thread.
    pub fn build(self) -> Result<EventProxy, BuildError> {
        let urls = self.endpoints()?;
        let client = self.client(&urls)?;
        let limits = self.limits()?;
        if let Some(service) = &self.service {
            check_setting("service", service)?;
        }
        let buffer = Arc::new(Buffer::new(limits));
        let worker = Worker {
            buffer: Arc::clone(&buffer),
            client,
            addresses: Addresses::new(urls, self.retry, self.failback_after),
            give_up_after: self.retry.give_up_after,
            shutdown_timeout: self.shutdown_timeout,
            hurried: false,
        };
        let (runtime, thread) = start(worker).map_err(BuildError::Thread)?;
        Ok(EventProxy::new(Inner { buffer, default_service: self.service, runtime, thread: Some(thread) }))
    }

    fn endpoints(&self) -> Result<Vec<Url>, BuildError> {
        if self.urls.is_empty() {
            return Err(BuildError::setting("url", "at least one is needed"));
        }
        self.urls.iter().map(|url| endpoint(url, self.ack)).collect()
    }

    fn limits(&self) -> Result<Limits, BuildError> {
        let at_least_one = |setting, value| match value {
            0 => Err(BuildError::setting(setting, "must be at least 1")),
            _ => Ok(value),
        };
        if self.batch_events > 10_000 {
            return Err(BuildError::setting("batch_events", "must be at most 10,000"));
        }
        Ok(Limits {
            max_events: at_least_one("max_events", self.max_events)?,
            max_bytes: at_least_one("max_bytes", self.max_bytes)?,
            batch_events: at_least_one("batch_events", self.batch_events)?,
            batch_bytes: at_least_one("batch_bytes", self.batch_bytes)?,
            batch_time: self.batch_time,
        })
    }

    fn client(&self, urls: &[Url]) -> Result<Client, BuildError> {
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        if let Some(key) = &self.api_key {
            let bearer = HeaderValue::from_str(&format!("Bearer {key}"));
            let mut bearer = bearer.map_err(|error| BuildError::setting("api_key", error.to_string()))?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let mut builder = Client::builder()
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .connect_timeout(self.connect_timeout)
            .timeout(self.request_timeout)
            .user_agent(concat!("event-proxy-client/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = &self.ca_certificates {
            let certificates = Certificate::from_pem_bundle(pem);
            let certificates = certificates.map_err(|error| BuildError::setting("ca_certificates", chain(&error)))?;
            if certificates.is_empty() {
                return Err(BuildError::setting("ca_certificates", "holds no certificate"));
            }
            builder = builder.tls_certs_merge(certificates);
        } else if urls.iter().all(|url| url.scheme() == "http") {
            // the system's certificates are not needed, and not every container has them
            builder = builder.tls_certs_only([]);
        }
        builder.build().map_err(|error| BuildError::setting("ca_certificates", chain(&error)))
    }
}

/// Returns the URL for events at the proxy with this address.
fn endpoint(url: &str, ack: Ack) -> Result<Url, BuildError> {
    // what comes before an @ may be a password
    let shown = if url.contains('@') { "an address".to_owned() } else { format!("{url:?}") };
    let bad = |reason: &str| BuildError::setting("url", format!("{shown} {reason}"));
    let mut endpoint = Url::parse(url).map_err(|error| bad(&format!("is no URL: {error}")))?;
    if !matches!(endpoint.scheme(), "http" | "https") {
        return Err(bad("must begin with http:// or https://"));
    }
    if !endpoint.username().is_empty() || endpoint.password().is_some() {
        return Err(bad("must not hold credentials, for it is shown in logs"));
    }
    if endpoint.port() == Some(0) {
        return Err(bad("must not have port 0"));
    }
    if let Ok(mut path) = endpoint.path_segments_mut() {
        path.pop_if_empty().extend(["v1", "events"]);
    }
    endpoint.set_query(Some(&format!("ack={}", ack.as_str())));
    Ok(endpoint)
}

/// Starts the client's thread. The runtime is created and dropped on this thread, because a runtime can't be dropped
/// inside another runtime.
fn start(worker: Worker) -> io::Result<(Handle, thread::JoinHandle<()>)> {
    let (started, start) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name("event-proxy".to_owned()).spawn(move || {
        mark_thread();
        let runtime = match runtime() {
            Ok(runtime) => runtime,
            Err(error) => return drop(started.send(Err(error))),
        };
        if started.send(Ok(runtime.handle().clone())).is_ok() {
            runtime.block_on(worker.run());
        }
        // a look-up of a name may hang for longer than anybody waits
        runtime.shutdown_background();
    })?;
    let handle = start.recv().unwrap_or_else(|_| Err(io::Error::other("it ended at once")))?;
    Ok((handle, thread))
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().on_thread_start(mark_thread).build()
}
