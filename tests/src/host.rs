//! The host's own view of a container: what /proc, the cgroup file systems and other network namespaces say.

use std::collections::BTreeMap;
use std::process::Command;

/// The fields of /proc/PID/status.
pub fn status(pid: i32) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_else(|e| panic!("status of process {pid}: {e}"));
    text.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// A file of a process's folder in /proc, read by the host.
pub fn read(pid: i32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_else(|e| panic!("{file} of process {pid}: {e}"))
}

/// Whether a process exists.
pub fn alive(pid: i32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// What a process's open descriptors point at.
pub fn descriptors(pid: i32) -> Vec<String> {
    let folder = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap_or_else(|e| panic!("descriptors of process {pid}: {e}"));
    folder.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok()).map(|target| target.display().to_string()).collect()
}

/// The paths of a process's cgroups, by controller (`""` is v2's).
pub fn cgroups(pid: i32) -> BTreeMap<String, String> {
    let lines = read(pid, "cgroup");
    let parts = lines.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?, parts.next()?.to_owned()))
    });
    parts.flat_map(|(names, path)| names.split(',').map(move |name| (name.to_owned(), path.clone()))).collect()
}

/// Every process whose cgroup path holds this text.
pub fn processes_in(text: &str) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").expect("/proc").flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    all.filter(|pid| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(text))).collect()
}

/// A network namespace with a link to ours: a neighbour's machine. Gone with this value.
pub struct Neighbour {
    name: String,
    /// Our address on the link.
    pub ours: String,
}

impl Neighbour {
    /// Makes one, on a /30 that belongs to this process id; `None` where there is no `ip`.
    pub fn new() -> Option<Self> {
        crate::program("ip")?;
        let number = std::process::id();
        let (name, net) = (format!("we2e{number}"), format!("198.18.{}", number % 250));
        let base = (number / 250 % 63) * 4;
        let (ours, theirs) = (format!("{net}.{}", base + 1), format!("{net}.{}", base + 2));
        let link = format!("we{number}");
        for call in [
            format!("netns add {name}"),
            format!("link add {link} type veth peer name eth0 netns {name}"),
            format!("addr add {ours}/30 dev {link}"),
            format!("link set {link} up"),
            format!("-n {name} addr add {theirs}/30 dev eth0"),
            format!("-n {name} link set eth0 up"),
            format!("-n {name} link set lo up"),
            format!("-n {name} route add default via {ours}"),
        ] {
            let output = Command::new("ip").args(call.split(' ')).output().expect("running ip");
            assert!(output.status.success(), "ip {call}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Some(Self { name, ours })
    }

    /// Runs a command there.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).args(arguments);
        command
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // The link goes with the namespace.
        Command::new("ip").args(["netns", "del", &self.name]).status().ok();
    }
}
