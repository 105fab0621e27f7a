//! Workers: throw-away processes in a tenant's user namespace that parse bytes nobody vouches for (layers, archives).
//!
//! A worker is this program executed again with `worker` as its first argument, before tokio exists. Its standard input
//! is a socket over which it gets one job and the descriptors for it; then it joins the user namespace, makes the job's
//! folder its root, gives up every capability it does not need, and has no way to a network or to other descriptors.

use crate::container::request::{ArchiveStream, PathStat};
use crate::{Error, Result};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;

/// What runs workers. Cheap to clone; keeps one user namespace per block.
#[derive(Debug, Clone, Default)]
pub struct Workers {
    _inner: Arc<()>,
}

/// How a tree is packed.
#[derive(Debug, Clone, Default)]
pub struct PackOptions {
    /// The first component of every name in the tar; `None`: the path's last one. Empty: names relative to the folder.
    pub name: Option<String>,
}

/// How a tar is unpacked into a tree that exists.
#[derive(Debug, Clone, Default)]
pub struct UnpackOptions {
    /// Refuse to replace a folder by something else and the other way round.
    pub no_overwrite_dir_non_dir: bool,
    /// Give everything to this uid and gid (container ids) instead of the tar's.
    pub owner: Option<(u32, u32)>,
}

#[allow(unused_variables)]
impl Workers {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A user namespace whose ids 0–65535 are the host's `base`–`base + 65535`, kept for the next caller.
    pub async fn user_namespace(&self, base: u32) -> Result<Arc<OwnedFd>> {
        Err(Error::unsupported("workers"))
    }

    /// The tree at `path` under `root` as a tar, ids as the namespace of block `base` sees them. Links are resolved inside `root`, never
    /// followed out of it; sockets are left out.
    pub async fn pack(&self, base: u32, root: BorrowedFd<'_>, path: &str, options: PackOptions) -> Result<(PathStat, ArchiveStream)> {
        Err(Error::unsupported("archives"))
    }

    /// Unpacks a tar, plain or compressed, into the folder at `path` under `root`.
    pub async fn unpack(&self, base: u32, root: BorrowedFd<'_>, path: &str, options: UnpackOptions, body: ArchiveStream) -> Result<()> {
        Err(Error::unsupported("archives"))
    }

    /// What lies at `path` under `root`.
    ///
    /// # Errors
    /// `NotFound` if nothing does.
    pub async fn stat(&self, base: u32, root: BorrowedFd<'_>, path: &str) -> Result<PathStat> {
        Err(Error::unsupported("archives"))
    }
}

/// A worker's life; `main` calls it before it starts anything else when the first argument is `worker`.
pub fn main() -> ExitCode {
    ExitCode::FAILURE
}
