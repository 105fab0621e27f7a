//! A container's place in a network: what is asked, and what came of it.
//!
//! An attachment is plain data. It is reserved in memory first (address, MAC, host ports, names), written with the
//! container's own row in one transaction, and only then made real in the kernel; so a crash leaves either nothing or
//! something that `adopt` finds in the database.

use crate::container::spec::{ContainerPort, EndpointSpec, HostPort, Protocol};
use crate::container::view::PublishedPort;
use crate::id::{ContainerId, EndpointId, NetworkId, TenantId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// What is asked when a container joins a network.
#[derive(Debug)]
pub struct AttachRequest {
    /// The container.
    pub container: ContainerId,
    /// Its name.
    pub name: String,
    /// Its hostname (a DNS name of it, too).
    pub hostname: String,
    /// Addresses, aliases, links, MAC, priority.
    pub endpoint: EndpointSpec,
    /// Further names in this network that are not shown as aliases (compose services, names made by links).
    pub extra_names: Vec<String>,
    /// Published ports, with publish-all already resolved to `HostPort { ip: None, ports: (0, 0) }`. Only the first
    /// network that can publish gets them.
    pub ports: BTreeMap<ContainerPort, Vec<HostPort>>,
    /// A veth that stands ready in the container's network namespace.
    pub prepared: Option<Prepared>,
}

/// A veth made ahead of time in a pooled network namespace, on its tenant's default bridge. Give it to `reserve`, or
/// give it back with [`super::Networks::discard`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// The tenant whose default bridge it is on.
    pub tenant: TenantId,
    /// That bridge's network.
    pub network: NetworkId,
    /// The endpoint it will be.
    pub endpoint: EndpointId,
    /// Its host side.
    pub host_ifname: String,
    /// Its address.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    /// Its v6 address, where the default network has v6.
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// Its MAC address.
    pub mac_address: String,
}

/// A container's place in a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its id.
    pub endpoint: EndpointId,
    /// Whose.
    pub tenant: TenantId,
    /// The network.
    pub network: NetworkId,
    /// The container.
    pub container: ContainerId,
    /// The container's name.
    pub name: String,
    /// The interface in the container: `eth0`, `eth1`, ….
    pub ifname: String,
    /// Its other end in the host; empty where there is none (macvlan, ipvlan).
    pub host_ifname: String,
    /// IPv4 address and prefix length.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    /// IPv6 address and prefix length.
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// IPv4 gateway; `None` in internal networks.
    pub gateway4: Option<Ipv4Addr>,
    /// IPv6 gateway.
    pub gateway6: Option<Ipv6Addr>,
    /// MAC address, `02:42:…`.
    pub mac_address: String,
    /// The network with the highest gives the default route.
    pub gateway_priority: i64,
    /// Names by which others in the network find it (empty in the default bridge).
    pub dns_names: Vec<String>,
    /// Aliases that only this container uses for others: alias → container name (links).
    pub links: BTreeMap<String, String>,
    /// Published ports as they are.
    pub ports: Vec<PublishedPort>,
    /// Listeners that the container's shim holds.
    pub listeners: Vec<Listener>,
    /// Further, link-local addresses of the interface.
    #[serde(default)]
    pub link_local: Vec<IpAddr>,
    /// Settings of the interface: path under /proc/sys with `IFNAME` in the interface's place, and value.
    #[serde(default)]
    pub sysctls: Vec<(String, String)>,
}

/// A socket of the host that the shim listens on and splices to the container: loopback addresses cannot be reached by
/// DNAT, and IPv6 clients cannot be translated to a container that has IPv4 only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where it listens. IPv6 addresses are v6-only.
    pub listen: SocketAddr,
    /// The container's address.
    pub target: SocketAddr,
}

/// A reserved attachment: nothing in the kernel yet but its host sockets. Dropping it without [`super::Networks::join`]
/// needs [`super::Networks::detach`] to give address and ports back.
#[derive(Debug)]
pub struct Reserved {
    /// The attachment.
    pub attachment: Attachment,
    /// Its listeners, bound (TCP: listening) in the host's network namespace, for the shim.
    pub sockets: Vec<(Listener, OwnedFd)>,
}

/// What the embedded DNS of a container shall do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolverSpec {
    /// `--dns`; empty: the host's.
    pub servers: Vec<IpAddr>,
    /// `--dns-search`; empty: the host's; `.`: none.
    pub search: Vec<String>,
    /// `--dns-opt`; empty: the host's.
    pub options: Vec<String>,
}

/// A container that was found alive after the server's start.
#[derive(Debug)]
pub struct Alive {
    /// The container.
    pub container: ContainerId,
    /// Its network namespace.
    pub netns: OwnedFd,
    /// Its resolver.
    pub resolver: ResolverSpec,
    /// The DNS sockets its shim kept, as [`super::Networks::serve_dns`] gave them.
    pub dns_sockets: Vec<OwnedFd>,
}
