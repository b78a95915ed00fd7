//! `shop serve`.

use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

use program::process::{Failure, Stop};
use runtime::settings::{SOURCES, Settings};
use runtime::{Shop, when_there};

use super::ensure_admin;
use crate::http::server::{Server, purge_answers};

/// Serves until a stop signal, and then finishes running requests.
pub(super) async fn serve(settings: Settings) -> Result<(), Failure> {
    // first of all, so that a taken port costs nothing
    let listener = SOURCES.listen("http.address", &settings.http.address)?;
    settings.check_data_dir(true, |_| settings.host.consumers)?;
    settings.observe("shop")?.during(serve_on(listener, settings)).await
}

async fn serve_on(listener: TcpListener, settings: Settings) -> Result<(), Failure> {
    let mut stop = Stop::listen()?;
    let mut listener = Some(listener);
    let address = settings.http.address.clone();
    // while the shop waits for PostgreSQL, connections are refused instead of left without an answer
    let opened = Box::pin(when_there(async || Shop::open(settings.clone()).await, |_| listener = None));
    let shop = tokio::select! {
        opened = opened => opened?.with_purge("answers to idempotency keys", purge_answers),
        () = stop.asked() => return Ok(()),
    };
    let listener = listener.map_or_else(|| SOURCES.listen("http.address", &address), Ok)?;
    let token_secret = shop.token_secret()?;
    let made_password = ensure_admin(&shop).await?;
    let hosted = shop.host().await?;
    let server = Server::start(&shop, &token_secret, listener)?;
    welcome(&shop, server.address(), made_password);

    stop.asked().await;
    tracing::info!("stopping: what was taken is finished");
    let (deadline, asked) = (shop.settings.http.shutdown_timeout, Instant::now());
    let finish = async {
        let ended = server.stop().await;
        if !hosted.stop(deadline.saturating_sub(asked.elapsed())).await {
            tracing::warn!("some consumers were cut short; they go on at the next start");
        }
        shop.close().await;
        Ok(ended?)
    };
    tokio::select! {
        ended = finish => ended,
        () = stop.asked() => Err(Failure::Failed("stopped at once; what was under way is done again or undone".into())),
    }
}

/// Prints the addresses of the pages.
fn welcome(shop: &Shop, address: SocketAddr, made_password: Option<String>) {
    let host = match address.ip() {
        ip if ip.is_unspecified() => format!("localhost:{}", address.port()),
        _ => address.to_string(),
    };
    let database = shop.settings.database_url();
    println!("Jangteo is open.");
    println!("  API       http://{host}/api/v1");
    println!("  Docs      http://{host}/docs/");
    println!("  Database  {database}");
    println!("  Admin     {}", shop.settings.admin.email);
    if let Some(password) = made_password {
        println!("  Password  {password}  (made now, and shown only this once)");
    }
}
