//! From a fork of the spawner to a running container: what the shim does before it is only waiting and carrying bytes.

use crate::channel::{Channel, Frame};
use crate::exec;
use crate::init::{self, Foreign};
use crate::log::Log;
use crate::message::{Reply, Request};
use crate::plan::{Failure, FdRef, IdMap, Namespace, Plan, Prepare, Step, UserNamespace};
use crate::process::{at, at_index};
use crate::stdio::Stdio;
use crate::supervise::{self, Shim};
use crate::sys::{self, R, Side};
use crate::wire::Wire;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// What stands after phase one.
pub struct Born {
    pub prepare: Prepare,
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// To process 1.
    pub init: Channel,
    /// The container's devpts, for terminals.
    pub devpts: OwnedFd,
    pub cgroup_v2: Option<OwnedFd>,
    pub cgroup_v1: Vec<OwnedFd>,
    pub own_pid_ns: OwnedFd,
    /// Closing the last fd of a mount or a mount namespace waits for an RCU grace period (a millisecond and more). We hold
    /// copies, so that neither process 1's exec nor its end is the last: its mount namespace, and the three detached
    /// mounts that it prepares with.
    pub _held: Vec<OwnedFd>,
}

/// Lives on one connection until there is a container, then serves its socket. Never returns.
pub fn run(connection: OwnedFd) -> ! {
    sys::set_sid();
    sys::set_signal(libc::SIGCHLD, false); // The spawner ignored it, which would reap our children behind our back.
    // stdin becomes /dev/null as the other two are; then nothing of the spawner's is left.
    let Ok(null) = sys::open(c"/dev/null", libc::O_RDWR) else { sys::exit(1) };
    let _ = sys::dup_to(null.as_raw_fd(), 0);
    drop(null);
    let mut server = Channel::new(connection);
    match server.message() {
        Ok(Some(Request::UserNamespace { uids, gids })) => {
            let outcome = make_user_namespace(&uids, &gids);
            let sent = match outcome {
                Ok(fd) => server.send(&Reply::UserNamespace, &[fd.as_raw_fd()]),
                Err(failure) => server.send(&Reply::Failed { failure }, &[]),
            };
            sys::exit(i32::from(sent.is_err()))
        }
        Ok(Some(Request::Prepare { prepare })) => container(server, prepare),
        _ => sys::exit(0),
    }
}

fn container(mut server: Channel, prepare: Prepare) -> ! {
    // If the machine runs out of memory, not us first. Needs CAP_SYS_RESOURCE; without it we stay where we are.
    let _ = sys::write_file(sys::AT_FDCWD, c"/proc/self/oom_score_adj", b"-999");
    let fds = std::mem::take(&mut server.fds);
    let born = match prepare_container(prepare, fds) {
        Ok(born) => born,
        Err(failure) => {
            let _ = server.send(&Reply::Failed { failure }, &[]);
            sys::exit(1)
        }
    };
    if tell_prepared(&mut server, &born).is_err() {
        give_up(&born)
    }
    // In a pool this waits long. A server that goes away takes what it has not started with it.
    let frame = match server.next_frame() {
        Ok(Some(frame)) => frame,
        _ => give_up(&born),
    };
    let Some(Request::Start { plan, attached }) = Request::take(&mut &frame.body[..]) else { give_up(&born) };
    let fds = std::mem::take(&mut server.fds);
    match start(born, plan, &frame, fds) {
        Ok(mut shim) => {
            for early in attached {
                shim.attach_early(early);
            }
            let started = Reply::Started { started_ns: shim.started_ns, pid: shim.pid() };
            supervise::run(shim, server, &started)
        }
        Err(failure) => {
            let _ = server.send(&Reply::Failed { failure }, &[]);
            sys::exit(1)
        }
    }
}

fn give_up(born: &Born) -> ! {
    sys::pidfd_kill(born.pidfd.as_raw_fd());
    sys::wait_blocking(born.pidfd.as_raw_fd());
    sys::exit(0)
}

fn tell_prepared(server: &mut Channel, born: &Born) -> R<()> {
    let ns = |name: &str| {
        let path = format!("/proc/{}/ns/{name}", born.pid);
        sys::with_path(&path, |path| sys::open(path, libc::O_RDONLY))
    };
    let (user, net) = (ns("user")?, ns("net")?);
    let reply = Reply::Prepared { shim: std::process::id() as i32, pid: born.pid };
    server.send(&reply, &[born.pidfd.as_raw_fd(), user.as_raw_fd(), net.as_raw_fd()])
}

/// A namespace of ours that we leave for a moment.
struct Away {
    home: OwnedFd,
    kind: i32,
}

fn take(fds: &[OwnedFd], fd: FdRef, step: Step) -> Result<&OwnedFd, Failure> {
    fds.get(fd.index as usize).ok_or(Failure { step, index: fd.index, errno: libc::EBADF })
}

fn prepare_container(prepare: Prepare, fds: Vec<OwnedFd>) -> Result<Born, Failure> {
    let own_user = prepare.user != UserNamespace::Host;
    let joined_user = match prepare.user {
        UserNamespace::Join { fd, .. } => Some(take(&fds, fd, Step::JoinNamespace)?),
        _ => None,
    };
    // A child in somebody else's pid namespace must mount that /proc before it enters its own user namespace.
    let late_user = own_user && prepare.pid != Namespace::Own;
    let kinds = [
        (prepare.pid, libc::CLONE_NEWPID, c"/proc/self/ns/pid"),
        (prepare.net, libc::CLONE_NEWNET, c"/proc/self/ns/net"),
        (prepare.ipc, libc::CLONE_NEWIPC, c"/proc/self/ns/ipc"),
        (prepare.uts, libc::CLONE_NEWUTS, c"/proc/self/ns/uts"),
    ];
    let own_pid_ns = at(Step::JoinNamespace, sys::open(c"/proc/self/ns/pid", libc::O_RDONLY))?;
    let mut flags = if late_user { 0 } else { libc::CLONE_NEWNS };
    if own_user && !late_user && joined_user.is_none() {
        flags |= libc::CLONE_NEWUSER;
    }
    let mut away = Vec::new();
    for (namespace, kind, path) in kinds {
        match namespace {
            Namespace::Own if !late_user || kind == libc::CLONE_NEWPID => flags |= kind,
            Namespace::Own | Namespace::Host => {}
            Namespace::Join { fd } => {
                let home = at(Step::JoinNamespace, sys::open(path, libc::O_RDONLY))?;
                at(Step::JoinNamespace, sys::setns(take(&fds, fd, Step::JoinNamespace)?.as_raw_fd(), kind))?;
                away.push(Away { home, kind });
            }
        }
    }
    let mut foreign = Foreign::default();
    if own_user && prepare.net != Namespace::Own {
        let flags = sys::ATTR_NOSUID | sys::ATTR_NODEV | sys::ATTR_NOEXEC;
        foreign.sys = Some(at(Step::Sys, sys::new_mount(c"sysfs", &[], flags))?);
    }
    if own_user && prepare.ipc != Namespace::Own {
        let flags = sys::ATTR_NOSUID | sys::ATTR_NODEV | sys::ATTR_NOEXEC;
        foreign.mqueue = Some(at(Step::Dev, sys::new_mount(c"mqueue", &[], flags))?);
    }
    let cgroup = match prepare.cgroup.v2 {
        Some(fd) => Some(take(&fds, fd, Step::Cgroup)?),
        None => None,
    };
    let (ours, theirs) = at(Step::Clone, sys::socket_pair())?;
    let cgroup = cgroup.map(AsFd::as_fd);
    let side = match joined_user {
        None => at(Step::Clone, sys::clone(flags as u64, cgroup))?,
        Some(user) => clone_joining(user, flags as u64, cgroup)?,
    };
    let (pid, pidfd) = match side {
        Side::Child => {
            drop(ours);
            init::main(&prepare, &fds, theirs, foreign, late_user)
        }
        Side::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop(theirs);
    drop(foreign);
    for Away { home, kind } in away {
        at(Step::JoinNamespace, sys::setns(home.as_raw_fd(), kind))?;
    }
    let mut init = Channel::new(ours);
    let outcome = finish_preparing(&prepare, pid, late_user, &mut init);
    let devpts = outcome.inspect_err(|_| {
        sys::pidfd_kill(pidfd.as_raw_fd());
        sys::wait_blocking(pidfd.as_raw_fd());
    })?;
    let mount_ns = format!("/proc/{pid}/ns/mnt");
    let mount_ns = at(Step::Clone, sys::with_path(&mount_ns, |path| sys::open(path, libc::O_RDONLY)))?;
    let mut held = std::mem::take(&mut init.fds);
    held.push(mount_ns);
    let mut cgroup_v2 = None;
    let mut cgroup_v1 = Vec::new();
    for (index, fd) in fds.into_iter().enumerate() {
        let same = |r: &FdRef| r.index as usize == index;
        if prepare.cgroup.v2.as_ref().is_some_and(same) {
            cgroup_v2 = Some(fd);
        } else if prepare.cgroup.v1_tasks.iter().any(same) {
            cgroup_v1.push(fd);
        }
    }
    Ok(Born { prepare, pid, pidfd, init, devpts, cgroup_v2, cgroup_v1, own_pid_ns, _held: held })
}

/// Clones into somebody else's user namespace, from which nobody comes back: a go-between enters it, and its child is made its
/// sibling, and so is ours.
fn clone_joining(user: &OwnedFd, flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Side, Failure> {
    let (ours, theirs) = at(Step::Clone, sys::socket_pair())?;
    let between = match at(Step::Clone, sys::clone(0, None))? {
        Side::Parent { pidfd, .. } => pidfd,
        Side::Child => {
            drop(ours);
            let joined = at(Step::JoinNamespace, sys::setns(user.as_raw_fd(), libc::CLONE_NEWUSER));
            let side = joined.and_then(|()| at(Step::Clone, sys::clone_sibling(flags, cgroup)));
            let mut told = Channel::new(theirs);
            let sent = match side {
                Ok(Side::Child) => return Ok(Side::Child),
                Ok(Side::Parent { pid, pidfd }) => told.send(&Reply::Prepared { shim: 0, pid }, &[pidfd.as_raw_fd()]),
                Err(failure) => told.send(&Reply::Failed { failure }, &[]),
            };
            sys::exit(i32::from(sent.is_err()))
        }
    };
    drop(theirs);
    let mut told = Channel::new(ours);
    let message = told.message();
    sys::wait_blocking(between.as_raw_fd());
    match message {
        Ok(Some(Reply::Prepared { pid, .. })) => {
            let pidfd = told.fds.pop().ok_or(Failure { step: Step::Clone, index: 0, errno: libc::EPROTO })?;
            Ok(Side::Parent { pid, pidfd })
        }
        Ok(Some(Reply::Failed { failure })) => Err(failure),
        _ => Err(Failure { step: Step::Clone, index: 0, errno: libc::EPROTO }),
    }
}

fn finish_preparing(prepare: &Prepare, pid: i32, late_user: bool, init: &mut Channel) -> Result<OwnedFd, Failure> {
    if late_user {
        // "u": it has made its user namespace. Anything else is a failure's first byte.
        let mut byte = [0];
        match at(Step::IdMaps, sys::read(init.fd.as_raw_fd(), &mut byte))? {
            1 if byte[0] == b'u' => {}
            _ => return Err(Failure { step: Step::JoinNamespace, index: 0, errno: libc::EPROTO }),
        }
    }
    if let UserNamespace::Own { uids, gids } = &prepare.user {
        write_maps(pid, uids, gids)?;
        at(Step::IdMaps, sys::write_all(init.fd.as_raw_fd(), b"m"))?;
    }
    match init.message() {
        Ok(Some(Reply::Prepared { .. })) => init.fds.pop().ok_or(Failure { step: Step::Dev, index: 0, errno: libc::EBADF }),
        Ok(Some(Reply::Failed { failure })) => Err(failure),
        _ => Err(Failure { step: Step::Clone, index: 0, errno: libc::EPROTO }),
    }
}

fn write_maps(pid: i32, uids: &[IdMap], gids: &[IdMap]) -> Result<(), Failure> {
    for (file, maps) in [("uid_map", uids), ("gid_map", gids)] {
        let mut text = String::new();
        for map in maps {
            text.push_str(&format!("{} {} {}\n", map.inside, map.outside, map.size));
        }
        let path = format!("/proc/{pid}/{file}");
        at(Step::IdMaps, sys::with_path(&path, |path| sys::write_file(sys::AT_FDCWD, path, text.as_bytes())))?;
    }
    Ok(())
}

fn make_user_namespace(uids: &[IdMap], gids: &[IdMap]) -> Result<OwnedFd, Failure> {
    match at(Step::Clone, sys::clone(libc::CLONE_NEWUSER as u64, None))? {
        // Waits to be killed; if we are killed first it must not stay.
        Side::Child => {
            let _ = sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64, 0);
            loop {
                let _ = sys::poll(&mut [], -1);
            }
        }
        Side::Parent { pid, pidfd } => {
            let outcome = write_maps(pid, uids, gids).and_then(|()| {
                let path = format!("/proc/{pid}/ns/user");
                at(Step::Clone, sys::with_path(&path, |path| sys::open(path, libc::O_RDONLY)))
            });
            sys::pidfd_kill(pidfd.as_raw_fd());
            sys::wait_blocking(pidfd.as_raw_fd());
            outcome
        }
    }
}

/// The host's id for one of the container's.
pub fn host_uid(prepare: &Prepare, uid: u32) -> u32 {
    match &prepare.user {
        UserNamespace::Host => uid,
        UserNamespace::Own { uids, .. } | UserNamespace::Join { uids, .. } => {
            uids.iter().find(|m| uid >= m.inside && uid - m.inside < m.size).map_or(65534, |m| m.outside + (uid - m.inside))
        }
    }
}

/// Phase two, our side: socket, facts, log, stdio; then the plan goes to process 1, and its silence means success.
fn start(mut born: Born, plan: Plan, frame: &Frame, fds: Vec<OwnedFd>) -> Result<Shim, Failure> {
    let outcome = try_start(&mut born, &plan, frame, &fds);
    match outcome {
        Ok((listener, log, stdio, started_ns, run_dir)) => Ok(Shim::new(born, &plan, listener, log, stdio, started_ns, run_dir, fds)),
        Err(failure) => {
            sys::pidfd_kill(born.pidfd.as_raw_fd());
            sys::wait_blocking(born.pidfd.as_raw_fd());
            Err(failure)
        }
    }
}

type Parts = (OwnedFd, Log, Stdio, i64, OwnedFd);

fn try_start(born: &mut Born, plan: &Plan, frame: &Frame, fds: &[OwnedFd]) -> Result<Parts, Failure> {
    let run_dir = at(Step::RunDir, sys::duplicate(take(fds, plan.run_dir, Step::RunDir)?.as_raw_fd()))?;
    let listener = at(Step::RunDir, supervise::listen(&run_dir))?;
    let log_dir = match plan.log.dir {
        Some(fd) => Some(at(Step::Log, sys::duplicate(take(fds, fd, Step::Log)?.as_raw_fd()))?),
        None => None,
    };
    let log = at(Step::Log, Log::open(&plan.log, log_dir))?;
    let uid = host_uid(&born.prepare, plan.process.uid);
    let (stdio, theirs) = at(Step::Stdio, Stdio::new(&plan.process, &born.devpts, uid))?;
    exec::prepare_limits(born.pid, &plan.process)?;
    let started_ns = sys::now_ns() as i64;

    let mut all: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    all.extend(theirs.iter().map(AsRawFd::as_raw_fd));
    let mut bytes = crate::message::header(frame.body.len(), frame.kind).to_vec();
    bytes.extend_from_slice(&frame.body);
    at(Step::Plan, born.init.send_frame(&bytes, &all))?;
    drop(theirs);
    match born.init.message() {
        Ok(None) => Ok((listener, log, stdio, started_ns, run_dir)),
        Ok(Some(Reply::Failed { failure })) => Err(failure),
        Ok(Some(_)) | Err(_) => at_index(Step::Plan, 0, Err(libc::EPROTO)),
    }
}
