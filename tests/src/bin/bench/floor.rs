//! The floor: what the kernel alone takes for the namespaces of a container, without any engine. Measured beside the engines,
//! with the load that they saw.

use nix::sched::CloneFlags;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const NAMESPACES: [CloneFlags; 5] =
    [CloneFlags::CLONE_NEWPID, CloneFlags::CLONE_NEWNS, CloneFlags::CLONE_NEWUTS, CloneFlags::CLONE_NEWIPC, CloneFlags::CLONE_NEWCGROUP];

/// A child in the namespaces of a container, with or without a network namespace, from its start to its reaping. The child
/// does nothing, so the cost of an exec ([`spawn`]) is not in it.
pub fn cycle(network: bool) -> Duration {
    let mut flags = NAMESPACES.iter().fold(CloneFlags::empty(), |all, flag| all | *flag);
    if network {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    let begin = Instant::now();
    let child = clone(flags);
    waitpid(child, None).expect("the child's end");
    begin.elapsed()
}

/// A program started and reaped, without any namespace: what an exec cannot be faster than.
pub fn spawn() -> Duration {
    let begin = Instant::now();
    let status = Command::new("/bin/busybox").arg("true").stdin(Stdio::null()).status();
    let took = begin.elapsed();
    match status {
        Ok(_) => took,
        Err(e) => panic!("starting busybox: {e}"),
    }
}

fn clone(flags: CloneFlags) -> Pid {
    let mut stack = vec![0u8; 64 * 1024];
    // SAFETY: without CLONE_VM the child gets a copy of this process's memory, the stack included; it only returns, which
    // ends it, and touches no lock another thread may have held.
    let child = unsafe { nix::sched::clone(Box::new(|| 0), &mut stack, flags, Some(libc::SIGCHLD)) };
    child.expect("a child in new namespaces (as root)")
}
