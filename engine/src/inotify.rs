//! One inotify instance for the whole process (the kernel gives a user 128 of them by default), shared by everybody
//! who waits for a file to change: log followers, out-of-memory watches.
//!
//! A thread of its own reads it and wakes those concerned. Events carry no content: who is woken looks for himself.

use crate::{Doing, Error, Result};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::watch;

/// The same for all: a second watch on one inode would otherwise change the first one's mask (inotify(7)).
const WANTED: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::CREATE)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);

/// Waits for changes of one file or of the files in one folder. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    hub: Arc<Hub>,
    wd: i32,
    seen: watch::Receiver<u64>,
}

impl Watch {
    /// Returns once something changed since the last call (or since the watch began). `None` when the file is gone; a
    /// folder is gone for the kernel only when nobody holds a file of it open any more.
    pub async fn changed(&mut self) -> Option<()> {
        self.seen.changed().await.ok()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = self.hub.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = watched.get_mut(&self.wd) {
            entry.users -= 1;
            if entry.users == 0 {
                watched.remove(&self.wd);
                // Fails only when the kernel has dropped it already, with its file.
                let _ = inotify::remove_watch(self.hub.fd.as_fd(), self.wd);
            }
        }
    }
}

#[derive(Debug)]
struct Hub {
    fd: OwnedFd,
    watched: Mutex<HashMap<i32, Entry>>,
}

#[derive(Debug)]
struct Entry {
    users: usize,
    changes: watch::Sender<u64>,
}

/// Begins to watch a file, or a folder with the files in it.
///
/// # Errors
/// `Internal` when it is not there, or when the kernel's limit of watches is reached.
pub fn watch(path: &Path) -> Result<Watch> {
    static HUB: OnceLock<std::result::Result<Arc<Hub>, String>> = OnceLock::new();
    let hub = HUB.get_or_init(|| Hub::start().map_err(|e| e.to_string())).clone();
    let hub = hub.map_err(|e| Error::new(crate::Kind::Unavailable, format!("inotify cannot be used: {e}")))?;
    let mut watched = hub.watched.lock().unwrap_or_else(PoisonError::into_inner);
    let wd = inotify::add_watch(hub.fd.as_fd(), path, WANTED).doing(|| format!("watching {}", path.display()))?;
    let entry = watched.entry(wd).or_insert_with(|| Entry { users: 0, changes: watch::channel(0).0 });
    entry.users += 1;
    let seen = entry.changes.subscribe();
    drop(watched);
    Ok(Watch { hub, wd, seen })
}

impl Hub {
    fn start() -> std::io::Result<Arc<Self>> {
        let hub = Arc::new(Self { fd: inotify::init(CreateFlags::CLOEXEC)?, watched: Mutex::default() });
        let reader = hub.clone();
        std::thread::Builder::new().name("inotify".into()).spawn(move || reader.read())?;
        Ok(hub)
    }

    fn read(&self) {
        let mut buffer = vec![std::mem::MaybeUninit::uninit(); 64 * 1024];
        let mut events = inotify::Reader::new(self.fd.as_fd(), &mut buffer);
        loop {
            let (wd, flags) = match events.next() {
                Ok(event) => (event.wd(), event.events()),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => {
                    tracing::error!(%error, "reading inotify failed; followers look again only when asked");
                    return;
                }
            };
            let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            if flags.contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
                for entry in watched.values() {
                    entry.changes.send_modify(|n| *n = n.wrapping_add(1));
                }
            } else if flags.contains(inotify::ReadFlags::IGNORED) {
                watched.remove(&wd); // the sender goes, and with it everybody's wait
            } else if let Some(entry) = watched.get(&wd) {
                entry.changes.send_modify(|n| *n = n.wrapping_add(1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_watch_one_folder() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        let (mut a, mut b) = (watch(dir.path()).unwrap(), watch(dir.path()).unwrap());
        std::fs::write(&file, "1").unwrap();
        a.changed().await.unwrap();
        b.changed().await.unwrap();
        drop(a);
        // `b` is still told after `a` has gone.
        while b.seen.has_changed().unwrap() {
            b.changed().await.unwrap();
        }
        std::fs::write(&file, "2").unwrap();
        b.changed().await.unwrap();
        dir.close().unwrap();
        while b.changed().await.is_some() {}
    }
}
