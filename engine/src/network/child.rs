//! Networks on an interface of the host: macvlan and ipvlan. Their containers stand on the host's wire beside the host, past
//! its bridges and firewall, which is why the parent is a grant. Without a parent such a network is a closed one on a dummy
//! interface of our own.

use super::NetworkSpec;
use super::kernel::Kernel;
use super::link::{self, Beside};
use crate::{Doing, Error, Result};
use netlink_packet_route::link::{IpVlanFlags, IpVlanMode, MacVlanMode};
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

/// How its containers' interfaces share the parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Each has a MAC address of its own.
    Macvlan(MacVlanMode),
    /// All have the parent's, and are told apart by address.
    Ipvlan(IpVlanMode, IpVlanFlags),
}

/// What a network of this kind is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// How.
    pub sharing: Sharing,
    /// The host's interface; empty: none, a dummy of ours stands in.
    pub parent: String,
}

impl Child {
    /// Whether containers have a route over the interface itself, not to a gateway (ipvlan's layer 3 modes).
    pub fn routes_by_device(&self) -> bool {
        matches!(self.sharing, Sharing::Ipvlan(IpVlanMode::L3 | IpVlanMode::L3S, _))
    }

    /// Whether no other network may use the parent.
    pub fn is_alone(&self) -> bool {
        self.sharing == Sharing::Macvlan(MacVlanMode::Passthrough)
    }

    /// `eth0.50`: the interface and the VLAN to make on it, should the parent be absent.
    pub fn vlan(&self) -> Option<(&str, u16)> {
        let (base, id) = self.parent.rsplit_once('.')?;
        let id = id.parse().ok().filter(|id| (1..=4094).contains(id))?;
        (!base.is_empty()).then_some((base, id))
    }
}

/// Whether this driver's networks are of this kind.
pub fn is_child(spec: &NetworkSpec) -> bool {
    matches!(spec.driver.as_str(), "macvlan" | "ipvlan")
}

/// Whether a driver option is read here and not by a bridge.
pub fn is_option(spec: &NetworkSpec, key: &str) -> bool {
    is_child(spec)
        && match spec.driver.as_str() {
            "macvlan" => matches!(key, "parent" | "macvlan_mode"),
            _ => matches!(key, "parent" | "ipvlan_mode" | "ipvlan_flag"),
        }
}

/// Reads the driver options; `None`: another driver's network.
///
/// # Errors
/// For a mode or flag that does not exist, and for a bridge's options.
pub fn child(spec: &NetworkSpec) -> Result<Option<Child>> {
    if !is_child(spec) {
        return Ok(None);
    }
    if let Some(key) = spec.options.keys().find(|k| k.starts_with("com.docker.network.bridge.")) {
        return Err(Error::invalid(format!("the option {key} is a bridge's: a {} network has none", spec.driver)));
    }
    let option = |key: &str| spec.options.get(key).map(String::as_str).unwrap_or_default();
    let sharing = if spec.driver == "macvlan" {
        Sharing::Macvlan(match option("macvlan_mode") {
            "" | "bridge" => MacVlanMode::Bridge,
            "private" => MacVlanMode::Private,
            "vepa" => MacVlanMode::Vepa,
            "passthru" => MacVlanMode::Passthrough,
            other => return Err(Error::invalid(format!("unknown macvlan mode: {other}"))),
        })
    } else {
        let mode = match option("ipvlan_mode") {
            "" | "l2" => IpVlanMode::L2,
            "l3" => IpVlanMode::L3,
            "l3s" => IpVlanMode::L3S,
            other => return Err(Error::invalid(format!("unknown ipvlan mode: {other}"))),
        };
        let flag = match option("ipvlan_flag") {
            "" | "bridge" => IpVlanFlags::empty(),
            "private" => IpVlanFlags::Private,
            "vepa" => IpVlanFlags::Vepa,
            other => return Err(Error::invalid(format!("unknown ipvlan flag: {other}"))),
        };
        Sharing::Ipvlan(mode, flag)
    };
    let parent = option("parent");
    // The longest name that the kernel takes; loopback carries nobody.
    if parent == "lo" || parent.len() > 15 || parent.contains('/') || parent.chars().any(char::is_whitespace) {
        return Err(Error::invalid(format!("invalid parent interface {parent:?}")));
    }
    Ok(Some(Child { sharing, parent: parent.to_owned() }))
}

/// Whether two networks want a parent that only one can have.
pub fn conflict(new: &Child, other: &Child, other_name: &str) -> Result<()> {
    if new.parent.is_empty() || new.parent != other.parent {
        return Ok(());
    }
    let kind = |c: &Child| matches!(c.sharing, Sharing::Macvlan(_));
    if kind(new) != kind(other) || new.is_alone() || other.is_alone() {
        return Err(Error::forbidden(format!("network {other_name} is already using parent interface {}", new.parent)));
    }
    Ok(())
}

/// Makes what the network stands on, where it is not there: `own` is the dummy's or VLAN's name. Returns whether it was made.
///
/// # Errors
/// `Invalid` for an absent parent, `Unsupported` where the kernel has no such interfaces.
pub fn make_parent(kernel: &mut Kernel, child: &Child, own: &str) -> Result<bool> {
    let name = if child.parent.is_empty() { own } else { &child.parent };
    let doing = || format!("making the interface {name}");
    if kernel.routes.link(name).doing(doing)?.is_some() {
        return Ok(false);
    }
    let request = if child.parent.is_empty() {
        link::new_dummy(name)
    } else {
        let absent = || Error::invalid(format!("the parent interface {name} was not found on the host"));
        let (base, id) = child.vlan().ok_or_else(absent)?;
        let base = kernel.routes.link(base).doing(doing)?.ok_or_else(absent)?;
        link::new_vlan(name, base.index, id)
    };
    kernel.routes.send([request, link::up(name)]).map_err(|e| without(e, doing()))?;
    Ok(true)
}

/// What the kernel's "unknown type" means to somebody.
fn without(error: io::Error, doing: String) -> Error {
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => Error::unsupported(&format!("{doing}: this kernel has no interfaces of that type, which")),
        _ => Error::internal(doing, error),
    }
}

/// A container's interface to make on a parent.
pub(super) struct Place {
    pub sharing: Sharing,
    pub parent: String,
    pub ifname: String,
    pub mac: [u8; 6],
    pub mtu: Option<u32>,
}

impl Place {
    /// Makes it in the container's namespace, switched off.
    pub fn make(&self, kernel: &mut Kernel, netns: BorrowedFd<'_>) -> Result<()> {
        let doing = || format!("making the interface {} of a container on {}", self.ifname, self.parent);
        let parent = kernel.routes.link(&self.parent).doing(doing)?;
        let parent = parent.ok_or_else(|| Error::conflict(format!("the parent interface {} is not there any more", self.parent)))?;
        let beside = Beside { name: &self.ifname, parent: parent.index, mac: self.mac, mtu: self.mtu, netns };
        let request = match self.sharing {
            Sharing::Macvlan(mode) => link::new_macvlan(&beside, mode),
            Sharing::Ipvlan(mode, flags) => link::new_ipvlan(&beside, mode, flags),
        };
        kernel.routes.send([request]).map_err(|e| without(e, doing()))
    }
}

/// A default route for each family that the addresses are of.
pub fn families(addresses: &[(IpAddr, u8)]) -> Vec<bool> {
    let mut families: Vec<bool> = addresses.iter().map(|(ip, _)| ip.is_ipv4()).collect();
    families.sort_unstable();
    families.dedup();
    families
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(driver: &str, options: &[(&str, &str)]) -> NetworkSpec {
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        NetworkSpec { name: "n".to_owned(), driver: driver.to_owned(), options, ..Default::default() }
    }

    #[test]
    fn modes_and_what_is_none() {
        assert_eq!(child(&spec("bridge", &[("parent", "eth0")])).unwrap(), None);
        let plain = child(&spec("macvlan", &[("parent", "eth0.50")])).unwrap().unwrap();
        assert_eq!(plain.sharing, Sharing::Macvlan(MacVlanMode::Bridge));
        assert_eq!(plain.vlan(), Some(("eth0", 50)));
        let l3 = child(&spec("ipvlan", &[("ipvlan_mode", "l3"), ("ipvlan_flag", "private")])).unwrap().unwrap();
        assert_eq!(l3.sharing, Sharing::Ipvlan(IpVlanMode::L3, IpVlanFlags::Private));
        assert!(l3.routes_by_device() && l3.vlan().is_none());
        for (driver, key, value) in [
            ("macvlan", "macvlan_mode", "source"),
            ("ipvlan", "ipvlan_mode", "l4"),
            ("ipvlan", "ipvlan_flag", "x"),
            ("macvlan", "parent", "lo"),
            ("macvlan", "parent", "a b"),
            ("macvlan", "com.docker.network.bridge.name", "br0"),
        ] {
            assert!(child(&spec(driver, &[(key, value)])).is_err(), "{key}={value}");
        }
    }

    #[test]
    fn a_parent_is_shared_by_one_kind_only() {
        let one = |driver: &str, options: &[(&str, &str)]| child(&spec(driver, options)).unwrap().unwrap();
        let bridge = one("macvlan", &[("parent", "eth0")]);
        assert!(conflict(&bridge, &bridge, "a").is_ok());
        assert!(conflict(&one("ipvlan", &[("parent", "eth0")]), &bridge, "a").is_err());
        let alone = one("macvlan", &[("parent", "eth0"), ("macvlan_mode", "passthru")]);
        assert!(conflict(&alone, &bridge, "a").is_err() && conflict(&bridge, &alone, "a").is_err());
        assert!(conflict(&one("macvlan", &[("parent", "eth1")]), &alone, "a").is_ok());
    }
}
