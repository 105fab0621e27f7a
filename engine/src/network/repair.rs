//! What we know against what the kernel has: after our own restart, and whenever somebody else changed it.
//!
//! A thread listens to the kernel's notifications about links and nf_tables. What concerns us starts a repair at once, so
//! that `nft flush ruleset` or a deleted bridge is healed within milliseconds; an overrun of the socket counts as "anything
//! may have happened".

use super::attach::{Alive, Attachment};
use super::dns;
use super::endpoint::Plug;
use super::firewall::{messages, text};
use super::kernel::Kernel;
use super::link::{self, Link};
use super::networks::{Inner, Networks, delete_link, make_bridge};
use super::state::{BridgeFacts, Endpoint};
use crate::id::{ContainerId, NetworkId};
use crate::{Doing, Result};
use netlink_sys::{Socket, SocketAddr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How long the kernel may take to remove the interfaces of a namespace that nobody holds any more.
const LINGER: Duration = Duration::from_secs(5);
/// RTMGRP_LINK as a group number (RTNLGRP_LINK).
const GROUP_LINK: u32 = 1;
/// NFNLGRP_NFTABLES.
const GROUP_NFTABLES: u32 = 7;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
/// Message types of nf_tables are in subsystem 10.
const NFT: u16 = 10 << 8;
const NFT_NEWCHAIN: u16 = NFT | 3;
const NFT_DELRULE: u16 = NFT | 8;

impl Networks {
    /// Puts the attachments of the database in the state: they count as alive until `adopt` knows.
    pub(super) fn restore(&self, attachments: Vec<Attachment>) {
        let mut state = self.0.state();
        for a in attachments {
            for (ip, v4) in a.ipv4.map(|(ip, _)| (IpAddr::V4(ip), true)).into_iter().chain(a.ipv6.map(|(ip, _)| (IpAddr::V6(ip), false))) {
                let Some(net) = state.networks.get_mut(&a.network) else { continue };
                let Some(subnet) = (if v4 { &mut net.v4 } else { &mut net.v6 }) else { continue };
                if let Err(error) = subnet.pool.take_this(ip) {
                    tracing::warn!(%error, %ip, container.id = a.container.short(), "an address is written down twice");
                }
            }
            for port in &a.ports {
                if !state.ports.take(port.ip, port.port, port.container.protocol, &a.container) {
                    tracing::warn!(port = port.port, container.id = a.container.short(), "a port is written down twice");
                }
            }
            let id = a.endpoint.clone();
            state.containers.entry(a.container.clone()).or_default().push(id.clone());
            state.endpoints.insert(id.clone(), Endpoint { attachment: a, prepared: false, installed: true, plugged: true, netns: None });
            state.show(&id);
        }
    }

    /// After the server's start: keeps the attachments of these containers, serves their DNS again, removes all others'
    /// remains (rows, veths, bridges that no network has), and repairs.
    pub async fn adopt(&self, alive: Vec<Alive>) -> Result<()> {
        let living: HashSet<ContainerId> = alive.iter().map(|a| a.container.clone()).collect();
        for one in alive {
            let netns = Arc::new(one.netns);
            {
                let mut state = self.0.state();
                for id in state.containers.get(&one.container).cloned().unwrap_or_default() {
                    if let Some(endpoint) = state.endpoints.get_mut(&id) {
                        endpoint.netns = Some(netns.clone());
                    }
                }
            }
            let sockets = dns::sort_sockets(one.dns_sockets).doing(|| "taking over a container's DNS".to_owned())?;
            if let Some(sockets) = sockets {
                self.0.dns.serve(&one.container, netns, sockets, one.resolver).doing(|| "taking over a container's DNS".to_owned())?;
            }
        }
        let dead: Vec<ContainerId> = self.0.state().containers.keys().filter(|c| !living.contains(*c)).cloned().collect();
        for container in dead {
            self.detach_container(&container).await?;
        }
        let inner = self.0.clone();
        self.0.kernel.run(move |kernel| inner.remove_orphans(kernel)).await?;
        self.reconcile().await?;
        Ok(())
    }

    /// Compares kernel and inventory and repairs; returns what was repaired. Also runs by itself.
    pub async fn reconcile(&self) -> Result<Vec<String>> {
        let inner = self.0.clone();
        self.0.kernel.run(move |kernel| inner.repair(kernel, true, true)).await
    }

    /// Starts listening to the kernel.
    pub(super) fn watch(&self) -> Result<()> {
        let doing = || "listening to the kernel's network notifications".to_owned();
        let open = |protocol: isize, group: u32| -> io::Result<Socket> {
            let mut socket = Socket::new(protocol)?;
            socket.bind_auto()?;
            socket.add_membership(group)?;
            rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 4 << 20)?;
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        let links = open(0, GROUP_LINK).doing(doing)?;
        let tables = open(12, GROUP_NFTABLES).doing(doing)?;
        let (inner, own) = (Arc::downgrade(&self.0), self.0.kernel.port);
        std::thread::Builder::new().name("network-watch".to_owned()).spawn(move || listen(&inner, &links, &tables, own)).doing(doing)?;
        Ok(())
    }
}

/// What a look at the notifications found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Noticed {
    /// An interface of ours is not as it should be.
    links: bool,
    /// Somebody changed our tables.
    tables: bool,
    /// Somebody changed other chains: one may drop what we forward.
    others: bool,
}

fn listen(inner: &Weak<Inner>, links: &Socket, tables: &Socket, own: u32) {
    loop {
        let mut fds = [PollFd::new(links, PollFlags::IN), PollFd::new(tables, PollFlags::IN)];
        // Each second: is anybody still there?
        match poll(&mut fds, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                tracing::error!(%error, "listening to the kernel's network notifications ends");
                return;
            }
        }
        let Some(inner) = inner.upgrade() else { return };
        inner.remove_ended();
        let mut noticed = Noticed::default();
        drain(links, |bytes| noticed.links |= messages(bytes).any(|(kind, _, payload)| concerns_links(&inner, kind, payload)));
        drain(tables, |bytes| {
            for (kind, port, payload) in messages(bytes).filter(|(_, port, _)| *port != own) {
                // All nf_tables objects have their table's name as first attribute, after 4 bytes of header.
                let table = payload.get(4..).and_then(|attributes| text(attributes, 1));
                noticed.tables |= table == Some(&inner.table) || (kind < NFT && port == 0);
                noticed.others |= table.is_some() && matches!(kind, NFT_NEWCHAIN | NFT_DELRULE);
            }
        });
        if noticed == Noticed::default() {
            continue;
        }
        let kernel = inner.kernel.clone();
        match kernel.run_blocking(move |kernel| inner.repair(kernel, noticed.tables, noticed.tables || noticed.others)) {
            Ok(repaired) => {
                for what in repaired {
                    tracing::warn!(what, "repaired what somebody else changed in our networks");
                }
            }
            Err(error) => tracing::error!(?error, "repairing our networks failed"),
        }
    }
}

/// Reads all that waits; an overrun is told as a message of nothing.
fn drain(socket: &Socket, mut each: impl FnMut(&[u8])) {
    let mut buffer = Vec::with_capacity(64 * 1024);
    loop {
        buffer.clear();
        match socket.recv_from(&mut buffer, libc::MSG_DONTWAIT) {
            Ok((_, sender)) => {
                // Only the kernel speaks for itself.
                if sender == SocketAddr::new(0, 0) || sender.port_number() == 0 {
                    each(&buffer);
                }
            }
            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => each(&OVERRUN),
            Err(_) => return,
        }
    }
}

/// A link message that no interface has: see `concerns_links`.
const OVERRUN: [u8; 16] = [16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Whether a notification about a link tells of something that should not be.
fn concerns_links(inner: &Inner, kind: u16, payload: &[u8]) -> bool {
    use netlink_packet_core::Parseable;
    use netlink_packet_route::link::LinkMessage;
    if kind != RTM_NEWLINK && kind != RTM_DELLINK {
        return true;
    }
    // The header's first byte is the family: AF_BRIDGE messages repeat what AF_UNSPEC ones tell.
    if payload.first() != Some(&0) {
        return false;
    }
    let Ok(message) = LinkMessage::parse(payload) else { return true };
    let Some(link) = Link::parse(&message) else { return false };
    let state = inner.state();
    let gone = kind == RTM_DELLINK;
    if let Some(net) = state.networks.values().find(|n| n.row.ifname == link.name) {
        // A new bridge is told of before we know its index.
        return net.index.is_some() && (gone || !link.up || net.index != Some(link.index));
    }
    if let Some(endpoint) = state.endpoints.values().find(|e| e.attachment.host_ifname == link.name) {
        let bridge = state.networks.get(&endpoint.attachment.network).and_then(|n| n.index);
        return endpoint.plugged && endpoint.netns.is_some() && (gone || link.master != bridge);
    }
    false
}

impl Inner {
    /// Removes interfaces with our names that nobody has.
    fn remove_orphans(&self, kernel: &mut Kernel) -> Result<()> {
        let links = kernel.routes.links().doing(|| "listing interfaces".to_owned())?;
        let wanted: HashSet<String> = {
            let state = self.state();
            let bridges = state.networks.values().map(|n| n.row.ifname.clone());
            let veths = state.endpoints.values().map(|e| e.attachment.host_ifname.clone());
            bridges.chain(veths).chain(state.prepared.values().map(|p| p.host_ifname.clone())).collect()
        };
        for link in links {
            let ours = link.name.starts_with(&self.bridge_prefix()) || link.name.starts_with(&self.veth_prefix());
            if ours && !wanted.contains(&link.name) {
                tracing::info!(interface = link.name, "removing an interface that no network or container has");
                delete_link(kernel, &link.name)?;
            }
        }
        Ok(())
    }

    /// Removes veths of containers that ended a while ago, where a namespace lives on (another container shares it).
    fn remove_ended(&self) {
        let late: Vec<String> = {
            let mut state = self.state();
            let late = state.ended.iter().take_while(|(since, _)| since.elapsed() > LINGER).count();
            state.ended.drain(..late).map(|(_, name)| name).collect()
        };
        for name in late {
            let removed = self.kernel.run_blocking(move |kernel| {
                let lives = kernel.routes.link(&name).doing(|| format!("looking for {name}"))?;
                lives.map_or(Ok(()), |_| delete_link(kernel, &name))
            });
            if let Err(error) = removed {
                tracing::warn!(?error, "the interface of an ended container could not be removed");
            }
        }
    }

    /// Makes again what is missing. `tables`: also the firewall, whole, in one step; `others`: and our rules in other
    /// firewalls' chains.
    pub fn repair(&self, kernel: &mut Kernel, tables: bool, others: bool) -> Result<Vec<String>> {
        let mut repaired = Vec::new();
        if tables {
            // First of all: without the tables nothing is kept apart.
            self.rebuild(kernel).doing(|| "writing the firewall's tables".to_owned())?;
            repaired.push("nft tables".to_owned());
        }
        if others {
            let opened = kernel.firewall.open_foreign_chains(&self.bridge_prefix());
            for chain in opened.doing(|| "making way in other firewalls' chains".to_owned())? {
                repaired.push(format!("a way through the chain {chain}"));
            }
        }
        let links = kernel.routes.links().doing(|| "listing interfaces".to_owned())?;
        let links: HashMap<&str, &Link> = links.iter().map(|l| (l.name.as_str(), l)).collect();
        let bridges: Vec<(NetworkId, BridgeFacts)> =
            self.state().networks.values().filter(|n| n.index.is_some()).map(|n| (n.row.id.clone(), n.facts())).collect();
        for (id, facts) in bridges {
            if links.get(facts.ifname.as_str()).is_some_and(|l| l.up) {
                continue;
            }
            let index = make_bridge(kernel, &facts, false)?;
            if let Some(net) = self.state().networks.get_mut(&id) {
                net.index = Some(index);
            }
            repaired.push(format!("bridge {}", facts.ifname));
        }
        let endpoints: Vec<(Attachment, Arc<OwnedFd>, u32)> = {
            let state = self.state();
            let joined = state.endpoints.values().filter(|e| e.plugged).filter_map(|e| {
                let index = state.networks.get(&e.attachment.network)?.index?;
                Some((e.attachment.clone(), e.netns.clone()?, index))
            });
            joined.collect()
        };
        for (a, netns, bridge) in endpoints {
            match links.get(a.host_ifname.as_str()) {
                Some(link) if link.master == Some(bridge) && link.up => {}
                Some(_) => {
                    let again = [link::enslave(&a.host_ifname, bridge), link::hairpin(&a.host_ifname), link::up(&a.host_ifname)];
                    kernel.routes.send(again).doing(|| format!("joining {} to its bridge again", a.host_ifname))?;
                    repaired.push(format!("veth {}", a.host_ifname));
                }
                None => match self.replug(kernel, &a, bridge, &netns) {
                    Ok(()) => repaired.push(format!("veth {}", a.host_ifname)),
                    // A container that is just ending takes its veth with it.
                    Err(error) => tracing::warn!(?error, container.id = a.container.short(), "a lost interface cannot be made again"),
                },
            }
        }
        Ok(repaired)
    }

    fn replug(&self, kernel: &mut Kernel, a: &Attachment, bridge: u32, netns: &OwnedFd) -> Result<()> {
        let plug = Plug { bridge, ..self.plug_of(a)? };
        plug.plug(kernel, netns.as_fd())
    }
}
