//! Health and metrics over HTTP: the server of a worker.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use actix_web::middleware::from_fn;
use actix_web::web::Data;
use actix_web::{App, HttpResponse, get};
use parking_lot::Mutex;
use rest::answer::bounded;
use rest::body::Bodies;
use rest::health::{Readiness, livez, metrics};
use rest::server::LimitSettings;
use tokio_util::sync::CancellationToken;

use crate::shop::Shop;

/// Connections of Prometheus, probes and operators.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(64).expect("not 0");

/// State of a worker; clones share the state.
#[derive(Clone)]
pub struct Health(Arc<Mutex<State>>);

enum State {
    /// Reason for being idle.
    Idle(String),
    /// `true`: and can't without Kafka.
    Working(Shop, bool),
}

impl Health {
    /// Returns the state of a starting worker.
    pub fn starting() -> Self {
        Self(Arc::new(Mutex::new(State::Idle("it is starting".into()))))
    }

    /// Marks the worker as idle for this reason: waiting or stopping.
    pub fn idle(&self, why: impl Into<String>) {
        self.set(State::Idle(why.into()));
    }

    /// Marks the worker as working.
    pub fn working(&self, shop: &Shop, needs_kafka: bool) {
        self.set(State::Working(shop.clone(), needs_kafka));
    }

    fn set(&self, state: State) {
        *self.0.lock() = state;
    }

    /// Checks that the worker can work: the database answers, and Kafka answers if a topic is on Kafka.
    async fn readiness(&self) -> Result<Readiness, Readiness> {
        let (shop, needs_kafka) = match &*self.0.lock() {
            State::Idle(why) => return Err(Readiness::not_ready(vec![why.clone()])),
            State::Working(shop, needs_kafka) => (shop.clone(), *needs_kafka),
        };
        let mut degraded = shop.degraded();
        let lacks_kafka = needs_kafka && shop.buses.kafka_is_away().is_some();
        let database = shop.check_database().await;
        if let Err(error) = &database {
            degraded.push(format!("database: {error}"));
        }
        if lacks_kafka || database.is_err() {
            Err(Readiness::not_ready(degraded))
        } else {
            Ok(Readiness::ready(degraded))
        }
    }
}

#[get("/readyz")]
async fn readyz(health: Data<Health>) -> HttpResponse {
    match health.readiness().await {
        Ok(ready) => HttpResponse::Ok().json(ready),
        Err(not_ready) => HttpResponse::ServiceUnavailable().json(not_ready),
    }
}

/// Answers `/livez`, `/readyz` and `/metrics` for as long as the process lives.
///
/// # Errors
/// If the listener can't be used.
pub fn serve(listener: TcpListener, health: Health) -> io::Result<SocketAddr> {
    let address = listener.local_addr()?;
    let health = Data::new(health);
    let limits = LimitSettings { connections: CONNECTIONS, ..LimitSettings::default() };
    let bodies = Bodies::new(&limits, false, CancellationToken::new());
    let app = move || {
        let app = App::new().app_data(health.clone()).app_data(bodies.clone());
        app.service(livez).service(readyz).service(metrics).wrap(from_fn(bounded))
    };
    let server = limits.serve(listener, 1, Duration::ZERO, None, app)?;
    tokio::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "nobody answers for health and metrics any more");
        }
    });
    Ok(address)
}
