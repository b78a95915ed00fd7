//! Serves an open shop, and stops after finishing running requests.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::web::Data;
use program::Secret;
use rest::body::Bodies;
use rest::docs::Described;
use rest::threads;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::app::{app, openapi};
use super::kinds;
use crate::{Storefront, idempotency};

/// Answers deleted in one unit, so that the writer stays available.
const CHUNK: i64 = 500;
/// Interval at which the rate limits forget quiet clients.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// A serving shop.
pub struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    handle: ServerHandle,
    running: JoinHandle<io::Result<()>>,
    tidying: JoinHandle<()>,
}

/// Deletes expired answers to Idempotency-Keys; for [`runtime::Shop::with_purge`].
///
/// # Errors
/// Any error of the database.
pub fn purge_answers(tx: &mut db::Tx<'_>) -> db::Result<bool> {
    let before = tx.now()? - idempotency::KEPT_FOR;
    Ok(idempotency::purge(tx, before, CHUNK)? as i64 >= CHUNK)
}

impl Server {
    /// Starts to serve on `listener`, with tokens signed by this secret. Does not host background work.
    ///
    /// # Errors
    /// If the listener can't be used.
    pub fn start(shop: &runtime::Shop, token_secret: &Secret, listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let storefront = Data::new(Storefront::new(shop, token_secret, stop.clone()));
        let (settings, described, of_apps) =
            (shop.settings.clone(), Described::new(&openapi(), &[], kinds::ALL), storefront.clone());
        let (limits, threads) = (&shop.settings.http.limits, threads::count(shop.settings.http.workers));
        let bodies = Bodies::new(limits, shop.settings.http.trust_forwarded, stop.clone());
        let server = limits.serve(listener, threads, shop.settings.http.shutdown_timeout, None, move || {
            app(of_apps.clone(), described.clone(), bodies.clone(), &settings.http)
        })?;
        let handle = server.handle();
        let tidying = tokio::spawn(async move {
            loop {
                tokio::time::sleep(TIDY_EVERY).await;
                storefront.limits.tidy();
                storefront.streams.tidy();
            }
        });
        Ok(Self { address, stop, handle, running: tokio::spawn(server), tidying })
    }

    /// Returns the listening address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new requests and finishes running requests; streams end.
    ///
    /// # Errors
    /// If the server ended badly.
    pub async fn stop(self) -> io::Result<()> {
        self.stop.cancel();
        self.handle.stop(true).await;
        self.tidying.abort();
        self.running.await.map_err(io::Error::other)?
    }
}
