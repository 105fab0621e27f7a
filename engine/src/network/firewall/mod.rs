//! Our two nft tables, by raw nfnetlink: no `nft`, no iptables.
//!
//! `rules` is the static part, written whole in one atomic batch; networks, ports and veths are elements. The kernel
//! takes an element in 4 µs where a tool needs 2 ms.

mod conntrack;
mod expression;
mod foreign;
mod rules;
mod wire;

pub use wire::{Family, Netfilter, attribute, messages, text};

use super::ipam::Cidr;
use super::plan::{Bridge, GatewayMode};
use crate::container::spec::Protocol;
use rules::{SETS, Set};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wire::{APPEND, Batch, CREATE, Kind};

/// At most this many elements in one message: an attribute's length has 16 bits, and an element takes up to 100 bytes.
const CHUNK: usize = 400;

/// An element of one of our sets or maps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    set: &'static str,
    key: Vec<u8>,
    /// First address after an interval.
    end: Option<Vec<u8>>,
    value: Vec<u8>,
}

fn pad(part: &[u8]) -> Vec<u8> {
    let mut bytes = part.to_vec();
    bytes.resize(part.len().next_multiple_of(4), 0);
    bytes
}

fn name(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// The protocol's number.
pub fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

impl Element {
    fn new(set: &'static str, parts: &[&[u8]]) -> Self {
        Self { set, key: parts.iter().flat_map(|p| pad(p)).collect(), end: None, value: Vec::new() }
    }

    /// What a bridge needs. `internal`: it has no way out.
    pub fn bridge(ifname: &str, subnets: &[Cidr], internal: bool, options: &Bridge) -> Vec<Self> {
        let n = name(ifname);
        let mut elements = vec![Self::new("bridges", &[&n]), Self::new("hairpin", &[&n, &n])];
        if options.icc {
            elements.push(Self::new("neighbours", &[&n, &n]));
        }
        if internal {
            elements.push(Self::new("internal", &[&n]));
        } else {
            let routed = |mode: GatewayMode| mode == GatewayMode::Routed;
            if let Some(ip) = options.source4 {
                elements.push(Self { value: octets(ip.into()), ..Self::new("source4", &[&n]) });
            }
            if let Some(ip) = options.source6 {
                elements.push(Self { value: octets(ip.into()), ..Self::new("source6", &[&n]) });
            }
            if options.masquerade && !routed(options.mode4) {
                elements.push(Self::new("masquerade4", &[&n]));
            }
            if options.masquerade && !routed(options.mode6) {
                elements.push(Self::new("masquerade6", &[&n]));
            }
            elements.extend(options.trusted.iter().map(|from| Self::new("trusted", &[&name(from), &n])));
        }
        for subnet in subnets {
            let (first, last) = (subnet.first(), subnet.last());
            let (set, open, open_subnets, mode) = match first.is_ipv4() {
                true => ("subnets4", "open4", "open_subnets4", options.mode4),
                false => ("subnets6", "open6", "open_subnets6", options.mode6),
            };
            let after = match last {
                IpAddr::V4(a) => Ipv4Addr::from(u32::from(a).wrapping_add(1)).octets().to_vec(),
                IpAddr::V6(a) => Ipv6Addr::from(u128::from(a).wrapping_add(1)).octets().to_vec(),
            };
            elements.push(Self { set, key: octets(first), end: Some(after.clone()), value: Vec::new() });
            if !internal && mode == GatewayMode::Unprotected {
                elements.push(Self::new(open, &[&n]));
                elements.push(Self { set: open_subnets, key: octets(first), end: Some(after), value: Vec::new() });
            }
        }
        elements
    }

    /// A published port of a container in a routed network.
    pub fn routed(protocol: Protocol, container: IpAddr, port: u16) -> Self {
        let set = if container.is_ipv4() { "routed4" } else { "routed6" };
        Self::new(set, &[&octets(container), &[number(protocol)], &port.to_be_bytes()])
    }

    /// What a container's veth on a bridge needs to be heard. `separate`: not by its neighbours.
    pub fn veth(bridge: &str, ifname: &str, mac: [u8; 6], ipv4: &[Ipv4Addr], ipv6: &[Ipv6Addr], separate: bool) -> Vec<Self> {
        let n = name(ifname);
        let mut elements = vec![Self::new("ether", &[&n, &mac])];
        for ip in ipv4 {
            elements.push(Self::new("address4", &[&n, &ip.octets()]));
            elements.push(Self::new("arp4", &[&n, &mac, &ip.octets()]));
            elements.push(Self::new("members4", &[&name(bridge), &ip.octets()]));
        }
        for ip in ipv6.iter().filter(|ip| !ip.is_unicast_link_local()) {
            elements.push(Self::new("members6", &[&name(bridge), &ip.octets()]));
        }
        for ip in ipv6 {
            elements.push(Self::new("address6", &[&n, &ip.octets()]));
        }
        if separate {
            elements.push(Self::new("separate", &[&n]));
        }
        elements
    }

    /// An interface that shall not become a router's by our switching: see `forwarding`.
    pub fn uplink(set: &'static str, ifname: &str) -> Self {
        Self::new(set, &[&name(ifname)])
    }

    /// A published port. An unspecified host address stands for all of its family.
    pub fn port(protocol: Protocol, host: IpAddr, host_port: u16, container: IpAddr, container_port: u16) -> Self {
        let proto = [number(protocol)];
        let port = host_port.to_be_bytes();
        let mut element = match host {
            IpAddr::V4(a) if a.is_unspecified() => Self::new("ports4_any", &[&proto, &port]),
            IpAddr::V4(a) => Self::new("ports4", &[&a.octets(), &proto, &port]),
            IpAddr::V6(a) if a.is_unspecified() => Self::new("ports6_any", &[&proto, &port]),
            IpAddr::V6(a) => Self::new("ports6", &[&a.octets(), &proto, &port]),
        };
        element.value = [pad(&octets(container)), pad(&container_port.to_be_bytes())].concat();
        element
    }
}

/// Our tables in one network namespace.
#[derive(Debug)]
pub struct Firewall {
    netfilter: Netfilter,
    table: String,
    veths: String,
}

impl Firewall {
    /// `table`: the instance's name; `veths`: what the names of its veths begin with.
    pub fn open(table: String, veths: String) -> io::Result<Self> {
        Ok(Self { netfilter: Netfilter::open()?, table, veths })
    }

    /// The port id that our changes carry in the kernel's notifications.
    pub fn port(&self) -> u32 {
        self.netfilter.port()
    }

    /// Bytes told to the kernel.
    #[cfg(test)]
    pub fn carried(&self) -> usize {
        self.netfilter.carried
    }

    /// Replaces both tables, in one atomic step, by the static part and these elements.
    pub fn rebuild(&mut self, elements: &[Element]) -> io::Result<()> {
        let table = self.table.clone();
        let mut batch = Batch::default();
        for family in [Family::Inet, Family::Bridge] {
            // Make it, so that the removal cannot miss; remove it with all it has; make it anew.
            for kind in [Kind::NewTable, Kind::DelTable, Kind::NewTable] {
                batch.add(kind, if kind == Kind::NewTable { CREATE } else { 0 }, family, |a| {
                    a.text(1, &table);
                });
            }
        }
        for (id, set) in SETS.iter().enumerate() {
            batch.add(Kind::NewSet, CREATE, set.family, |a| encode_set(a, &table, set, id as u32 + 1));
        }
        for chain in rules::chains(&self.veths) {
            batch.add(Kind::NewChain, CREATE, chain.family, |a| {
                a.text(1, &table).text(3, chain.name);
                a.nest(4, |h| {
                    h.number(1, chain.hook).bytes(2, &chain.priority.to_be_bytes());
                });
                a.text(7, chain.kind);
            });
            for rule in &chain.rules {
                batch.add(Kind::NewRule, CREATE | APPEND, chain.family, |a| {
                    a.text(1, &table).text(2, chain.name).nest(4, |list| rule.iter().for_each(|e| e.encode(list)));
                });
            }
        }
        self.put(&mut batch, Kind::NewElements, elements);
        self.netfilter.send(batch)
    }

    /// Adds and removes elements in one atomic step.
    ///
    /// # Errors
    /// ENOENT when something to remove (or a table) is not there: then `rebuild`.
    pub fn change(&mut self, remove: &[Element], add: &[Element]) -> io::Result<()> {
        let mut batch = Batch::default();
        self.put(&mut batch, Kind::DelElements, remove);
        self.put(&mut batch, Kind::NewElements, add);
        self.netfilter.send(batch)
    }

    /// Forgets old UDP flows of published ports, so that the maps decide anew, and all flows answered by
    /// these container addresses.
    pub fn forget_flows(&mut self, ports: &[(IpAddr, u16)], container: &[IpAddr]) -> io::Result<()> {
        for (ip, port) in ports {
            conntrack::forget_port(&mut self.netfilter, *ip, *port)?;
        }
        for ip in container {
            conntrack::forget_container(&mut self.netfilter, *ip)?;
        }
        Ok(())
    }

    /// Removes our tables.
    pub fn remove(&mut self) -> io::Result<()> {
        let table = self.table.clone();
        let mut batch = Batch::default();
        for family in [Family::Inet, Family::Bridge] {
            batch.add(Kind::NewTable, CREATE, family, |a| {
                a.text(1, &table);
            });
            batch.add(Kind::DelTable, 0, family, |a| {
                a.text(1, &table);
            });
        }
        self.netfilter.send(batch)
    }

    /// Puts an accept rule for bridges whose names begin with `prefix` in front of every foreign chain that would drop
    /// forwarded packets. Returns the chains that got one now.
    pub fn open_foreign_chains(&mut self, prefix: &str) -> io::Result<Vec<String>> {
        foreign::open(&mut self.netfilter, &self.table, prefix)
    }

    /// Takes those rules out again.
    pub fn close_foreign_chains(&mut self) -> io::Result<()> {
        foreign::close(&mut self.netfilter, &self.table)
    }

    fn put(&self, batch: &mut Batch, kind: Kind, elements: &[Element]) {
        for set in SETS {
            let of_set: Vec<&Element> = elements.iter().filter(|e| e.set == set.name).collect();
            for chunk in of_set.chunks(CHUNK) {
                batch.add(kind, if kind == Kind::NewElements { CREATE } else { 0 }, set.family, |a| {
                    a.text(1, &self.table).text(2, set.name).nest(3, |list| {
                        for element in chunk {
                            encode_element(list, &element.key, &element.value, false);
                            if let Some(end) = &element.end {
                                encode_element(list, end, &[], true);
                            }
                        }
                    });
                });
            }
        }
    }
}

fn encode_element(list: &mut wire::Attributes, key: &[u8], value: &[u8], interval_end: bool) {
    list.nest(1, |e| {
        e.nest(1, |k| {
            k.bytes(1, key);
        });
        if !value.is_empty() {
            e.nest(2, |v| {
                v.bytes(1, value);
            });
        }
        if interval_end {
            e.number(3, 1);
        }
    });
}

fn encode_set(a: &mut wire::Attributes, table: &str, set: &Set, id: u32) {
    let kind = |types: &[rules::Type]| types.iter().fold(0, |all, t| all << 6 | *t as u32);
    let size = |types: &[rules::Type]| match types {
        [one] => one.size(),
        many => many.iter().map(|t| t.size().next_multiple_of(4)).sum(),
    };
    // NFT_SET_INTERVAL 4, NFT_SET_MAP 8.
    let flags = if set.interval { 4 } else { 0 } | if set.value.is_empty() { 0 } else { 8 };
    a.text(1, table).text(2, set.name).number(3, flags).number(4, kind(set.key)).number(5, size(set.key));
    if !set.value.is_empty() {
        a.number(6, kind(set.value)).number(7, size(set.value));
    }
    a.number(10, id);
    // For `nft list`: byte order of keys (0) and values (1): big-endian 2, host 1.
    let order = |types: &[rules::Type]| if types == [rules::Type::Name] { 1u32 } else { 2 };
    let mut user = vec![0, 4];
    user.extend_from_slice(&order(set.key).to_ne_bytes());
    if !set.value.is_empty() {
        user.extend_from_slice(&[1, 4]);
        user.extend_from_slice(&order(set.value).to_ne_bytes());
    }
    a.bytes(13, &user);
}

#[cfg(test)]
mod tests;
