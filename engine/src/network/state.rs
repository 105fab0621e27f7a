//! What we know of networks, in memory: the database's rows and what runs. Functions here are short and hold the lock only
//! as long as they run.

use super::child::{self, Child};
use super::firewall::Element;
use super::ipam::Cidr;
use super::plan::{self, Bridge, GatewayMode, Subnet, link_local, parse_mac};
use super::ports::Ledger;
use super::{Attachment, Network, NetworkMember, NetworkSpec, Prepared};
use crate::Result;
use crate::container::spec::Protocol;
use crate::id::{ContainerId, EndpointId, NetworkId, TenantId};
use crate::inventory::networks::NetworkRow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

/// A network.
#[derive(Debug)]
pub struct Net {
    /// Its row.
    pub row: NetworkRow,
    /// How it behaves.
    pub bridge: Bridge,
    /// It is on an interface of the host, and no bridge.
    pub child: Option<Child>,
    /// The bridge's index in the kernel, once it is there.
    pub index: Option<u32>,
    /// IPv4.
    pub v4: Option<Subnet>,
    /// IPv6.
    pub v6: Option<Subnet>,
}

impl Net {
    /// From its row.
    pub fn load(row: NetworkRow) -> Result<Self> {
        let bridge = plan::bridge(&row.spec)?;
        let (v4, v6) = plan::subnets(&row.spec)?;
        let child = child::child(&row.spec)?;
        Ok(Self { row, bridge, child, index: None, v4, v6 })
    }

    /// Whether it has a bridge of ours (not `host`, `none`, macvlan, ipvlan).
    pub fn is_bridge(&self) -> bool {
        !self.row.ifname.is_empty() && self.child.is_none()
    }

    /// Whether containers can be in it (not `host` and `none`).
    pub fn takes_containers(&self) -> bool {
        self.is_bridge() || self.child.is_some()
    }

    /// Whether it has no way out.
    pub fn is_closed(&self) -> bool {
        self.row.spec.internal || self.child.as_ref().is_some_and(|c| c.parent.is_empty())
    }

    /// The gateway that containers are told of.
    pub fn gateway(&self, v4: bool) -> Option<IpAddr> {
        let subnet = if v4 { &self.v4 } else { &self.v6 };
        let by_device = self.child.as_ref().is_some_and(Child::routes_by_device);
        subnet.as_ref().filter(|_| !self.is_closed() && !by_device).map(|s| s.gateway)
    }

    /// Whether it is a tenant's `bridge`.
    pub fn is_default(&self) -> bool {
        self.row.predefined && self.is_bridge()
    }

    /// Its subnets.
    pub fn subnets(&self) -> Vec<Cidr> {
        [&self.v4, &self.v6].into_iter().flatten().map(|s| s.pool.subnet()).collect()
    }

    /// What its bridge needs in the firewall.
    pub fn elements(&self) -> Vec<Element> {
        if !self.is_bridge() {
            return Vec::new();
        }
        Element::bridge(&self.row.ifname, &self.subnets(), self.row.spec.internal, &self.bridge)
    }

    /// What is needed to make its bridge.
    pub fn facts(&self) -> BridgeFacts {
        let with_length = |s: &Subnet| (s.gateway, s.pool.subnet().length());
        BridgeFacts {
            ifname: self.row.ifname.clone(),
            mac: bridge_mac(&self.row.id),
            mtu: self.bridge.mtu,
            addresses: [self.v4.as_ref().filter(|_| !self.bridge.bare4), self.v6.as_ref().filter(|_| !self.bridge.bare6)]
                .into_iter()
                .flatten()
                .map(with_length)
                .collect(),
        }
    }

    /// Gives addresses back.
    pub fn give(&mut self, ips: impl IntoIterator<Item = IpAddr>) {
        for ip in ips {
            let subnet = if ip.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
            if let Some(subnet) = subnet {
                subnet.pool.give(ip);
            }
        }
    }
}

/// Always the same for the same network, so that a repaired bridge is the one that containers have in their caches.
fn bridge_mac(id: &NetworkId) -> [u8; 6] {
    let digest = crate::Digest::of(id.as_str().as_bytes());
    let b = digest.as_bytes();
    [0x02, 0x42, b[0], b[1], b[2], b[3]]
}

/// A bridge as the kernel shall have it.
#[derive(Debug, Clone)]
pub struct BridgeFacts {
    /// Its name.
    pub ifname: String,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Its MTU.
    pub mtu: Option<u32>,
    /// Its addresses.
    pub addresses: Vec<(IpAddr, u8)>,
}

impl BridgeFacts {
    /// Whether it has IPv6.
    pub fn has_v6(&self) -> bool {
        self.addresses.iter().any(|(ip, _)| ip.is_ipv6())
    }
}

/// A container's place in a network.
#[derive(Debug)]
pub struct Endpoint {
    /// It.
    pub attachment: Attachment,
    /// Its veth was made ahead of time.
    pub prepared: bool,
    /// Its elements are in the firewall, not only reserved.
    pub installed: bool,
    /// Its interface was made: should it be missing, somebody else removed it.
    pub plugged: bool,
    /// The container's namespace, once joined.
    pub netns: Option<Arc<OwnedFd>>,
}

/// All we know.
#[derive(Debug, Default)]
pub struct State {
    /// Networks.
    pub networks: HashMap<NetworkId, Net>,
    /// Networks by tenant and name.
    pub names: HashMap<(TenantId, String), NetworkId>,
    /// Endpoints.
    pub endpoints: HashMap<EndpointId, Endpoint>,
    /// Endpoints by container, in the order they came.
    pub containers: HashMap<ContainerId, Vec<EndpointId>>,
    /// Veths that wait for a container.
    pub prepared: HashMap<EndpointId, Prepared>,
    /// Published ports.
    pub ports: Ledger,
    /// Veths of containers that ended, since when: they go with their namespaces, or are removed after a while.
    pub ended: Vec<(Instant, String)>,
    /// DNS: what a name stands for in a network. Names are in lower case.
    dns: HashMap<NetworkId, HashMap<String, Vec<EndpointId>>>,
}

impl State {
    /// Puts a network in.
    pub fn insert(&mut self, net: Net) {
        self.names.insert((net.row.tenant, net.row.spec.name.clone()), net.row.id.clone());
        self.networks.insert(net.row.id.clone(), net);
    }

    /// Takes a network out.
    pub fn remove(&mut self, id: &NetworkId) -> Option<Net> {
        let net = self.networks.remove(id)?;
        self.names.remove(&(net.row.tenant, net.row.spec.name.clone()));
        Some(net)
    }

    /// A tenant's network by full id, name or unique id prefix, in this order.
    pub fn find(&self, tenant: TenantId, name: &str) -> Option<&Net> {
        let own = |net: &&Net| net.row.tenant == tenant;
        if let Some(net) = name.parse().ok().and_then(|id| self.networks.get(&id)).filter(own) {
            return Some(net);
        }
        // dockerd's other name for the default network.
        let name = if name == "default" { "bridge" } else { name };
        if let Some(net) = self.names.get(&(tenant, name.to_owned())).and_then(|id| self.networks.get(id)) {
            return Some(net);
        }
        let mut matching = self.networks.values().filter(own).filter(|n| !name.is_empty() && n.row.id.as_str().starts_with(name));
        matching.next().filter(|_| matching.next().is_none())
    }

    /// A network's view.
    pub fn view(&self, net: &Net) -> Network {
        let members = self.endpoints.values().map(|e| &e.attachment).filter(|a| a.network == net.row.id).map(|a| {
            let member = NetworkMember {
                name: a.name.clone(),
                endpoint: a.endpoint.clone(),
                mac_address: a.mac_address.clone(),
                ipv4: a.ipv4,
                ipv6: a.ipv6,
            };
            (a.container.clone(), member)
        });
        Network {
            id: net.row.id.clone(),
            spec: shown(net),
            created: net.row.created,
            predefined: net.row.predefined,
            containers: members.collect(),
        }
    }

    /// All subnets of all networks.
    pub fn subnets(&self) -> Vec<Cidr> {
        self.networks.values().flat_map(Net::subnets).collect()
    }

    /// What a container's veth needs in the firewall.
    pub fn veth_elements(&self, network: &NetworkId, ifname: &str, mac: &str, ips: &[IpAddr]) -> Vec<Element> {
        // A MAC address in our books was parsed when it came in.
        let Ok(mac) = parse_mac(mac) else { return Vec::new() };
        let Some(net) = self.networks.get(network).filter(|n| n.is_bridge()) else { return Vec::new() };
        let v4: Vec<_> = ips.iter().filter_map(|ip| if let IpAddr::V4(a) = ip { Some(*a) } else { None }).collect();
        let mut v6: Vec<_> = ips.iter().filter_map(|ip| if let IpAddr::V6(a) = ip { Some(*a) } else { None }).collect();
        if !v6.is_empty() {
            v6.push(link_local(mac));
        }
        Element::veth(&net.row.ifname, ifname, mac, &v4, &v6, !net.bridge.icc)
    }

    /// What an attachment's veth needs in the firewall.
    pub fn endpoint_elements(&self, a: &Attachment) -> Vec<Element> {
        let mut ips = addresses(a);
        ips.extend(&a.link_local);
        self.veth_elements(&a.network, &a.host_ifname, &a.mac_address, &ips)
    }

    /// What an attachment's published ports need in the firewall. Loopback and other-family ports are the shim's.
    pub fn port_elements(&self, a: &Attachment) -> Vec<Element> {
        let modes = self.networks.get(&a.network).map(|n| (n.bridge.mode4, n.bridge.mode6)).unwrap_or_default();
        let mut elements = Vec::new();
        for port in &a.ports {
            let (target, mode) = match port.ip {
                IpAddr::V4(_) => (a.ipv4.map(|(ip, _)| IpAddr::V4(ip)), modes.0),
                IpAddr::V6(_) => (a.ipv6.map(|(ip, _)| IpAddr::V6(ip)), modes.1),
            };
            let Some(target) = target else { continue };
            if mode == GatewayMode::Routed {
                elements.push(Element::routed(port.container.protocol, target, port.container.port));
            } else if !port.ip.is_loopback() {
                elements.push(Element::port(port.container.protocol, port.ip, port.port, target, port.container.port));
            }
        }
        // A routed port that is asked for twice is one.
        elements.sort();
        elements.dedup();
        elements
    }

    /// Everything that shall be in the firewall.
    pub fn elements(&self) -> Vec<Element> {
        let mut all: Vec<Element> = self.networks.values().flat_map(Net::elements).collect();
        for endpoint in self.endpoints.values().filter(|e| e.installed) {
            all.extend(self.endpoint_elements(&endpoint.attachment));
            all.extend(self.port_elements(&endpoint.attachment));
        }
        for p in self.prepared.values() {
            all.extend(self.veth_elements(&p.network, &p.host_ifname, &p.mac_address, &prepared_addresses(p)));
        }
        all
    }

    /// Makes an endpoint's names known.
    pub fn show(&mut self, id: &EndpointId) {
        let Some(a) = self.endpoints.get(id).map(|e| &e.attachment) else { return };
        let names = self.dns.entry(a.network.clone()).or_default();
        for name in &a.dns_names {
            let holders = names.entry(name.to_ascii_lowercase()).or_default();
            if !holders.contains(id) {
                holders.push(id.clone());
            }
        }
    }

    /// Makes them unknown.
    pub fn hide(&mut self, id: &EndpointId) {
        let Some(a) = self.endpoints.get(id).map(|e| &e.attachment) else { return };
        let Some(names) = self.dns.get_mut(&a.network) else { return };
        for name in &a.dns_names {
            let name = name.to_ascii_lowercase();
            if let Some(holders) = names.get_mut(&name) {
                holders.retain(|e| e != id);
                if holders.is_empty() {
                    names.remove(&name);
                }
            }
        }
        if names.is_empty() {
            self.dns.remove(&a.network);
        }
    }

    /// The addresses of a name (lower case) as a container sees it: in the first of its networks that knows it, also as
    /// `name.network`.
    pub fn resolve(&self, container: &ContainerId, name: &str) -> Option<Vec<IpAddr>> {
        self.containers.get(container)?.iter().find_map(|id| {
            let a = &self.endpoints.get(id)?.attachment;
            let names = self.dns.get(&a.network)?;
            let alias = a.links.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name)).map(|(_, to)| to.to_ascii_lowercase());
            let name = alias.as_deref().unwrap_or(name);
            let holders = names.get(name).or_else(|| {
                // `web.network`; network names may have dots of their own.
                let network = &self.networks.get(&a.network)?.row.spec.name;
                let at = name.len().checked_sub(network.len() + 1).filter(|at| name.as_bytes().get(*at) == Some(&b'.'))?;
                names.get(name.get(..at)?).filter(|_| name.get(at + 1..).is_some_and(|n| n.eq_ignore_ascii_case(network)))
            })?;
            Some(holders.iter().filter_map(|id| self.endpoints.get(id)).flat_map(|e| addresses(&e.attachment)).collect())
        })
    }

    /// The container ports that those with a name publish.
    pub fn published(&self, container: &ContainerId, name: &str, protocol: Protocol) -> Vec<u16> {
        let holders = self.resolve(container, name).unwrap_or_default();
        let of_name = self.endpoints.values().map(|e| &e.attachment).filter(|a| addresses(a).iter().any(|ip| holders.contains(ip)));
        let ports = of_name.flat_map(|a| self.attachments(&a.container)).flat_map(|a| &a.ports);
        ports.filter(|p| p.container.protocol == protocol).map(|p| p.container.port).collect()
    }

    /// The name of an address in a container's networks: `web.network`.
    pub fn reverse(&self, container: &ContainerId, ip: IpAddr) -> Option<String> {
        let own = self
            .attachments(container)
            .into_iter()
            .find(|a| self.networks.get(&a.network).is_some_and(|n| !n.is_default() && n.subnets().iter().any(|s| s.contains(ip))))?;
        let network = self.networks.get(&own.network)?;
        let of_network = self.endpoints.values().map(|e| &e.attachment).filter(|a| a.network == own.network);
        of_network.filter(|a| addresses(a).contains(&ip)).map(|a| format!("{}.{}", a.name, network.row.spec.name)).next()
    }

    /// Whether a container has a way to the outside.
    pub fn has_way_out(&self, container: &ContainerId) -> bool {
        self.attachments(container).iter().any(|a| self.networks.get(&a.network).is_some_and(|n| !n.is_closed()))
    }

    /// Takes an endpoint out, and gives back what it had.
    pub fn release(&mut self, id: &EndpointId) -> Option<Endpoint> {
        self.hide(id);
        let endpoint = self.endpoints.remove(id)?;
        let a = &endpoint.attachment;
        if let Some(of_container) = self.containers.get_mut(&a.container) {
            of_container.retain(|e| e != id);
            if of_container.is_empty() {
                self.containers.remove(&a.container);
            }
        }
        if let Some(net) = self.networks.get_mut(&a.network) {
            net.give(addresses(a));
        }
        for port in &a.ports {
            self.ports.give(port.ip, port.port, port.container.protocol);
        }
        Some(endpoint)
    }

    /// A container's attachments.
    pub fn attachments(&self, container: &ContainerId) -> Vec<&Attachment> {
        let ids = self.containers.get(container).map(Vec::as_slice).unwrap_or_default();
        ids.iter().filter_map(|id| self.endpoints.get(id)).map(|e| &e.attachment).collect()
    }

    /// The attachment at which a container's ports are published: its default route's, for answers leave there; else the first
    /// that can.
    pub fn publisher(&self, container: &ContainerId) -> Option<&Attachment> {
        let can = |a: &&Attachment| self.networks.get(&a.network).is_some_and(|n| n.is_bridge() && !n.row.spec.internal);
        let by_route = [true, false].into_iter().filter_map(|v4| self.gateway(container, v4)).find(can);
        by_route.or_else(|| self.attachments(container).into_iter().find(can))
    }

    /// The attachment that gives a container its default route: the highest priority, then the first by network name.
    pub fn gateway(&self, container: &ContainerId, v4: bool) -> Option<&Attachment> {
        let has = |a: &&Attachment| if v4 { a.gateway4.is_some() } else { a.gateway6.is_some() };
        let name = |a: &Attachment| self.networks.get(&a.network).map(|n| n.row.spec.name.as_str()).unwrap_or_default();
        self.attachments(container)
            .into_iter()
            .filter(has)
            .min_by(|a, b| b.gateway_priority.cmp(&a.gateway_priority).then_with(|| name(a).cmp(name(b))))
    }
}

/// An attachment's addresses.
pub fn addresses(a: &Attachment) -> Vec<IpAddr> {
    let v4 = a.ipv4.map(|(ip, _)| IpAddr::V4(ip));
    v4.into_iter().chain(a.ipv6.map(|(ip, _)| IpAddr::V6(ip))).collect()
}

/// A prepared veth's addresses.
pub fn prepared_addresses(p: &Prepared) -> Vec<IpAddr> {
    let v4 = p.ipv4.map(|(ip, _)| IpAddr::V4(ip));
    v4.into_iter().chain(p.ipv6.map(|(ip, _)| IpAddr::V6(ip))).collect()
}

/// What was asked; the default bridge's options are told in full, as dockerd tells them: clients look for its name there.
fn shown(net: &Net) -> NetworkSpec {
    let mut spec = net.row.spec.clone();
    if net.is_default() {
        let mtu = net.bridge.mtu.unwrap_or(1500).to_string();
        for (key, value) in [
            ("com.docker.network.bridge.default_bridge", "true"),
            ("com.docker.network.bridge.enable_icc", "true"),
            ("com.docker.network.bridge.enable_ip_masquerade", "true"),
            ("com.docker.network.bridge.host_binding_ipv4", "0.0.0.0"),
            ("com.docker.network.bridge.name", &net.row.ifname),
            ("com.docker.network.driver.mtu", &mtu),
        ] {
            spec.options.insert(key.to_owned(), value.to_owned());
        }
    }
    spec
}
