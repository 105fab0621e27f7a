//! The shim's ends of a process's standard streams: pipes, or a terminal.

use crate::plan::Process;
use crate::sys::{self, R};
use std::os::fd::{AsRawFd, OwnedFd};

/// Our ends, not blocking.
pub struct Stdio {
    pub input: Option<OwnedFd>,
    /// stdout, stderr; a terminal has only the first.
    pub outputs: [Option<OwnedFd>; 2],
    pub terminal: bool,
}

impl Stdio {
    /// Ours, and the process's three. `uid` (the host's number) owns them, so that the process can reopen them by
    /// /proc/self/fd or /dev/stdout after it has changed its user.
    pub fn new(process: &Process, devpts: &OwnedFd, uid: u32) -> R<(Self, [OwnedFd; 3])> {
        if process.tty {
            // A terminal belongs to whoever opens it.
            sys::set_fs_uid(uid);
            let opened = sys::open_terminal(devpts.as_raw_fd());
            sys::set_fs_uid(0);
            let (master, slave) = opened?;
            let (rows, columns) = process.console_size;
            if (rows, columns) != (0, 0) {
                sys::set_window(master.as_raw_fd(), rows, columns)?;
            }
            sys::set_nonblocking(master.as_raw_fd(), true)?;
            let theirs = [sys::duplicate(slave.as_raw_fd())?, sys::duplicate(slave.as_raw_fd())?, slave];
            let input = Some(sys::duplicate(master.as_raw_fd())?);
            return Ok((Self { input, outputs: [Some(master), None], terminal: true }, theirs));
        }
        let (input, their_input) = if process.stdin {
            let (read, write) = sys::pipe()?;
            sys::chown(read.as_raw_fd(), uid)?;
            sys::set_nonblocking(write.as_raw_fd(), true)?;
            (Some(write), read)
        } else {
            (None, sys::open(c"/dev/null", libc::O_RDONLY)?)
        };
        let (out, their_out) = output(uid)?;
        let (err, their_err) = output(uid)?;
        Ok((Self { input, outputs: [Some(out), Some(err)], terminal: false }, [their_input, their_out, their_err]))
    }
}

fn output(uid: u32) -> R<(OwnedFd, OwnedFd)> {
    let (read, write) = sys::pipe()?;
    sys::chown(write.as_raw_fd(), uid)?;
    sys::set_nonblocking(read.as_raw_fd(), true)?;
    Ok((read, write))
}
