//! Common parts of the programs: stop signals, and exit codes.
//!
//! Exit codes: 0 done, 1 failed, 2 a wrong command line or setting. Errors are one line.

use std::process::ExitCode;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::process::umask;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::settings::SettingError;

/// Reason for an unsuccessful end of a program, in one line.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line or a setting must be changed.
    #[error("{0}")]
    Usage(String),
    /// The work failed.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    /// Says why on standard error, and gives the exit code.
    pub fn end(self, program: &str) -> ExitCode {
        eprintln!("{program}: {self}");
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Failed(_) => ExitCode::FAILURE,
        }
    }

    /// Returns the failure of a wrong command line: the first line of the parser's text, because the rest explains
    /// how to get help.
    pub fn of_arguments(program: &str, said: &str) -> Self {
        let line = said.lines().next().unwrap_or_default();
        Self::Usage(format!("{} (see {program} --help)", line.trim_start_matches("error: ")))
    }
}

impl From<SettingError> for Failure {
    fn from(error: SettingError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<db::Error> for Failure {
    fn from(error: db::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Maximum wait at the end for busy threads: their work can't be interrupted, and changes nothing.
const THREADS_END: Duration = Duration::from_secs(1);

/// Runs the work of a program, on threads that end with the work.
///
/// # Errors
/// Errors of the work.
pub fn run(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    // databases, logs of them, exports and secrets: all that is made is the owner's alone
    umask(Mode::RWXG | Mode::RWXO);
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = threads.block_on(work);
    threads.shutdown_timeout(THREADS_END);
    done
}

/// Stop signals of a process.
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// Starts to listen: from now on a signal ends nothing by itself.
    ///
    /// # Errors
    /// If signals can't be listened to.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Joins lines into one.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
