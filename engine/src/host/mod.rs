//! The host as we found it: what its kernel offers, what it lacks, and what Wharf does about each gap.
//!
//! `probe` asks the kernel, once, at start; `gaps` judges the answers, purely; `orphans` looks for what a crash left.
//! `wharf doctor` prints it.

mod gaps;
mod orphans;
mod probe;

pub use orphans::{Known, Orphan, orphans};

use crate::cgroup::{Support, Version};
use crate::{Instance, Result};
use serde::Serialize;

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

/// How disk quotas are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuotaBackend {
    /// ext4 or xfs project ids: by the kernel.
    ProjectIds,
    /// btrfs quota groups: by the kernel.
    BtrfsGroups,
    /// By counting: checked by us, late for what containers write themselves.
    Counted,
}

/// Facts about this host, found once.
#[derive(Debug, Clone, Serialize)]
pub struct Host {
    /// `uname -r`.
    pub kernel: String,
    /// The first two numbers of it.
    #[serde(skip)]
    pub kernel_version: (u32, u32),
    /// `uname -m`.
    pub machine: String,
    /// The distribution's name.
    pub os_name: String,
    /// The distribution's version.
    pub os_version: String,
    /// CPUs online.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of swap.
    pub swap: u64,
    /// `1` or `2`.
    pub cgroup_version: u8,
    /// Controllers, by their v1 names.
    pub cgroup_controllers: Vec<&'static str>,
    /// What can be limited.
    #[serde(skip)]
    pub support: Option<Support>,
    /// Whether we run as root.
    pub root: bool,
    /// Capabilities that we lack, of those the kernel knows.
    pub missing_capabilities: Vec<&'static str>,
    /// User namespaces can be made.
    pub user_namespaces: bool,
    /// The file system below the data root.
    pub data_root_file_system: String,
    /// It can be mounted with ids mapped; `None`: a file system we do not know.
    pub idmapped_mounts: Option<bool>,
    /// git is installed.
    pub git: bool,
    /// overlayfs is there.
    pub overlay: bool,
    /// overlayfs takes its layers as fds.
    pub overlay_layers_by_fd: bool,
    /// Seccomp filters can be loaded.
    pub seccomp: bool,
    /// Security modules in force; empty also where that cannot be read.
    pub security_modules: Vec<String>,
    /// AppArmor profiles can be used.
    pub apparmor: bool,
    /// How disk quotas are held.
    pub quota: QuotaBackend,
    /// nf_tables is there.
    pub nftables: bool,
    /// IPv6 is on.
    pub ipv6: bool,
    /// IPv4 is forwarded already.
    pub ip_forward: bool,
    /// Most inotify instances a user may have.
    pub inotify_instances: u64,
    /// Most inotify watches a user may have.
    pub inotify_watches: u64,
    /// Most keys a user but root may have.
    pub keys: u64,
    /// Highest process id.
    pub pid_max: u64,
    /// Most files this process may open.
    pub open_files: u64,
    /// What is missing.
    pub gaps: Vec<Gap>,
}

impl Host {
    /// Looks at everything once. Blocks for some milliseconds.
    ///
    /// # Errors
    /// `Internal` when /proc cannot be read.
    pub fn probe(instance: &Instance) -> Result<Self> {
        let mut host = probe::facts(instance.data_root())?;
        host.gaps = gaps::of(&host);
        Ok(host)
    }

    /// Gaps without which the server cannot work.
    pub fn fatal(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.iter().filter(|g| g.fatal)
    }

    /// v1 or v2.
    pub fn cgroups(&self) -> Version {
        if self.cgroup_version == 2 { Version::V2 } else { Version::V1 }
    }

    /// For people: facts that matter, then each gap with what it means and what helps.
    pub fn text(&self) -> String {
        let yes = |on: bool| if on { "yes" } else { "no" };
        let gib = |bytes: u64| format!("{}.{} GiB", bytes >> 30, (bytes >> 20) % 1024 * 10 / 1024);
        let mut text = format!(
            "system       {} on {}, kernel {}\n\
             machine      {} CPUs, {} memory, {} swap\n\
             cgroups      v{}: {}\n\
             data root    {}, ids mapped: {}, quota: {}\n\
             overlay      {}, layers by fd: {}\n\
             isolation    user namespaces: {}, seccomp: {}, security modules: {}\n\
             network      nftables: {}, IPv6: {}\n",
            self.os_name,
            self.machine,
            self.kernel,
            self.cpus,
            gib(self.memory),
            gib(self.swap),
            self.cgroup_version,
            self.cgroup_controllers.join(" "),
            self.data_root_file_system,
            self.idmapped_mounts.map_or("unknown", yes),
            match self.quota {
                QuotaBackend::ProjectIds => "by the kernel (project ids)",
                QuotaBackend::BtrfsGroups => "by the kernel (btrfs)",
                QuotaBackend::Counted => "counted",
            },
            yes(self.overlay),
            yes(self.overlay_layers_by_fd),
            yes(self.user_namespaces),
            yes(self.seccomp),
            if self.security_modules.is_empty() { "none".to_owned() } else { self.security_modules.join(" ") },
            yes(self.nftables),
            yes(self.ipv6),
        );
        for gap in &self.gaps {
            let mark = if gap.fatal { "FATAL" } else { "gap" };
            text.push_str(&format!("{mark:<13}{}\n{:13}{}\n{:13}{}\n", gap.what, "", gap.consequence, "", gap.remedy));
        }
        text
    }
}

/// The host's name (uname(2)).
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_probed() {
        let (data, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let instance = Instance::open(data.path(), run.path()).unwrap();
        let host = Host::probe(&instance).unwrap();
        assert!(host.root && host.user_namespaces && host.overlay && host.seccomp, "{host:#?}");
        assert!(host.cpus > 0 && host.memory > 0 && host.pid_max > 0 && host.kernel_version.0 >= 5);
        assert_eq!(host.fatal().count(), 0, "{:#?}", host.gaps);
        let json = serde_json::to_value(&host).unwrap();
        assert_eq!(json["kernel"], host.kernel);
        assert!(host.text().starts_with("system "));
    }
}
