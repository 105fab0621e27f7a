//! The peers we are measured beside: a dockerd from Debian's packages in a folder (`tests/peers/dockerd`), and podman with crun.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A dockerd that runs while this value lives, with an address of its own for data and sockets.
pub struct Dockerd {
    script: PathBuf,
    folder: tempfile::TempDir,
}

impl Dockerd {
    /// Starts one; the reason why not, where it cannot be.
    ///
    /// # Errors
    /// What the script said.
    pub fn start() -> Result<Self, String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/dockerd");
        let folder = tempfile::Builder::new().prefix("wharf-peer.").tempdir().map_err(|e| e.to_string())?;
        let peer = Self { script, folder };
        let output = peer.command("start").output().map_err(|e| e.to_string())?;
        if output.status.success() { Ok(peer) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("run/docker.sock")
    }

    /// The processes that belong to it: dockerd, containerd and their shims.
    pub fn processes(&self) -> Vec<i32> {
        let mark = self.folder.path().display().to_string();
        let all =
            std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        all.filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&mark)
        })
        .collect()
    }

    fn command(&self, what: &str) -> Command {
        let mut command = Command::new(&self.script);
        command.arg(what).env("PEER_RUN", self.folder.path().join("run")).env("PEER_DATA", self.folder.path().join("data"));
        command
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        self.command("stop").status().ok();
    }
}

/// podman with crun, if both are installed: how to call it, on storage of its own and in network and mount namespaces of its own.
/// crun of Debian 12 refuses hosts that show both cgroup versions, so the second one is hidden from it.
pub fn podman(folder: &Path) -> Option<Vec<String>> {
    let (podman, crun) = (crate::program("podman")?, crate::program("crun")?);
    let at = |name: &str| folder.join(name).display().to_string();
    let inside = "if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; ip link set lo up; exec \"$@\"";
    let call = ["unshare", "--mount", "--net", "sh", "-c", inside, "sh"].map(str::to_owned);
    let podman = [
        podman.display().to_string(),
        "--root".to_owned(),
        at("podman-data"),
        "--runroot".to_owned(),
        at("podman-run"),
        "--runtime".to_owned(),
        crun.display().to_string(),
        "--cgroup-manager=cgroupfs".to_owned(),
        "--events-backend=none".to_owned(),
    ];
    Some(call.into_iter().chain(podman).collect())
}

/// What `podman run` needs beside: without CAP_SYS_RESOURCE it may not raise the limits that it raises by default.
pub const PODMAN_RUN: [&str; 6] = ["run", "--rm", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
