//! Volumes and networks before the law, and how many of each thing a tenant may have.

use super::{Authorized, Denied, Judge, Standing, hash_of};
use crate::grant::GrantKind;
use crate::network::{Cidr, IpamPool, NetworkSpec, is_private};
use crate::tenant::Quota;
use crate::volume::VolumeSpec;
use crate::{Error, Kind, Result, Subject};

/// Whether the subject may make this volume; also asked when one that has driver options is mounted.
///
/// # Errors
/// A refusal that names the grant it would take.
pub fn authorize_volume(who: &Subject, standing: &Standing, spec: VolumeSpec) -> Result<Authorized<VolumeSpec>, Denied> {
    let mut judge = Judge::new(who, standing);
    let VolumeSpec { name: _, driver, options, labels: _ } = &spec;
    if !matches!(driver.as_str(), "" | "local") {
        judge.refuse(format!("there is no volume driver {driver}"));
    }
    judge.volume_options(options);
    let hash = hash_of(&spec);
    judge.finish(spec, hash)
}

/// Whether the subject may make this network.
///
/// # Errors
/// A refusal that names the grant it would take.
pub fn authorize_network(who: &Subject, standing: &Standing, spec: NetworkSpec) -> Result<Authorized<NetworkSpec>, Denied> {
    let mut judge = Judge::new(who, standing);
    let NetworkSpec {
        name: _,
        driver,
        // Tighter, or an echo.
        internal: _,
        attachable: _,
        ipv4: _,
        ipv6: _,
        ipam,
        ipam_driver,
        ipam_options: _,
        options,
        labels: _,
    } = &spec;
    match driver.as_str() {
        "" | "bridge" => {
            // These choose the host's interface or open the bridge to it: other networks of the host are not the tenant's.
            let given = |name: &str| options.get(name).filter(|v| !v.is_empty());
            let (chosen, trusted) = ("com.docker.network.bridge.name", "com.docker.network.bridge.trusted_host_interfaces");
            if let Some(value) = given(chosen) {
                judge.need(format!("the option {chosen}"), GrantKind::NetworkParent(value.clone()));
            }
            for value in given(trusted).into_iter().flat_map(|names| names.split(':')).filter(|name| !name.is_empty()) {
                judge.need(format!("the option {trusted}"), GrantKind::NetworkParent(value.to_owned()));
            }
            // These speak by an address of the host that others have too, or open ports that nobody published.
            for name in ["com.docker.network.host_ipv4", "com.docker.network.host_ipv6"] {
                if let Some(value) = given(name) {
                    judge.need(format!("the option {name}={value}"), GrantKind::NetworkHost);
                }
            }
            for name in ["com.docker.network.bridge.gateway_mode_ipv4", "com.docker.network.bridge.gateway_mode_ipv6"] {
                if let Some(value) = given(name).filter(|mode| matches!(mode.as_str(), "routed" | "nat-unprotected")) {
                    judge.need(format!("the option {name}={value}"), GrantKind::NetworkHost);
                }
            }
        }
        // Without a parent it is a closed network of its own.
        "macvlan" | "ipvlan" => {
            if let Some(parent) = options.get("parent").filter(|p| !p.is_empty()) {
                judge.need(format!("a network on the interface {parent}"), GrantKind::NetworkParent(parent.clone()));
            }
        }
        other => judge.refuse(format!("there is no network driver {other}")),
    }
    // Whether addresses are free on this host, and lie in their subnet, is the network's own check.
    for IpamPool { subnet, ip_range: _, gateway: _, aux: _ } in ipam {
        // Not those on the host's wire: there the addresses are their owners'.
        let on_the_wire = matches!(driver.as_str(), "macvlan" | "ipvlan");
        if !on_the_wire && subnet.parse::<Cidr>().is_ok_and(|subnet| !is_private(&subnet)) {
            judge.need(format!("the subnet {subnet}, which is not private,"), GrantKind::NetworkHost);
        }
    }
    if !matches!(ipam_driver.as_str(), "" | "default") {
        judge.refuse(format!("there is no IPAM driver {ipam_driver}"));
    }
    let hash = hash_of(&spec);
    judge.finish(spec, hash)
}

/// What is counted against a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Counted {
    Containers,
    Images,
    Volumes,
    Networks,
    Ports,
}

impl Quota {
    /// Whether `more` fit beside the `have` that are there.
    ///
    /// # Errors
    /// `Exhausted`, with the limit.
    pub fn room(&self, what: Counted, have: u64, more: u64) -> Result<()> {
        let (limit, word) = match what {
            Counted::Containers => (self.containers, "containers"),
            Counted::Images => (self.images, "images"),
            Counted::Volumes => (self.volumes, "volumes"),
            Counted::Networks => (self.networks, "networks"),
            Counted::Ports => (self.ports, "published ports"),
        };
        match limit {
            Some(limit) if have.saturating_add(more) > limit => Err(Error::new(
                Kind::Exhausted,
                format!("quota reached: the tenant has {have} of at most {limit} {word}; remove some or ask an administrator for more"),
            )),
            _ => Ok(()),
        }
    }
}
