//! The worker's own side: takes its job, locks itself in, does it, answers.

use super::job::{Failure, FailureKind, Job};
use super::{BrowseJob, browse, inflate, pack, split, tree, trees, unpack};
use crate::sys::confine;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::thread::CapabilitySet;
use std::fs::File;
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::process::ExitCode;

/// Longest job message.
pub const JOB_MAX: usize = 64 * 1024;

/// What unpacking needs; packing needs less, but reads what only its owner may read.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SETFCAP);

/// A worker's life; `main` calls it before it starts anything else when the first argument is `worker`.
///
/// Answers on standard output: one JSON line `{"ok": …}` or `{"failed": …}`; a pack answers twice, before and after.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            answer("failed", &failure);
            ExitCode::FAILURE
        }
    }
}

fn answer(key: &str, value: &impl serde::Serialize) {
    let mut line = serde_json::json!({ key: value }).to_string();
    line.push('\n');
    let mut out = std::io::stdout().lock();
    // Nobody reads any more: then nobody misses it.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

fn internal(doing: &'static str) -> impl Fn(rustix::io::Errno) -> Failure {
    move |e| Failure { kind: FailureKind::Internal, message: format!("{doing}: {e}") }
}

fn run() -> Result<(), Failure> {
    // Nothing of the server's reaches here: all its descriptors are close-on-exec. This is the second fence.
    confine::close_from(3).map_err(internal("closing descriptors"))?;
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable).map_err(internal("undumpable"))?;
    let (job, fds) = receive()?;
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or_else(|| Failure { kind: FailureKind::Internal, message: "a descriptor is missing".to_owned() });
    if let Job::Namespace = job {
        confine::unshare_user().map_err(internal("making a user namespace"))?;
        // Our /proc files must be ours for the parent's map; undumpable ones belong to the root anyway.
        answer("ok", &());
        // Until the parent has opened the namespace and closed its end.
        let mut byte = [0u8; 1];
        let _ = rustix::io::read(std::io::stdin(), &mut byte);
        return Ok(());
    }
    let namespace = next()?;
    let root = next()?;
    let root = enter(namespace, root)?;
    match job {
        Job::Namespace => Ok(()),
        Job::Layer(limits) => {
            let input = inflate::inflate(File::from(next()?), limits);
            answer("ok", &unpack::layer(root, input, limits)?);
            Ok(())
        }
        Job::Unpack { path, options, limits } => {
            let base = folder_path(&root, &path)?;
            let input = inflate::inflate(File::from(next()?), limits);
            unpack::archive(root, base, input, &options, limits)?;
            answer("ok", &());
            Ok(())
        }
        Job::Pack { path, options, layer } => {
            let out = next()?;
            let opaque = if layer { Some(serde_json::from_reader(File::from(next()?)).map_err(std::io::Error::from)?) } else { None };
            let found = pack::find(&root, &path)?;
            answer("ok", &found.stat()?);
            pack::pack(&found, &options, opaque, File::from(out))?;
            answer("ok", &());
            Ok(())
        }
        Job::Stat { path } => {
            answer("ok", &pack::find(&root, &path)?.stat()?);
            Ok(())
        }
        Job::Split(limits) => {
            let input = inflate::inflate(File::from(next()?), limits);
            answer("ok", &split::archive(&root, input, limits)?);
            Ok(())
        }
        Job::Browse(job) => {
            match job {
                BrowseJob::List { path, most } => answer("ok", &browse::list(&root, &path, most)?),
                BrowseJob::Read { path } => {
                    let out = next()?;
                    let (file, entry) = browse::file(&root, &path)?;
                    answer("ok", &entry);
                    browse::read(file, entry.size, File::from(out))?;
                    answer("ok", &());
                }
                BrowseJob::Write { path, unnamed, most } => {
                    answer("ok", &browse::write(&root, &path, &unnamed, most, File::from(next()?))?);
                }
                BrowseJob::Folder { path } => answer("ok", &browse::make_folder(&root, &path)?),
                BrowseJob::Remove { path } => answer("ok", &browse::remove(&root, &path)?),
            }
            Ok(())
        }
        Job::Tree => {
            let job = serde_json::from_reader(std::io::BufReader::new(File::from(next()?))).map_err(std::io::Error::from)?;
            let source = next().ok();
            answer("ok", &trees::run(root, source, job)?);
            Ok(())
        }
    }
}

/// The clean path of an existing folder, `..` and links worked out by the kernel.
fn folder_path(root: &OwnedFd, path: &str) -> Result<Vec<u8>, Failure> {
    let wanted = path.trim_matches('/');
    let wanted = if wanted.is_empty() { "." } else { wanted };
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::openat2(root, wanted, flags, rustix::fs::Mode::empty(), tree::RESOLVE).map_err(|e| match e {
        rustix::io::Errno::NOTDIR => Failure::invalid("extraction point is not a directory"),
        e => Failure::errno("opening", path.as_bytes(), e),
    })?;
    if wanted.split('/').any(|part| part == "..") {
        return Err(Failure::invalid("the path must not contain `..`"));
    }
    tree::clean(wanted.as_bytes())
}

fn receive() -> Result<(Job, Vec<OwnedFd>), Failure> {
    let stdin = std::io::stdin();
    let mut bytes = vec![0u8; JOB_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(stdin.as_fd(), &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
        .map_err(internal("receiving the job"))?;
    let fds = control
        .drain()
        .filter_map(|m| match m {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    let job = serde_json::from_slice(&bytes[..received.bytes])
        .map_err(|e| Failure { kind: FailureKind::Internal, message: format!("reading the job: {e}") })?;
    Ok((job, fds))
}

/// Joins the user namespace, makes `root` the root directory, and gives up the rest. Returns the root as a fresh descriptor.
fn enter(namespace: OwnedFd, old_root: OwnedFd) -> Result<OwnedFd, Failure> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    use rustix::thread::{Gid, LinkNameSpaceType, Uid};
    for (resource, most) in [
        (Resource::Core, 0),
        (Resource::Nofile, 1024 + 512),
        // A long-distance zstd window is 128 MiB; everything else is far below. A bomb kills this process only.
        (Resource::Data, 384 << 20),
    ] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) }).map_err(internal("setting limits"))?;
    }
    rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::User))
        .map_err(internal("joining the user namespace"))?;
    rustix::thread::set_thread_groups(&[]).map_err(internal("dropping groups"))?;
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).map_err(internal("changing gid"))?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).map_err(internal("changing uid"))?;
    rustix::process::fchdir(&old_root).map_err(internal("entering the root"))?;
    rustix::process::chroot(".").map_err(internal("changing the root"))?;
    drop((namespace, old_root));
    rustix::process::umask(rustix::fs::Mode::empty());
    let root = rustix::fs::open(
        "/",
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .map_err(internal("opening the root"))?;
    for capability in CapabilitySet::all().iter() {
        // Capabilities that this kernel does not know need no dropping.
        if !KEPT.contains(capability) {
            let _ = rustix::thread::remove_capability_from_bounding_set(capability);
        }
    }
    rustix::thread::set_capabilities(
        None,
        rustix::thread::CapabilitySets { effective: KEPT, permitted: KEPT, inheritable: CapabilitySet::empty() },
    )
    .map_err(internal("dropping capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(internal("no_new_privs"))?;
    confine::allow_only(CALLS).map_err(internal("setting the seccomp filter"))?;
    Ok(root)
}

/// All the kernel hears from a worker from then on: files by descriptor, memory, threads. No socket, no exec, no mount, no ptrace.
const CALLS: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_fsetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_flistxattr,
    libc::SYS_fcntl,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_clone3,
    libc::SYS_clone,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_prctl,
    libc::SYS_membarrier,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// A message with descriptors to a worker.
pub fn send(socket: BorrowedFd<'_>, job: &Job, fds: &[BorrowedFd<'_>]) -> std::io::Result<()> {
    let bytes = serde_json::to_vec(job)?;
    if bytes.len() > JOB_MAX {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "the path is too long"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(rustix::net::SendAncillaryMessage::ScmRights(fds)) {
        return Err(std::io::Error::other("too many descriptors for one message"));
    }
    rustix::net::sendmsg(socket, &[std::io::IoSlice::new(&bytes)], &mut control, rustix::net::SendFlags::NOSIGNAL)?;
    Ok(())
}
