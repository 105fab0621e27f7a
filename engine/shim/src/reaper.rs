//! `--init`: process 1 stays ours, with the program's own identity and filter, runs the program as its child, passes
//! signals on, reaps orphans, and ends as the program ended. What tini does for Docker, without another binary.

use crate::plan::{Failure, Step};
use crate::process::Ready;
use crate::sys;
use std::os::fd::RawFd;

/// Forks the program. Returns (in the child) only with exec's error; the parent never returns.
pub fn run(ready: &Ready<'_>, channel: RawFd, tty: bool) -> Failure {
    let failed = |errno| Failure { step: Step::Clone, index: 0, errno };
    // Every signal is taken by sigwaitinfo below; the child gets an empty mask again.
    let all = u64::MAX;
    // SAFETY: sets this thread's mask from the eight bytes given.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const all, std::ptr::null::<u64>(), 8usize) };
    // SAFETY: one thread, so the child may do anything.
    match unsafe { libc::fork() } {
        -1 => failed(sys::errno()),
        0 => {
            // Its own process group, in front at the terminal: then Ctrl-C reaches it and not us.
            // SAFETY: numbers only.
            unsafe { libc::setpgid(0, 0) };
            if tty {
                sys::set_signal(libc::SIGTTOU, true);
                // SAFETY: numbers only.
                unsafe { libc::tcsetpgrp(0, libc::getpid()) };
                sys::set_signal(libc::SIGTTOU, false);
            }
            sys::clear_signal_mask();
            ready.exec()
        }
        child => supervise(child, channel),
    }
}

fn supervise(child: i32, channel: RawFd) -> ! {
    // The channel's other copy closes when the child execs, and that must be the last one. Stdio goes too: a pipe whose
    // reader waits for its end must not wait for us.
    // SAFETY: closes fds that nothing here uses afterwards.
    unsafe {
        libc::close(channel);
        for fd in 0..3 {
            libc::close(fd);
        }
    }
    let _ = sys::close_range(3, RawFd::MAX, false);
    // What people see of it in `ps`, as with Docker.
    // SAFETY: the name is a static C string of fewer than 16 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"docker-init".as_ptr()) };
    let all = u64::MAX;
    loop {
        let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: waits for a signal of the mask; `info` has room for what the kernel stores.
        let signal =
            unsafe { libc::syscall(libc::SYS_rt_sigtimedwait, &raw const all, info.as_mut_ptr(), std::ptr::null::<u8>(), 8usize) } as i32;
        match signal {
            libc::SIGCHLD => reap(child),
            1..=64 => {
                // SAFETY: the child is ours and not reaped yet, so its pid is its own.
                unsafe { libc::kill(child, signal) };
            }
            _ => {} // EINTR: continued after a stop.
        }
    }
}

fn reap(child: i32) {
    loop {
        let mut status = 0;
        // SAFETY: `status` has room for the int that is stored.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if pid <= 0 {
            return;
        }
        if pid == child {
            // The kernel kills what is left in the namespace.
            let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) };
            sys::exit(code);
        }
    }
}
