//! Serves an open proxy, and stops without dropping what it took.

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
use super::kinds;
use crate::{Proxy, pages};

/// A proxy that answers requests.
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
        let (of_apps, described) = (Data::new(proxy.clone()), Described::new(&openapi(), pages::ROUTES, kinds::ALL));
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of its root, without a slash at the end.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Takes no more requests and finishes those it took.
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
