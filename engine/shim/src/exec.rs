//! One more process in a running container.
//!
//! The shim points its children at the container's pid namespace and clones once; the child joins the cgroup as the
//! host's root, then every namespace of process 1 at once by its pidfd (the kernel takes the user namespace first), then
//! goes the same way as process 1 did. It cannot be traced from inside meanwhile: the shim is undumpable, and so are its
//! children until they exec (CVE-2016-9962).

use crate::channel::Channel;
use crate::message::Reply;
use crate::plan::{Failure, Process, Step};
use crate::process::{self, Ready, at};
use crate::sys::{self, R, Side};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// What an exec needs of its container.
pub struct Container<'a> {
    pub init: &'a OwnedFd,
    /// CLONE_NEW… of the namespaces that are not the host's.
    pub namespaces: i32,
    pub cgroup_v2: Option<&'a OwnedFd>,
    pub cgroup_v1: &'a [OwnedFd],
    pub own_pid_ns: &'a OwnedFd,
}

/// Starts it; returns once the program runs.
pub fn start(container: &Container<'_>, process: &Process, stdio: [RawFd; 3]) -> Result<(i32, OwnedFd), Failure> {
    let ready = Ready::new(process)?;
    let (ours, theirs) = at(Step::Stdio, sys::socket_pair())?;
    if container.namespaces & libc::CLONE_NEWPID != 0 {
        at(Step::JoinNamespace, sys::setns(container.init.as_raw_fd(), libc::CLONE_NEWPID))?;
    }
    let side = at(Step::Clone, sys::clone(0, container.cgroup_v2.map(AsFd::as_fd)));
    if let Ok(Side::Child) = side {
        let failure = match join(container, process, &ready, stdio) {
            Err(failure) => failure,
            Ok(()) => ready.exec(),
        };
        let _ = Channel::new(theirs).send(&Reply::Failed { failure }, &[]);
        sys::exit(1);
    }
    drop(theirs);
    if container.namespaces & libc::CLONE_NEWPID != 0 {
        at(Step::JoinNamespace, sys::setns(container.own_pid_ns.as_raw_fd(), libc::CLONE_NEWPID))?;
    }
    let Side::Parent { pid, pidfd } = side? else { sys::exit(1) };
    match Channel::new(ours).message::<Reply>() {
        Ok(None) => Ok((pid, pidfd)),
        Ok(Some(Reply::Failed { failure })) => {
            sys::wait_blocking(pidfd.as_raw_fd());
            Err(failure)
        }
        _ => Err(Failure { step: Step::Exec, index: 0, errno: libc::EPROTO }),
    }
}

/// Raises hard limits and sets the OOM score of a process (0: ourselves), which only root of the host may: in its own
/// user namespace the process could not.
pub fn prepare_limits(pid: i32, process: &Process) -> Result<(), Failure> {
    for (i, limit) in process.rlimits.iter().enumerate() {
        let now = process::at_index(Step::Rlimit, i, sys::hard_rlimit(limit.resource))?;
        if limit.hard > now {
            process::at_index(Step::Rlimit, i, sys::set_rlimit(pid, limit.resource, now.min(limit.soft), limit.hard))?;
        }
    }
    let path = if pid == 0 { "/proc/self/oom_score_adj".to_owned() } else { format!("/proc/{pid}/oom_score_adj") };
    let text = process.oom_score_adj.to_string();
    at(Step::OomScore, sys::with_path(&path, |path| sys::write_file(sys::AT_FDCWD, path, text.as_bytes())))
}

fn join(container: &Container<'_>, process: &Process, ready: &Ready<'_>, stdio: [RawFd; 3]) -> Result<(), Failure> {
    for tasks in container.cgroup_v1 {
        at(Step::Cgroup, sys::write_all(tasks.as_raw_fd(), b"0"))?;
    }
    prepare_limits(0, process)?;
    process::reset_signals();
    at(Step::Stdio, process::set_stdio(stdio, process.tty))?;
    let init = container.init.as_raw_fd();
    at(Step::JoinNamespace, sys::setns(init, container.namespaces & !libc::CLONE_NEWPID))?;
    if container.namespaces & libc::CLONE_NEWUSER != 0 {
        at(Step::BecomeRoot, become_root())?;
    }
    let cwd = at(Step::Cwd, process::open_cwd(&process.cwd))?;
    at(Step::Cwd, process::enter_folder(&cwd))?;
    let proc = sys::open(c"/proc", libc::O_PATH | libc::O_DIRECTORY).ok();
    ready.drop_privileges(proc.as_ref().map(AsFd::as_fd))?;
    at(Step::Exec, sys::close_range(3, RawFd::MAX, true))?;
    ready.confine()
}

fn become_root() -> R<()> {
    sys::set_groups(&[])?;
    sys::set_ids(0, 0)?;
    sys::prctl(libc::PR_SET_DUMPABLE, 0, 0).map(drop)
}
