//! The host as we found it: what its kernel offers, what it lacks, and what Wharf does about each gap. Looked at once, at the
//! server's start, and by `wharf doctor`.

use crate::cgroup::{Controller, Hierarchy, Version};
use crate::{Doing, Instance, Result};
use serde::Serialize;
use std::path::Path;

/// Something the host lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// What is missing.
    pub what: String,
    /// What that means for containers.
    pub consequence: String,
    /// What the administrator can do.
    pub remedy: String,
    /// Whether the server cannot work without it.
    pub fatal: bool,
}

/// Facts about this host, found once.
#[derive(Debug, Clone, Serialize)]
pub struct Host {
    /// `uname -r`.
    pub kernel: String,
    /// The distribution's name.
    pub os: String,
    /// `uname -m`.
    pub architecture: String,
    /// CPUs online.
    pub cpus: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// 1 or 2; 0: none is mounted.
    pub cgroup_version: u8,
    /// Whether AppArmor is on.
    pub apparmor: bool,
    /// Whether SELinux is on.
    pub selinux: bool,
    /// Whether the kernel has IPv6.
    pub ipv6: bool,
    /// The file system of the data root.
    pub data_file_system: String,
    /// Whether its mounts can be idmapped.
    pub idmapped_mounts: bool,
    /// What is missing.
    pub gaps: Vec<Gap>,
}

impl Host {
    /// Looks at everything once. Blocks for some milliseconds.
    ///
    /// # Errors
    /// `Internal` when /proc cannot be read.
    pub fn probe(instance: &Instance) -> Result<Self> {
        let uname = rustix::system::uname();
        let text = |c: &std::ffi::CStr| c.to_string_lossy().into_owned();
        let hierarchy = Hierarchy::detect();
        let mut host = Self {
            kernel: text(uname.release()),
            os: os_name(),
            architecture: text(uname.machine()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory: memory()?,
            cgroup_version: match hierarchy.as_ref().map(Hierarchy::version) {
                Ok(Version::V1) => 1,
                Ok(Version::V2) => 2,
                Err(_) => 0,
            },
            apparmor: starts_with("/sys/module/apparmor/parameters/enabled", "Y"),
            selinux: Path::new("/sys/fs/selinux/enforce").exists(),
            ipv6: Path::new("/proc/net/if_inet6").exists(),
            data_file_system: file_system(instance.data_root()),
            idmapped_mounts: idmappable(&file_system(instance.data_root()), &text(uname.release())),
            gaps: Vec::new(),
        };
        host.find_gaps(hierarchy.as_ref().ok());
        Ok(host)
    }

    fn find_gaps(&mut self, hierarchy: Option<&Hierarchy>) {
        let mut gap = |fatal: bool, what: &str, consequence: &str, remedy: &str| {
            self.gaps.push(Gap { what: what.to_owned(), consequence: consequence.to_owned(), remedy: remedy.to_owned(), fatal });
        };
        if !rustix::process::geteuid().is_root() {
            gap(true, "root", "namespaces, mounts and cgroups cannot be made", "start wharf as root (sudo wharf serve)");
        }
        if !Path::new("/proc/self/ns/user").exists() || starts_with("/proc/sys/user/max_user_namespaces", "0\n") {
            gap(
                true,
                "user namespaces",
                "root in a container would be root on the host",
                "build the kernel with CONFIG_USER_NS and set user.max_user_namespaces above 0",
            );
        }
        let file_systems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        if !file_systems.lines().any(|l| l.ends_with("overlay")) && !Path::new("/sys/module/overlay").exists() && !module("overlay") {
            gap(true, "overlayfs", "images cannot be mounted", "load the module overlay");
        }
        if !self.idmapped_mounts {
            gap(
                true,
                &format!("id-mapped mounts on {}", self.data_file_system),
                "layers cannot be shown with a tenant's ids",
                "put the data root on ext4, xfs or btrfs, on Linux 5.19 or newer",
            );
        }
        if !Path::new("/proc/net/netfilter").exists() && !module("nf_tables") {
            gap(true, "nf_tables", "ports cannot be published and tenants' networks not kept apart", "load the module nf_tables");
        }
        if !starts_with("/proc/sys/kernel/seccomp/actions_avail", "") {
            gap(true, "seccomp filters", "system calls cannot be limited", "build the kernel with CONFIG_SECCOMP_FILTER");
        }
        match hierarchy {
            None => gap(true, "cgroups", "nothing can be limited or stopped as a whole", "mount cgroup2 at /sys/fs/cgroup"),
            Some(hierarchy) => {
                for (controller, what) in
                    [(Controller::Memory, "memory"), (Controller::Cpu, "CPU"), (Controller::Pids, "process"), (Controller::Io, "I/O")]
                {
                    if !hierarchy.has(controller) {
                        gap(
                            false,
                            &format!("the cgroup controller {}", controller.v1_name()),
                            &format!("{what} limits are refused or ignored with a warning"),
                            "enable it on the kernel's command line (cgroup_enable=…)",
                        );
                    }
                }
                if hierarchy.version() == Version::V1 {
                    gap(
                        false,
                        "cgroup v2",
                        "limits work, but a pause costs more and io weights may be missing",
                        "boot with systemd.unified_cgroup_hierarchy=1",
                    );
                }
            }
        }
        if !self.apparmor && !self.selinux {
            gap(
                false,
                "a security module (AppArmor or SELinux)",
                "containers are kept in by user namespaces, seccomp and capabilities alone",
                "enable AppArmor",
            );
        }
        if !self.ipv6 {
            gap(false, "IPv6", "networks have IPv4 only", "remove ipv6.disable=1 from the kernel's command line");
        }
        if starts_with("/proc/sys/net/ipv4/ip_forward", "0") {
            gap(false, "IP forwarding", "wharf turns net.ipv4.ip_forward on when it starts", "set it in /etc/sysctl.d to keep it on");
        }
        if let Ok(bounding) = crate::caps::CapSet::bounding() {
            let missing = crate::caps::CapSet::ALL.difference(bounding);
            if !missing.is_empty() {
                gap(
                    false,
                    &format!("the capabilities {}", missing.names().join(", ")),
                    "the server's bounding set lacks them: ulimits above our own hard limits and such fail",
                    "start wharf from an unconfined root",
                );
            }
        }
        let low = |path: &str, least: u64| read_number(path).is_some_and(|n| n < least);
        if low("/proc/sys/fs/inotify/max_user_instances", 256) {
            gap(
                false,
                "inotify instances",
                "programs in many containers of one tenant may fail to watch files (ours needs one)",
                "set fs.inotify.max_user_instances=1024",
            );
        }
        if low("/proc/sys/kernel/keys/maxkeys", 1000) {
            gap(false, "kernel keys", "programs that use keyrings may fail with EDQUOT", "set kernel.keys.maxkeys=2000");
        }
    }
}

fn starts_with(path: &str, text: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|t| t.starts_with(text))
}

fn read_number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Whether a module can be loaded, so that the kernel loads it when we first ask.
fn module(name: &str) -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let file = format!("/{name}.ko");
    ["modules.dep", "modules.builtin"]
        .iter()
        .any(|list| std::fs::read_to_string(format!("/lib/modules/{release}/{list}")).is_ok_and(|t| t.lines().any(|l| l.contains(&file))))
}

fn memory() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").doing(|| "reading /proc/meminfo".to_owned())?;
    let kib = text
        .lines()
        .find_map(|l| l.strip_prefix("MemTotal:"))
        .and_then(|l| l.split_whitespace().next())
        .and_then(|n| n.parse::<u64>().ok());
    Ok(kib.unwrap_or(0) * 1024)
}

fn os_name() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|l| l.strip_prefix("PRETTY_NAME=")).map(|n| n.trim_matches('"').to_owned());
    name.unwrap_or_else(|| "Linux".to_owned())
}

/// Magic numbers of statfs(2).
fn file_system(path: &Path) -> String {
    match rustix::fs::statfs(path).map(|s| s.f_type) {
        Ok(0xEF53) => "ext4".to_owned(),
        Ok(0x5846_5342) => "xfs".to_owned(),
        Ok(0x9123_683E) => "btrfs".to_owned(),
        Ok(0x0102_1994) => "tmpfs".to_owned(),
        Ok(0x794C_7630) => "overlay".to_owned(),
        Ok(0x6969) => "nfs".to_owned(),
        Ok(other) => format!("file system {other:#x}"),
        Err(_) => "an unknown file system".to_owned(),
    }
}

/// Whether a file system can be mounted id-mapped under overlayfs on this kernel (mount_setattr(2), NOTES; overlayfs since 5.19).
fn idmappable(file_system: &str, release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse::<u32>().ok());
    let kernel = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    match file_system {
        "ext4" | "xfs" | "btrfs" => kernel >= (5, 19),
        "tmpfs" => kernel >= (6, 3),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_can_serve_has_no_fatal_gap() {
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED: needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::open(&dir.path().join("data"), &dir.path().join("run")).unwrap();
        let host = Host::probe(&instance).unwrap();
        assert!(host.gaps.iter().all(|g| !g.fatal), "{:?}", host.gaps);
        assert!(host.cpus > 0 && host.memory > 0 && matches!(host.cgroup_version, 1 | 2));
    }

    #[test]
    fn id_maps_need_a_kernel_and_a_file_system() {
        assert!(idmappable("ext4", "6.1.0-56-amd64") && idmappable("tmpfs", "6.18.44"));
        assert!(!idmappable("tmpfs", "6.1.0") && !idmappable("ext4", "5.10.0-28") && !idmappable("nfs", "6.18.0"));
    }
}
