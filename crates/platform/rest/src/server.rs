//! Limits that keep the cost of a server's clients bounded: connections, heads, and memory of bodies.
//!
//! Maximum memory of a server: the program itself, [`LimitSettings::memory`], and for each connection some 80 KiB for
//! one turn of a [`Guarded`] stream.

use std::future::ready;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::time::Duration;

use actix_http::HttpService;
use actix_http::error::DispatchError;
use actix_server::{GracefulShutdownSignal, Server};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, apply_fn_factory, fn_service, map_config,
};
use actix_tls::accept::TlsError;
use actix_tls::accept::rustls_0_23::{Acceptor, TlsStream};
use actix_web::body::BoxBody;
use actix_web::dev::{AppConfig, ServiceRequest, ServiceResponse};
use actix_web::rt::net::TcpStream;
use actix_web::{App, Error};
use program::defaults;
use program::settings::{Bytes, SettingError, expect, positive};
use rustls::ServerConfig;
use serde::Deserialize;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection::{Guarded, KEEP_ALIVE};
use crate::fair::Fair;
use crate::shares::Shares;

/// File descriptors reserved for files, databases and brokers.
const OTHER_DESCRIPTORS: usize = 256;
/// Kernel buffers for received and for sent, unread bytes. Linux doubles both for its own needs.
const RECEIVED: usize = 32 << 10;
const SENT: usize = 64 << 10;
/// Bytes of an answer before the HTTP library waits for the client.
const WRITE_BUFFER: usize = 8 << 10;
/// Maximum size of a body with reserved memory while larger bodies use up theirs.
pub const SMALL: usize = 16 << 10;

/// Minimum of a client's time limits: with less, every request would come too late.
const LEAST_TIME: Duration = Duration::from_millis(100);

/// Limits of one server.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Maximum number of open connections; fewer if the process may open fewer files.
    pub connections: NonZeroUsize,
    /// Maximum number of open connections for each address.
    pub connections_per_address: NonZeroUsize,
    /// Maximum time for the head of a request, and maximum time in which a client reads nothing of an answer.
    #[serde(with = "humantime_serde")]
    pub head_timeout: Duration,
    /// Time limit of a body slower than `body_rate`.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// Bytes that extend the time of a body by one second.
    pub body_rate: Bytes,
    /// Maximum memory of all bodies being read or worked on. A third is for bodies up to 16 KiB, and an address takes
    /// at most twice the amount left free.
    pub memory: Bytes,
}
defaults!(LimitSettings {
    connections: NonZeroUsize::new(2048).expect("not 0"),
    connections_per_address: NonZeroUsize::new(1024).expect("not 0"),
    head_timeout: Duration::from_secs(10),
    body_timeout: Duration::from_secs(30),
    body_rate: Bytes(16 << 10),
    memory: Bytes(48 << 20),
});

/// Sets options of connections: bounded memory in the kernel, no delay of short pieces, and an end for a peer that reads
/// nothing for so long.
fn limit_socket(socket: &SockRef<'_>, patience: Duration) -> io::Result<()> {
    socket.set_recv_buffer_size(RECEIVED)?;
    socket.set_send_buffer_size(SENT)?;
    // an answer comes in pieces, and the last one would wait for the client to acknowledge the others
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(patience))?;
    #[cfg(not(target_os = "linux"))]
    let _ = patience; // a client that reads nothing stays connected
    Ok(())
}

impl LimitSettings {
    /// Checks the limits of a server with bodies of at most `body` bytes.
    ///
    /// # Errors
    /// The unusable setting.
    pub fn check(&self, body: usize) -> Result<(), SettingError> {
        for (key, time) in [("head_timeout", self.head_timeout), ("body_timeout", self.body_timeout)] {
            let key = format!("http.limits.{key}");
            positive(&key, time)?;
            expect(&key, time >= LEAST_TIME, "expected at least 100ms")?;
        }
        expect("http.limits.body_rate", self.body_rate.0 > 0, "expected more than 0")?;
        let least = body.saturating_mul(5);
        let reason = format!("expected at least {least}, five times the largest body");
        expect("http.limits.memory", (least..=u32::MAX as usize).contains(&self.memory.0), &reason)
    }

    /// Returns a server of `app` for `threads` threads, with TLS if `tls` is given.
    ///
    /// # Errors
    /// The system's, if the listener cannot be used.
    pub fn serve<A, S>(
        &self,
        listener: TcpListener,
        threads: usize,
        shutdown_timeout: Duration,
        tls: Option<ServerConfig>,
        app: A,
    ) -> io::Result<Server>
    where
        A: Fn() -> App<S> + Clone + Send + 'static,
        S: ServiceFactory<
                ServiceRequest,
                Config = (),
                Response = ServiceResponse<BoxBody>,
                Error = Error,
                InitError = (),
            > + 'static,
    {
        let builder = Server::build()
            .workers(threads)
            .max_concurrent_connections(self.prepare(&listener, threads))
            .shutdown_timeout(shutdown_timeout.as_secs())
            .disable_signals();
        let (stop, patience) = (builder.graceful_shutdown_signal(), self.head_timeout);
        let shares = Shares::new(self.connections_per_address.get());
        let builder = match tls {
            None => builder.listen("http", listener, move || {
                let guarded = fn_service(move |stream: TcpStream| {
                    let peer = stream.peer_addr().ok();
                    ready(Ok((Guarded::new(stream, patience), peer)))
                });
                fair(guarded.and_then(http(app(), stop.clone())), shares.clone())
            })?,
            Some(tls) => builder.listen("https", listener, move || {
                let mut tls = tls.clone();
                // HTTP/2 would be read past a guarded stream
                tls.alpn_protocols = vec![b"http/1.1".to_vec()];
                let secured = Acceptor::new(tls).map_init_err(|_| ()).map_err(TlsError::into_service_error);
                let guarded = secured.and_then(move |stream: TlsStream<TcpStream>| {
                    let peer = stream.get_ref().0.peer_addr().ok();
                    ready(Ok((Guarded::new(stream, patience), peer)))
                });
                fair(guarded.and_then(http(app(), stop.clone()).map_err(TlsError::Service)), shares.clone())
            })?,
        };
        Ok(builder.run())
    }

    /// Prepares the listener, and returns the maximum number of connections of each of so many threads.
    ///
    /// Raises the limit of open files as far as the system allows.
    fn prepare(&self, listener: &TcpListener, threads: usize) -> usize {
        // accepted sockets inherit the options
        if let Err(error) = limit_socket(&SockRef::from(listener), self.head_timeout) {
            tracing::warn!(%error, "sockets of clients are not limited");
        }
        let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        let most = files.saturating_sub(OTHER_DESCRIPTORS).max(files / 2).max(1);
        let connections = self.connections.get().min(most);
        if connections < self.connections.get() {
            tracing::warn!(files, connections, "fewer connections than http.limits.connections: limit of open files");
        }
        connections.div_ceil(threads)
    }
}

/// Runs connections in fair turns, and closes connections above the share of an address.
fn fair<S>(
    connections: S,
    shares: Shares,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = S::Error, InitError = ()>
where
    S: ServiceFactory<TcpStream, Config = (), Response = (), InitError = ()>,
{
    apply_fn_factory(connections, move |stream: TcpStream, connections: &S::Service| {
        let share = shares.take(stream.peer_addr().ok());
        let connection = share.map(|share| Fair::new(share, connections.call(stream)));
        async move {
            match connection {
                Some(connection) => connection.await,
                None => Ok(()),
            }
        }
    })
}

/// Returns the HTTP service of guarded connections.
fn http<S, C>(
    app: App<S>,
    stop: GracefulShutdownSignal,
) -> impl ServiceFactory<(Guarded<C>, Option<SocketAddr>), Config = (), Response = (), Error = DispatchError, InitError = ()>
where
    S: ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()>
        + 'static,
    C: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let app = app.into_factory().map_err(|error: Error| error.error_response());
    HttpService::build()
        .graceful_shutdown_signal(move || {
            let stop = stop.clone();
            async move { stop.notified().await }
        })
        .keep_alive(KEEP_ALIVE)
        // a guarded stream has a deadline for heads
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(Duration::from_secs(1))
        .h1_write_buffer_size(WRITE_BUFFER)
        .on_connect_ext(|stream: &Guarded<C>, data| drop(data.insert(stream.connection())))
        .h1(map_config(app, |()| AppConfig::default()))
}
