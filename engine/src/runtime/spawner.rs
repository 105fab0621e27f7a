//! The spawner, seen from the server: a socket. It is one exec of the embedded shim program, made first thing in `main`
//! while the process has one thread; afterwards the server never forks. A request is a fresh connection handed over as
//! one fd; the spawner forks and the child answers on that connection, so nobody waits for the spawner itself.

use std::io;
use std::os::fd::OwnedFd;

/// The running spawner. It ends when this is dropped; its shims do not.
#[derive(Debug)]
pub struct Spawner {
    pub(super) socket: OwnedFd,
}

impl Spawner {
    /// Starts it. Call it before any thread is made.
    ///
    /// # Errors
    /// What the kernel says to memfd, mount namespace or exec.
    pub fn start() -> io::Result<Self> {
        crate::sys::spawner::exec(SHIM).map(|socket| Self { socket })
    }
}

/// The shim program, built by `engine/build.rs`.
static SHIM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/wharf-shim"));
