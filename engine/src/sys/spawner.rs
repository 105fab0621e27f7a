//! Starting the shim program from a sealed memfd.

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Puts `program` into a memfd that nobody can change any more (CVE-2019-5736: a container reaches it through
/// /proc/self/exe) and runs it with one end of a SOCK_SEQPACKET pair as its stdin. Returns the other end.
pub fn exec(program: &[u8]) -> io::Result<OwnedFd> {
    let memfd = rustix::fs::memfd_create("wharf-shim", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(memfd);
    file.write_all(program)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    // Stdio is null: a shim must not keep the server's terminal, pipes or log file open.
    let mut child = Command::new(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .arg0("wharf-spawner")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // It says one byte when its mount namespace stands, or ends.
    let mut ready = [0];
    if rustix::io::read(&ours, &mut ready)? != 1 {
        let status = child.wait()?;
        return Err(io::Error::other(format!("the spawner ended ({status}): it needs root and the right to make mount namespaces")));
    }
    Ok(ours)
}
