//! Limits that keep the cost of a server's clients bounded: connections, heads, and memory of bodies.
//!
//! Memory of a server at most: the program itself, [`LimitSettings::memory`], and for each connection the buffers of
//! the HTTP library (up to 128 KiB read, 32 KiB to write).

use std::io;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::time::Duration;

use program::defaults;
use program::settings::{Bytes, SettingError, expect, positive};
use serde::Deserialize;
use socket2::SockRef;

/// File descriptors that are kept for files, databases and brokers.
const OTHER_DESCRIPTORS: usize = 256;
/// Bytes that the kernel keeps of what a client sent, and of what it has not read. Linux doubles both for its own needs.
const RECEIVED: usize = 32 << 10;
const SENT: usize = 64 << 10;
/// Bytes of an answer after which the HTTP library waits for the client.
pub const WRITE_BUFFER: usize = 16 << 10;
/// Maximum size of a body that finds memory while larger ones use up theirs.
pub const SMALL: usize = 16 << 10;

/// Limits of one server.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Maximum number of open connections; fewer if the process may open fewer files.
    pub connections: NonZeroUsize,
    /// Maximum time from the start of a connection until the head of its first request is complete, and maximum time
    /// in which a client reads nothing of an answer.
    #[serde(with = "humantime_serde")]
    pub head_timeout: Duration,
    /// Maximum time until a body is complete, for bodies that come slower than `body_rate`.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// Bytes that extend the time of a body by one second.
    pub body_rate: Bytes,
    /// Maximum memory of all bodies that are being read or worked on. A third is for bodies up to 16 KiB.
    pub memory: Bytes,
}
defaults!(LimitSettings {
    connections: NonZeroUsize::new(2048).expect("not 0"),
    head_timeout: Duration::from_secs(10),
    body_timeout: Duration::from_secs(30),
    body_rate: Bytes(16 << 10),
    memory: Bytes(48 << 20),
});

/// Bounds the memory of a connection in the kernel, and cuts off a peer that reads nothing for so long.
///
/// The HTTP library reads all that the kernel has before it looks at it, so the size of the buffer bounds that too.
fn limit_socket(socket: &SockRef<'_>, patience: Duration) -> io::Result<()> {
    socket.set_recv_buffer_size(RECEIVED)?;
    socket.set_send_buffer_size(SENT)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(patience))?;
    Ok(())
}

impl LimitSettings {
    /// Checks the limits of a server whose bodies have at most `body` bytes.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub fn check(&self, body: usize) -> Result<(), SettingError> {
        positive("http.limits.head_timeout", self.head_timeout)?;
        positive("http.limits.body_timeout", self.body_timeout)?;
        expect("http.limits.body_rate", self.body_rate.0 > 0, "expected more than 0")?;
        let least = body.saturating_mul(3);
        let reason = format!("expected at least {least}, three times the largest body");
        expect("http.limits.memory", (least..=u32::MAX as usize).contains(&self.memory.0), &reason)
    }

    /// Prepares the listener, and returns the maximum number of connections of each of so many threads.
    ///
    /// Raises the limit of open files as far as the system allows.
    pub fn prepare(&self, listener: &TcpListener, threads: usize) -> usize {
        // accepted sockets inherit the options
        if let Err(error) = limit_socket(&SockRef::from(listener), self.head_timeout) {
            tracing::warn!(%error, "sockets of clients are not limited");
        }
        let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        let most = files.saturating_sub(OTHER_DESCRIPTORS).max(files / 2).max(1);
        let connections = self.connections.get().min(most);
        if connections < self.connections.get() {
            tracing::warn!(files, connections, "fewer connections than http.limits.connections: limit of open files");
        }
        connections.div_ceil(threads)
    }
}
