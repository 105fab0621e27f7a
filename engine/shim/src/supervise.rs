//! The shim's life beside a running container: one poll loop that carries bytes between processes, log and attached
//! clients, runs execs, answers the server, and records the end. Nothing here waits for anybody but poll.
//!
//! A client attached before the start slows the container down when it is slow (nothing it sees may be lost); one that
//! came later and takes nothing for ten seconds with a full queue is dropped. The log never misses anything.

use crate::birth::{self, Born};
use crate::channel::Channel;
use crate::exec::{self, Container};
use crate::log::Log;
use crate::logfile;
use crate::loopback::Forwarder;
use crate::message::{self, EarlyAttach, Reply, Request, Streams};
use crate::plan::{Exit, Failure, Namespace, Plan, Process, Step, UserNamespace};
use crate::process::at;
use crate::stdio::Stdio;
use crate::sys::{self, R};
use crate::wire::Wire;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// One read(2) of output, and so the largest chunk in the log.
const READ: usize = logfile::CHUNK_MAX;
/// Input that waits for a process before its client is not read from any more.
const INPUT_MAX: usize = 64 * 1024;
/// Output that waits for a client attached before the start until the process has to wait.
const EARLY_MAX: usize = 256 * 1024;
/// The same for one that came later, who must take some of it within [`STALL_MS`].
const LATE_MAX: usize = 1024 * 1024;
const STALL_MS: u64 = 10_000;
/// Ended execs whose exit is remembered for whoever asks late.
const FINISHED_MAX: usize = 256;

/// A process we carry bytes for; the first is the container's.
struct Running {
    id: String,
    pid: i32,
    pidfd: OwnedFd,
    stdio: Stdio,
    /// Input that waits for the process.
    input: Vec<u8>,
    /// Its input ends when that was written.
    input_ends: bool,
    stdin_once: bool,
    exit: Option<Exit>,
}

struct Connection {
    channel: Channel,
    attached: Option<Attachment>,
    /// `Exited` of these goes here.
    waits_for: Vec<String>,
    /// Close it once its queue is sent.
    last_words: bool,
    gone: bool,
}

struct Attachment {
    id: String,
    streams: Streams,
    early: bool,
    /// Since when its queue is full and does not move; 0: it moves.
    stalled_ms: u64,
}

/// A shim.
pub struct Shim {
    born: Born,
    listener: OwnedFd,
    log: Log,
    run_dir: OwnedFd,
    pub started_ns: i64,
    /// Fds of the start request, for early attachments.
    fds: Vec<Option<OwnedFd>>,
    running: Vec<Running>,
    finished: Vec<(String, Exit)>,
    connections: Vec<Connection>,
    held: Vec<(String, Vec<OwnedFd>)>,
    forwarder: Forwarder,
    buffer: Vec<u8>,
    ended_ms: u64,
}

/// Binds `shim.sock` in the run folder, away from what an earlier run left there.
pub fn listen(run_dir: &OwnedFd) -> R<OwnedFd> {
    for name in [c"shim.sock", c"exit"] {
        match sys::unlink_at(run_dir.as_raw_fd(), name) {
            Err(libc::ENOENT) => {}
            outcome => outcome?,
        }
    }
    let path = format!("/proc/self/fd/{}/shim.sock", run_dir.as_raw_fd());
    // SAFETY: all-zero is a valid sockaddr_un.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as _;
    for (to, from) in address.sun_path.iter_mut().zip(path.bytes()) {
        *to = from as _;
    }
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: `address` lives through bind; the fd is new and ours. The mask makes the socket 0600 from its first moment.
    unsafe {
        let fd = libc::socket(libc::AF_UNIX, kind, 0);
        if fd < 0 {
            return Err(sys::errno());
        }
        let fd = OwnedFd::from_raw_fd(fd);
        let mask = libc::umask(0o177);
        let bound = libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_un>() as _);
        let error = sys::errno();
        libc::umask(mask);
        if bound != 0 {
            return Err(error);
        }
        if libc::listen(fd.as_raw_fd(), 128) != 0 {
            return Err(sys::errno());
        }
        Ok(fd)
    }
}

/// Serves until the container has ended and everybody who was connected knows. Never returns.
pub fn run(mut shim: Shim, server: Channel, started: &Reply) -> ! {
    shim.fds = Vec::new();
    let _ = sys::set_nonblocking(server.fd.as_raw_fd(), true);
    let mut connection = Connection::new(server);
    connection.channel.queue(started);
    shim.connections.push(connection);
    while !shim.is_done() {
        shim.turn();
    }
    sys::exit(0)
}

/// What a poll entry stands for.
#[derive(Clone, Copy)]
enum Of {
    Listener,
    End(usize),
    Output(usize, usize),
    Input(usize),
    Connection(usize),
}

impl Connection {
    fn new(channel: Channel) -> Self {
        Self { channel, attached: None, waits_for: Vec::new(), last_words: false, gone: false }
    }
}

impl Shim {
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        born: Born,
        plan: &Plan,
        listener: OwnedFd,
        log: Log,
        stdio: Stdio,
        started_ns: i64,
        run_dir: OwnedFd,
        fds: Vec<OwnedFd>,
    ) -> Self {
        let pidfd = sys::duplicate(born.pidfd.as_raw_fd());
        let Ok(pidfd) = pidfd else { sys::exit(1) };
        let container = Running::new(String::new(), born.pid, pidfd, stdio, plan.process.stdin_once);
        Self {
            born,
            listener,
            log,
            run_dir,
            started_ns,
            fds: fds.into_iter().map(Some).collect(),
            running: vec![container],
            finished: Vec::new(),
            connections: Vec::new(),
            held: Vec::new(),
            forwarder: Forwarder::default(),
            buffer: Vec::new(),
            ended_ms: 0,
        }
    }

    pub fn pid(&self) -> i32 {
        self.born.pid
    }

    /// Takes over a client that was attached before the start.
    pub fn attach_early(&mut self, early: EarlyAttach) {
        let Some(fd) = self.fds.get_mut(early.fd.index as usize).and_then(Option::take) else { return };
        let _ = sys::set_nonblocking(fd.as_raw_fd(), true);
        let mut connection = Connection::new(Channel::new(fd));
        connection.attached = Some(Attachment { id: String::new(), streams: early.streams, early: true, stalled_ms: 0 });
        self.connections.push(connection);
    }

    fn container_exit(&self) -> Option<Exit> {
        self.finished.iter().find(|(id, _)| id.is_empty()).map(|(_, exit)| *exit)
    }

    /// The container has ended, and everybody has heard of it or does not listen.
    fn is_done(&self) -> bool {
        if self.ended_ms == 0 {
            return false;
        }
        let waited = sys::ticks_ms() - self.ended_ms;
        let all_told = self.connections.iter().all(|c| c.channel.waiting() == 0);
        // Execs in the host's pid namespace do not die with process 1; they lose their shim after a second.
        (all_told && (self.running.is_empty() || waited > 1000)) || waited > STALL_MS
    }

    fn turn(&mut self) {
        let mut fds = Vec::with_capacity(8);
        let mut of = Vec::with_capacity(8);
        let mut add = |fd: RawFd, events: i16, what: Of| {
            fds.push(libc::pollfd { fd, events, revents: 0 });
            of.push(what);
        };
        add(self.listener.as_raw_fd(), libc::POLLIN, Of::Listener);
        for (i, process) in self.running.iter().enumerate() {
            add(process.pidfd.as_raw_fd(), libc::POLLIN, Of::End(i));
            for (j, output) in process.stdio.outputs.iter().enumerate() {
                if let Some(output) = output
                    && !self.must_wait(&process.id, j)
                {
                    add(output.as_raw_fd(), libc::POLLIN, Of::Output(i, j));
                }
            }
            if let Some(input) = &process.stdio.input
                && !process.input.is_empty()
            {
                add(input.as_raw_fd(), libc::POLLOUT, Of::Input(i));
            }
        }
        let mut timeout = if self.ended_ms == 0 { -1 } else { 200 };
        for (i, connection) in self.connections.iter().enumerate() {
            let mut events = 0;
            if !connection.channel.ended && self.takes_input(connection) {
                events |= libc::POLLIN;
            }
            if connection.channel.waiting() > 0 {
                events |= libc::POLLOUT;
            }
            if connection.attached.as_ref().is_some_and(|a| a.stalled_ms != 0) {
                timeout = 200;
            }
            add(connection.channel.fd.as_raw_fd(), events, Of::Connection(i));
        }
        let forwarder_start = fds.len();
        timeout = self.forwarder.add_to(&mut fds, timeout);
        if sys::poll(&mut fds, timeout).is_err() {
            return;
        }

        // Output before ends, so that what was written before an exit comes before the news of it.
        for (entry, of) in fds.iter().zip(&of) {
            let ready = entry.revents;
            match *of {
                Of::Output(i, j) if ready != 0 => drop(self.carry_output(i, j)),
                Of::Input(i) if ready != 0 => self.running[i].write_input(),
                Of::Connection(i) if ready != 0 => self.serve(i, ready),
                _ => {}
            }
        }
        // Frames that came while their process took no input: no poll will tell of them.
        for i in 0..self.connections.len() {
            if self.connections[i].channel.unread() > 0 && self.takes_input(&self.connections[i]) {
                self.serve(i, 0);
            }
        }
        for (entry, of) in fds.iter().zip(&of) {
            if let Of::End(i) = *of
                && entry.revents != 0
            {
                self.end(i);
            }
        }
        if fds[0].revents != 0 {
            self.accept();
        }
        self.forwarder.turn(&fds[forwarder_start..]);
        self.drop_stalled();
        self.running.retain(|p| p.exit.is_none());
        self.connections.retain(|c| !(c.gone || c.last_words && c.channel.waiting() == 0));
    }

    /// Whether a stream of a process has a client whose queue is full.
    fn must_wait(&self, id: &str, stream: usize) -> bool {
        self.connections.iter().any(|c| {
            c.attached.as_ref().is_some_and(|a| {
                let wants = if stream == 0 { a.streams.stdout } else { a.streams.stderr };
                let most = if a.early { EARLY_MAX } else { LATE_MAX };
                wants && a.id == id && c.channel.waiting() > most
            })
        })
    }

    /// Whether what a connection sends can be used now.
    fn takes_input(&self, connection: &Connection) -> bool {
        match &connection.attached {
            Some(a) if a.streams.stdin => self.running.iter().find(|p| p.id == a.id).is_none_or(|p| p.input.len() < INPUT_MAX),
            _ => true,
        }
    }

    fn drop_stalled(&mut self) {
        for connection in &mut self.connections {
            let full = connection.channel.waiting() > LATE_MAX;
            if let Some(attached) = &mut connection.attached
                && !attached.early
            {
                let now = sys::ticks_ms();
                match (full, attached.stalled_ms) {
                    (false, _) => attached.stalled_ms = 0,
                    (true, 0) => attached.stalled_ms = now,
                    (true, since) if now - since > STALL_MS => connection.gone = true,
                    _ => {}
                }
            }
        }
    }

    /// One read of a stream, to the log and to its clients. `false`: nothing more is there now.
    fn carry_output(&mut self, i: usize, j: usize) -> bool {
        if self.buffer.is_empty() {
            self.buffer = vec![0; READ];
        }
        let process = &mut self.running[i];
        let Some(output) = &process.stdio.outputs[j] else { return false };
        let length = match sys::read(output.as_raw_fd(), &mut self.buffer) {
            Err(libc::EAGAIN) => return false,
            // A terminal says EIO when its last user is gone.
            Ok(0) | Err(_) => {
                process.stdio.outputs[j] = None;
                return false;
            }
            Ok(length) => length,
        };
        let data = &self.buffer[..length];
        if process.id.is_empty() {
            self.log.write(if j == 0 { logfile::STDOUT } else { logfile::STDERR }, data);
        }
        let kind = if j == 0 { message::KIND_STDOUT } else { message::KIND_STDERR };
        for connection in &mut self.connections {
            if let Some(a) = &connection.attached
                && a.id == process.id
                && (if j == 0 { a.streams.stdout } else { a.streams.stderr })
            {
                connection.channel.queue_data(kind, data);
            }
        }
        true
    }

    /// A process ended: what is left in its pipes, then the news.
    fn end(&mut self, i: usize) {
        let (code, signal) = match sys::wait(self.running[i].pidfd.as_raw_fd()) {
            Ok(Some(end)) => end,
            Ok(None) => return,
            Err(_) => (255, 0),
        };
        let exit = Exit { code, signal, finished_ns: sys::now_ns() as i64 };
        for j in 0..2 {
            // At most what the pipe holds: a process that escaped (an exec's background child) may write for ever.
            for _ in 0..32 {
                if !self.carry_output(i, j) {
                    break;
                }
            }
        }
        let id = self.running[i].id.clone();
        self.running[i].exit = Some(exit);
        if id.is_empty() {
            self.log.end();
            // The fact before the news: who hears of it must find it.
            let _ = self.record_exit(&exit);
            self.ended_ms = sys::ticks_ms().max(1);
            self.forwarder = Forwarder::default();
            self.held.clear();
        }
        if self.finished.len() >= FINISHED_MAX {
            self.finished.remove(0);
        }
        self.finished.push((id.clone(), exit));
        for connection in &mut self.connections {
            if connection.attached.as_ref().is_some_and(|a| a.id == id) {
                connection.channel.queue(&Reply::Exited { exit });
                connection.last_words = true;
            }
            while let Some(at) = connection.waits_for.iter().position(|w| *w == id) {
                connection.waits_for.remove(at);
                connection.channel.queue(&Reply::Exited { exit });
            }
        }
    }

    fn record_exit(&self, exit: &Exit) -> R<()> {
        let at = self.run_dir.as_raw_fd();
        let text = format!("{} {} {}\n", exit.code, exit.signal, exit.finished_ns);
        let file = sys::open_at(at, c"exit.new", libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_NOFOLLOW, 0o600)?;
        sys::write_all(file.as_raw_fd(), text.as_bytes())?;
        // Not synced: it is for the next server, not for the next boot, which takes all containers for ended by that alone.
        sys::rename_at(at, c"exit.new", c"exit")
    }

    fn accept(&mut self) {
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        loop {
            let null = std::ptr::null_mut();
            // SAFETY: no address is asked for; the fd is new and ours.
            let fd = unsafe {
                match libc::accept4(self.listener.as_raw_fd(), null, null.cast(), flags) {
                    -1 => return,
                    fd => OwnedFd::from_raw_fd(fd),
                }
            };
            self.connections.push(Connection::new(Channel::new(fd)));
        }
    }

    fn serve(&mut self, i: usize, ready: i16) {
        let connection = &mut self.connections[i];
        if ready & libc::POLLOUT != 0
            && connection.channel.flush()
            && let Some(attached) = &mut connection.attached
        {
            attached.stalled_ms = 0;
        }
        if ready & libc::POLLIN != 0 && connection.channel.receive().is_err_and(|e| e != libc::EAGAIN) {
            connection.gone = true;
        }
        loop {
            if !self.takes_input(&self.connections[i]) {
                break; // Frames stay where they are until the process has read; `write_input` makes room.
            }
            match self.connections[i].channel.frame() {
                Ok(Some(frame)) => self.handle(i, frame.kind, &frame.body),
                Ok(None) => break,
                Err(_) => {
                    self.connections[i].gone = true;
                    break;
                }
            }
        }
        let connection = &mut self.connections[i];
        if connection.channel.ended && connection.channel.unread() == 0 {
            match &connection.attached {
                // No more input; output goes on until the other side is closed as well.
                Some(a) if a.streams.stdin => {
                    let id = a.id.clone();
                    self.end_input(&id);
                }
                Some(_) => {}
                None => connection.gone = true,
            }
        }
        if ready & (libc::POLLHUP | libc::POLLERR) != 0 && ready & libc::POLLIN == 0 {
            self.connections[i].gone = true;
        }
    }

    fn end_input(&mut self, id: &str) {
        if let Some(process) = self.running.iter_mut().find(|p| p.id == id)
            && process.stdin_once
            // Who leaves a terminal, by the detach keys or by a lost line, may come back to it and type on; its end is typed (^D).
            && !process.stdio.terminal
        {
            process.input_ends = true;
            process.write_input();
        }
    }

    fn handle(&mut self, i: usize, kind: u8, body: &[u8]) {
        let attached = self.connections[i].attached.as_ref().filter(|a| a.streams.stdin).map(|a| a.id.clone());
        match (kind, attached) {
            (message::KIND_STDIN, Some(id)) => {
                if let Some(process) = self.running.iter_mut().find(|p| p.id == id)
                    && !process.input_ends
                {
                    process.input.extend_from_slice(body);
                    process.write_input();
                }
            }
            (message::KIND_STDIN_END, Some(id)) => self.end_input(&id),
            (message::KIND_MESSAGE, _) => match Request::take(&mut &body[..]) {
                Some(request) => self.answer(i, request),
                None => self.connections[i].channel.queue(&Reply::Refused),
            },
            _ => {}
        }
    }

    fn answer(&mut self, i: usize, request: Request) {
        let fds = std::mem::take(&mut self.connections[i].channel.fds);
        let reply = match request {
            Request::Attach { exec, streams } => match self.running.iter().find(|p| p.id == exec) {
                None => Reply::Refused,
                Some(process) => {
                    let tty = process.stdio.terminal;
                    self.connections[i].attached = Some(Attachment { id: exec, streams, early: false, stalled_ms: 0 });
                    Reply::Attached { tty }
                }
            },
            Request::Resize { exec, rows, columns } => match self.running.iter().find(|p| p.id == exec) {
                Some(process) if process.stdio.terminal => match &process.stdio.input {
                    Some(master) => match at(Step::Terminal, sys::set_window(master.as_raw_fd(), rows, columns)) {
                        Ok(()) => Reply::Done,
                        Err(failure) => Reply::Failed { failure },
                    },
                    None => Reply::Refused,
                },
                _ => Reply::NoSuchExec,
            },
            Request::Exec { id, plan, streams } => match self.start_exec(&id, &plan.process) {
                Err(failure) => Reply::Failed { failure },
                Ok(pid) => {
                    let connection = &mut self.connections[i];
                    match streams {
                        Some(streams) => {
                            connection.attached = Some(Attachment { id, streams, early: true, stalled_ms: 0 });
                        }
                        None => connection.waits_for.push(id),
                    }
                    Reply::Started { started_ns: sys::now_ns() as i64, pid }
                }
            },
            Request::Status => {
                let execs = self.running.iter().filter(|p| !p.id.is_empty()).map(|p| (p.id.clone(), p.pid)).collect();
                let tty = self.running.first().is_some_and(|p| p.id.is_empty() && p.stdio.terminal);
                let status = Reply::Status { pid: self.born.pid, started_ns: self.started_ns, tty, execs, exit: self.container_exit() };
                let pidfd = self.born.pidfd.as_raw_fd();
                if self.connections[i].channel.send(&status, &[pidfd]).is_err() {
                    self.connections[i].gone = true;
                }
                return;
            }
            Request::Wait { exec } => {
                if let Some((_, exit)) = self.finished.iter().find(|(id, _)| *id == exec) {
                    Reply::Exited { exit: *exit }
                } else if self.running.iter().any(|p| p.id == exec) {
                    self.connections[i].waits_for.push(exec);
                    return;
                } else {
                    Reply::NoSuchExec
                }
            }
            Request::Hold { name, fds: _ } => {
                self.held.retain(|(held, _)| *held != name);
                self.held.push((name, fds));
                Reply::Done
            }
            Request::Take { name } => {
                let held = self.held.iter().find(|(held, _)| *held == name).map_or(&[][..], |(_, fds)| fds);
                let numbers: Vec<RawFd> = held.iter().map(AsRawFd::as_raw_fd).collect();
                let reply = Reply::Held { count: numbers.len() as u32 };
                if self.connections[i].channel.send(&reply, &numbers).is_err() {
                    self.connections[i].gone = true;
                }
                return;
            }
            Request::Serve { listeners } => match self.forwarder.serve(&listeners, fds) {
                Ok(()) => Reply::Done,
                Err(errno) => Reply::Failed { failure: Failure { step: Step::Stdio, index: 0, errno } },
            },
            Request::Prepare { .. } | Request::Start { .. } | Request::UserNamespace { .. } => Reply::Refused,
        };
        self.connections[i].channel.queue(&reply);
    }

    fn start_exec(&mut self, id: &str, process: &Process) -> Result<i32, Failure> {
        let refused = Failure { step: Step::JoinNamespace, index: 0, errno: libc::ESRCH };
        if id.is_empty() || self.running.iter().any(|p| p.id == id) || self.ended_ms != 0 {
            return Err(refused);
        }
        let prepare = &self.born.prepare;
        let mut namespaces = libc::CLONE_NEWNS;
        if prepare.user != UserNamespace::Host {
            namespaces |= libc::CLONE_NEWUSER;
        }
        for (namespace, flag) in [
            (prepare.pid, libc::CLONE_NEWPID),
            (prepare.net, libc::CLONE_NEWNET),
            (prepare.ipc, libc::CLONE_NEWIPC),
            (prepare.uts, libc::CLONE_NEWUTS),
            (prepare.cgroup_ns, libc::CLONE_NEWCGROUP),
        ] {
            if namespace != Namespace::Host {
                namespaces |= flag;
            }
        }
        let uid = birth::host_uid(prepare, process.uid);
        let (stdio, theirs) = at(Step::Stdio, Stdio::new(process, &self.born.devpts, uid))?;
        let container = Container {
            init: &self.born.pidfd,
            namespaces,
            cgroup_v2: self.born.cgroup_v2.as_ref(),
            cgroup_v1: &self.born.cgroup_v1,
            own_pid_ns: &self.born.own_pid_ns,
        };
        let numbers = [theirs[0].as_raw_fd(), theirs[1].as_raw_fd(), theirs[2].as_raw_fd()];
        let (pid, pidfd) = exec::start(&container, process, numbers)?;
        // An exec's input is its client's alone: it ends with it.
        self.running.push(Running::new(id.to_owned(), pid, pidfd, stdio, true));
        Ok(pid)
    }
}

impl Running {
    fn new(id: String, pid: i32, pidfd: OwnedFd, stdio: Stdio, stdin_once: bool) -> Self {
        Self { id, pid, pidfd, stdio, input: Vec::new(), input_ends: false, stdin_once, exit: None }
    }

    /// Writes what goes; closes the pipe when the last byte is through and no more comes.
    fn write_input(&mut self) {
        let mut written = 0;
        while written < self.input.len() {
            let outcome = self.stdio.input.as_ref().map(|input| sys::write(input.as_raw_fd(), &self.input[written..]));
            match outcome {
                Some(Ok(n)) => written += n,
                Some(Err(libc::EAGAIN)) => break,
                // Nobody reads it any more.
                Some(Err(_)) | None => {
                    if !self.stdio.terminal {
                        self.stdio.input = None;
                    }
                    written = self.input.len();
                }
            }
        }
        self.input.drain(..written);
        // A terminal's input is its output's other half: it stays.
        if self.input_ends && self.input.is_empty() && !self.stdio.terminal {
            self.stdio.input = None;
        }
    }
}
