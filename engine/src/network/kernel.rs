//! The one thread that talks to the kernel about networks. It lives in the network namespace in which it was made, visits
//! containers' namespaces for a few microseconds, and does one job at a time (the kernel's own lock, RTNL, would serialise
//! them anyway).

use super::firewall::Firewall;
use super::forwarding::Forwarding;
use super::host_routes::HostRoutes;
use super::link::Routes;
use crate::{Doing, Error, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use tokio::sync::{mpsc, oneshot};

/// Waiting jobs. When full, callers wait.
const QUEUE: usize = 256;

/// What the thread works with.
#[derive(Debug)]
pub struct Kernel {
    home: OwnedFd,
    /// Links of the host.
    pub routes: Routes,
    /// Where the host's own routes go.
    pub host_routes: HostRoutes,
    /// Our tables.
    pub firewall: Firewall,
    /// What we switched on.
    pub forwarding: Forwarding,
    /// What the names of our interfaces begin with: bridges, veths.
    pub prefixes: [String; 2],
}

impl Kernel {
    fn open(table: String, prefixes: [String; 2], switched: PathBuf) -> io::Result<Self> {
        let home = File::open("/proc/thread-self/ns/net")?.into();
        let firewall = Firewall::open(table, prefixes[1].clone())?;
        let host_routes = HostRoutes::open(prefixes.clone())?;
        Ok(Self { home, routes: Routes::open()?, host_routes, firewall, forwarding: Forwarding::load(switched)?, prefixes })
    }

    /// The namespace that the thread lives in.
    pub fn home(&self) -> io::Result<OwnedFd> {
        self.home.try_clone()
    }

    /// Switches on IPv4 forwarding.
    pub fn forward_v4(&mut self) -> Result<()> {
        let [bridges, veths] = &self.prefixes;
        self.forwarding.on_v4(&mut self.routes, &mut self.firewall, [bridges, veths])
    }

    /// Switches on IPv6 forwarding.
    pub fn forward_v6(&mut self) -> Result<()> {
        let [bridges, veths] = &self.prefixes;
        self.forwarding.on_v6(&mut self.routes, &mut self.firewall, [bridges, veths])
    }

    /// Switches off what was switched on, if it may.
    pub fn forward_no_more(&mut self) -> Result<bool> {
        let [bridges, veths] = &self.prefixes;
        self.forwarding.off(&mut self.routes, [bridges, veths])
    }

    /// Runs `work` inside a network namespace.
    ///
    /// # Panics
    /// When the thread cannot come back: it must not go on in a stranger's namespace. Later jobs then fail.
    pub fn inside<T>(&mut self, netns: BorrowedFd<'_>, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))?;
        let outcome = work();
        if let Err(e) = move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Network)) {
            panic!("cannot return to the host's network namespace: {e}");
        }
        outcome
    }
}

/// Writes a setting under /proc/sys/net of the thread's namespace. Absent ones (a kernel without IPv6) are no error.
pub fn set(path: &str, value: &str) -> io::Result<()> {
    match std::fs::write(format!("/proc/sys/net/{path}"), value) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Writes a setting that must be there.
pub fn set_existing(path: &str, value: &str) -> io::Result<()> {
    let path = format!("/proc/sys/net/{path}");
    std::fs::write(&path, value).map_err(|e| io::Error::new(e.kind(), format!("writing {value:?} to {path}: {e}")))
}

/// Reads such a setting.
pub fn get(path: &str) -> io::Result<String> {
    Ok(std::fs::read_to_string(format!("/proc/sys/net/{path}"))?.trim().to_owned())
}

type Job = Box<dyn FnOnce(&mut Kernel) + Send>;

/// The way to the thread. It ends when the last copy is dropped.
#[derive(Debug, Clone)]
pub struct KernelThread {
    jobs: mpsc::Sender<Job>,
    /// The port id of our nft changes.
    pub port: u32,
}

impl KernelThread {
    /// Starts it in the calling thread's network namespace. `prefixes`: what names of bridges and of veths begin with;
    /// `switched`: the file of `forwarding`.
    ///
    /// # Errors
    /// When sockets for links or nf_tables cannot be had.
    pub fn start(table: String, prefixes: [String; 2], switched: PathBuf) -> Result<Self> {
        let mut kernel =
            Kernel::open(table, prefixes, switched).doing(|| "opening netlink sockets for networks and nf_tables".to_owned())?;
        let port = kernel.firewall.port();
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        std::thread::Builder::new()
            .name("network".to_owned())
            .spawn(move || {
                while let Some(job) = queue.blocking_recv() {
                    job(&mut kernel);
                }
            })
            .doing(|| "starting the network thread".to_owned())?;
        Ok(Self { jobs, port })
    }

    /// Runs a job on it and waits for its outcome. A job that was taken is done even if the caller goes away.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce(&mut Kernel) -> Result<T> + Send + 'static) -> Result<T> {
        let (job, outcome) = with_answer(job);
        self.jobs.send(job).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }

    /// Queues a job without waiting for it: later jobs come after it.
    pub async fn queue(&self, job: impl FnOnce(&mut Kernel) -> Result<()> + Send + 'static) -> Result<()> {
        let job: Job = Box::new(move |kernel| {
            if let Err(error) = job(kernel) {
                tracing::error!(?error, "a network job in the background failed");
            }
        });
        self.jobs.send(job).await.map_err(|_| gone())
    }

    /// [`Self::run`] from a thread that is not part of a runtime.
    pub fn run_blocking<T: Send + 'static>(&self, job: impl FnOnce(&mut Kernel) -> Result<T> + Send + 'static) -> Result<T> {
        let (job, outcome) = with_answer(job);
        self.jobs.blocking_send(job).map_err(|_| gone())?;
        outcome.blocking_recv().map_err(|_| gone())?
    }
}

fn gone() -> Error {
    Error::new(crate::Kind::Unavailable, "the network thread has ended: restart the server")
}

fn with_answer<T: Send + 'static>(job: impl FnOnce(&mut Kernel) -> Result<T> + Send + 'static) -> (Job, oneshot::Receiver<Result<T>>) {
    let (answer, outcome) = oneshot::channel();
    let job: Job = Box::new(move |kernel| {
        // The caller may have gone; what was done stays and reconcile sees it.
        let _ = answer.send(job(kernel));
    });
    (job, outcome)
}
