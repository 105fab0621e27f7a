//! rtnetlink: bridges, veth pairs, addresses, routes. A blocking socket used by one thread; several messages go in one
//! `send`, since the kernel works them off before `send` returns.

use super::ipam::Cidr;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST};
use netlink_packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridge, InfoBridgePort, InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoPortData,
    InfoPortKind, InfoVeth, InfoVlan, IpVlanFlags, IpVlanMode, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

const NETLINK_ROUTE: isize = 0;
/// The main routing table.
const RT_TABLE_MAIN: u8 = 254;

/// An interface as the kernel tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The bridge it is a port of.
    pub master: Option<u32>,
    /// Whether it is switched on.
    pub up: bool,
}

impl Link {
    /// From a message, where it has a name.
    pub fn parse(message: &LinkMessage) -> Option<Self> {
        let mut link =
            Link { index: message.header.index, name: String::new(), master: None, up: message.header.flags.contains(LinkFlags::Up) };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Controller(index) => link.master = Some(*index),
                _ => {}
            }
        }
        (!link.name.is_empty()).then_some(link)
    }
}

/// A message with its netlink flags.
pub type Request = (RouteNetlinkMessage, u16);

/// A bridge, not yet switched on. Its MAC is fixed: else it would change with its ports.
pub fn new_bridge(name: &str, mac: [u8; 6], mtu: Option<u32>) -> Request {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message.attributes.push(LinkAttribute::Address(mac.to_vec()));
    message.attributes.extend(mtu.map(LinkAttribute::Mtu));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Bridge),
        // Snooping without a querier loses multicast; and it is state that a container could fill.
        LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::MulticastSnooping(false)])),
    ]));
    (RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// The container's end of a veth.
#[derive(Debug, Clone)]
pub struct Peer<'a> {
    /// `eth0`.
    pub name: &'a str,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// The namespace it is born in.
    pub netns: BorrowedFd<'a>,
}

/// A veth pair: the host's end as a port of a bridge (both down), the other made directly in its namespace.
pub fn new_veth(name: &str, bridge: u32, mtu: Option<u32>, peer: &Peer) -> Request {
    let mut other = LinkMessage::default();
    other.attributes.push(LinkAttribute::IfName(peer.name.to_owned()));
    other.attributes.push(LinkAttribute::Address(peer.mac.to_vec()));
    other.attributes.push(LinkAttribute::NetNsFd(peer.netns.as_raw_fd()));
    other.attributes.extend(mtu.map(LinkAttribute::Mtu));
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message.attributes.push(LinkAttribute::Controller(bridge));
    message.attributes.extend(mtu.map(LinkAttribute::Mtu));
    message
        .attributes
        .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other)))]));
    (RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// A container's interface on one of the host's.
#[derive(Debug, Clone)]
pub struct Beside<'a> {
    /// `eth0`.
    pub name: &'a str,
    /// The index of the host's interface.
    pub parent: u32,
    /// Its MAC address (macvlan only: ipvlan has the parent's).
    pub mac: [u8; 6],
    /// MTU; `None`: the parent's.
    pub mtu: Option<u32>,
    /// The namespace it is born in.
    pub netns: BorrowedFd<'a>,
}

fn beside(place: &Beside, kind: InfoKind, data: InfoData) -> LinkMessage {
    let mut message = named(place.name);
    message.attributes.push(LinkAttribute::Link(place.parent));
    message.attributes.push(LinkAttribute::NetNsFd(place.netns.as_raw_fd()));
    message.attributes.extend(place.mtu.map(LinkAttribute::Mtu));
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]));
    message
}

/// A macvlan interface in a container.
pub fn new_macvlan(place: &Beside, mode: MacVlanMode) -> Request {
    let mut message = beside(place, InfoKind::MacVlan, InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)]));
    // Passthru has the parent's own address, and refuses another.
    if mode != MacVlanMode::Passthrough {
        message.attributes.push(LinkAttribute::Address(place.mac.to_vec()));
    }
    (RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// An ipvlan interface in a container.
pub fn new_ipvlan(place: &Beside, mode: IpVlanMode, flags: IpVlanFlags) -> Request {
    let data = InfoData::IpVlan(vec![InfoIpVlan::Mode(mode), InfoIpVlan::Flags(flags)]);
    (RouteNetlinkMessage::NewLink(beside(place, InfoKind::IpVlan, data)), NLM_F_CREATE | NLM_F_EXCL)
}

/// An interface that leads nowhere.
pub fn new_dummy(name: &str) -> Request {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Dummy)]));
    (RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// A VLAN of an interface.
pub fn new_vlan(name: &str, parent: u32, id: u16) -> Request {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::Link(parent));
    message
        .attributes
        .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(id)]))]));
    (RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

/// Gives an interface no link-local address: a bridge port needs none. To be sent before it is switched on.
pub fn without_link_local(name: &str) -> Request {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)])]));
    (RouteNetlinkMessage::SetLink(message), 0)
}

/// Lets a bridge port send back where a packet came from: a container that talks to itself by the host's address. Needed
/// where br_netfilter translates bridged packets, which then never leave the bridge.
pub fn hairpin(name: &str) -> Request {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(true)])),
    ]));
    (RouteNetlinkMessage::NewLink(message), 0)
}

/// Switches an interface on.
pub fn up(name: &str) -> Request {
    let mut message = named(name);
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    (RouteNetlinkMessage::SetLink(message), 0)
}

/// Makes an interface a port of a bridge.
pub fn enslave(name: &str, bridge: u32) -> Request {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::Controller(bridge));
    (RouteNetlinkMessage::SetLink(message), 0)
}

/// Removes an interface.
pub fn delete(name: &str) -> Request {
    (RouteNetlinkMessage::DelLink(named(name)), 0)
}

/// Puts an interface in a group.
pub fn join_group(name: &str, group: u32) -> Request {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::Group(group));
    (RouteNetlinkMessage::SetLink(message), 0)
}

/// Removes all interfaces of a group.
pub fn delete_group(group: u32) -> Request {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::Group(group));
    (RouteNetlinkMessage::DelLink(message), 0)
}

/// Gives an interface an address. IPv6: without duplicate detection, since addresses come from our own ledger and a
/// container's first packet must not wait a second.
pub fn address(index: u32, ip: IpAddr, length: u8) -> Request {
    let mut message = AddressMessage::default();
    message.header.family = if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.prefix_len = length;
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(ip));
    message.attributes.push(AddressAttribute::Address(ip));
    match ip {
        IpAddr::V4(a) if length < 31 => {
            let mask = if length == 0 { u32::MAX } else { (1u32 << (32 - length)) - 1 };
            message.attributes.push(AddressAttribute::Broadcast((u32::from(a) | mask).into()));
        }
        IpAddr::V4(_) => {}
        IpAddr::V6(_) => message.header.flags = AddressHeaderFlags::Nodad,
    }
    (RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
}

fn default_route(index: u32, gateway: IpAddr) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = if gateway.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.table = RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Gateway(RouteAddress::from(gateway)));
    message.attributes.push(RouteAttribute::Oif(index));
    message
}

/// The default route of a namespace, in place of another.
pub fn add_default_route(index: u32, gateway: IpAddr) -> Request {
    (RouteNetlinkMessage::NewRoute(default_route(index, gateway)), NLM_F_CREATE | NLM_F_REPLACE)
}

/// The default route of a namespace over an interface that needs no gateway.
pub fn add_device_route(index: u32, v4: bool) -> Request {
    let mut message = RouteMessage::default();
    message.header.address_family = if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.table = RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Link;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Oif(index));
    (RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// A route socket in one network namespace.
#[derive(Debug)]
pub struct Routes {
    socket: Socket,
    /// Bytes to and from the kernel: what scales must not grow with.
    pub carried: usize,
}

impl Routes {
    /// Opens it in the calling thread's network namespace.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        Ok(Self { socket, carried: 0 })
    }

    /// Has the kernel do all of these, in order; all are tried.
    ///
    /// # Errors
    /// The first that failed.
    pub fn send(&mut self, requests: impl IntoIterator<Item = Request>) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(1024);
        let mut count = 0;
        for (payload, flags) in requests {
            count += 1;
            append(&mut bytes, payload, NLM_F_REQUEST | NLM_F_ACK | flags, count);
        }
        if count == 0 {
            return Ok(());
        }
        self.carried += self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        let mut first = None;
        let mut answered = 0;
        while answered < count {
            for message in self.receive()? {
                if let NetlinkPayload::Error(error) = message.payload {
                    answered += 1;
                    if error.code.is_some() && first.is_none() {
                        first = Some(error.to_io());
                    }
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    fn receive(&mut self) -> io::Result<Vec<NetlinkMessage<RouteNetlinkMessage>>> {
        let mut buffer = Vec::with_capacity(64 * 1024);
        self.carried += self.socket.recv(&mut buffer, 0)?;
        let mut messages = Vec::new();
        let mut rest = &buffer[..];
        while rest.len() >= 16 {
            let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            if length < 16 || length > rest.len() {
                break;
            }
            messages.push(NetlinkMessage::deserialize(&rest[..length]).map_err(io::Error::other)?);
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        }
        Ok(messages)
    }

    fn dump(&mut self, payload: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut bytes = Vec::new();
        append(&mut bytes, payload, NLM_F_REQUEST | NLM_F_DUMP, 1);
        self.carried += self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        let mut all = Vec::new();
        loop {
            for message in self.receive()? {
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(all),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::InnerMessage(inner) => all.push(inner),
                    _ => {}
                }
            }
        }
    }

    /// All interfaces.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let dump = self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        Ok(dump
            .iter()
            .filter_map(|m| match m {
                RouteNetlinkMessage::NewLink(link) => Link::parse(link),
                _ => None,
            })
            .collect())
    }

    /// Has the kernel take note at once that an interface has a carrier. Until it does, what is sent there is dropped; by
    /// itself it does so up to a second later (link_watch.c). Asking for an interface makes it look (since 6.8).
    pub fn settle(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.get_link(message).map(drop)
    }

    /// One interface by name.
    pub fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        self.get_link(named(name))
    }

    fn get_link(&mut self, which: LinkMessage) -> io::Result<Option<Link>> {
        let mut bytes = Vec::new();
        append(&mut bytes, RouteNetlinkMessage::GetLink(which), NLM_F_REQUEST, 1);
        self.carried += self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        for message in self.receive()? {
            match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => return Ok(Link::parse(&link)),
                NetlinkPayload::Error(e) if e.raw_code() == -libc::ENODEV => return Ok(None),
                NetlinkPayload::Error(e) => return Err(e.to_io()),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Destinations of all routes and addresses of all interfaces, but not the default route, link-local and multicast ones,
    /// and those over interfaces that `ours` names.
    pub fn busy(&mut self, ours: &std::collections::HashSet<u32>) -> io::Result<Vec<Cidr>> {
        let mut busy = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            for message in self.dump(RouteNetlinkMessage::GetRoute(request))? {
                let RouteNetlinkMessage::NewRoute(route) = message else { continue };
                let length = route.header.destination_prefix_length;
                let out = route.attributes.iter().find_map(|a| match a {
                    RouteAttribute::Oif(index) => Some(*index),
                    _ => None,
                });
                if length == 0 || out.is_some_and(|o| ours.contains(&o)) {
                    continue;
                }
                let to = route.attributes.iter().find_map(|a| match a {
                    RouteAttribute::Destination(RouteAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
                    RouteAttribute::Destination(RouteAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
                    _ => None,
                });
                let local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local() || ip.is_multicast());
                busy.extend(to.filter(|ip| !local(ip)).and_then(|ip| Cidr::new(ip, length).ok()));
            }
        }
        Ok(busy)
    }
}

fn append(bytes: &mut Vec<u8>, payload: RouteNetlinkMessage, flags: u16, sequence: u32) {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(payload));
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut bytes[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    /// Kernels of ours have no VLANs and no ipvlan: what they would be sent is read here.
    #[test]
    fn messages_for_interfaces_this_kernel_may_lack() {
        let here = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
        let place = Beside { name: "eth0", parent: 7, mac: [2, 0, 0, 0, 0, 1], mtu: Some(1400), netns: here.as_fd() };
        let sent = |(message, flags): Request| {
            assert_eq!(flags, NLM_F_CREATE | NLM_F_EXCL);
            let RouteNetlinkMessage::NewLink(link) = message else { panic!("another message") };
            link.attributes
        };
        let ipvlan = sent(new_ipvlan(&place, IpVlanMode::L3, IpVlanFlags::Private));
        assert!(ipvlan.contains(&LinkAttribute::Link(7)) && ipvlan.contains(&LinkAttribute::Mtu(1400)));
        assert!(!ipvlan.iter().any(|a| matches!(a, LinkAttribute::Address(_))), "ipvlan refuses a MAC address");
        let data = InfoData::IpVlan(vec![InfoIpVlan::Mode(IpVlanMode::L3), InfoIpVlan::Flags(IpVlanFlags::Private)]);
        assert!(ipvlan.contains(&LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::IpVlan), LinkInfo::Data(data)])));
        let vlan = sent(new_vlan("eth0.50", 7, 50));
        assert!(vlan.contains(&LinkAttribute::Link(7)));
        let data = InfoData::Vlan(vec![InfoVlan::Id(50)]);
        assert!(vlan.contains(&LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(data)])));
    }
}
