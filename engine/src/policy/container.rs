//! Containers and execs before the law.

use super::{Authorized, BindAccess, Denied, Judge, Standing, hash_of};
use crate::Subject;
use crate::caps::{Cap, CapSet};
use crate::container::effective::{
    AppArmor, Device, EffectiveSpec, HostName, Ipc, MASKED_PATHS, Mount, MountSource, Namespaces, Network, NetworkMode, OwnOrHost,
    PortRequest, Privileges, Process, Propagation, READONLY_PATHS, Seccomp, Shared, UserNamespace, sysctl,
};
use crate::container::request::ExecSpec;
use crate::container::{HostPort, Resources};
use crate::grant::{Covered, GrantKind};
use std::path::{Component, Path};

/// Ports below are for those who may speak for the host.
const FIRST_FREE_PORT: u16 = 1024;

/// Whether the subject may have this container.
///
/// # Errors
/// A refusal that names every grant it would take.
pub fn authorize(who: &Subject, standing: &Standing, spec: EffectiveSpec) -> Result<Authorized<EffectiveSpec>, Denied> {
    let mut judge = Judge::new(who, standing);
    judge.container(&spec);
    let hash = spec.hash();
    judge.finish(spec, hash)
}

/// Whether the subject may run this in a container of the own tenant.
///
/// # Errors
/// A refusal that names the grant it would take.
pub fn authorize_exec(who: &Subject, standing: &Standing, spec: ExecSpec) -> Result<Authorized<ExecSpec>, Denied> {
    let mut judge = Judge::new(who, standing);
    // A process beside those that are there, with their namespaces, filter and limits: only more capabilities are more.
    let ExecSpec {
        argv: _,
        env: _,
        user: _,
        working_dir: _,
        tty: _,
        stdin: _,
        stdout: _,
        stderr: _,
        privileged,
        detach_keys: _,
        console_size: _,
    } = &spec;
    if *privileged {
        judge.need("a privileged exec", GrantKind::Privileged);
    }
    let hash = hash_of(&spec);
    judge.finish(spec, hash)
}

impl Judge<'_> {
    fn container(&mut self, spec: &EffectiveSpec) {
        let EffectiveSpec {
            // Resolved to what the tenant sees; the platform only chooses among its variants.
            image: _,
            platform: _,
            process,
            host,
            namespaces,
            privileges,
            read_only_root: _,
            mounts,
            volumes_from,
            devices,
            device_rules,
            gpus,
            sysctls,
            // Memory, which the tenant's cgroup counts.
            shm_size: _,
            resources,
            // How it ends and begins again harms nobody else.
            restart: _,
            auto_remove: _,
            log,
            stop: _,
            // Runs inside, as an unprivileged exec.
            health: _,
            network,
            labels: _,
            annotations: _,
        } = spec;
        let privileged = self.privileges(privileges);
        self.process(process, privileged);
        self.namespaces(namespaces, host, privileged);
        for mount in mounts {
            self.mount(mount);
        }
        if !volumes_from.is_empty() {
            self.refuse("the mounts of other containers are not resolved");
        }
        for device in devices {
            self.device(device, privileged);
        }
        if !device_rules.is_empty() && !privileged {
            self.need("a device cgroup rule", GrantKind::DeviceRules);
        }
        if !gpus.is_empty() {
            self.need("a GPU", GrantKind::Gpu);
        }
        for (name, value) in sysctls {
            if let Err(e) = sysctl::check(name, value, namespaces, &network.mode) {
                self.refuse(e.to_string());
            }
        }
        self.resources(resources, privileged);
        self.network(network);
        self.log(log);
    }

    /// Files are the tenant's own. The server sends the rest, from where it reaches more than a container does.
    fn log(&mut self, log: &crate::container::effective::Log) {
        use crate::container::effective::LogDriver;
        let LogDriver::Sent { shipping, .. } = &log.driver else { return };
        if crate::log::ship::is_local(&shipping.to) {
            self.need(format!("sending logs to {}", shipping.to), GrantKind::LogTo(shipping.to.clone()));
        }
    }

    /// Returns whether the grant `privileged` covers what follows.
    fn privileges(&mut self, p: &Privileges) -> bool {
        // Nobody else is harmed when setuid programs gain nothing, or do: in the container's own ids.
        let Privileges { privileged, capabilities, seccomp, syscalls_32bit, apparmor, no_new_privileges: _, masked_paths, readonly_paths } =
            p;
        if *privileged {
            // Whatever it says of itself besides, this is the grant for it.
            self.need("a privileged container", GrantKind::Privileged);
            return true;
        }
        for cap in capabilities.difference(CapSet::DOCKER).iter() {
            self.need(format!("the capability {}", cap.name()), GrantKind::Capability(cap));
        }
        // A bit without a name is no capability we know how to grant.
        if capabilities.difference(CapSet::ALL) != CapSet::EMPTY {
            self.refuse("unknown capabilities");
        }
        match seccomp {
            Seccomp::Default => {}
            Seccomp::Unconfined => self.need("no seccomp filter", GrantKind::Seccomp),
            Seccomp::Profile(_) => self.need("a seccomp profile of one's own", GrantKind::Seccomp),
        }
        if *syscalls_32bit {
            self.need("32-bit system calls", GrantKind::Syscalls32Bit);
        }
        match apparmor {
            AppArmor::Default => {}
            AppArmor::Unconfined => self.need("no AppArmor profile", GrantKind::AppArmor),
            AppArmor::Profile(_) => self.need("another AppArmor profile", GrantKind::AppArmor),
        }
        let covers = |have: &[String], wanted: &[String]| wanted.iter().all(|w| have.contains(w));
        if !covers(masked_paths, &MASKED_PATHS) || !covers(readonly_paths, &READONLY_PATHS) {
            self.need("fewer masked or read-only system paths", GrantKind::SystemPaths);
        }
        false
    }

    fn process(&mut self, process: &Process, privileged: bool) {
        let Process {
            // What runs is the tenant's own business, and so is as whom inside.
            argv: _,
            env: _,
            working_dir: _,
            user: _,
            extra_groups: _,
            tty: _,
            open_stdin: _,
            stdin_once: _,
            console_size: _,
            init: _,
            rlimits,
            oom_score_adj,
        } = process;
        for limit in rlimits {
            // Priorities reach beyond the container: a real-time thread takes a CPU from everybody. nice counts from 20 down to 1 (getrlimit(2)).
            let beyond = match limit.name.as_str() {
                "rtprio" => limit.hard != 0 || limit.soft != 0,
                "nice" => !(0..=20).contains(&limit.hard) || !(0..=20).contains(&limit.soft),
                _ => false,
            };
            if beyond && !privileged {
                self.need(format!("the ulimit {}", limit.name), GrantKind::Capability(Cap::SYS_NICE));
            }
        }
        if *oom_score_adj < 0 && !privileged {
            self.need("an OOM score below 0", GrantKind::OomScoreAdj);
        }
    }

    fn namespaces(&mut self, namespaces: &Namespaces, host: &HostName, privileged: bool) {
        let Namespaces { user, pid, ipc, uts, cgroup } = namespaces;
        // Set in its own UTS namespace only; in the host's nothing is set.
        let HostName { hostname: _, domainname: _ } = host;
        // Another container is one of the tenant's own: the facade resolved it, and followed it to the host where that one has the host's.
        let host_pid = match pid {
            Shared::Private | Shared::Container(_) => false,
            Shared::Host => {
                self.need("the host's process namespace", GrantKind::PidHost);
                true
            }
        };
        match user {
            UserNamespace::Tenant | UserNamespace::Isolated => {}
            // Implied by those two, whose grants then cover it.
            UserNamespace::Host if privileged || host_pid => {}
            UserNamespace::Host => self.need("the host's user namespace", GrantKind::UsernsHost),
        }
        match ipc {
            Ipc::Private | Ipc::Shareable | Ipc::None | Ipc::Container(_) => {}
            Ipc::Host => self.need("the host's IPC namespace", GrantKind::IpcHost),
        }
        match uts {
            OwnOrHost::Private => {}
            OwnOrHost::Host => self.need("the host's UTS namespace", GrantKind::UtsHost),
        }
        match cgroup {
            OwnOrHost::Private => {}
            OwnOrHost::Host if privileged => {}
            OwnOrHost::Host => self.need("the host's cgroup namespace", GrantKind::CgroupnsHost),
        }
    }

    fn mount(&mut self, mount: &Mount) {
        let Mount { target, read_only, mode: _, implied: _, source } = mount;
        match source {
            MountSource::Bind { path, create: _, recursive: _, read_only_below: _, propagation } => {
                match propagation {
                    Propagation::Private | Propagation::RPrivate | Propagation::Slave | Propagation::RSlave => {}
                    Propagation::Shared | Propagation::RShared => self.need("shared mount propagation", GrantKind::SharedMounts),
                }
                self.bind(path, *read_only, target);
            }
            // Its name is the tenant's own; what it is made of is judged like a volume of its own.
            MountSource::Volume { name: _, driver: _, options, labels: _, copy: _, subpath: _ } => self.volume_options(options),
            // Memory, which the tenant's cgroup counts.
            MountSource::Tmpfs { size: _, mode: _, uid: _, gid: _, inodes: _, noexec: _, nosuid: _, nodev: _ } => {}
            MountSource::Image { reference: _, subpath: _ } => {}
            // It speaks for this tenant and nobody else.
            MountSource::TenantSocket => {}
        }
    }

    fn bind(&mut self, path: &Path, read_only: bool, target: &str) {
        if !is_clean(path) {
            return self.refuse(format!("the host path {} is not absolute and clean", path.display()));
        }
        let grant = GrantKind::Bind { path: path.to_owned(), read_only };
        let access = match self.standing.grants.bind(path, read_only) {
            Some(Covered::All) => BindAccess::Administrator,
            Some(Covered::Below(below)) => BindAccess::Granted { below },
            None => match (&self.standing.home, self.who.unix) {
                (Some(home), Some(account)) if is_personal_home(home) && path.starts_with(home) => {
                    self.use_word("home".to_owned());
                    self.binds.insert(target.to_owned(), BindAccess::HomeBind { account, below: home.clone() });
                    return;
                }
                _ => return self.settle(false, format!("the host path {}", path.display()), grant),
            },
        };
        let word = match &access {
            BindAccess::Granted { below } => format!("bind={}", below.display()),
            BindAccess::Administrator | BindAccess::HomeBind { .. } => grant.to_string(),
        };
        self.use_word(word);
        self.binds.insert(target.to_owned(), access);
    }

    /// The options of the `local` volume driver are mount(8)'s: another spelling of host paths and devices.
    pub(super) fn volume_options(&mut self, options: &std::collections::BTreeMap<String, String>) {
        use crate::container::effective::volume::{Backing, backing};
        match backing(options) {
            Ok(Backing::Folder | Backing::Memory) => {}
            Ok(Backing::Bind { path }) => {
                // It outlives the request, so the home of whoever asked is no reason.
                let there = self.standing.grants.bind(&path, false).is_some();
                if is_clean(&path) {
                    self.settle(there, format!("a volume on the host path {}", path.display()), GrantKind::Bind { path, read_only: false });
                } else {
                    self.refuse(format!("the host path {} is not absolute and clean", path.display()));
                }
            }
            Ok(Backing::FileSystem { kind, device }) => {
                if device.starts_with('/') {
                    let path = Path::new(&device);
                    if !is_clean(path) || !path.starts_with("/dev") {
                        return self.refuse(format!("{device} is no device"));
                    }
                    let there = self.standing.grants.device(path);
                    self.settle(there, format!("the device {device}"), GrantKind::Device(path.to_owned()));
                }
                self.need(format!("a volume of type {kind}"), GrantKind::VolumeType(kind));
            }
            Err(e) => self.refuse(e.to_string()),
        }
    }

    fn device(&mut self, device: &Device, privileged: bool) {
        // A container path inside is the tenant's own; what may be done with the device is covered or not as a whole.
        let Device { host, container: _, access: _ } = device;
        if privileged {
            return;
        }
        if !is_clean(host) {
            return self.refuse(format!("the device path {} is not absolute and clean", host.display()));
        }
        let gpu = ["/dev/nvidia", "/dev/dri/", "/dev/kfd"].iter().any(|p| host.as_os_str().as_encoded_bytes().starts_with(p.as_bytes()));
        let there = self.standing.grants.device(host) || gpu && self.standing.grants.has(&GrantKind::Gpu);
        self.settle(there, format!("the device {}", host.display()), GrantKind::Device(host.clone()));
    }

    fn resources(&mut self, resources: &Resources, privileged: bool) {
        let Resources {
            // Shares of and limits below the tenant's own.
            cpu_shares: _,
            nano_cpus: _,
            cpu_period: _,
            cpu_quota: _,
            cpu_rt_period,
            cpu_rt_runtime,
            cpuset_cpus: _,
            cpuset_mems: _,
            memory: _,
            memory_reservation: _,
            memory_swap: _,
            memory_swappiness: _,
            oom_kill_disable,
            pids_limit: _,
            blkio_weight: _,
            blkio_weight_device: _,
            blkio_read_bps: _,
            blkio_write_bps: _,
            blkio_read_iops: _,
            blkio_write_iops: _,
            ulimits,
        } = resources;
        // They are effective in the process, with the defaults, and were judged there.
        if !ulimits.is_empty() {
            self.refuse("ulimits beside the process's own");
        }
        if (*cpu_rt_period != 0 || *cpu_rt_runtime != 0) && !privileged {
            self.need("real-time CPU time", GrantKind::Capability(Cap::SYS_NICE));
        }
        // A tenant at its limit whose processes are not killed hangs, and what waits for it.
        if *oom_kill_disable == Some(true) && !privileged {
            self.need("to be spared at the memory limit", GrantKind::OomScoreAdj);
        }
    }

    fn network(&mut self, network: &Network) {
        // Names, addresses and resolvers in the tenant's own networks.
        let Network { mode, endpoints: _, ports, exposed: _, dns: _, dns_options: _, dns_search: _, extra_hosts: _ } = network;
        match mode {
            NetworkMode::None | NetworkMode::Container(_) | NetworkMode::Network(_) => {}
            NetworkMode::Host => self.need("the host's network", GrantKind::NetworkHost),
        }
        for PortRequest { container, host } in ports {
            let HostPort { ip: _, ports: (first, last) } = *host;
            // (0, 0): one the kernel would give to anybody.
            if (first, last) == (0, 0) || first >= FIRST_FREE_PORT {
                continue;
            }
            let low_end = last.min(FIRST_FREE_PORT - 1);
            let there = self.standing.grants.ports(first, low_end, container.protocol);
            let what = if first == last { format!("the host port {first}") } else { format!("the host ports {first}-{last}") };
            self.settle(there, what, GrantKind::Ports { first, last: low_end, protocol: Some(container.protocol) });
        }
    }
}

/// Absolute, of normal parts only: what `starts_with` can be trusted on.
fn is_clean(path: &Path) -> bool {
    let bytes = path.as_os_str().as_encoded_bytes();
    path.is_absolute()
        && !bytes.contains(&0)
        && !bytes.split(|b| *b == b'/').any(|part| part == b"." || part == b"..")
        && path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)))
}

/// Whether this is somebody's own folder: service accounts have `/`, `/usr/sbin`, `/run/…` there.
fn is_personal_home(home: &Path) -> bool {
    const SYSTEM: [&str; 14] =
        ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/dev", "/proc", "/sys", "/run", "/boot", "/var/run"];
    is_clean(home) && home.components().count() >= 3 && !SYSTEM.iter().any(|s| home.starts_with(s))
}
