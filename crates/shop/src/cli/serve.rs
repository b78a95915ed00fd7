//! `shop serve`.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use runtime::Shop;
use runtime::settings::Settings;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, ensure_admin};
use crate::http::server::{Server, purge_answers};

/// How long consumers may take to finish what they began.
const DRAIN: Duration = Duration::from_secs(20);

/// Serves until the process is told to stop, and then finishes what it took.
pub(super) async fn serve(settings: Settings) -> Result<(), Failure> {
    // first of all, so that a taken port costs nothing
    let listener = bind(&settings)?;
    let _telemetry = settings.observe()?;
    let mut stop = Stop::listen()?;
    let shop = Shop::open(settings).await?.with_purge("answers to idempotency keys", purge_answers);
    let made_password = ensure_admin(&shop).await?;
    let hosted = shop.host().await?;
    let server = Server::start(&shop, listener).map_err(|error| Failure::Failed(error.to_string()))?;
    welcome(&shop, server.address(), made_password);

    stop.asked().await;
    tracing::info!("stopping: what was taken is finished");
    let finish = async {
        let ended = server.stop().await;
        if !hosted.stop(DRAIN).await {
            tracing::warn!("some consumers were cut short; they go on at the next start");
        }
        shop.close().await;
        ended.map_err(|error| Failure::Failed(error.to_string()))
    };
    tokio::select! {
        ended = finish => ended,
        () = stop.asked() => Err(Failure::Failed("stopped at once; what was under way is done again or undone".into())),
    }
}

fn bind(settings: &Settings) -> Result<TcpListener, Failure> {
    let address = &settings.http.address;
    TcpListener::bind(address.as_str()).map_err(|error| {
        let reason = match error.kind() {
            std::io::ErrorKind::AddrInUse => "is taken by another process; set another (SHOP__HTTP__ADDRESS)".into(),
            _ => error.to_string(),
        };
        Failure::Usage(format!("setting http.address: {address} {reason}"))
    })
}

/// Where to click.
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

/// The signals that ask a process to stop.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::Failed(error.to_string()));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
