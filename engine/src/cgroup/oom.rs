//! Out-of-memory kills: how many there were, and a call when one happens.

use super::plan::Controller;
use super::{Group, Version};
use crate::{Doing, Error, Result};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use tokio::io::AsyncReadExt;

/// Tells of out-of-memory events of one group.
#[derive(Debug)]
pub struct OomWatch {
    group: Group,
    seen: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// v1: an eventfd registered with cgroup.event_control; the files are held so that the registration lasts.
    Event { counter: tokio::net::unix::pipe::Receiver, _control: File },
    /// v2: the kernel modifies memory.events.
    File(crate::inotify::Watch),
}

impl OomWatch {
    /// Waits until the kernel killed something in the group at its memory limit, and returns how many kills there
    /// were since the last call. `None` once the group is gone.
    pub async fn next(&mut self) -> Option<u64> {
        loop {
            let now = self.group.oom_kills();
            if now > self.seen {
                let new = now - self.seen;
                self.seen = now;
                return Some(new);
            }
            if !self.group.exists() {
                return None;
            }
            match &mut self.source {
                Source::Event { counter, .. } => {
                    let mut count = [0u8; 8];
                    // The notification comes before the victim dies and is counted, and also at the group's end.
                    counter.read_exact(&mut count).await.ok()?;
                    let mut patience = 0;
                    while self.group.oom_kills() == self.seen && self.group.exists() && patience < 100 {
                        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                        patience += 1;
                    }
                }
                Source::File(watch) => watch.changed().await?,
            }
        }
    }
}

impl Group {
    /// How many processes the kernel killed in it at a memory limit (its own, or one above it).
    pub fn oom_kills(&self) -> u64 {
        let file = match self.version() {
            Version::V1 => "memory.oom_control", // `oom_kill` since 4.13
            Version::V2 => "memory.events",
        };
        let dir = self.dir(Controller::Memory);
        dir.and_then(|d| super::group::flat_file(&d.join(file)).get("oom_kill").copied()).unwrap_or(0)
    }

    /// Begins to watch for out-of-memory kills; those before are not told. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// `Unsupported` without the memory controller; `Internal` when the kernel refuses.
    pub fn watch_oom(&self) -> Result<OomWatch> {
        let dir =
            self.dir(Controller::Memory).ok_or_else(|| Error::unsupported("watching memory on a host without the memory controller"))?;
        let source = match self.version() {
            Version::V2 => Source::File(crate::inotify::watch(&dir.join("memory.events"))?),
            Version::V1 => {
                use rustix::event::{EventfdFlags, eventfd};
                let doing = || format!("watching {} for out-of-memory", dir.display());
                let event: OwnedFd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).doing(doing)?;
                let control = File::open(dir.join("memory.oom_control")).doing(doing)?;
                // cgroups(7), memory.rst section 10: "<event fd> <fd of memory.oom_control>".
                let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
                std::fs::write(dir.join("cgroup.event_control"), line).doing(doing)?;
                let counter = tokio::net::unix::pipe::Receiver::from_file_unchecked(File::from(event)).doing(doing)?;
                Source::Event { counter, _control: control }
            }
        };
        Ok(OomWatch { group: self.clone(), seen: self.oom_kills(), source })
    }
}
