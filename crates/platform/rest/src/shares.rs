//! Shares of connections: no address takes all connections.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::client::network;

/// Open connections by address; clones share the counts.
#[derive(Clone)]
pub(crate) struct Shares {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most: usize,
}

impl Shares {
    /// Returns shares with at most `most` connections of an address.
    pub(crate) fn new(most: usize) -> Self {
        Self { open: Arc::default(), most }
    }

    /// Counts a connection until the result is dropped; `None` if the address has its share. A peer without an address
    /// is not counted.
    pub(crate) fn take(&self, peer: Option<SocketAddr>) -> Option<Share> {
        let address = peer.map(|peer| network(peer.ip()));
        if let Some(address) = address {
            let mut open = self.open.lock();
            let count = open.entry(address).or_default();
            if *count >= self.most {
                return None;
            }
            *count += 1;
        }
        Some(Share { shares: self.clone(), address })
    }
}

/// A counted connection.
pub(crate) struct Share {
    shares: Shares,
    address: Option<IpAddr>,
}

impl Share {
    /// Returns the charged address.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.address
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut open = self.shares.open.lock();
        if let Some(count) = open.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&address);
            }
        }
    }
}
