//! How many connections there may be: in all, and from one peer, so that one user cannot use up what all share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections in all. Each costs a few file descriptors and some 20 KiB while idle.
const IN_ALL: usize = 8192;
/// From one Unix account or one address. A build farm opens some hundreds.
const PER_PEER: usize = 1024;

/// Who is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// A Unix account.
    Uid(u32),
    /// An address.
    Address(IpAddr),
}

/// The counters. Cheap to clone.
#[derive(Clone)]
pub struct Bounds {
    all: Arc<Semaphore>,
    peers: Arc<Mutex<HashMap<Source, usize>>>,
    per_peer: usize,
}

/// A connection's place; gives it back when dropped.
pub struct Place {
    _permit: OwnedSemaphorePermit,
    peers: Arc<Mutex<HashMap<Source, usize>>>,
    source: Source,
}

impl Default for Bounds {
    fn default() -> Self {
        Self::new(IN_ALL, PER_PEER)
    }
}

impl Bounds {
    /// With these numbers.
    pub fn new(in_all: usize, per_peer: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(in_all)), peers: Arc::default(), per_peer }
    }

    /// A place, unless there is none left: the connection is then closed.
    pub fn take(&self, source: Source) -> Option<Place> {
        let permit = self.all.clone().try_acquire_owned().ok()?;
        let mut peers = self.peers.lock().unwrap_or_else(|e| e.into_inner());
        let count = peers.entry(source).or_insert(0);
        if *count >= self.per_peer {
            return None;
        }
        *count += 1;
        Some(Place { _permit: permit, peers: self.peers.clone(), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut peers = self.peers.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(count) = peers.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_cannot_take_all_places_and_places_come_back() {
        let bounds = Bounds::new(3, 2);
        let a = bounds.take(Source::Uid(1)).unwrap();
        let _b = bounds.take(Source::Uid(1)).unwrap();
        assert!(bounds.take(Source::Uid(1)).is_none());
        let c = bounds.take(Source::Uid(2)).unwrap();
        assert!(bounds.take(Source::Uid(3)).is_none(), "full");
        drop((a, c));
        assert!(bounds.take(Source::Uid(1)).is_some());
        assert!(bounds.peers.lock().unwrap().contains_key(&Source::Uid(1)));
        assert!(!bounds.peers.lock().unwrap().contains_key(&Source::Uid(2)), "nothing is kept of who left");
    }
}
