//! The program `event-proxy`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use event_proxy::Proxy;
use event_proxy::auth::admin::PASSWORD_FILE;
use event_proxy::http::Server;
use event_proxy::settings::{SOURCES, Settings};
use program::process::{self, Failure, Stop};

/// Takes events from services over REST, keeps the events on disk, and delivers to Kafka.
#[derive(Parser)]
#[command(name = "event-proxy", version)]
struct Cli {
    /// The file with settings; config/event-proxy.toml if present.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only check the settings, without touching anything.
    #[arg(long)]
    check_config: bool,
}

fn main() -> ExitCode {
    const NAME: &str = "event-proxy";
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => return Failure::of_arguments(NAME, &error.to_string()).end(NAME),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.end(NAME),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let settings = Settings::load(cli.config.as_deref())?;
    if cli.check_config {
        return process::run(check(settings));
    }
    process::run(serve(settings))
}

#[allow(clippy::unused_async)] // the clients that are made ask for a runtime
async fn check(settings: Settings) -> Result<(), Failure> {
    SOURCES.check_address("http.address", &settings.http.address)?;
    Proxy::check(&settings)?;
    println!("the settings are good");
    Ok(())
}

/// Serves until a stop signal, and then finishes begun work.
async fn serve(settings: Settings) -> Result<(), Failure> {
    let listener = SOURCES.listen("http.address", &settings.http.address)?;
    let _telemetry = settings.observe()?;
    let mut stop = Stop::listen()?;
    let proxy = Proxy::open(settings).await?;
    if let Some(password) = proxy.admin.new_password() {
        let file = proxy.settings.data_dir.join(PASSWORD_FILE);
        println!("The admin's password is {} (kept in {}).", password, file.display());
    }
    let server = Server::start(&proxy, listener)?;
    println!("The event proxy is at {0}/v1 (docs: {0}/docs/).", server.url());
    if !proxy.settings.keys_required() {
        println!(
            "It asks for no API key and refuses requests that a reverse proxy forwarded; for one set keys.required = true."
        );
    }

    stop.asked().await;
    tracing::info!("stopping: what was taken is written down");
    let finish = async {
        server.stop().await?;
        proxy.close().await;
        Ok(())
    };
    tokio::select! {
        done = finish => done,
        () = stop.asked() => Err(Failure::Failed("stopped at once; what was not answered was not taken".into())),
    }
}
