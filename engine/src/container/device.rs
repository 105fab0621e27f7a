//! Devices: which nodes a container sees, and which its cgroup lets it use.

use super::effective::EffectiveSpec;
use crate::cgroup::{Access, DeviceKind, DeviceRule};
use crate::{Error, Result};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// One device node.
pub(super) struct Node {
    pub host: PathBuf,
    pub container: String,
    pub kind: DeviceKind,
    pub major: u32,
    pub minor: u32,
    access: Access,
}

/// The nodes asked for; a folder stands for those in it.
pub(super) fn nodes(spec: &EffectiveSpec) -> Result<Vec<Node>> {
    let mut nodes = Vec::new();
    for device in &spec.devices {
        add(&mut nodes, &device.host, &device.container, device.access, true)?;
    }
    if spec.privileges.privileged {
        for entry in std::fs::read_dir("/dev").into_iter().flatten().flatten() {
            let name = entry.file_name();
            let (path, target) = (entry.path(), format!("/dev/{}", name.to_string_lossy()));
            // Those the container has of its own.
            if !matches!(
                name.to_str(),
                Some("console" | "full" | "null" | "ptmx" | "pts" | "random" | "shm" | "mqueue" | "tty" | "urandom" | "zero")
            ) {
                add(&mut nodes, &path, &target, Access::ALL, false)?;
            }
        }
    }
    Ok(nodes)
}

fn no_node(host: &Path) -> Error {
    let path = host.display().to_string();
    Error::invalid(format!("error gathering device information while adding custom device {path:?}: not a device node"))
}

fn add(nodes: &mut Vec<Node>, host: &Path, container: &str, access: Access, wanted: bool) -> Result<()> {
    let gone = |e: std::io::Error| {
        Error::invalid(format!("error gathering device information while adding custom device {:?}: {e}", host.display().to_string()))
    };
    // What was asked for by name may be a link; what a folder holds is taken as it is, for /dev has links to itself.
    let meta = if wanted { std::fs::metadata(host) } else { std::fs::symlink_metadata(host) }.map_err(gone);
    let meta = match (meta, wanted) {
        (Ok(meta), _) => meta,
        (Err(error), true) => return Err(error),
        (Err(_), false) => return Ok(()),
    };
    if meta.is_dir() {
        let before = nodes.len();
        for entry in std::fs::read_dir(host).map_err(gone)?.flatten() {
            let below = format!("{container}/{}", entry.file_name().to_string_lossy());
            add(nodes, &entry.path(), &below, access, false)?;
        }
        return if wanted && nodes.len() == before { Err(no_node(host)) } else { Ok(()) };
    }
    let kind = match meta.file_type() {
        t if t.is_char_device() => DeviceKind::Char,
        t if t.is_block_device() => DeviceKind::Block,
        _ if wanted => return Err(no_node(host)),
        _ => return Ok(()),
    };
    let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    nodes.push(Node { host: host.to_owned(), container: container.to_owned(), kind, major, minor, access });
    Ok(())
}

/// Whether a file is one of the nodes that every container has anyway: null, zero, full, random, urandom, tty.
pub(super) fn is_harmless(file: std::os::fd::BorrowedFd<'_>) -> std::io::Result<bool> {
    let stat = rustix::fs::fstat(file)?;
    let node = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    let is_char = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::CharacterDevice;
    Ok(is_char && matches!(node, (1, 3 | 5 | 7 | 8 | 9) | (5, 0)))
}

/// What the device cgroup allows: Docker's defaults, then what was asked.
pub(super) fn rules(spec: &EffectiveSpec) -> Result<Vec<DeviceRule>> {
    if spec.privileges.privileged {
        return Ok(vec![DeviceRule::everything()]);
    }
    let mut rules = DeviceRule::defaults();
    for node in nodes(spec)? {
        rules.push(DeviceRule { allow: true, kind: node.kind, major: Some(node.major), minor: Some(node.minor), access: node.access });
    }
    rules.extend(&spec.device_rules);
    Ok(rules)
}
