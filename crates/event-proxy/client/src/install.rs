//! The client of the whole process.

use std::sync::OnceLock;

use crate::error::AlreadyInstalled;
use crate::proxy::EventProxy;

static INSTALLED: OnceLock<EventProxy> = OnceLock::new();

/// Makes `proxy` the process-wide client, which [`report_errors`](crate::report_errors) uses. It is never dropped, so
/// keep a clone to [flush](EventProxy::flush) at the end of the program.
///
/// # Errors
/// It can be done once.
pub fn install(proxy: EventProxy) -> Result<(), AlreadyInstalled> {
    INSTALLED.set(proxy).map_err(|_| AlreadyInstalled)
}

/// The process-wide client, if there is one.
pub fn installed() -> Option<&'static EventProxy> {
    INSTALLED.get()
}
