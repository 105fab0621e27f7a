//! Judging the facts: what is missing, what follows, what helps. Pure.

use super::{Gap, Host, QuotaBackend};

/// Without these no container can be made, so the server does not start.
const NEEDED: &[&str] = &[
    "CAP_SYS_ADMIN",
    "CAP_NET_ADMIN",
    "CAP_SETUID",
    "CAP_SETGID",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_KILL",
    "CAP_SYS_CHROOT",
    "CAP_SETFCAP",
];

/// The least kernel: overlayfs on layers with mapped ids.
const KERNEL_FLOOR: (u32, u32) = (5, 19);

pub(super) fn of(host: &Host) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut gap = |fatal: bool, missing: bool, what: &str, consequence: &str, remedy: &str| {
        if missing {
            gaps.push(Gap { what: what.to_owned(), consequence: consequence.to_owned(), remedy: remedy.to_owned(), fatal });
        }
    };
    gap(
        true,
        !host.root,
        "root privilege",
        "namespaces, mounts and cgroups cannot be made",
        "start wharf as root (it drops to each tenant's own ids for their work)",
    );
    let lacking: Vec<_> = host.missing_capabilities.iter().filter(|c| NEEDED.contains(c)).copied().collect();
    gap(
        true,
        host.root && !lacking.is_empty(),
        &format!("capabilities {}", lacking.join(", ")),
        "containers cannot be made",
        "if wharf runs in a container or a restricted unit, give it these",
    );
    gap(
        false,
        host.missing_capabilities.contains(&"CAP_SYS_RESOURCE"),
        "CAP_SYS_RESOURCE",
        "ulimits cannot be raised above our own, nor OOM scores lowered",
        "start wharf with this capability if containers need higher limits",
    );
    gap(
        true,
        host.kernel_version < KERNEL_FLOOR,
        &format!("a kernel from {}.{} on (this is {})", KERNEL_FLOOR.0, KERNEL_FLOOR.1, host.kernel),
        "image layers cannot be shared between tenants' id ranges",
        "install a newer kernel",
    );
    gap(
        true,
        !host.user_namespaces,
        "user namespaces",
        "root in a container would be root on the host, which wharf never does unasked",
        "set user.max_user_namespaces above 0, or use a kernel with CONFIG_USER_NS",
    );
    gap(true, !host.overlay, "overlayfs", "images cannot be layered", "load the module `overlay`, or use a kernel with it");
    gap(
        true,
        host.idmapped_mounts == Some(false),
        &format!("mounts with mapped ids on {}", host.data_root_file_system),
        "image layers below the data root cannot be given to tenants' id ranges",
        "put the data root on ext4, xfs or btrfs (--data-root)",
    );
    gap(true, !host.seccomp, "seccomp filters", "containers could make any system call", "use a kernel with CONFIG_SECCOMP_FILTER");
    gap(true, host.cgroup_version == 0, "cgroups", "nothing can be limited or found again", "mount cgroup2 at /sys/fs/cgroup");
    for (name, consequence) in [
        ("memory", "memory limits and tenants' memory quotas are not held"),
        ("pids", "a fork bomb in one container can stop the host"),
        ("cpu", "CPU limits are not held"),
        ("cpuset", "containers cannot be bound to CPUs"),
        ("blkio", "disk bandwidth cannot be limited"),
    ] {
        gap(
            false,
            host.cgroup_version > 0 && !host.cgroup_controllers.contains(&name),
            &format!("the cgroup controller {name}"),
            consequence,
            "enable it on the kernel command line (cgroup_enable=), or in the parent's cgroup.subtree_control",
        );
    }
    gap(
        false,
        host.cgroup_version == 1,
        "cgroup v2",
        "v1 is used: limits hold, but a first start after a pause may take some milliseconds longer",
        "boot with systemd.unified_cgroup_hierarchy=1 where nothing else needs v1",
    );
    let no_swap = host.support.as_ref().is_some_and(|s| s.memory && !s.swap) && host.swap > 0;
    gap(false, no_swap, "swap accounting", "memory limits do not cover swap", "boot with swapaccount=1");
    gap(
        false,
        !host.overlay_layers_by_fd && host.overlay,
        "overlayfs layers by fd",
        "layers are mounted by path in a private mount namespace: slower, and at most a few hundred of them",
        "a kernel from 6.13 on",
    );
    gap(
        false,
        host.security_modules.iter().all(|m| m != "apparmor" && m != "selinux"),
        "AppArmor or SELinux",
        "containers are held by namespaces, capabilities and seccomp alone, without a second fence",
        "enable AppArmor (apparmor=1 security=apparmor) if the kernel has it",
    );
    gap(
        false,
        host.quota == QuotaBackend::Counted,
        "kernel disk quotas below the data root",
        "disk quotas are counted by wharf, so a container can exceed its tenant's for a while",
        "mount the data root's file system with prjquota (ext4, xfs), or use btrfs",
    );
    gap(
        true,
        !host.nftables,
        "nf_tables",
        "tenants' networks could not be kept apart, nor ports published",
        "load the module `nf_tables`, or use a kernel with it",
    );
    gap(
        false,
        !host.ipv6,
        "IPv6",
        "networks have IPv4 only",
        "remove ipv6.disable=1 from the kernel command line, or set net.ipv6.conf.all.disable_ipv6=0",
    );
    gap(
        false,
        !host.ip_forward,
        "IP forwarding",
        "wharf turns net.ipv4.ip_forward on when it starts",
        "set it in /etc/sysctl.d to keep it on",
    );
    gap(false, !host.git, "git", "builds cannot fetch git repositories, as contexts or by ADD", "install the package `git`");
    gap(
        false,
        host.inotify_instances < 256,
        &format!("inotify instances (a user may have {})", host.inotify_instances),
        "programs in many containers of one tenant may fail to watch files (wharf itself needs one)",
        "set fs.inotify.max_user_instances=1024",
    );
    gap(
        false,
        host.keys < 1000,
        &format!("kernel keys (a user may have {})", host.keys),
        "programs that use keyrings may fail with EDQUOT",
        "set kernel.keys.maxkeys=2000",
    );
    gap(
        false,
        host.open_files < 65_536,
        &format!("open files (this process may have {})", host.open_files),
        "some hundreds of containers use them up",
        "set LimitNOFILE=1048576 in the unit",
    );
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Instance;

    fn here() -> Host {
        let (data, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Host::probe(&Instance::open(data.path(), run.path()).unwrap()).unwrap()
    }

    #[test]
    fn what_cannot_work_is_fatal_and_what_is_only_worse_is_not() {
        let good = Host {
            root: true,
            missing_capabilities: Vec::new(),
            kernel_version: (6, 18),
            user_namespaces: true,
            overlay: true,
            git: true,
            overlay_layers_by_fd: true,
            idmapped_mounts: Some(true),
            seccomp: true,
            cgroup_version: 2,
            cgroup_controllers: vec!["cpu", "cpuset", "memory", "pids", "blkio"],
            support: None,
            security_modules: vec!["apparmor".into()],
            quota: QuotaBackend::ProjectIds,
            nftables: true,
            ipv6: true,
            ip_forward: true,
            inotify_instances: 1024,
            keys: 2000,
            open_files: 1 << 20,
            ..here()
        };
        assert_eq!(of(&good), []);
        let fatal = |change: &dyn Fn(&mut Host)| {
            let mut host = good.clone();
            change(&mut host);
            let gaps = of(&host);
            assert_eq!(gaps.len(), 1, "{gaps:#?}");
            gaps[0].fatal
        };
        assert!(fatal(&|h| h.root = false));
        assert!(fatal(&|h| h.missing_capabilities = vec!["CAP_SYS_ADMIN"]));
        assert!(fatal(&|h| h.kernel_version = (5, 10)));
        assert!(fatal(&|h| h.user_namespaces = false));
        assert!(fatal(&|h| h.overlay = false));
        assert!(fatal(&|h| h.idmapped_mounts = Some(false)));
        assert!(fatal(&|h| h.seccomp = false));
        assert!(fatal(&|h| h.cgroup_version = 0));
        assert!(!fatal(&|h| h.missing_capabilities = vec!["CAP_SYS_RESOURCE"]));
        assert!(!fatal(&|h| h.security_modules = Vec::new()));
        assert!(!fatal(&|h| h.cgroup_controllers = vec!["cpu", "cpuset", "memory", "blkio"]));
        assert!(!fatal(&|h| h.keys = 200));
        assert!(fatal(&|h| h.nftables = false));
    }
}
