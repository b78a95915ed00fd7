//! The command line of `shop`.
//!
//! Exit codes: 0 done, 1 it failed, 2 the command line or a setting is wrong. Errors are one line.

mod admin;
mod import;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use runtime::OpenError;
use runtime::settings::{SettingError, Settings};

pub use admin::ensure_admin;

/// A small but real shop.
#[derive(Parser)]
#[command(name = "shop", version)]
struct Cli {
    /// The file with settings; config/shop.toml if it is there.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API and run all consumers (the default).
    Serve,
    /// Bring the database's schema up to date, and end.
    Migrate,
    /// Enter the products of a CSV file with the columns name, price, stock and, if need be, low_stock_threshold.
    ImportProducts {
        /// The CSV file, with a header line.
        file: PathBuf,
    },
    /// Say whether the settings can be used, without touching anything.
    CheckConfig,
    /// Make a new password for the admin of admin.email, and print it.
    ResetAdminPassword,
}

/// Why a command ended without being done, in one line.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line or a setting must be changed.
    #[error("{0}")]
    Usage(String),
    /// It could not be done.
    #[error("{0}")]
    Failed(String),
}

impl From<SettingError> for Failure {
    fn from(error: SettingError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Setting(error) => error.into(),
            OpenError::Database(error) => error.into(),
        }
    }
}

impl From<db::Error> for Failure {
    fn from(error: db::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Does what the command line says.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => return end(Failure::Usage(first_line(&error.to_string()))),
    };
    match run_command(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => end(failure),
    }
}

fn run_command(cli: Cli) -> Result<(), Failure> {
    let settings = Settings::load(cli.config.as_deref())?;
    let command = cli.command.unwrap_or(Command::Serve);
    if let Command::CheckConfig = command {
        println!("the settings are good");
        return Ok(());
    }
    let failed = |error: std::io::Error| Failure::Failed(error.to_string());
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed)?;
    threads.block_on(async {
        match command {
            Command::Serve => serve::serve(settings).await,
            Command::Migrate => migrate(settings).await,
            Command::ImportProducts { file } => import::import_products(settings, &file).await,
            Command::ResetAdminPassword => admin::reset_admin_password(settings).await,
            Command::CheckConfig => Ok(()),
        }
    })
}

async fn migrate(settings: Settings) -> Result<(), Failure> {
    let url = settings.database_url();
    runtime::Shop::open(settings).await?.close().await;
    println!("the schema of {url} is up to date");
    Ok(())
}

fn end(failure: Failure) -> ExitCode {
    eprintln!("shop: {failure}");
    match failure {
        Failure::Usage(_) => ExitCode::from(2),
        Failure::Failed(_) => ExitCode::FAILURE,
    }
}

/// clap says how to get help in further lines.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    format!("{} (see shop --help)", line.trim_start_matches("error: "))
}
