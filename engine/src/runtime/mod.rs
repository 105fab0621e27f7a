//! Running processes in namespaces. Nothing here knows users, names or policy: a caller hands over a [`Prepare`] and a
//! [`Plan`] (plain data, made from an authorised spec) with the fds they refer to, and gets a [`Shim`]: the handle to one
//! small process that holds the container, outlives this server, and is found again with [`Runtime::adopt`].
//!
//! The way of a container: `prepare` (namespaces, maps, cgroup, staged /proc /sys /dev; comes from a pool when one like
//! it stands ready) → attach early clients → `start` (root, mounts, privileges, exec) → `exited`. All kernel work is done
//! by the spawner's forks (`engine/shim`), never by this process: it is big and threaded, they are small and are not.

#[macro_use]
#[path = "../../shim/src/wire.rs"]
mod wire;
#[path = "../../shim/src/logfile.rs"]
pub mod logfile;
#[path = "../../shim/src/message.rs"]
mod message;
#[path = "../../shim/src/plan.rs"]
pub mod plan;

mod link;
mod pool;
pub mod rootfs;
mod shim;
mod spawner;
mod start_error;
mod stream;

pub use message::Streams;
pub use plan::{ExecPlan, Exit, Failure, FdRef, Mount, MountSource, Namespace, Plan, Prepare, Process, Step, UserNamespace};
pub use pool::Pool;
pub use shim::{Adopted, ExecSession, ExitRecord, LoopbackListener, Prepared, Runtime, Shim};
pub use spawner::Spawner;
pub use start_error::StartError;

#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, OwnedFd};

/// The fds a plan refers to.
#[derive(Debug, Default)]
pub struct Fds(Vec<OwnedFd>);

impl Fds {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one; the result goes into the plan.
    #[allow(clippy::cast_possible_truncation)] // A plan has a few hundred fds at most.
    pub fn add(&mut self, fd: impl Into<OwnedFd>) -> FdRef {
        self.0.push(fd.into());
        FdRef { index: (self.0.len() - 1) as u32 }
    }

    /// In order.
    pub(crate) fn borrow(&self) -> Vec<std::os::fd::BorrowedFd<'_>> {
        self.0.iter().map(AsFd::as_fd).collect()
    }
}

/// Paths Docker hides in every container (moby `oci/defaults.go`), the per-cpu thermal ones of this host included.
pub fn default_masked_paths() -> Vec<String> {
    let mut paths: Vec<String> = [
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
    ]
    .map(str::to_owned)
    .into();
    for cpu in 0.. {
        let folder = format!("/sys/devices/system/cpu/cpu{cpu}");
        if !std::path::Path::new(&folder).exists() {
            break;
        }
        let throttle = format!("{folder}/thermal_throttle");
        if std::path::Path::new(&throttle).exists() {
            paths.push(throttle);
        }
    }
    paths
}

/// Paths Docker makes read-only in every container.
pub fn default_read_only_paths() -> Vec<String> {
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"].map(str::to_owned).into()
}
