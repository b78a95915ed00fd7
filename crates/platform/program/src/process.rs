//! What our programs have in common: how they are asked to stop, and how they end.
//!
//! Exit codes: 0 done, 1 it failed, 2 the command line or a setting is wrong. Errors are one line.

use std::process::ExitCode;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::process::umask;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::settings::SettingError;

/// Why a program ended without being done, in one line.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line or a setting must be changed.
    #[error("{0}")]
    Usage(String),
    /// It could not be done.
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

    /// A command line that is wrong: of what the parser says the first line, for it says how to get help in others.
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

/// How long threads that are still busy are waited for at the end: with what can't be interrupted, and changes nothing.
const THREADS_END: Duration = Duration::from_secs(1);

/// Does all the work of a program, on threads that end with it.
///
/// # Errors
/// Those of the work.
pub fn run(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    // databases, logs of them, exports and secrets: all that is made is the owner's alone
    umask(Mode::RWXG | Mode::RWXO);
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = threads.block_on(work);
    threads.shutdown_timeout(THREADS_END);
    done
}

/// The signals that ask a process to stop.
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// From now on a signal ends nothing by itself.
    ///
    /// # Errors
    /// If signals can't be listened to.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What spans lines, in one.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
