//! Handles to shims: a prepared one, a running one, an exec in it.

use super::link::Link;
use super::message::{self, EarlyAttach, Reply, Request, Streams};
use super::plan::{ExecPlan, Exit, Failure, LogPlan, Mount, Plan, Prepare, Step};
use super::start_error::StartError;
use super::stream::attached;
use super::{Fds, Spawner};
use crate::container::request::Attached;
use crate::sys::{fd, socket};
use crate::{ContainerId, Doing, Error, Instance, Result};
use jiff::Timestamp;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The way to containers' processes. Cheap to clone.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

struct Inner {
    spawner: Spawner,
    /// `run_dir/c`: one folder a container.
    containers: PathBuf,
}

/// A container's namespaces, ready for any container of its kind. Dropping it kills it.
pub struct Prepared {
    /// The shim's pid.
    pub shim_pid: i32,
    /// Process 1's pid, as the host sees it.
    pub pid: i32,
    /// Process 1.
    pub pidfd: OwnedFd,
    /// Its user namespace.
    pub user_ns: OwnedFd,
    /// Its network namespace.
    pub net_ns: OwnedFd,
    link: Link,
    early: Vec<(UnixStream, Streams)>,
}

/// A running container (or one that ended a moment ago).
#[derive(Debug, Clone)]
pub struct Shim {
    folder: PathBuf,
    pid: i32,
    started: Timestamp,
    tty: bool,
    pidfd: Arc<OwnedFd>,
}

/// How a container's first process, or an exec, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitRecord {
    /// Exit code; 128 + signal when killed.
    pub code: i32,
    /// The signal that killed it, or 0.
    pub signal: i32,
    /// When.
    pub finished: Timestamp,
    /// The shim was killed, its container with it: `code` is 137 by that knowledge, not by wait(2).
    pub lost: bool,
}

/// What became of a container while no server looked.
pub enum Adopted {
    /// It runs.
    Running(Shim),
    /// It ended.
    Exited(ExitRecord),
    /// No trace of a run: it never started, or the host rebooted, or the shim was killed (and its container with it).
    Gone,
}

/// An exec that runs or ended.
#[derive(Debug)]
pub struct ExecSession {
    /// Its pid, as the host sees it.
    pub pid: i32,
    id: String,
    shim: Shim,
}

/// A listener on a loopback address, and where its connections go.
pub struct LoopbackListener {
    /// A listening TCP socket or a bound UDP socket.
    pub listener: OwnedFd,
    /// Whether it is UDP.
    pub udp: bool,
    /// The container's address and port.
    pub target: SocketAddr,
}

impl Runtime {
    /// On the spawner that `main` started.
    pub fn new(spawner: Spawner, instance: &Instance) -> Result<Self> {
        Self::at(spawner, instance.run_dir())
    }

    /// The same with any run folder (tests).
    pub fn at(spawner: Spawner, run_dir: &Path) -> Result<Self> {
        let containers = run_dir.join("c");
        fd::make_private_folder(&containers).doing(|| format!("making {}", containers.display()))?;
        Ok(Self(Arc::new(Inner { spawner, containers })))
    }

    /// `run_dir/c/<id>`: the shim's socket and facts.
    pub fn folder(&self, id: &ContainerId) -> PathBuf {
        self.0.containers.join(id.as_str())
    }

    /// Containers that have a run folder: what a starting server asks [`Runtime::adopt`] about.
    pub fn folders(&self) -> Result<Vec<ContainerId>> {
        let doing = || format!("listing {}", self.0.containers.display());
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(&self.0.containers).doing(doing)? {
            let entry = entry.doing(doing)?;
            if let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// Makes (and empties) the run folder of a container and opens it: `Plan::run_dir` refers to it.
    pub fn make_folder(&self, id: &ContainerId) -> Result<OwnedFd> {
        let folder = self.folder(id);
        fd::make_private_folder(&folder).doing(|| format!("making {}", folder.display()))?;
        fd::open_folder(&folder).doing(|| format!("opening {}", folder.display()))
    }

    /// Forgets a container's run: removes its folder.
    pub fn remove_folder(&self, id: &ContainerId) -> Result<()> {
        let folder = self.folder(id);
        match std::fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).doing(|| format!("removing {}", folder.display())),
            _ => Ok(()),
        }
    }

    fn connect_new_child(&self) -> io::Result<Link> {
        let (ours, theirs) = UnixStream::pair()?;
        socket::send_with_fds(&self.0.spawner.socket, &[1], &[theirs.as_fd()])?;
        Link::new(ours)
    }

    /// Phase one: a process in new namespaces, waiting.
    ///
    /// # Errors
    /// The step that failed.
    pub async fn prepare(&self, prepare: &Prepare, fds: &Fds) -> Result<Prepared, StartError> {
        let broken = |e| StartError::broken("preparing a container's namespaces", e);
        let mut link = self.connect_new_child().map_err(broken)?;
        let request = Request::Prepare { prepare: prepare.clone() };
        match link.ask(&request, &fds.borrow()).await.map_err(broken)? {
            Reply::Prepared { shim, pid } => {
                let [pidfd, user_ns, net_ns]: [OwnedFd; 3] =
                    link.take_fds().try_into().map_err(|_| broken(io::ErrorKind::InvalidData.into()))?;
                Ok(Prepared { shim_pid: shim, pid, pidfd, user_ns, net_ns, link, early: Vec::new() })
            }
            Reply::Failed { failure } => Err(StartError::of_step(failure, None, what(&failure, Some(prepare), None))),
            _ => Err(broken(io::ErrorKind::InvalidData.into())),
        }
    }

    /// Phase two: becomes the container and runs its program. Returns once it runs. On an error everything is gone again.
    pub async fn start(&self, id: &ContainerId, mut prepared: Prepared, plan: &Plan, fds: Fds) -> Result<Shim, StartError> {
        let broken = |e| StartError::broken("starting a container", e);
        let mut fds = fds;
        let mut attached = Vec::new();
        for (connection, streams) in prepared.early.drain(..) {
            attached.push(EarlyAttach { fd: fds.add(connection), streams });
        }
        let request = Request::Start { plan: plan.clone(), attached };
        let reply = prepared.link.ask(&request, &fds.borrow()).await.map_err(broken)?;
        drop(fds);
        match reply {
            Reply::Started { started_ns, pid } => Ok(Shim {
                folder: self.folder(id),
                pid,
                started: timestamp(started_ns),
                tty: plan.process.tty,
                pidfd: Arc::new(prepared.pidfd),
            }),
            Reply::Failed { failure } => Err(StartError::of_step(failure, Some(&plan.process), what(&failure, None, Some(plan)))),
            _ => Err(broken(io::ErrorKind::InvalidData.into())),
        }
    }

    /// Finds out what became of a container.
    pub async fn adopt(&self, id: &ContainerId) -> Result<Adopted> {
        let folder = self.folder(id);
        let doing = || format!("adopting container {}", id.short());
        match ask_status(&folder).await {
            Ok((Reply::Status { exit: Some(exit), .. }, _)) => Ok(Adopted::Exited(exit.into())),
            Ok((Reply::Status { pid, started_ns, tty, .. }, pidfd)) => {
                Ok(Adopted::Running(Shim { folder, pid, started: timestamp(started_ns), tty, pidfd: Arc::new(pidfd) }))
            }
            Ok(_) => Err(io::Error::from(io::ErrorKind::InvalidData)).doing(doing),
            Err(_) => match read_exit(&folder) {
                Ok(exit) => Ok(Adopted::Exited(exit)),
                // No whole record: the host went down while it was written.
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => Ok(Adopted::Gone),
                Err(e) => Err(e).doing(doing),
            },
        }
    }

    /// A user namespace with these maps that no process lives in: for idmapped mounts and workers. Made by the spawner.
    pub async fn user_namespace(&self, uids: &[super::plan::IdMap], gids: &[super::plan::IdMap]) -> Result<OwnedFd> {
        let doing = || "making a user namespace".to_owned();
        let mut link = self.connect_new_child().doing(doing)?;
        let request = Request::UserNamespace { uids: uids.to_vec(), gids: gids.to_vec() };
        match link.ask(&request, &[]).await.doing(doing)? {
            Reply::UserNamespace => link.take_fds().pop().ok_or(io::ErrorKind::InvalidData.into()).map_err(|e: io::Error| e).doing(doing),
            Reply::Failed { failure } => Err(StartError::of_step(failure, None, None)).doing(doing),
            _ => Err(io::Error::from(io::ErrorKind::InvalidData)).doing(doing),
        }
    }

    /// The same for one block: ids from 0 on, `size` of them, are the host's from `base` on.
    pub async fn user_namespace_of_block(&self, base: u32, size: u32) -> Result<OwnedFd> {
        let map = [super::plan::IdMap { inside: 0, outside: base, size }];
        self.user_namespace(&map, &map).await
    }
}

impl Prepared {
    /// Whether it still waits for its plan.
    pub fn is_alive(&self) -> bool {
        !is_readable(&self.pidfd)
    }

    /// Attaches a client before the start: it misses nothing, and when it is slow the container waits for it.
    pub fn attach(&mut self, streams: Streams, tty: bool) -> Result<Attached> {
        let doing = || "attaching".to_owned();
        let (ours, theirs) = UnixStream::pair().doing(doing)?;
        self.early.push((theirs, streams));
        Ok(attached(Link::new(ours).doing(doing)?, streams, tty))
    }
}

/// As a pidfd is when its process has ended (pidfd_open(2)).
fn is_readable(pidfd: &OwnedFd) -> bool {
    let mut fds = [rustix::event::PollFd::new(pidfd, rustix::event::PollFlags::IN)];
    !matches!(rustix::event::poll(&mut fds, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
}

impl Shim {
    /// Process 1's pid, as the host sees it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether process 1 has ended.
    pub fn has_ended(&self) -> bool {
        is_readable(&self.pidfd)
    }

    /// Process 1.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// When its program began.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// Whether it has a terminal.
    pub fn tty(&self) -> bool {
        self.tty
    }

    fn connect(&self) -> io::Result<Link> {
        connect(&self.folder)
    }

    async fn ask(&self, doing: &str, request: Request, fds: &[BorrowedFd<'_>]) -> Result<(Reply, Vec<OwnedFd>)> {
        let doing = || format!("{doing} (asking the container's shim)");
        let asked = async {
            let mut link = self.connect()?;
            let reply = link.ask(&request, fds).await?;
            Ok((link, reply))
        };
        // A shim that does not answer has ended with its container.
        let (mut link, reply) = match asked.await {
            Err(error) if has_ended(&error) => return Err(Error::conflict("the container is not running").because(error)),
            asked => asked.doing(doing)?,
        };
        match reply {
            Reply::Failed { failure } => Err(StartError::of_step(failure, None, None)).doing(doing),
            Reply::Refused => Err(Error::conflict("the container is not running")),
            Reply::NoSuchExec => Err(Error::conflict("the exec is not running")),
            reply => Ok((reply, link.take_fds())),
        }
    }

    /// Attaches a client to the running container. It sees output from now on; when it takes nothing for 10 s while
    /// 1 MiB waits for it, it is dropped.
    pub async fn attach(&self, streams: Streams) -> Result<Attached> {
        self.attach_to(String::new(), streams).await
    }

    async fn attach_to(&self, exec: String, streams: Streams) -> Result<Attached> {
        let doing = || "attaching to the container".to_owned();
        let mut link = self.connect().doing(doing)?;
        match link.ask(&Request::Attach { exec, streams }, &[]).await.doing(doing)? {
            Reply::Attached { tty } => Ok(attached(link, streams, tty)),
            _ => Err(Error::conflict("the container is not running")),
        }
    }

    /// Sets the terminal's size.
    pub async fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        self.ask("resizing the terminal", Request::Resize { exec: String::new(), rows, columns }, &[]).await.map(drop)
    }

    /// Runs a process in the container. `streams` `None`: detached. Returns once it runs, with its streams if asked for.
    pub async fn exec(
        &self,
        id: &crate::ExecId,
        plan: &ExecPlan,
        streams: Option<Streams>,
    ) -> Result<(ExecSession, Option<Attached>), StartError> {
        let broken = |e| StartError::broken("starting an exec", e);
        let mut link = self.connect().map_err(broken)?;
        let request = Request::Exec { id: id.as_str().to_owned(), plan: plan.clone(), streams };
        match link.ask(&request, &[]).await.map_err(broken)? {
            Reply::Started { pid, .. } => {
                let session = ExecSession { pid, id: id.as_str().to_owned(), shim: self.clone() };
                Ok((session, streams.map(|streams| attached(link, streams, plan.process.tty))))
            }
            Reply::Failed { failure } => Err(StartError::of_step(failure, Some(&plan.process), None)),
            _ => Err(broken(io::Error::other("the container is not running"))),
        }
    }

    /// An exec that was started before (by a server that is gone); `None` when the shim does not know it.
    pub async fn exec_session(&self, id: &crate::ExecId) -> Result<Option<ExecSession>> {
        let (reply, _) = self.ask("listing execs", Request::Status, &[]).await?;
        let Reply::Status { execs, .. } = reply else { return Ok(None) };
        let found = execs.into_iter().find(|(name, _)| name == id.as_str());
        Ok(found.map(|(id, pid)| ExecSession { pid, id, shim: self.clone() }))
    }

    /// Waits for its end. Never fails: a killed shim is a `lost` record.
    pub async fn exited(&self) -> ExitRecord {
        match wait(&self.folder, String::new()).await {
            Some(exit) => exit,
            None => read_exit(&self.folder).unwrap_or_else(|_| lost()),
        }
    }

    /// Sends a signal to process 1.
    ///
    /// # Errors
    /// `Conflict` when it ended.
    pub fn signal(&self, number: i32) -> Result<()> {
        match fd::pidfd_signal(self.pidfd.as_fd(), number) {
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Err(Error::conflict("the container is not running")),
            outcome => outcome.doing(|| format!("sending signal {number}")),
        }
    }

    /// Lets the shim keep fds under a name, beyond the life of this server. Replaces what was kept there.
    pub async fn hold(&self, name: &str, fds: &Fds) -> Result<()> {
        let fds = fds.borrow();
        let refs = (0..fds.len()).map(|index| super::FdRef { index: u32::try_from(index).unwrap_or(u32::MAX) }).collect();
        self.ask("handing over sockets", Request::Hold { name: name.to_owned(), fds: refs }, &fds).await.map(drop)
    }

    /// Copies of the fds kept under a name; empty when there are none.
    pub async fn take(&self, name: &str) -> Result<Vec<OwnedFd>> {
        let (_, fds) = self.ask("taking sockets back", Request::Take { name: name.to_owned() }, &[]).await?;
        Ok(fds)
    }

    /// Serves loopback listeners, instead of those served before.
    pub async fn serve_loopback(&self, listeners: Vec<LoopbackListener>) -> Result<()> {
        let mut fds = Fds::new();
        let mut served = Vec::new();
        for LoopbackListener { listener, udp, target } in listeners {
            let (family, high, low) = match target.ip() {
                std::net::IpAddr::V4(ip) => (4, u64::from(u32::from(ip)), 0),
                std::net::IpAddr::V6(ip) => {
                    let bits = u128::from(ip);
                    ((6), (bits >> 64) as u64, (bits & u128::from(u64::MAX)) as u64)
                }
            };
            served.push(message::Loopback { listener: fds.add(listener), udp, family, high, low, port: target.port() });
        }
        self.ask("publishing ports on loopback", Request::Serve { listeners: served }, &fds.borrow()).await.map(drop)
    }
}

impl ExecSession {
    /// Waits for its end.
    pub async fn exited(&self) -> ExitRecord {
        wait(&self.shim.folder, self.id.clone()).await.unwrap_or_else(lost)
    }

    /// Sets its terminal's size.
    pub async fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        self.shim.ask("resizing the terminal", Request::Resize { exec: self.id.clone(), rows, columns }, &[]).await.map(drop)
    }

    /// Attaches one more client.
    pub async fn attach(&self, streams: Streams) -> Result<Attached> {
        self.shim.attach_to(self.id.clone(), streams).await
    }
}

impl From<Exit> for ExitRecord {
    fn from(exit: Exit) -> Self {
        Self { code: exit.code, signal: exit.signal, finished: timestamp(exit.finished_ns), lost: false }
    }
}

/// Whether nobody is at the other end of a shim's socket any more.
fn has_ended(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionRefused | ConnectionReset | NotFound | UnexpectedEof)
}

fn lost() -> ExitRecord {
    ExitRecord { code: 137, signal: libc::SIGKILL, finished: Timestamp::now(), lost: true }
}

fn timestamp(ns: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(ns)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Connects to the socket in `folder`, by way of a folder fd since sun_path is short.
fn connect(folder: &Path) -> io::Result<Link> {
    let folder = fd::open_folder(folder)?;
    Link::new(UnixStream::connect(fd::path_in(&folder, "shim.sock"))?)
}

async fn ask_status(folder: &Path) -> io::Result<(Reply, OwnedFd)> {
    let mut link = connect(folder)?;
    let reply = link.ask(&Request::Status, &[]).await?;
    let pidfd = link.take_fds().pop().ok_or(io::ErrorKind::InvalidData)?;
    Ok((reply, pidfd))
}

async fn wait(folder: &Path, exec: String) -> Option<ExitRecord> {
    let mut link = connect(folder).ok()?;
    match link.ask(&Request::Wait { exec }, &[]).await {
        Ok(Reply::Exited { exit }) => Some(exit.into()),
        _ => None,
    }
}

/// The exit fact: three numbers on a line.
fn read_exit(folder: &Path) -> io::Result<ExitRecord> {
    let text = std::fs::read_to_string(folder.join("exit"))?;
    let numbers: Option<Vec<i64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[code, signal, finished_ns]) => Ok(ExitRecord {
            code: i32::try_from(code).unwrap_or(255),
            signal: i32::try_from(signal).unwrap_or(0),
            finished: timestamp(finished_ns),
            lost: false,
        }),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} is not an exit record", folder.display()))),
    }
}

/// Which of several things a step failed at.
fn what(failure: &Failure, prepare: Option<&Prepare>, plan: Option<&Plan>) -> Option<String> {
    let index = failure.index as usize;
    match failure.step {
        Step::Mask => prepare?.masked.get(index).cloned(),
        Step::ReadOnly => prepare?.read_only.get(index).cloned(),
        Step::Mount => plan?.mounts.get(index).map(|Mount { target, .. }| format!("to {target}")),
        Step::Sysctl => plan?.sysctls.get(index).map(|(name, _)| name.clone()),
        Step::Log => plan.map(|Plan { log: LogPlan { file, .. }, .. }| file.clone()),
        _ => None,
    }
}
