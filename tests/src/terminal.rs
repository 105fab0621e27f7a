//! A terminal with a program in it: a pseudo-terminal of ours, whose other end is the program's controlling terminal.

use crate::PATIENCE;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// A program that believes a person sits before it.
pub struct Terminal {
    ours: OwnedFd,
    child: Child,
    /// Everything the screen got so far.
    pub screen: String,
}

impl Terminal {
    /// Starts the command in a terminal of 80 by 24.
    pub fn start(command: Command) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pseudo-terminal");
        grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("unlocking the terminal");
        let theirs = ioctl_tiocgptpeer(&ours, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("its other end");
        // setsid(1) makes it the controlling terminal, so that changes of its size reach the program.
        let mut wrapped = Command::new("setsid");
        wrapped.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        let end = || Stdio::from(theirs.try_clone().expect("the terminal thrice"));
        let child = wrapped.stdin(end()).stdout(end()).stderr(end()).spawn().expect("starting in a terminal");
        let terminal = Self { ours, child, screen: String::new() };
        terminal.resize(80, 24);
        terminal
    }

    /// Gives it another size.
    pub fn resize(&self, columns: u16, rows: u16) {
        tcsetwinsize(&self.ours, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).expect("resizing the terminal");
    }

    /// Types.
    pub fn type_keys(&self, keys: &str) {
        let mut keys = keys.as_bytes();
        while !keys.is_empty() {
            let n = rustix::io::write(&self.ours, keys).expect("typing");
            keys = &keys[n..];
        }
    }

    /// Reads until the screen shows this text, and gives what came before its end since the last call.
    pub fn expect(&mut self, text: &str) -> String {
        let begin = Instant::now();
        loop {
            if let Some(at) = self.screen.find(text) {
                let rest = self.screen.split_off(at + text.len());
                return std::mem::replace(&mut self.screen, rest);
            }
            assert!(begin.elapsed() < PATIENCE, "the terminal never showed {text:?}, but: {:?}", self.screen);
            assert!(self.read(), "the program ended without {text:?}; it showed: {:?}", self.screen);
        }
    }

    /// Waits for the end, reading on; the exit code.
    ///
    /// # Panics
    /// When it does not end within [`PATIENCE`].
    pub fn wait(mut self) -> i32 {
        let begin = Instant::now();
        while self.read() {
            assert!(begin.elapsed() < PATIENCE, "the program does not end; it showed: {:?}", self.screen);
        }
        self.child.wait().expect("the program's end").code().unwrap_or(-1)
    }

    /// Reads what there is; false when the other end is closed.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let timeout = rustix::time::Timespec { tv_sec: 1, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(&self.ours, PollFlags::IN)], Some(&timeout)).expect("watching the terminal");
        if ready == 0 {
            return true;
        }
        match rustix::io::read(&self.ours, &mut buffer) {
            Ok(0) => false,
            Ok(n) => {
                self.screen.push_str(&String::from_utf8_lossy(&buffer[..n]));
                true
            }
            // EIO says that nobody holds the other end any more (pty(7)).
            Err(_) => false,
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // It may have ended in between; what is left to do is to reap it.
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}
