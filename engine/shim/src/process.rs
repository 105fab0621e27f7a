//! From a process in the right namespaces to the program that was asked for: limits, working directory, identity,
//! capabilities, seccomp, exec. Used by a container's first process and by every exec, so that they cannot differ.
//!
//! Everything that needs memory is built by [`Ready::new`] before; the steps themselves only make system calls.

use crate::plan::{Failure, Process, Step};
use crate::sys::{self, R};
use std::ffi::{CString, c_char};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// A process's data in the shape the kernel wants.
pub struct Ready<'a> {
    process: &'a Process,
    candidates: Vec<CString>,
    _strings: Vec<CString>,
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    filter: Vec<libc::sock_filter>,
}

/// Labels an error with its step.
pub fn at<T>(step: Step, outcome: R<T>) -> Result<T, Failure> {
    at_index(step, 0, outcome)
}

/// The same for one of several.
pub fn at_index<T>(step: Step, index: usize, outcome: R<T>) -> Result<T, Failure> {
    outcome.map_err(|errno| Failure { step, index: index as u32, errno })
}

impl<'a> Ready<'a> {
    pub fn new(process: &'a Process) -> Result<Self, Failure> {
        let text = |s: &str| at(Step::Plan, CString::new(s).map_err(|_| libc::EINVAL));
        let program = process.args.first().map_or("", String::as_str);
        let mut candidates = Vec::new();
        if program.contains('/') {
            candidates.push(text(program)?);
        } else if !program.is_empty() {
            let path = process.env.iter().rev().find_map(|e| e.strip_prefix("PATH="));
            let path = path.unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
            for folder in path.split(':') {
                // Go's LookPath, and so Docker, takes an empty element for the working directory.
                let folder = if folder.is_empty() { "." } else { folder };
                candidates.push(text(&format!("{folder}/{program}"))?);
            }
        }
        let mut strings = Vec::with_capacity(process.args.len() + process.env.len());
        for s in process.args.iter().chain(&process.env) {
            strings.push(text(s)?);
        }
        let mut arguments: Vec<*const c_char> = strings.iter().map(|s| s.as_ptr()).collect();
        let mut environment = arguments.split_off(process.args.len());
        arguments.push(std::ptr::null());
        environment.push(std::ptr::null());
        let filter = process.seccomp.iter().map(|i| libc::sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect();
        Ok(Self { process, candidates, _strings: strings, arguments, environment, filter })
    }

    /// Everything up to exec. The order is the kernel's: limits and bounding set while we are root; groups before gid
    /// before uid; KEEPCAPS so that setresuid does not take the capabilities that capset chooses from; seccomp after all
    /// of that, except that without no_new_privs loading it needs CAP_SYS_ADMIN, which the last capset takes away.
    ///
    /// `proc`: an open /proc of ours, for the AppArmor profile.
    pub fn drop_privileges(&self, proc: Option<BorrowedFd<'_>>) -> Result<(), Failure> {
        let process = self.process;
        for (i, limit) in process.rlimits.iter().enumerate() {
            at_index(Step::Rlimit, i, sys::set_rlimit(0, limit.resource, limit.soft, limit.hard))?;
        }
        if !process.apparmor.is_empty() {
            at(Step::AppArmor, set_apparmor(proc, &process.apparmor))?;
        }
        for capability in 0..64 {
            if process.caps.bounding & (1 << capability) == 0 {
                match sys::prctl(libc::PR_CAPBSET_DROP, capability, 0) {
                    Err(libc::EINVAL) => break, // Beyond the kernel's last capability.
                    outcome => at(Step::Caps, outcome)?,
                };
            }
        }
        at(Step::Caps, sys::prctl(libc::PR_SET_KEEPCAPS, 1, 0))?;
        at(Step::Ids, sys::set_groups(&process.groups))?;
        at(Step::Ids, sys::set_ids(process.uid, process.gid))?;
        // Changing ids has made us undumpable (suid_dumpable is 0 or 2 everywhere); this says it once more, for nobody in
        // the container may trace us before the program runs (CVE-2016-9962).
        at(Step::Ids, sys::prctl(libc::PR_SET_DUMPABLE, 0, 0))?;
        let have = at(Step::Caps, sys::permitted_caps())?;
        if process.no_new_privs {
            at(Step::NoNewPrivs, sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0))?;
            self.set_caps()?;
        } else {
            at(Step::Caps, sys::set_caps(have, have, 0))?;
        }
        Ok(())
    }

    /// The filter, and what has to come after it. The caller has closed or marked what must not leak.
    pub fn confine(&self) -> Result<(), Failure> {
        if !self.filter.is_empty() {
            at(Step::Seccomp, sys::load_seccomp(&self.filter))?;
        }
        if !self.process.no_new_privs {
            self.set_caps()?;
        }
        Ok(())
    }

    fn set_caps(&self) -> Result<(), Failure> {
        let caps = self.process.caps;
        // A capability is only ambient while it is inheritable; without ambient ones nothing is (CVE-2022-24769).
        at(Step::Caps, sys::set_caps(caps.effective, caps.permitted, caps.ambient))?;
        for capability in 0..64u64 {
            if caps.ambient & (1 << capability) != 0 {
                at(Step::Caps, sys::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, capability))?;
            }
        }
        Ok(())
    }

    /// Runs the program. Returns only with an error.
    pub fn exec(&self) -> Failure {
        let searching = self.process.args.first().is_some_and(|p| !p.contains('/'));
        let mut error = libc::ENOENT;
        for candidate in &self.candidates {
            // SAFETY: three pointers to NUL-terminated strings and null-terminated lists that `self` keeps alive.
            unsafe { libc::execve(candidate.as_ptr(), self.arguments.as_ptr(), self.environment.as_ptr()) };
            error = sys::errno();
            if error == libc::EACCES && is_folder(candidate) {
                error = libc::EISDIR;
            }
            if searching && matches!(error, libc::EACCES | libc::ENOENT | libc::ENOTDIR | libc::EISDIR | libc::ELOOP) {
                error = libc::ENOENT; // Looking further; Docker reports all of these as not found in $PATH.
                continue;
            }
            break;
        }
        if error == libc::ENOTDIR {
            error = libc::ENOENT;
        }
        Failure { step: Step::Exec, index: 0, errno: error }
    }
}

fn is_folder(path: &CString) -> bool {
    sys::open(path, libc::O_PATH | libc::O_DIRECTORY).is_ok()
}

fn set_apparmor(proc: Option<BorrowedFd<'_>>, profile: &str) -> R<()> {
    let proc = proc.ok_or(libc::ENOSYS)?;
    let text = format!("exec {profile}");
    let file = sys::open_at(proc.as_raw_fd(), c"self/attr/apparmor/exec", libc::O_WRONLY, 0)
        .or_else(|_| sys::open_at(proc.as_raw_fd(), c"self/attr/exec", libc::O_WRONLY, 0))?;
    sys::write_all(file.as_raw_fd(), text.as_bytes())
}

/// The three standard fds, and a session with its terminal.
pub fn set_stdio(stdio: [RawFd; 3], tty: bool) -> R<()> {
    for (number, fd) in stdio.into_iter().enumerate() {
        sys::dup_to(fd, number as RawFd)?;
    }
    sys::set_sid();
    if tty {
        sys::ioctl_int(0, libc::TIOCSCTTY as u64, 0)?;
    }
    Ok(())
}

/// What a program may expect to find: no signal ignored or blocked, umask 022.
pub fn reset_signals() {
    // The spawner has set all others to their defaults when it began.
    sys::set_signal(libc::SIGPIPE, false);
    sys::clear_signal_mask();
    // SAFETY: sets a number of the process.
    unsafe { libc::umask(0o022) };
}

/// Opens the working directory of an exec. Magic links (/proc/self/fd/7) do not resolve (CVE-2024-21626).
pub fn open_cwd(cwd: &str) -> R<OwnedFd> {
    let root = sys::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?;
    let cwd = if cwd.is_empty() { "/" } else { cwd };
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    sys::with_path(cwd, |cwd| sys::open_in(root.as_raw_fd(), cwd, flags, sys::RESOLVE_IN_ROOT))
}

/// Goes to the working directory, which must be under the root.
pub fn enter_folder(folder: &OwnedFd) -> R<()> {
    sys::fchdir(folder.as_raw_fd())?;
    if sys::cwd_is_reachable() { Ok(()) } else { Err(libc::EXDEV) }
}
