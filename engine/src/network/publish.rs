//! Publishing ports: choose host ports, make sure nobody has them, open the sockets that the shim will hold. Runs on the
//! network thread, so the sockets are the host's.

use super::attach::{Attachment, Listener};
use super::kernel;
use super::networks::Inner;
use super::plan::GatewayMode;
use crate::container::spec::{ContainerPort, HostPort, Protocol};
use crate::container::view::PublishedPort;
use crate::{Error, Kind, Result};
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// What was published.
pub struct Published {
    /// The ports as they are.
    pub ports: Vec<PublishedPort>,
    /// Sockets for the shim.
    pub sockets: Vec<(Listener, OwnedFd)>,
}

/// dockerd's words around every failure.
fn failed(a: &Attachment, kind: Kind, cause: &str) -> Error {
    Error::new(
        kind,
        format!(
            "failed to set up container networking: driver failed programming external connectivity on endpoint {} ({}): {cause}",
            a.name, a.endpoint
        ),
    )
}

/// Opens a socket on a host address; TCP ones listen.
fn open(protocol: Protocol, at: SocketAddr) -> io::Result<Option<OwnedFd>> {
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
        // Many kernels have no SCTP sockets; there is nothing to hold then, and nobody to have taken it.
        Protocol::Sctp => return Ok(None),
    };
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        // A port whose last connections wait out their time is free; one that somebody listens on is still refused.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &at)?;
    if protocol == Protocol::Tcp {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok(Some(socket))
}

/// The host addresses of a binding.
fn host_addresses(asked: &HostPort, default: Option<IpAddr>) -> Vec<IpAddr> {
    match asked.ip.or(default) {
        Some(ip) => vec![ip],
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
    }
}

/// Where the shim has to listen for a host address, and whether the firewall serves the address itself.
fn listeners(a: &Attachment, ip: IpAddr, port: u16, container: ContainerPort) -> Vec<Listener> {
    let v4 = a.ipv4.map(|(ip, _)| IpAddr::V4(ip));
    let v6 = a.ipv6.map(|(ip, _)| IpAddr::V6(ip));
    let (own, other) = if ip.is_ipv4() { (v4, v6) } else { (v6, v4) };
    let listen = match (own, ip) {
        // DNAT serves all but loopback.
        (Some(_), IpAddr::V4(any)) if any.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        (Some(_), IpAddr::V6(any)) if any.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        (Some(_), ip) if !ip.is_loopback() => return Vec::new(),
        // Loopback, or a container without an address of this family.
        (_, ip) => ip,
    };
    own.or(other)
        .map(|target| Listener {
            protocol: container.protocol,
            listen: SocketAddr::new(listen, port),
            target: SocketAddr::new(target, container.port),
        })
        .into_iter()
        .filter(|l| l.protocol != Protocol::Sctp)
        .collect()
}

/// Whether this host speaks IPv6.
fn host_has_v6() -> bool {
    kernel::get("ipv6/conf/all/disable_ipv6").is_ok_and(|v| v == "0")
}

/// Ports from which random ones are taken, in a random order.
fn random_ports() -> Result<Vec<u16>> {
    let range = kernel::get("ipv4/ip_local_port_range").unwrap_or_else(|_| "32768 60999".to_owned());
    let mut numbers = range.split_whitespace().filter_map(|n| n.parse::<u16>().ok());
    let (low, high) = (numbers.next().unwrap_or(32768), numbers.next().unwrap_or(60999));
    let mut seed = [0u8; 8];
    getrandom::fill(&mut seed).map_err(|e| Error::new(Kind::Internal, format!("no random bytes for a random port: {e}")))?;
    let count = u64::from(high.saturating_sub(low)) + 1;
    let start = u64::from_ne_bytes(seed) % count;
    Ok((0..count).filter_map(|i| u16::try_from(u64::from(low) + (start + i) % count).ok()).collect())
}

/// Publishes all of a container's ports, or none.
///
/// # Errors
/// `Internal` (dockerd's 500) with its text when a port is taken.
pub fn publish(
    inner: &Inner,
    a: &Attachment,
    default: Option<IpAddr>,
    asked: &BTreeMap<ContainerPort, Vec<HostPort>>,
) -> Result<Published> {
    let mut published = Published { ports: Vec::new(), sockets: Vec::new() };
    for (container, bindings) in asked {
        for binding in bindings {
            if let Err(error) = one(inner, a, default, *container, binding, &mut published) {
                let mut state = inner.state();
                for port in &published.ports {
                    state.ports.give(port.ip, port.port, port.container.protocol);
                }
                return Err(error);
            }
        }
    }
    Ok(published)
}

fn one(
    inner: &Inner,
    a: &Attachment,
    default: Option<IpAddr>,
    container: ContainerPort,
    binding: &HostPort,
    published: &mut Published,
) -> Result<()> {
    let (low, high) = binding.ports;
    let candidates: Vec<u16> = if low == 0 { random_ports()? } else { (low..=high.max(low)).collect() };
    let any = binding.ip.is_none() && default.is_none();
    let ips: Vec<IpAddr> = host_addresses(binding, default).into_iter().filter(|ip| !any || ip.is_ipv4() || host_has_v6()).collect();
    // Where the network is routed the port is reached at the container's own address, and the host gives none of its own.
    let modes = inner.state().networks.get(&a.network).map(|n| (n.bridge.mode4, n.bridge.mode6)).unwrap_or_default();
    let is_routed = |ip: &IpAddr| (if ip.is_ipv4() { modes.0 } else { modes.1 }) == GatewayMode::Routed;
    let (routed, ips): (Vec<IpAddr>, Vec<IpAddr>) = ips.into_iter().partition(is_routed);
    published.ports.extend(routed.iter().map(|ip| PublishedPort { container, ip: *ip, port: 0 }));
    if ips.is_empty() {
        return Ok(());
    }
    let mut last = None;
    for port in candidates {
        match at(inner, a, &ips, port, container) {
            Ok(sockets) => {
                published.ports.extend(ips.iter().map(|ip| PublishedPort { container, ip: *ip, port }));
                published.sockets.extend(sockets);
                return Ok(());
            }
            Err(cause) => last = Some(cause),
        }
    }
    let cause = last.unwrap_or_else(|| "no port to choose from".to_owned());
    Err(failed(a, Kind::Internal, &cause))
}

/// Takes one port on all of these addresses, or says why not.
fn at(inner: &Inner, a: &Attachment, ips: &[IpAddr], port: u16, container: ContainerPort) -> Result<Vec<(Listener, OwnedFd)>, String> {
    let protocol = container.protocol;
    let mut sockets = Vec::new();
    for (n, ip) in ips.iter().enumerate() {
        let give = |count: usize| {
            let mut state = inner.state();
            for ip in &ips[..count] {
                state.ports.give(*ip, port, protocol);
            }
        };
        let shown = SocketAddr::new(*ip, port);
        if !inner.state().ports.take(*ip, port, protocol, &a.container) {
            give(n);
            return Err(format!("Bind for {shown} failed: port is already allocated"));
        }
        // Somebody else's socket on the address would be cut off by DNAT without a word: so we bind what was asked, and
        // then keep what the shim shall listen on.
        let opened = open(protocol, shown).and_then(|probe| {
            drop(probe);
            listeners(a, *ip, port, container)
                .into_iter()
                .filter_map(|l| open(protocol, l.listen).transpose().map(|socket| socket.map(|s| (l, s))))
                .collect::<io::Result<Vec<_>>>()
        });
        match opened {
            Ok(opened) => sockets.extend(opened),
            Err(error) => {
                give(n + 1);
                let target = a.ipv4.map(|(ip, _)| IpAddr::V4(ip)).or(a.ipv6.map(|(ip, _)| IpAddr::V6(ip)));
                let target = target.map(|ip| SocketAddr::new(ip, container.port).to_string()).unwrap_or_default();
                let cause = match error.raw_os_error() {
                    Some(libc::EADDRINUSE) => "address already in use".to_owned(),
                    Some(libc::EADDRNOTAVAIL) => "cannot assign requested address".to_owned(),
                    _ => error.to_string(),
                };
                return Err(format!("failed to bind host port {shown}:{target}/{protocol}: {cause}"));
            }
        }
    }
    Ok(sockets)
}
