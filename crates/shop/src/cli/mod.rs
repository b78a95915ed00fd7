//! The command line of `shop`; see [`program::process`] for the exit codes.

mod admin;
mod bus;
mod import;
mod partitions;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use program::process::{self, Failure};
use runtime::settings::{SOURCES, Settings};

pub use admin::ensure_admin;

const NAME: &str = "shop";

/// A small but real shop.
#[derive(Parser)]
#[command(name = NAME, version)]
struct Cli {
    /// The file with settings; config/shop.toml if present.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API, and run the consumers and the relay as the settings say (the default).
    Serve,
    /// Bring the database's schema up to date, and end.
    Migrate,
    /// Enter the products of a CSV file with the columns name, price, stock and, if need be, low_stock_threshold.
    ImportProducts {
        /// The CSV file, with a header line.
        file: PathBuf,
    },
    /// Check the settings, without touching anything.
    CheckConfig,
    /// Inspect and change the buses of topics.
    Bus {
        #[command(subcommand)]
        command: BusCommand,
    },
    /// Generate a new password for the admin of admin.email, and print the password.
    ResetAdminPassword,
}

#[derive(Subcommand)]
enum BusCommand {
    /// Show the bus and the end of each topic, and check that Kafka answers.
    Status,
    /// Divide a topic into more partitions, in the log and on Kafka, while everything runs; never into fewer.
    Partitions {
        /// The topic, as shown by `shop bus status`.
        topic: String,
        /// The new number of partitions.
        count: i32,
    },
}

/// Runs the command line.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => return Failure::of_arguments(NAME, &error.to_string()).end(NAME),
    };
    match run_command(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.end(NAME),
    }
}

fn run_command(cli: Cli) -> Result<(), Failure> {
    let settings = Settings::load(cli.config.as_deref())?;
    let command = cli.command.unwrap_or(Command::Serve);
    if let Command::CheckConfig = command {
        SOURCES.check_address("http.address", &settings.http.address)?;
        settings.check_data_dir(true, |_| settings.host.consumers)?;
        settings.check_start()?;
        println!("the settings are good");
        return Ok(());
    }
    process::run(async {
        match command {
            Command::Serve => serve::serve(settings).await,
            Command::Migrate => migrate(settings).await,
            Command::ImportProducts { file } => import::import_products(settings, &file).await,
            Command::Bus { command: BusCommand::Status } => bus::status(settings).await,
            Command::Bus { command: BusCommand::Partitions { topic, count } } => {
                partitions::raise(settings, topic, count).await
            }
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
