//! From a judged specification to what the runtime carries out: every path opened, every number decided. Nothing here
//! changes the kernel but for detached mounts and open files, which vanish with their descriptors.

use super::effective::volume::{Backing, backing};
use super::effective::{
    EffectiveSpec, Ipc, MASKED_PATHS, MountSource, NetworkMode, OwnOrHost, READONLY_PATHS, Seccomp, Shared, UserNamespace, user,
};
use super::record::Entry;
use super::request::ExecSpec;
use super::start::Up;
use crate::caps::{self, CapSet};
use crate::cgroup::Version;
use crate::engine::Engine;
use crate::policy;
use crate::runtime::plan as wire;
use crate::runtime::rootfs::bind;
use crate::runtime::{Fds, Namespace, Plan, Prepare, Process};
use crate::seccomp::{self, Abi32, Choice};
use crate::sys::inside;
use crate::sys::mount::Attributes;
use crate::tenant::Block;
use crate::volume::VolumeSpec;
use crate::{Doing, Error, Result, TenantId};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// How what is ours on disk is mounted: device files in it do nothing.
pub(super) const OURS: Attributes<'static> = Attributes {
    read_only: false,
    no_suid: false,
    no_dev: true,
    no_exec: false,
    idmap: None,
    propagation: libc::MS_PRIVATE,
    recursive: false,
};

/// How a device node is mounted.
const DEVICE: Attributes<'static> = Attributes { no_suid: true, no_dev: false, ..OURS };

impl Engine {
    /// Phase one: namespaces, without the cgroup. What is equal for two containers of a tenant can come from the pool.
    pub(super) fn prepare_plan(&self, entry: &Entry, fds: &mut Fds) -> Result<Prepare> {
        let spec = &entry.fixed.effective;
        let own_user = spec.namespaces.user != UserNamespace::Host;
        // Capabilities over a network are had in the user namespace that owns it. With a joined pid namespace it stays our
        // own: that one's /proc has to be mounted before.
        let owner = match &spec.network.mode {
            NetworkMode::Container(id) if own_user && spec.namespaces.pid == Shared::Private => {
                let owner = self.running(entry.tenant, id, "net")?;
                let theirs = self.registry().find(entry.tenant, id)?.fixed.effective.namespaces.user != UserNamespace::Host;
                theirs.then_some(owner)
            }
            _ => None,
        };
        let user = if own_user {
            let block = self.block(entry.tenant)?;
            let map = vec![wire::IdMap { inside: 0, outside: block.base, size: block.size }];
            match owner {
                Some(owner) => {
                    let fd = inside::namespace_of(owner.shim.pid(), "user").doing(|| "opening the other's user namespace".to_owned())?;
                    wire::UserNamespace::Join { fd: fds.add(fd), uids: map.clone(), gids: map }
                }
                None => wire::UserNamespace::Own { uids: map.clone(), gids: map },
            }
        } else {
            wire::UserNamespace::Host
        };
        let mut join = |id: &str, kind: &str| -> Result<Namespace> {
            let other = self.running(entry.tenant, id, kind)?;
            let fd = inside::namespace_of(other.shim.pid(), kind).doing(|| format!("opening the {kind} namespace of container {id}"))?;
            Ok(Namespace::Join { fd: fds.add(fd) })
        };
        let net = match &spec.network.mode {
            NetworkMode::Host => Namespace::Host,
            NetworkMode::Container(id) => join(id, "net")?,
            NetworkMode::None | NetworkMode::Network(_) => Namespace::Own,
        };
        let pid = match &spec.namespaces.pid {
            Shared::Private => Namespace::Own,
            Shared::Host => Namespace::Host,
            Shared::Container(id) => join(id, "pid")?,
        };
        let ipc = match &spec.namespaces.ipc {
            Ipc::Private | Ipc::Shareable | Ipc::None => Namespace::Own,
            Ipc::Host => Namespace::Host,
            Ipc::Container(id) => join(id, "ipc")?,
        };
        let own = |which: OwnOrHost| if which == OwnOrHost::Private { Namespace::Own } else { Namespace::Host };
        Ok(Prepare {
            user,
            pid,
            net,
            ipc,
            uts: own(spec.namespaces.uts),
            cgroup_ns: own(spec.namespaces.cgroup),
            cgroup: no_cgroup(),
            cgroup_view: self.cgroup_view(),
            shm_size: if spec.namespaces.ipc == Ipc::None { 0 } else { spec.shm_size },
            masked: spec.privileges.masked_paths.clone(),
            read_only: spec.privileges.readonly_paths.clone(),
            sys_writable: spec.privileges.privileged,
        })
    }

    /// What most containers of a tenant are prepared with: what stands ready in the pool.
    pub(super) fn usual_prepare(&self, tenant: TenantId) -> Result<Prepare> {
        let block = self.block(tenant)?;
        let map = vec![wire::IdMap { inside: 0, outside: block.base, size: block.size }];
        Ok(Prepare {
            user: wire::UserNamespace::Own { uids: map.clone(), gids: map },
            pid: Namespace::Own,
            net: Namespace::Own,
            ipc: Namespace::Own,
            uts: Namespace::Own,
            cgroup_ns: Namespace::Own,
            cgroup: no_cgroup(),
            cgroup_view: self.cgroup_view(),
            shm_size: self.defaults().shm_size,
            masked: MASKED_PATHS.clone(),
            read_only: READONLY_PATHS.clone(),
            sys_writable: false,
        })
    }

    fn cgroup_view(&self) -> wire::CgroupView {
        if self.cgroups().hierarchy().version() == Version::V2 {
            return wire::CgroupView::V2;
        }
        let hierarchies = self.cgroups().hierarchy().v1_trees();
        wire::CgroupView::V1 { hierarchies: hierarchies.into_iter().map(|(name, option)| wire::V1Hierarchy { name, option }).collect() }
    }

    /// Phase two: this very container.
    pub(super) async fn start_plan(&self, entry: &Entry, root: &OwnedFd, fds: &mut Fds) -> Result<Plan> {
        let spec = &entry.fixed.effective;
        let credentials = resolve(root.as_fd(), &spec.process.user, &spec.process.extra_groups, ids(spec))?;
        let mut mounts = Vec::new();
        for (mount, view) in spec.mounts.iter().zip(entry.fixed.mounts.iter()) {
            mounts.push(self.mount(entry, mount, view, &credentials, fds).await?);
        }
        self.step_mounts(entry, &mut mounts, fds).await?;
        self.shared_memory(entry, &mut mounts, fds).await?;
        self.etc_mounts(entry, &mut mounts, fds)?;
        self.device_mounts(entry, &mut mounts, fds)?;
        let host_uts = spec.namespaces.uts == OwnOrHost::Host;
        let hostname = match (&spec.host.hostname, host_uts) {
            (_, true) => String::new(),
            (name, _) if name.is_empty() => entry.id.short().to_owned(),
            (name, _) => name.clone(),
        };
        let env = self.with_secret_env(entry, &spec.process.env)?;
        let process = self.process(spec, &spec.process.argv, &env, &spec.process.working_dir, &credentials, Extra::default())?;
        let log_folder = self.log_folder(&entry.id);
        let (driver, max_size, max_files) = match &spec.log.driver {
            super::effective::LogDriver::None => (wire::LogDriver::Discard, 0, 1),
            super::effective::LogDriver::Local { max_size, max_files, .. }
            | super::effective::LogDriver::Sent { max_size, max_files, .. } => (wire::LogDriver::Local, *max_size, *max_files),
            super::effective::LogDriver::JsonFile { max_size, max_files, .. } => {
                (wire::LogDriver::JsonFile, max_size.unwrap_or(0), *max_files)
            }
        };
        let log_dir = std::fs::File::open(&log_folder).doing(|| format!("opening {}", log_folder.display()))?;
        let run_folder = self.run_folder(&entry.id);
        let run_dir = std::fs::File::open(&run_folder).doing(|| format!("opening {}", run_folder.display()))?;
        Ok(Plan {
            process,
            root: fds.add(root.try_clone().doing(|| "keeping the root file system".to_owned())?),
            root_read_only: spec.read_only_root,
            mounts,
            hostname,
            domainname: if host_uts { String::new() } else { spec.host.domainname.clone() },
            sysctls: sysctls(spec),
            init: spec.process.init,
            log: wire::LogPlan {
                driver,
                dir: Some(fds.add(log_dir)),
                file: super::logs::file_name(&spec.log.driver, &entry.id),
                max_size,
                max_files,
                attrs: self.log_attrs(entry)?,
            },
            run_dir: fds.add(run_dir),
        })
    }

    /// A further process in a running container.
    pub(super) fn exec_plan(
        &self,
        entry: &Arc<Entry>,
        up: &Up,
        exec: &ExecSpec,
        console_size: Option<(u16, u16)>,
    ) -> Result<wire::ExecPlan> {
        let spec = &entry.fixed.effective;
        let user = if exec.user.is_empty() { &spec.process.user } else { &exec.user };
        let extra: &[String] = if exec.user.is_empty() { &spec.process.extra_groups } else { &[] };
        let root = inside::root_of(up.shim.pid()).doing(|| "opening the container's root".to_owned())?;
        let credentials = resolve(root.as_fd(), user, extra, ids(spec))?;
        let own = [spec.process.env.clone(), self.link_env(entry)].concat();
        let env = exec_env(&own, &exec.env, exec.tty);
        let cwd = if exec.working_dir.is_empty() { &spec.process.working_dir } else { &exec.working_dir };
        let extra = Extra {
            privileged: exec.privileged,
            tty: Some(exec.tty),
            stdin: Some(exec.stdin),
            console_size: console_size.or(exec.console_size),
        };
        Ok(wire::ExecPlan { process: self.process(spec, &exec.argv, &env, cwd, &credentials, extra)? })
    }

    fn process(
        &self,
        spec: &EffectiveSpec,
        argv: &[String],
        env: &[String],
        cwd: &str,
        who: &user::Credentials,
        extra: Extra,
    ) -> Result<Process> {
        let bits = if extra.privileged { CapSet::ALL } else { spec.privileges.capabilities };
        let host_bounding = match spec.namespaces.user {
            UserNamespace::Host => Some(CapSet::bounding().doing(|| "reading the host's capabilities".to_owned())?),
            _ => None,
        };
        let mut env = env.to_vec();
        // As runc: an empty one counts as none.
        env.retain(|e| e != "HOME=");
        if !env.iter().any(|e| e.starts_with("HOME=")) {
            env.push(format!("HOME={}", who.home));
        }
        let choice = match &spec.privileges.seccomp {
            _ if extra.privileged => Choice::Unconfined,
            Seccomp::Unconfined => Choice::Unconfined,
            Seccomp::Default => Choice::Default,
            Seccomp::Profile(json) => Choice::Profile(json),
        };
        let abi32 = if spec.privileges.syscalls_32bit { Abi32::Allow } else { Abi32::Refuse };
        let seccomp = seccomp::program(choice, bits, abi32)?.map(|p| p.instructions().to_vec()).unwrap_or_default();
        Ok(Process {
            args: argv.to_vec(),
            env,
            cwd: cwd.to_owned(),
            uid: who.uid,
            gid: who.gid,
            // As with Docker the primary group is among them.
            groups: std::iter::once(who.gid).chain(who.groups.iter().copied()).collect(),
            caps: caps::sets(bits, who.uid == 0, host_bounding),
            no_new_privs: spec.privileges.no_new_privileges,
            seccomp,
            rlimits: rlimits(spec)?,
            oom_score_adj: spec.process.oom_score_adj,
            apparmor: apparmor_profile(&spec.privileges.apparmor),
            tty: extra.tty.unwrap_or(spec.process.tty),
            console_size: extra.console_size.or(spec.process.console_size).unwrap_or((0, 0)),
            stdin: extra.stdin.unwrap_or(spec.process.open_stdin),
            stdin_once: extra.stdin.is_some() || spec.process.stdin_once,
        })
    }

    async fn mount(
        &self,
        entry: &Entry,
        mount: &super::effective::Mount,
        view: &super::view::MountView,
        who: &user::Credentials,
        fds: &mut Fds,
    ) -> Result<wire::Mount> {
        let mounted = |source: wire::MountSource, file: bool| wire::Mount { source, target: mount.target.clone(), file, copy_up: false };
        match &mount.source {
            MountSource::Bind { path, create, recursive, read_only_below, propagation } => {
                let bind = super::bind::Bind {
                    target: &mount.target,
                    path,
                    create: *create,
                    recursive: *recursive,
                    read_only: mount.read_only,
                    read_only_below: *read_only_below,
                    propagation: *propagation,
                };
                let (fd, file) = self.bind_mount(entry, &bind, who).await?;
                Ok(mounted(wire::MountSource::Detached { fd: fds.add(fd) }, file))
            }
            MountSource::Volume { subpath, .. } => {
                let row = self.volumes_handle().get(entry.tenant, &view.name).ok_or_else(|| {
                    Error::conflict(format!("volume {} of the container is gone: make it again or remove the container", view.name))
                })?;
                match backing(&row.options)? {
                    Backing::Memory => {
                        let source = wire::MountSource::Tmpfs { options: tmpfs_options(&row.options, mount.read_only)? };
                        return Ok(mounted(source, false));
                    }
                    Backing::Bind { path } => {
                        // Grants may have ended since the volume was made.
                        let (creator, spec) =
                            (self.engine_subject(entry)?, VolumeSpec { options: row.options.clone(), ..VolumeSpec::default() });
                        policy::authorize_volume(&creator, &self.tenants().standing(&creator)?, spec)?;
                        let bind = super::bind::Bind {
                            target: &mount.target,
                            path: &path,
                            create: false,
                            recursive: true,
                            read_only: mount.read_only,
                            read_only_below: super::effective::ReadOnlyBelow::IfPossible,
                            propagation: super::effective::Propagation::RPrivate,
                        };
                        let (fd, file) = self.bind_as(entry, &bind, who, None).await?;
                        return Ok(mounted(wire::MountSource::Detached { fd: fds.add(fd) }, file));
                    }
                    Backing::FileSystem { kind, .. } => return Err(Error::unsupported(&format!("a volume of type {kind}"))),
                    Backing::Folder => {}
                }
                let data = self.volumes_handle().data_folder(&row);
                let root = std::fs::File::open(&data).doing(|| format!("opening volume {}", row.name))?;
                let source = if subpath.is_empty() {
                    OwnedFd::from(root)
                } else {
                    inside::open_beneath(root.as_fd(), subpath).doing(|| format!("opening {subpath} in volume {}", row.name))?
                };
                let file = !inside::is_directory(source.as_fd()).doing(|| format!("looking at volume {}", row.name))?;
                let fd = bind(source.as_fd(), &Attributes { read_only: mount.read_only, ..OURS })
                    .doing(|| format!("mounting volume {}", row.name))?;
                Ok(mounted(wire::MountSource::Detached { fd: fds.add(fd) }, file))
            }
            MountSource::Tmpfs { size, mode, uid, gid, inodes, noexec, nosuid, nodev } => {
                let mut options = vec![format!("mode={mode:o}"), format!("uid={uid}"), format!("gid={gid}")];
                options.extend(size.map(|s| format!("size={s}")));
                options.extend(inodes.map(|n| format!("nr_inodes={n}")));
                for (on, word) in [(*noexec, "noexec"), (*nosuid, "nosuid"), (*nodev, "nodev"), (mount.read_only, "ro")] {
                    if on {
                        options.push(word.to_owned());
                    }
                }
                Ok(wire::Mount { source: wire::MountSource::Tmpfs { options }, target: mount.target.clone(), file: false, copy_up: false })
            }
            MountSource::Image { subpath, .. } => {
                let (fd, file) = self.image_mount(entry, mount, subpath).await?;
                Ok(mounted(wire::MountSource::Detached { fd: fds.add(fd) }, file))
            }
            MountSource::TenantSocket => {
                let socket = self.tenant_socket(entry.tenant)?;
                let file = inside::open_path(&socket).doing(|| format!("opening {}", socket.display()))?;
                let fd = bind(file.as_fd(), &OURS).doing(|| "mounting the tenant's socket".to_owned())?;
                Ok(mounted(wire::MountSource::Detached { fd: fds.add(fd) }, true))
            }
        }
    }

    /// /dev/shm of whoever the IPC namespace is shared with: POSIX shared memory lies in files there (shm_overview(7)).
    async fn shared_memory(&self, entry: &Entry, mounts: &mut Vec<wire::Mount>, fds: &mut Fds) -> Result<()> {
        const SHM: &str = "/dev/shm";
        if mounts.iter().any(|m| m.target == SHM) {
            return Ok(());
        }
        let doing = || "sharing /dev/shm".to_owned();
        let fd = match &entry.fixed.effective.namespaces.ipc {
            Ipc::Host => {
                let shm = inside::open_path(std::path::Path::new(SHM)).doing(doing)?;
                let namespace = match entry.fixed.effective.namespaces.user {
                    UserNamespace::Host => None,
                    _ => Some(self.block_namespace(entry.tenant).await?),
                };
                bind(shm.as_fd(), &Attributes { no_exec: true, idmap: namespace.as_ref().map(|fd| fd.as_fd()), ..OURS }).doing(doing)?
            }
            Ipc::Container(id) => {
                let peer = self.running(entry.tenant, id, "ipc")?;
                let namespace = inside::namespace_of(peer.shim.pid(), "mnt").doing(doing)?;
                crate::sys::mount::clone_from(namespace.as_fd(), std::path::Path::new(SHM)).doing(doing)?
            }
            Ipc::Private | Ipc::Shareable | Ipc::None => return Ok(()),
        };
        let source = wire::MountSource::Detached { fd: fds.add(fd) };
        mounts.push(wire::Mount { source, target: SHM.to_owned(), file: false, copy_up: false });
        Ok(())
    }

    /// /etc/hostname, /etc/hosts and /etc/resolv.conf, unless the client mounts its own.
    fn etc_mounts(&self, entry: &Entry, mounts: &mut Vec<wire::Mount>, fds: &mut Fds) -> Result<()> {
        let folder = self.run_folder(&entry.id);
        for name in ["resolv.conf", "hostname", "hosts"] {
            let target = format!("/etc/{name}");
            let path = folder.join(name);
            // Nothing is made in a folder of the host that stands for all of /etc.
            let host_etc = |m: &super::view::MountView| m.destination == "/etc" && m.kind == super::spec::MountKind::Bind;
            if mounts.iter().any(|m| m.target == target) || entry.fixed.mounts.iter().any(host_etc) || !path.exists() {
                continue;
            }
            let file = inside::open_path(&path).doing(|| format!("opening {}", path.display()))?;
            let attributes = Attributes { read_only: entry.fixed.effective.read_only_root, ..OURS };
            let fd = bind(file.as_fd(), &attributes).doing(|| format!("mounting {target}"))?;
            mounts.push(wire::Mount { source: wire::MountSource::Detached { fd: fds.add(fd) }, target, file: true, copy_up: false });
        }
        Ok(())
    }

    /// Devices of the host: nodes cannot be made in a user namespace, so they are bound.
    fn device_mounts(&self, entry: &Entry, mounts: &mut Vec<wire::Mount>, fds: &mut Fds) -> Result<()> {
        for device in super::device::nodes(&entry.fixed.effective)? {
            let node = inside::open_path(&device.host).doing(|| format!("opening device {}", device.host.display()))?;
            let fd = bind(node.as_fd(), &DEVICE).doing(|| format!("mounting device {}", device.host.display()))?;
            mounts.push(wire::Mount {
                source: wire::MountSource::Device { fd: fds.add(fd) },
                target: device.container,
                file: true,
                copy_up: false,
            });
        }
        Ok(())
    }

    /// A container of the tenant that runs, whose namespace another one joins.
    pub(super) fn running(&self, tenant: TenantId, id: &str, kind: &str) -> Result<Arc<Up>> {
        let entry = self.registry().find(tenant, id)?;
        entry.up().ok_or_else(|| {
            let what = if kind == "net" { "network".to_owned() } else { kind.to_uppercase() };
            Error::conflict(format!("cannot join {what} of a non running container: {}", entry.id))
        })
    }

    pub(super) fn ids_of(&self, entry: &Entry) -> user::Ids {
        ids(&entry.fixed.effective)
    }
}

fn no_cgroup() -> wire::CgroupFds {
    wire::CgroupFds { v2: None, v1_tasks: Vec::new() }
}

/// The container's environment with an exec's own in its place.
fn exec_env(container: &[String], own: &[String], tty: bool) -> Vec<String> {
    let name_of = |entry: &str| entry.split('=').next().unwrap_or(entry).to_owned();
    let mut env: Vec<String> = container.iter().filter(|e| name_of(e) != "TERM").cloned().collect();
    if tty {
        env.push("TERM=xterm".to_owned());
    }
    for entry in own {
        let name = name_of(entry);
        env.retain(|e| name_of(e) != name);
        if entry.contains('=') {
            env.push(entry.clone());
        }
    }
    env
}

/// The `o=` of a volume in memory, as far as it is tmpfs(5)'s own.
fn tmpfs_options(options: &std::collections::BTreeMap<String, String>, read_only: bool) -> Result<Vec<String>> {
    let mut list = Vec::new();
    for option in options.get("o").map(String::as_str).unwrap_or_default().split(',').map(str::trim).filter(|o| !o.is_empty()) {
        let name = option.split('=').next().unwrap_or(option);
        match name {
            "size" | "nr_inodes" | "nr_blocks" | "mode" | "uid" | "gid" | "noexec" | "nosuid" | "nodev" | "ro" => {
                list.push(option.to_owned())
            }
            "rw" | "exec" | "suid" | "dev" => {}
            other => return Err(Error::invalid(format!("invalid option {other:?} of a volume of type tmpfs"))),
        }
    }
    if read_only {
        list.push("ro".to_owned());
    }
    Ok(list)
}

/// What was asked, after Docker's own: in its own network a container's users may bind low ports and ping.
pub(super) fn sysctls(spec: &EffectiveSpec) -> Vec<(String, String)> {
    let own_network = matches!(spec.network.mode, NetworkMode::None | NetworkMode::Network(_));
    let defaults = [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 65535")];
    let defaults = defaults.into_iter().filter(|(name, _)| own_network && !spec.sysctls.contains_key(*name));
    defaults.map(|(k, v)| (k.to_owned(), v.to_owned())).chain(spec.sysctls.clone()).collect()
}

/// What an exec has that its container's first process has not.
#[derive(Default)]
struct Extra {
    privileged: bool,
    tty: Option<bool>,
    stdin: Option<bool>,
    console_size: Option<(u16, u16)>,
}

fn ids(spec: &EffectiveSpec) -> user::Ids {
    if spec.namespaces.user == UserNamespace::Host { user::Ids::Host } else { user::Ids::Block }
}

/// Who a process is, by the container's own passwd and group files: the image's, hence read with a bound.
pub(super) fn resolve(root: BorrowedFd<'_>, user: &str, extra: &[String], ids: user::Ids) -> Result<user::Credentials> {
    let read = |path: &str| inside::read_in_root(root, path, 1 << 20).doing(|| format!("reading {path} of the container"));
    user::resolve_user(&read("etc/passwd")?, &read("etc/group")?, user, extra, ids)
}

fn rlimits(spec: &EffectiveSpec) -> Result<Vec<wire::Rlimit>> {
    let number = |v: i64| u64::try_from(v).unwrap_or(u64::MAX);
    spec.process
        .rlimits
        .iter()
        .map(|limit| {
            let resource = rlimit_number(&limit.name).ok_or_else(|| Error::invalid(format!("invalid ulimit type: {}", limit.name)))?;
            Ok(wire::Rlimit { resource, soft: number(limit.soft), hard: number(limit.hard) })
        })
        .collect()
}

/// The user namespace that maps what one person owns on disk to one id of a container, for binds of a home.
pub(super) fn person_map(block: Block, inside: (u32, u32), person: (u32, u32)) -> [wire::IdMap; 2] {
    [
        wire::IdMap { inside: person.0, outside: block.base + inside.0, size: 1 },
        wire::IdMap { inside: person.1, outside: block.base + inside.1, size: 1 },
    ]
}

/// The kernel's number of a resource limit (getrlimit(2)).
fn rlimit_number(name: &str) -> Option<u32> {
    Some(match name {
        "cpu" => libc::RLIMIT_CPU,
        "fsize" => libc::RLIMIT_FSIZE,
        "data" => libc::RLIMIT_DATA,
        "stack" => libc::RLIMIT_STACK,
        "core" => libc::RLIMIT_CORE,
        "rss" => libc::RLIMIT_RSS,
        "nproc" => libc::RLIMIT_NPROC,
        "nofile" => libc::RLIMIT_NOFILE,
        "memlock" => libc::RLIMIT_MEMLOCK,
        "as" => libc::RLIMIT_AS,
        "locks" => libc::RLIMIT_LOCKS,
        "sigpending" => libc::RLIMIT_SIGPENDING,
        "msgqueue" => libc::RLIMIT_MSGQUEUE,
        "nice" => libc::RLIMIT_NICE,
        "rtprio" => libc::RLIMIT_RTPRIO,
        "rttime" => libc::RLIMIT_RTTIME,
        _ => return None,
    })
}

/// The profile to switch to at exec; empty: the server's own, which is none unless its unit says so.
fn apparmor_profile(asked: &super::effective::AppArmor) -> String {
    match asked {
        super::effective::AppArmor::Profile(name) => name.clone(),
        super::effective::AppArmor::Default | super::effective::AppArmor::Unconfined => String::new(),
    }
}
