//! Workers: throw-away processes in a tenant's user namespace that parse bytes nobody vouches for (layers, archives).
//!
//! A worker is this program executed again with `worker` as its first argument, before tokio exists. Its standard input
//! is a socket over which it gets one job and the descriptors for it; then it joins the user namespace, makes the job's
//! folder its root, gives up every capability it does not need, and has no way to a network or to other descriptors.
//! Two threads do the work: one reads and inflates, the other hashes and writes.

mod browse;
mod child;
mod inflate;
mod job;
mod pack;
mod split;
#[cfg(test)]
mod tests;
mod tree;
mod trees;
mod unpack;

pub use browse::{BrowseJob, Listing};
pub use child::main;
pub use job::{LayerReport, Limits, SplitFile};
pub use trees::{CopyPlan, Selection, TreeDigest, TreeJob};

use crate::container::request::{ArchiveStream, PathStat};
use crate::volume::FileEntry;
use crate::{Doing, Error, Kind, Result};
use job::{Failure, Job};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader, ReadBuf};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdout, Command};

/// Ids in a block.
pub const BLOCK: u32 = 65_536;
/// The block in whose namespace layers of public images are unpacked: right after the tenants' pool, never a tenant's.
pub const SHARED_BASE: u32 = 2_147_352_576;
/// Longest answer: a million opaque folders would be more, and no image.
const ANSWER_MAX: u64 = 64 << 20;
/// Pipes towards workers hold this much, so that neither side waits for each page.
const PIPE_SIZE: usize = 1 << 20;

/// What runs workers. Cheap to clone; keeps one user namespace per block.
#[derive(Debug, Clone)]
pub struct Workers {
    program: PathBuf,
    namespaces: Arc<Mutex<HashMap<u32, Arc<OwnedFd>>>>,
}

impl Default for Workers {
    fn default() -> Self {
        Self::new()
    }
}

/// How a tree is packed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PackOptions {
    /// The first component of every name in the tar; `None`: the path's last one. Empty: names relative to the folder.
    pub name: Option<String>,
    /// Of what is mounted below (`/proc`, volumes), only the places. Taken where a kernel tells of mounts (Linux 5.8).
    pub one_mount: bool,
}

/// How a tar is unpacked into a tree that exists.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct UnpackOptions {
    /// Refuse to replace a folder by something else and the other way round.
    pub no_overwrite_dir_non_dir: bool,
    /// Give everything to this uid and gid (container ids) instead of the tar's.
    pub owner: Option<(u32, u32)>,
    /// How many bytes its files may have together; `None`: as many as any archive.
    pub most: Option<u64>,
}

/// An answer line.
#[derive(Deserialize)]
enum Answer<T> {
    #[serde(rename = "ok")]
    Ok(T),
    #[serde(rename = "failed")]
    Failed(Failure),
}

/// A worker at work. Dropping it kills it.
struct Running {
    child: Child,
    answers: BufReader<tokio::io::Take<ChildStdout>>,
    // Closed with us: a namespace keeper ends then.
    _socket: OwnedFd,
}

impl Running {
    /// The next answer; if the worker died instead, how.
    async fn answer<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        self.answers.read_line(&mut line).await.doing(|| "hearing from a worker".to_owned())?;
        if line.is_empty() {
            let status = self.child.wait().await.doing(|| "waiting for a worker".to_owned())?;
            return Err(Error::new(
                Kind::Exhausted,
                format!("the worker that was reading the archive died ({status}): the archive may need more memory than a worker is given"),
            ));
        }
        match serde_json::from_str(&line).doing(|| "understanding a worker".to_owned())? {
            Answer::Ok(value) => Ok(value),
            Answer::Failed(failure) => Err(failure.into()),
        }
    }
}

impl Workers {
    /// Runs workers as this very program.
    pub fn new() -> Self {
        Self::with_program(Path::new("/proc/self/exe"))
    }

    /// Runs workers as `program worker`: for a test program whose `main` is not ours.
    pub fn with_program(program: &Path) -> Self {
        Self { program: program.to_owned(), namespaces: Arc::default() }
    }

    fn run(&self, job: &Job, fds: &[BorrowedFd<'_>]) -> Result<Running> {
        let doing = || "starting a worker".to_owned();
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).doing(doing)?;
        // The message waits in the socket. No fork of this big process: without pre_exec, std uses posix_spawn (vfork).
        child::send(ours.as_fd(), job, fds).doing(doing)?;
        let mut child = Command::new(&self.program)
            .arg("worker")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .doing(doing)?;
        let out = child.stdout.take().ok_or_else(|| Error::new(Kind::Internal, "a worker without output"))?;
        Ok(Running { child, answers: BufReader::new(out.take(ANSWER_MAX)), _socket: ours })
    }

    /// A user namespace whose ids 0–65535 are the host's `base`–`base + 65535`, kept for the next caller.
    pub async fn user_namespace(&self, base: u32) -> Result<Arc<OwnedFd>> {
        if let Some(fd) = self.kept().get(&base) {
            return Ok(fd.clone());
        }
        let mut keeper = self.run(&Job::Namespace, &[])?;
        keeper.answer::<()>().await?;
        let pid = keeper.child.id().ok_or_else(|| Error::new(Kind::Internal, "the namespace's keeper has gone"))?;
        let doing = || format!("mapping a user namespace to the host's ids from {base}");
        let map = format!("0 {base} {BLOCK}\n");
        // Written whole: the kernel takes one write(2) per map file (user_namespaces(7)).
        std::fs::write(format!("/proc/{pid}/uid_map"), &map).doing(doing)?;
        std::fs::write(format!("/proc/{pid}/gid_map"), &map).doing(doing)?;
        let fd = Arc::new(OwnedFd::from(std::fs::File::open(format!("/proc/{pid}/ns/user")).doing(doing)?));
        self.kept().insert(base, fd.clone());
        Ok(fd)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Arc<OwnedFd>>> {
        self.namespaces.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The tree at `path` under `root` as a tar, ids as the namespace of block `base` sees them. Links are resolved inside
    /// `root`, never followed out of it; sockets are left out. A failure midway is the stream's last item.
    ///
    /// # Errors
    /// `NotFound` if nothing lies there.
    pub async fn pack(&self, base: u32, root: BorrowedFd<'_>, path: &str, options: PackOptions) -> Result<(PathStat, ArchiveStream)> {
        self.pack_job(base, root, Job::Pack { path: path.to_owned(), options, layer: false }, None).await
    }

    /// An overlay's upper folder as a layer: overlayfs' marks become whiteouts (image-spec, layer.md).
    pub async fn pack_layer(&self, base: u32, upper: BorrowedFd<'_>) -> Result<ArchiveStream> {
        let folder = upper.try_clone_to_owned().doing(|| "keeping a folder".to_owned())?;
        let opaque = crate::blocking(move || opaque_folders(&folder)).await?;
        // By descriptor, not in the job message, which is short.
        let doing = || "listing opaque folders".to_owned();
        let list = rustix::fs::memfd_create("opaque", rustix::fs::MemfdFlags::CLOEXEC).doing(doing)?;
        let mut list = std::fs::File::from(list);
        serde_json::to_writer(&mut list, &opaque).doing(doing)?;
        std::io::Seek::rewind(&mut list).doing(doing)?;
        let job =
            Job::Pack { path: "/".to_owned(), options: PackOptions { name: Some(String::new()), ..PackOptions::default() }, layer: true };
        Ok(self.pack_job(base, upper, job, Some(list.as_fd())).await?.1)
    }

    async fn pack_job(&self, base: u32, root: BorrowedFd<'_>, job: Job, list: Option<BorrowedFd<'_>>) -> Result<(PathStat, ArchiveStream)> {
        let namespace = self.user_namespace(base).await?;
        let (theirs, ours) = pipe_from_worker()?;
        let fds: Vec<_> = [namespace.as_fd(), root, theirs.as_fd()].into_iter().chain(list).collect();
        let mut running = self.run(&job, &fds)?;
        drop(theirs);
        let stat: job::Stat = running.answer().await?;
        let end = Box::pin(async move { running.answer::<()>().await.map_err(std::io::Error::other) });
        Ok((stat.try_into()?, Box::pin(Packed { pipe: ours, end: Some(end) })))
    }

    /// Unpacks a tar, plain or compressed, into the folder at `path` under `root`.
    ///
    /// # Errors
    /// `NotFound` without such a folder, `Forbidden` if it is read-only, `Invalid` for a bad archive.
    pub async fn unpack(&self, base: u32, root: BorrowedFd<'_>, path: &str, options: UnpackOptions, mut body: ArchiveStream) -> Result<()> {
        let namespace = self.user_namespace(base).await?;
        let (theirs, mut ours) = pipe_to_worker()?;
        let limits = Limits { bytes: options.most.unwrap_or(u64::MAX).min(Limits::default().bytes), ..Limits::default() };
        let job = Job::Unpack { path: path.to_owned(), options, limits };
        let mut running = self.run(&job, &[namespace.as_fd(), root, theirs.as_fd()])?;
        drop(theirs);
        feed(&mut running, &mut body, &mut ours).await
    }

    /// What lies at `path` under `root`.
    ///
    /// # Errors
    /// `NotFound` if nothing does.
    pub async fn stat(&self, base: u32, root: BorrowedFd<'_>, path: &str) -> Result<PathStat> {
        let namespace = self.user_namespace(base).await?;
        let mut running = self.run(&Job::Stat { path: path.to_owned() }, &[namespace.as_fd(), root])?;
        running.answer::<job::Stat>().await?.try_into()
    }

    /// Does one thing to a tree that takes no content and gives none.
    ///
    /// # Errors
    /// `NotFound` if nothing is there, `Invalid` for what cannot be done, with the path.
    pub async fn browse<T: DeserializeOwned>(&self, base: u32, root: BorrowedFd<'_>, job: BrowseJob) -> Result<T> {
        let namespace = self.user_namespace(base).await?;
        self.run(&Job::Browse(job), &[namespace.as_fd(), root])?.answer().await
    }

    /// A file's content under `root`, with what it is. A failure midway is the stream's last item.
    ///
    /// # Errors
    /// `NotFound` if nothing lies there, `Invalid` for what is no file.
    pub async fn read_file(&self, base: u32, root: BorrowedFd<'_>, path: &str) -> Result<(FileEntry, ArchiveStream)> {
        let namespace = self.user_namespace(base).await?;
        let (theirs, ours) = pipe_from_worker()?;
        let job = Job::Browse(BrowseJob::Read { path: path.to_owned() });
        let mut running = self.run(&job, &[namespace.as_fd(), root, theirs.as_fd()])?;
        drop(theirs);
        let entry = running.answer::<FileEntry>().await?;
        let end = Box::pin(async move { running.answer::<()>().await.map_err(std::io::Error::other) });
        Ok((entry, Box::pin(Packed { pipe: ours, end: Some(end) })))
    }

    /// Writes a file under `root`; returns its bytes.
    ///
    /// # Errors
    /// `NotFound` without its folder, `Exhausted` beyond `most` bytes or on a full disk.
    pub async fn write_file(&self, base: u32, root: BorrowedFd<'_>, path: &str, most: u64, mut body: ArchiveStream) -> Result<u64> {
        let namespace = self.user_namespace(base).await?;
        let (theirs, mut ours) = pipe_to_worker()?;
        // Until it is whole it has a name that nobody guesses.
        let unnamed = format!(".upload-{}", crate::ContainerId::random().short());
        let job = Job::Browse(BrowseJob::Write { path: path.to_owned(), unnamed, most });
        let mut running = self.run(&job, &[namespace.as_fd(), root, theirs.as_fd()])?;
        drop(theirs);
        feed(&mut running, &mut body, &mut ours).await
    }

    /// Unpacks a layer into the empty folder `dir` (ids on disk as in the image) from `input`, the read end of a pipe.
    pub async fn layer(&self, base: u32, dir: &Path, input: OwnedFd, limits: Limits) -> Result<LayerReport> {
        let mut running = self.staged(base, dir, Job::Layer(limits), input).await?;
        let report: LayerReport = running.answer().await?;
        let folder = std::fs::File::open(dir).doing(|| format!("opening {}", dir.display()))?;
        let opaque = report.opaque.clone();
        crate::blocking(move || mark_opaque(&folder.into(), &opaque)).await?;
        Ok(report)
    }

    /// Takes an image archive apart into numbered files in the empty folder `dir`.
    pub async fn split(&self, base: u32, dir: &Path, mut body: ArchiveStream, limits: Limits) -> Result<Vec<SplitFile>> {
        let (theirs, mut ours) = pipe_to_worker()?;
        let mut running = self.staged(base, dir, Job::Split(limits), theirs).await?;
        feed(&mut running, &mut body, &mut ours).await
    }

    /// Does something with the tree at `root`, for a build; a copy reads from `source`. The answer is the job's.
    ///
    /// # Errors
    /// `NotFound` for an absent source, `Invalid` for what cannot be done, with the path.
    pub async fn tree<T: DeserializeOwned>(
        &self,
        base: u32,
        root: BorrowedFd<'_>,
        source: Option<BorrowedFd<'_>>,
        job: &TreeJob,
    ) -> Result<T> {
        let namespace = self.user_namespace(base).await?;
        // By descriptor: patterns and here-documents may be longer than a job message.
        let doing = || "telling a worker what to do".to_owned();
        let text = rustix::fs::memfd_create("job", rustix::fs::MemfdFlags::CLOEXEC).doing(doing)?;
        let mut text = std::fs::File::from(text);
        std::io::Write::write_all(&mut text, &serde_json::to_vec(job).doing(doing)?).doing(doing)?;
        std::io::Seek::rewind(&mut text).doing(doing)?;
        let fds: Vec<_> = [namespace.as_fd(), root, text.as_fd()].into_iter().chain(source).collect();
        let mut running = self.run(&Job::Tree, &fds)?;
        running.answer().await
    }

    async fn staged(&self, base: u32, dir: &Path, job: Job, input: OwnedFd) -> Result<Running> {
        let namespace = self.user_namespace(base).await?;
        let folder = std::fs::File::open(dir).doing(|| format!("opening {}", dir.display()))?;
        let root = crate::sys::confine::idmapped(folder.as_fd(), namespace.as_fd())
            .doing(|| format!("making an idmapped mount of {}", dir.display()))?;
        self.run(&job, &[namespace.as_fd(), root.as_fd(), input.as_fd()])
    }
}

/// Feeds `body` to a worker and hears its answer. The worker's word on what went wrong comes before the broken pipe.
async fn feed<T: DeserializeOwned>(running: &mut Running, body: &mut ArchiveStream, pipe: &mut Option<pipe::Sender>) -> Result<T> {
    let copy = async {
        let Some(mut to) = pipe.take() else { return Ok(()) };
        let mut body = tokio::io::BufReader::with_capacity(PIPE_SIZE / 4, body);
        match tokio::io::copy_buf(&mut body, &mut to).await {
            Ok(_) => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            Err(e) => Err(e),
        }
    };
    let answer = running.answer::<T>();
    tokio::pin!(copy, answer);
    tokio::select! {
        // The worker may be done, or have given up, before all was written.
        answer = &mut answer => answer,
        copied = &mut copy => {
            // A body that breaks off must not look like one that ended.
            copied.map_err(|e| Error::invalid(format!("reading the archive failed: {e}")).because(e))?;
            answer.await
        }
    }
}

/// A pipe a worker reads from.
fn pipe_to_worker() -> Result<(OwnedFd, Option<pipe::Sender>)> {
    let doing = || "making a pipe".to_owned();
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).doing(doing)?;
    // Smaller pipes work too, where the user's limit on pipe memory says so.
    let _ = rustix::pipe::fcntl_setpipe_size(&write, PIPE_SIZE);
    set_nonblocking(&write).doing(doing)?;
    Ok((read, Some(pipe::Sender::from_owned_fd(write).doing(doing)?)))
}

/// A pipe a worker writes to.
fn pipe_from_worker() -> Result<(OwnedFd, pipe::Receiver)> {
    let doing = || "making a pipe".to_owned();
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).doing(doing)?;
    let _ = rustix::pipe::fcntl_setpipe_size(&write, PIPE_SIZE);
    set_nonblocking(&read).doing(doing)?;
    Ok((write, pipe::Receiver::from_owned_fd(read).doing(doing)?))
}

fn set_nonblocking(fd: &OwnedFd) -> rustix::io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK)
}

type End = Pin<Box<dyn Future<Output = std::io::Result<()>> + Send>>;

/// The tar coming out of a worker; ends well only if the worker says so.
struct Packed {
    pipe: pipe::Receiver,
    end: Option<End>,
}

impl AsyncRead for Packed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut self.pipe).poll_read(cx, buf))?;
        if buf.filled().len() > before || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        match &mut self.end {
            None => Poll::Ready(Ok(())),
            Some(end) => {
                let outcome = std::task::ready!(end.as_mut().poll(cx));
                self.end = None;
                Poll::Ready(outcome)
            }
        }
    }
}

impl TryFrom<job::Stat> for PathStat {
    type Error = Error;

    fn try_from(s: job::Stat) -> Result<Self> {
        let mtime = jiff::Timestamp::new(s.mtime_s, s.mtime_ns).doing(|| format!("reading the time of {}", s.name))?;
        Ok(PathStat { name: s.name, size: s.size, mode: s.mode, mtime, link_target: s.link_target })
    }
}

const OPAQUE: &str = "trusted.overlay.opaque";

/// Marks folders of an unpacked layer opaque, by descriptors that cannot leave it.
fn mark_opaque(root: &OwnedFd, folders: &[String]) -> Result<()> {
    use rustix::fs::{Mode, OFlags, XattrFlags};
    for folder in folders {
        let doing = || format!("marking {folder:?} of a layer opaque");
        let path = if folder.is_empty() { "." } else { folder };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat2(root, path, flags, Mode::empty(), tree::RESOLVE).doing(doing)?;
        rustix::fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty()).doing(doing)?;
    }
    Ok(())
}

/// The opaque folders of an overlay's upper folder. Only root may read the mark, so this is done here and not in a worker;
/// nothing but folders is opened, and no link followed.
fn opaque_folders(upper: &OwnedFd) -> Result<Vec<String>> {
    use rustix::fs::{Dir, FileType, Mode, OFlags};
    fn walk(folder: BorrowedFd<'_>, at: &str, depth: usize, found: &mut Vec<String>) -> rustix::io::Result<()> {
        if depth > 900 {
            return Err(rustix::io::Errno::NAMETOOLONG);
        }
        let mut value = [0u8; 1];
        if !at.is_empty() && rustix::fs::fgetxattr(folder, OPAQUE, &mut value) == Ok(1) && value == *b"y" {
            found.push(at.to_owned());
        }
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if !matches!(entry.file_type(), FileType::Directory | FileType::Unknown) || matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(folder, name, flags, Mode::empty()) {
                Ok(inner) => {
                    let name = name.to_string_lossy();
                    let path = if at.is_empty() { name.into_owned() } else { format!("{at}/{name}") };
                    walk(inner.as_fd(), &path, depth + 1, found)?;
                }
                Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP | rustix::io::Errno::NOENT) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
    let doing = || "looking for opaque folders".to_owned();
    let mut found = Vec::new();
    // A mount's descriptor is O_PATH and reads nothing.
    let upper = rustix::fs::openat(upper, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).doing(doing)?;
    walk(upper.as_fd(), "", 0, &mut found).doing(doing)?;
    Ok(found)
}
