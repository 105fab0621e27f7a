//! Asking the kernel: files under /proc and /sys, and a system call where only trying tells.

use super::{Host, QuotaBackend};
use crate::caps::CapSet;
use crate::cgroup::{Controller, Hierarchy, Version};
use crate::{Doing, Result};
use std::path::Path;

fn text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn number(path: &str) -> u64 {
    text(path).parse().unwrap_or(0)
}

/// Everything but the gaps.
pub(super) fn facts(data_root: &Path) -> Result<Host> {
    let uname = rustix::system::uname();
    let kernel = uname.release().to_string_lossy().into_owned();
    let info = rustix::system::sysinfo();
    let unit = u64::from(info.mem_unit);
    let release = text("/etc/os-release");
    let bounding = CapSet::bounding().doing(|| "reading capabilities".into())?;
    // No cgroups at all is a gap, not an error here.
    let hierarchy = Hierarchy::detect().ok();
    let (file_system, options) = mount_of(data_root, &text("/proc/self/mountinfo"));
    let kernel_version = version(&kernel);
    let overlay = overlay();
    Ok(Host {
        kernel_version,
        machine: uname.machine().to_string_lossy().into_owned(),
        os_name: os_field(&release, "PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned()),
        os_version: os_field(&release, "VERSION_ID").unwrap_or_default(),
        cpus: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
        memory: (info.totalram as u64).saturating_mul(unit),
        swap: (info.totalswap as u64).saturating_mul(unit),
        cgroup_version: match hierarchy.as_ref().map(Hierarchy::version) {
            Some(Version::V2) => 2,
            Some(Version::V1) => 1,
            None => 0,
        },
        cgroup_controllers: Controller::ALL
            .into_iter()
            .filter(|c| hierarchy.as_ref().is_some_and(|h| h.has(*c)))
            .map(Controller::v1_name)
            .collect(),
        support: hierarchy.as_ref().map(|h| h.support(Path::new(""))),
        root: rustix::process::geteuid().is_root(),
        missing_capabilities: CapSet::ALL.difference(bounding).names(),
        user_namespaces: Path::new("/proc/self/ns/user").exists() && text("/proc/sys/user/max_user_namespaces") != "0",
        idmapped_mounts: idmapped(&file_system, kernel_version),
        quota: quota(&file_system, &options),
        data_root_file_system: file_system,
        overlay: overlay.is_some(),
        git: crate::build::git_program().is_some(),
        overlay_layers_by_fd: overlay == Some(true),
        seccomp: Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
        security_modules: text("/sys/kernel/security/lsm").split(',').filter(|m| !m.is_empty()).map(str::to_owned).collect(),
        apparmor: text("/sys/module/apparmor/parameters/enabled") == "Y",
        nftables: nftables(),
        ipv6: text("/proc/sys/net/ipv6/conf/all/disable_ipv6") == "0",
        ip_forward: text("/proc/sys/net/ipv4/ip_forward") == "1",
        inotify_instances: number("/proc/sys/fs/inotify/max_user_instances"),
        inotify_watches: number("/proc/sys/fs/inotify/max_user_watches"),
        keys: number("/proc/sys/kernel/keys/maxkeys"),
        pid_max: number("/proc/sys/kernel/pid_max"),
        open_files: rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX),
        kernel,
        gaps: Vec::new(),
    })
}

fn os_field(release: &str, name: &str) -> Option<String> {
    let value = release.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches('"').to_owned()).filter(|v| !v.is_empty())
}

/// The first two numbers of a release.
pub(super) fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Type and options of the file system a path lies on: the longest mount point above it, the last where several lie
/// over each other (proc_pid_mountinfo(5)).
fn mount_of(path: &Path, mountinfo: &str) -> (String, String) {
    let mut best = (0, String::new(), String::new());
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(point) = left.split(' ').nth(4) else { continue };
        let point = point.replace("\\040", " ");
        let mut right = right.split(' ');
        let (kind, options) = (right.next().unwrap_or(""), right.nth(1).unwrap_or(""));
        if path.starts_with(&point) && point.len() >= best.0 {
            best = (point.len(), kind.to_owned(), options.to_owned());
        }
    }
    (best.1, best.2)
}

/// Whether a file system can be mounted with ids mapped, from the kernel version that taught it to: trying needs a user
/// namespace, which we do not have yet.
fn idmapped(file_system: &str, kernel: (u32, u32)) -> Option<bool> {
    let since = match file_system {
        "ext4" | "xfs" | "vfat" => (5, 12),
        "btrfs" => (5, 15),
        "f2fs" => (5, 18),
        "erofs" => (5, 19),
        "tmpfs" => (6, 3),
        "zfs" => return None, // depends on its own version
        "nfs" | "nfs4" | "cifs" | "overlay" | "9p" | "ramfs" | "ext2" | "ext3" => return Some(false),
        _ => return None,
    };
    Some(kernel >= since)
}

fn quota(file_system: &str, options: &str) -> QuotaBackend {
    let has = |names: &[&str]| options.split(',').any(|o| names.contains(&o));
    match file_system {
        "ext4" | "xfs" if has(&["prjquota", "pquota"]) => QuotaBackend::ProjectIds,
        "btrfs" => QuotaBackend::BtrfsGroups,
        _ => QuotaBackend::Counted,
    }
}

/// Whether overlayfs is there, and takes layers as fds (6.13, backported by some).
fn overlay() -> Option<bool> {
    use rustix::fs::{Mode, OFlags, open};
    use rustix::mount::{FsOpenFlags, fsconfig_set_fd, fsopen};
    let Ok(context) = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) else {
        // Without the new mount API (or without privilege) the list tells.
        return text("/proc/filesystems").lines().any(|l| l.ends_with("\toverlay")).then_some(false);
    };
    let folder = open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    Some(fsconfig_set_fd(&context, "lowerdir+", &folder).is_ok())
}

/// Asks nf_tables for its generation number, which needs no table and changes nothing.
fn nftables() -> bool {
    use netlink_sys::{Socket, SocketAddr};
    const NETLINK_NETFILTER: isize = 12;
    const GETGEN: u16 = 10 << 8 | 16; // NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
    const NEWGEN: u16 = 10 << 8 | 15;
    let ask = || -> std::io::Result<bool> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        let mut message = Vec::with_capacity(20);
        message.extend(20u32.to_ne_bytes());
        message.extend(GETGEN.to_ne_bytes());
        message.extend(1u16.to_ne_bytes()); // NLM_F_REQUEST
        message.extend(1u32.to_ne_bytes());
        message.extend([0; 8]); // port; family, version, resource
        socket.send_to(&message, &SocketAddr::new(0, 0), 0)?;
        let (reply, _) = socket.recv_from_full()?;
        // An answer, or an error (type 2): the subsystem is missing.
        Ok(reply.get(4..6) == Some(&NEWGEN.to_ne_bytes()))
    };
    ask().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_counts() {
        let info = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
                    2 1 8:2 / /var rw - xfs /dev/sda2 rw,prjquota\n\
                    3 1 8:3 / /var/lib rw - tmpfs none rw\n\
                    4 3 8:4 / /var/lib rw shared:1 - btrfs /dev/sda3 rw,subvol=/\n\
                    5 1 8:5 / /va rw - nfs x rw\n";
        assert_eq!(mount_of(Path::new("/var/x"), info), ("xfs".into(), "rw,prjquota".into()));
        assert_eq!(mount_of(Path::new("/var/lib/wharf"), info).0, "btrfs");
        assert_eq!(mount_of(Path::new("/home"), info).0, "ext4");
        assert_eq!(quota("xfs", "rw,prjquota"), QuotaBackend::ProjectIds);
        assert_eq!(quota("ext4", "rw"), QuotaBackend::Counted);
    }

    #[test]
    fn versions() {
        assert_eq!(version("6.18.44-fc-v669"), (6, 18));
        assert_eq!(version("5.4"), (5, 4));
        assert_eq!(idmapped("tmpfs", (6, 1)), Some(false));
        assert_eq!(idmapped("ext4", (6, 1)), Some(true));
        assert_eq!(idmapped("strangefs", (6, 1)), None);
    }
}
