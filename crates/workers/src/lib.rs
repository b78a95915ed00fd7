//! Common parts of the workers: the command line, the wait for the database, health, and the end.
//!
//! A worker is a member of consumer groups, or the relay, in a separate process beside the shop, with the settings of
//! the shop. You can start each worker any number of times: the processes share the work. See [`program::process`]
//! for the exit codes.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};
use program::process::{self, Failure, Stop};
use program::settings::SettingError;
use runtime::health::{self, Health};
use runtime::programs::Worker;
use runtime::settings::{SOURCES, Settings};
use runtime::{Hosted, OpenError, Role, Shop, when_there};

/// A tenth faster than the C library's allocator, also for SQLite's allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(version)]
struct Cli {
    /// The file with settings; config/shop.toml if present.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only check the settings, without touching anything.
    #[arg(long)]
    check_config: bool,
}

/// Runs the worker of this name in `deploy/programs.toml` until the process is told to stop.
///
/// # Panics
/// If the list has no such worker; a test compares the list with the binaries.
pub fn run(name: &str) -> ExitCode {
    let worker = Worker::named(name).expect("the list has every binary");
    let command = Cli::command().name(&*worker.name).about(&*worker.about);
    let cli = match command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => return Failure::of_arguments(name, &error.to_string()).end(name),
    };
    match run_command(worker, cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.end(name),
    }
}

fn run_command(worker: &'static Worker, cli: Cli) -> Result<(), Failure> {
    let settings = Settings::load(cli.config.as_deref())?;
    let url = settings.database_url();
    if !url.is_shared() {
        let reason = format!(
            "{url} is SQLite, whose file belongs to one process, the shop, which does this work itself; a worker needs \
             postgres://…"
        );
        return Err(SettingError { key: "database.url".into(), reason }.into());
    }
    settings.check_data_dir(false, |group| worker.hosts(group))?;
    if cli.check_config {
        let address = settings.worker.http.address.as_ref();
        address.map_or(Ok(()), |address| SOURCES.check_address("worker.http.address", address))?;
        settings.check_start()?;
        println!("the settings are good");
        return Ok(());
    }
    process::run(work(worker, settings))
}

/// Works until a stop signal, and then finishes begun work.
async fn work(worker: &'static Worker, settings: Settings) -> Result<(), Failure> {
    let address = settings.worker.http.address.as_ref();
    let listener = address.map(|address| SOURCES.listen("worker.http.address", address)).transpose()?;
    settings.observe(&worker.name)?.during(work_until_asked(worker, settings, listener)).await
}

async fn work_until_asked(
    worker: &'static Worker,
    settings: Settings,
    listener: Option<TcpListener>,
) -> Result<(), Failure> {
    let mut stop = Stop::listen()?;
    let health = Health::starting();
    if let Some(listener) = listener {
        let address = health::serve(listener, health.clone())?;
        tracing::info!(%address, "health and metrics");
    }
    let (shop, hosted) = tokio::select! {
        started = start(worker, &settings, &health) => started?,
        () = stop.asked() => return Ok(()),
    };
    tracing::info!(worker = worker.name, database = %settings.database_url(), "working");

    stop.asked().await;
    tracing::info!("stopping: what was begun is finished");
    health.idle("it is stopping");
    let finish = async {
        if !hosted.stop(settings.http.shutdown_timeout).await {
            tracing::warn!("something was cut short; it goes on at the next start");
        }
        shop.close().await;
    };
    tokio::select! {
        () = finish => Ok(()),
        () = stop.asked() => Err(Failure::Failed("stopped at once; what was under way is done again".into())),
    }
}

/// Waits for the database without a limit: the database may start after the worker.
async fn start(worker: &'static Worker, settings: &Settings, health: &Health) -> Result<(Shop, Hosted), Failure> {
    let waits = |error: &OpenError| health.idle(format!("waiting for the database: {error}"));
    Ok(when_there(async || try_start(worker, settings, health).await, waits).await?)
}

async fn try_start(worker: &'static Worker, settings: &Settings, health: &Health) -> Result<(Shop, Hosted), OpenError> {
    let shop = Shop::open(settings.clone()).await?;
    let role = if worker.relay {
        Role::Relay
    } else {
        Role::Consumer(shop.groups.iter().filter(|group| worker.hosts(group.name)).cloned().collect())
    };
    let hosted = shop.host_as(role.clone()).await?;
    health.working(&shop, shop.needs_kafka(&role));
    Ok((shop, hosted))
}
