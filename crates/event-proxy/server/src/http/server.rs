//! Serves an open proxy, and stops after finishing running requests.

use std::io;
use std::net::{SocketAddr, TcpListener};

use actix_web::dev::ServerHandle;
use actix_web::web::Data;
use rest::body::Bodies;
use rest::docs::Described;
use rest::threads;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::app::{app, openapi};
use super::problems;
use crate::{Proxy, ui};

/// A serving proxy.
pub struct Server {
    scheme: &'static str,
    stopping: CancellationToken,
    address: SocketAddr,
    handle: ServerHandle,
    running: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Begins to answer on `listener`.
    ///
    /// # Errors
    /// If the listener can't be used.
    pub fn start(proxy: &Proxy, listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (of_apps, described) = (Data::new(proxy.clone()), Described::new(&openapi(), ui::ROUTES, problems::ALL));
        let (http, is_tls) = (&proxy.settings.http, proxy.tls.is_some());
        let (limits, threads) = (&http.limits, threads::count(http.workers));
        let bodies = Bodies::new(limits, http.trust_forwarded, proxy.stopping.clone());
        let tls = proxy.tls.as_deref().cloned();
        let server = limits.serve(listener, threads, http.shutdown_timeout, tls, move || {
            app(of_apps.clone(), described.clone(), is_tls, bodies.clone())
        })?;
        let scheme = if is_tls { "https" } else { "http" };
        let (stopping, handle) = (proxy.stopping.clone(), server.handle());
        Ok(Self { stopping, scheme, address, handle, running: tokio::spawn(server) })
    }

    /// Returns the listening address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the root URL, without a trailing slash.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Takes no new requests and finishes running requests.
    ///
    /// # Errors
    /// If the server ended badly.
    pub async fn stop(self) -> io::Result<()> {
        // streams would not end by themselves
        self.stopping.cancel();
        self.handle.stop(true).await;
        self.running.await.map_err(io::Error::other)?
    }
}
