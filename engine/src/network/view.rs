//! What callers ask of networks, and what the engine tells of them.

use crate::id::{ContainerId, EndpointId, NetworkId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network as asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// `bridge`, `macvlan`, `ipvlan`; empty: bridge.
    pub driver: String,
    /// No way out.
    pub internal: bool,
    /// Containers may join it later (always true for ours; echoed).
    pub attachable: bool,
    /// Whether it has IPv4; `None`: yes.
    pub ipv4: Option<bool>,
    /// Whether it has IPv6; `None`: no, unless a v6 subnet is given.
    pub ipv6: Option<bool>,
    /// Address pools.
    pub ipam: Vec<IpamPool>,
    /// The IPAM driver; empty: default.
    pub ipam_driver: String,
    /// The IPAM driver's options.
    pub ipam_options: BTreeMap<String, String>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// One address pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpamPool {
    /// `10.1.0.0/16`.
    pub subnet: String,
    /// The part of it that containers get addresses from.
    pub ip_range: String,
    /// The gateway.
    pub gateway: String,
    /// Addresses that are taken, by name.
    pub aux: BTreeMap<String, String>,
}

/// A network as its tenant sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Its id.
    pub id: NetworkId,
    /// What was asked, with subnets and gateways filled in.
    pub spec: NetworkSpec,
    /// When it was made.
    pub created: Timestamp,
    /// Whether it is one of the three that always exist (bridge, host, none).
    pub predefined: bool,
    /// Running containers in it.
    pub containers: BTreeMap<ContainerId, NetworkMember>,
}

/// A running container in a network.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkMember {
    /// The container's name.
    pub name: String,
    /// Its attachment.
    pub endpoint: EndpointId,
    /// Its MAC address.
    pub mac_address: String,
    /// Its IPv4 address with prefix length.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    /// Its IPv6 address with prefix length.
    pub ipv6: Option<(Ipv6Addr, u8)>,
}

/// A host address and port with its owner: the port ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortUse {
    /// The address.
    pub ip: IpAddr,
    /// The port.
    pub port: u16,
    /// The protocol.
    pub protocol: crate::container::spec::Protocol,
    /// Whose it is.
    pub container: ContainerId,
}
