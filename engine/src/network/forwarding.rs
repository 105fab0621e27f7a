//! Switching on the kernel's forwarding, without making a router of a host that was none.
//!
//! Containers need `ip_forward`, which is one switch for all interfaces. Interfaces that were there while it was off do
//! not forward among themselves afterwards: a rule of ours drops that (sets `uplinks4`, `uplinks6`). Whoever comes later
//! (another engine's bridge, a VPN) is not our business. What was switched is remembered in the run folder until the next
//! boot, so that a restarted server neither forgets it nor takes somebody's own switching for its own.

use super::firewall::{Element, Firewall};
use super::kernel;
use super::link::Routes;
use crate::{Doing, Result};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;

/// What we switched on.
#[derive(Debug, Default)]
pub struct Forwarding {
    file: PathBuf,
    kept: Kept,
}

/// The file's content.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// The kernel's boot id: after another boot nothing of it holds.
    boot: String,
    /// Interfaces when IPv4 forwarding was switched on by us; `None`: it was on.
    v4: Option<Vec<String>>,
    /// The same for IPv6.
    v6: Option<Vec<String>>,
}

const V4: &str = "ipv4/ip_forward";
const V6: &str = "ipv6/conf/all/forwarding";

fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

impl Forwarding {
    /// What an earlier server switched on since the host's boot.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn load(file: PathBuf) -> io::Result<Self> {
        let boot = boot_id()?;
        let kept = match std::fs::read_to_string(&file) {
            // A torn file counts as none: then forwarding that is on counts as the host's own wish.
            Ok(text) => serde_json::from_str::<Kept>(&text).ok().filter(|k| k.boot == boot),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        Ok(Self { file, kept: kept.unwrap_or(Kept { boot, ..Kept::default() }) })
    }

    /// Elements of the firewall that keep the host from routing for others.
    pub fn elements(&self) -> Vec<Element> {
        let of =
            |set: &'static str, names: &Option<Vec<String>>| names.iter().flatten().map(|n| Element::uplink(set, n)).collect::<Vec<_>>();
        [of("uplinks4", &self.kept.v4), of("uplinks6", &self.kept.v6)].concat()
    }

    /// Switches on IPv4 forwarding.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn on_v4(&mut self, routes: &mut Routes, firewall: &mut Firewall, ours: [&str; 2]) -> Result<()> {
        if kernel::get(V4).doing(|| "reading net.ipv4.ip_forward".to_owned())? == "1" {
            return Ok(());
        }
        self.kept.v4 = Some(others(routes, ours)?);
        self.save()?;
        self.hold(firewall)?;
        kernel::set(V4, "1").doing(|| "switching on IPv4 forwarding (net.ipv4.ip_forward)".to_owned())
    }

    /// Switches on IPv6 forwarding. Interfaces that got their address by router advertisement keep doing so: a forwarding
    /// host listens to them only when told twice (accept_ra=2).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn on_v6(&mut self, routes: &mut Routes, firewall: &mut Firewall, ours: [&str; 2]) -> Result<()> {
        let doing = || "switching on IPv6 forwarding (net.ipv6.conf.all.forwarding)".to_owned();
        if kernel::get(V6).doing(doing)? == "1" {
            return Ok(());
        }
        self.kept.v6 = Some(others(routes, ours)?);
        self.save()?;
        self.hold(firewall)?;
        for entry in std::fs::read_dir("/proc/sys/net/ipv6/conf").doing(doing)? {
            let name = entry.doing(doing)?.file_name();
            let name = name.to_string_lossy();
            let key = format!("ipv6/conf/{name}/accept_ra");
            // `default` is for interfaces to come, ours among them; our bridges have 0.
            if !matches!(name.as_ref(), "all" | "default") && kernel::get(&key).doing(doing)? == "1" {
                kernel::set(&key, "2").doing(doing)?;
            }
        }
        kernel::set(V6, "1").doing(doing)
    }

    /// First the rule's elements, then the switch: not for a moment is the host a router.
    fn hold(&self, firewall: &mut Firewall) -> Result<()> {
        firewall.change(&[], &self.elements()).doing(|| "keeping the host from routing for others".to_owned())
    }

    /// Switches off what we switched on, when nobody else came to need it since. `false`: somebody did, and our rule must
    /// stay.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn off(&mut self, routes: &mut Routes, ours: [&str; 2]) -> Result<bool> {
        if self.kept.v4.is_none() && self.kept.v6.is_none() {
            return Ok(true);
        }
        let before: Vec<&String> = self.kept.v4.iter().chain(&self.kept.v6).flatten().collect();
        if others(routes, ours)?.iter().any(|name| !before.contains(&name)) {
            return Ok(false);
        }
        for (path, mine) in [(V4, &mut self.kept.v4), (V6, &mut self.kept.v6)] {
            if mine.take().is_some() {
                kernel::set(path, "0").doing(|| format!("switching off forwarding again ({path})"))?;
            }
        }
        self.save()?;
        Ok(true)
    }

    fn save(&self) -> Result<()> {
        let doing = || format!("writing {}", self.file.display());
        let text = serde_json::to_string(&self.kept).doing(doing)?;
        let new = self.file.with_extension("new");
        std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &self.file)).doing(doing)
    }
}

/// Interfaces that are not ours, but loopback.
fn others(routes: &mut Routes, ours: [&str; 2]) -> Result<Vec<String>> {
    let links = routes.links().doing(|| "listing interfaces".to_owned())?;
    let foreign = |name: &String| name != "lo" && !ours.iter().any(|prefix| name.starts_with(prefix));
    Ok(links.into_iter().map(|l| l.name).filter(foreign).collect())
}
