//! The client of the whole process.

use std::sync::OnceLock;

use crate::error::AlreadyInstalled;
use crate::proxy::EventProxy;

static INSTALLED: OnceLock<EventProxy> = OnceLock::new();

/// Makes `proxy` the process-wide client, used by [`report_errors`](crate::report_errors). The process never drops
/// this client, so keep a clone to [flush](EventProxy::flush) at the end of the program.
///
/// # Errors
/// A client is already installed.
pub fn install(proxy: EventProxy) -> Result<(), AlreadyInstalled> {
    INSTALLED.set(proxy).map_err(|_| AlreadyInstalled)
}

/// Returns the process-wide client, if installed.
pub fn installed() -> Option<&'static EventProxy> {
    INSTALLED.get()
}
