//! From what was asked to what a network will be: everything that can fail on bad input fails here, before the kernel.
//! Pure.

use super::child;
use super::ipam::{AddressPool, Cidr, Pool, free_subnet4, free_subnet6};
use super::{IpamPool, NetworkSpec};
use crate::{Error, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How a bridge network behaves, read from its driver options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// A name for the interface that its owner chose.
    pub ifname: Option<String>,
    /// Whether containers in it may talk to each other.
    pub icc: bool,
    /// Whether what leaves it gets the host's address.
    pub masquerade: bool,
    /// Host address for ports that name none.
    pub host_ip: Option<IpAddr>,
    /// MTU.
    pub mtu: Option<u32>,
    /// What interfaces in containers are called: `eth`.
    pub prefix: String,
    /// The bridge gets no IPv4 address: somebody else is the gateway, or nobody.
    pub bare4: bool,
    /// The same for IPv6.
    pub bare6: bool,
    /// How the outside reaches its containers over IPv4.
    pub mode4: GatewayMode,
    /// The same for IPv6.
    pub mode6: GatewayMode,
    /// Interfaces of the host from which its containers are reached by their own addresses.
    pub trusted: Vec<String>,
    /// The address of the host that what leaves it gets.
    pub source4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub source6: Option<Ipv6Addr>,
}

/// How the outside reaches a network's containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GatewayMode {
    /// By ports published on addresses of the host.
    #[default]
    Nat,
    /// By the containers' own addresses, published ports only; nothing is translated.
    Routed,
    /// As `Nat`, and by the containers' own addresses, all ports.
    Unprotected,
}

const OPTION: &str = "com.docker.network.bridge.";

fn flag(key: &str, value: &str) -> Result<bool> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Error::invalid(format!("invalid value {value:?} for option {key}: expected true or false"))),
    }
}

/// Whether the kernel takes it as an interface name, and it looks like one.
fn interface_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && name != "."
        && name != ".."
}

/// Reads the driver options.
///
/// # Errors
/// For an unknown option of Docker's or a value that cannot be: an ignored one would be a promise not kept.
pub fn bridge(spec: &NetworkSpec) -> Result<Bridge> {
    let mut bridge = Bridge {
        ifname: None,
        icc: true,
        masquerade: true,
        host_ip: None,
        mtu: None,
        prefix: "eth".to_owned(),
        bare4: false,
        bare6: false,
        mode4: GatewayMode::Nat,
        mode6: GatewayMode::Nat,
        trusted: Vec::new(),
        source4: None,
        source6: None,
    };
    for (key, value) in &spec.options {
        let invalid = |expected: &str| Error::invalid(format!("invalid value {value:?} for option {key}: expected {expected}"));
        match key.strip_prefix(OPTION).unwrap_or(key) {
            // `child` reads these.
            _ if child::is_option(spec, key) => {}
            "name" if interface_name(value) => bridge.ifname = Some(value.clone()),
            "name" => return Err(invalid("an interface name of at most 15 characters")),
            "enable_icc" => bridge.icc = flag(key, value)?,
            "enable_ip_masquerade" => bridge.masquerade = flag(key, value)?,
            "host_binding_ipv4" => {
                let ip: Ipv4Addr = value.parse().map_err(|_| invalid("an IPv4 address"))?;
                bridge.host_ip = (!ip.is_unspecified()).then_some(IpAddr::V4(ip));
            }
            // Only echoed: dockerd writes it on its own default bridge.
            "default_bridge" => {
                flag(key, value)?;
            }
            // The same as asking for it outright.
            "com.docker.network.enable_ipv6" => {
                flag(key, value)?;
            }
            "gateway_mode_ipv4" | "gateway_mode_ipv6" if value == "nat" || value.is_empty() => {}
            // The host is no neighbour of theirs: its bridge has no address.
            "gateway_mode_ipv4" | "gateway_mode_ipv6" if value == "isolated" => {
                if !spec.internal {
                    return Err(Error::invalid(format!("gateway mode 'isolated' can only be used for an internal network ({key})")));
                }
                *(if key.ends_with('4') { &mut bridge.bare4 } else { &mut bridge.bare6 }) = true;
            }
            "gateway_mode_ipv4" | "gateway_mode_ipv6" => {
                let mode = match value.as_str() {
                    "routed" => GatewayMode::Routed,
                    "nat-unprotected" => GatewayMode::Unprotected,
                    _ => return Err(invalid("nat, routed, nat-unprotected or isolated")),
                };
                *(if key.ends_with('4') { &mut bridge.mode4 } else { &mut bridge.mode6 }) = mode;
            }
            "trusted_host_interfaces" => {
                // dockerd's separator is a colon.
                bridge.trusted = value.split(':').filter(|name| !name.is_empty()).map(str::to_owned).collect();
                if !bridge.trusted.iter().all(|name| interface_name(name)) {
                    return Err(invalid("names of interfaces, with colons between"));
                }
            }
            "com.docker.network.host_ipv4" => bridge.source4 = Some(value.parse().map_err(|_| invalid("an IPv4 address"))?),
            "com.docker.network.host_ipv6" => bridge.source6 = Some(value.parse().map_err(|_| invalid("an IPv6 address"))?),
            "inhibit_ipv4" => bridge.bare4 = bridge.bare4 || flag(key, value)?,
            "com.docker.network.driver.mtu" => {
                let mtu: u32 = value.parse().map_err(|_| invalid("a number"))?;
                // RFC 791: every host takes 68 bytes; the kernel's bridges and veths end at 65535.
                if mtu != 0 && !(68..=65535).contains(&mtu) {
                    return Err(invalid("0 or a number from 68 to 65535"));
                }
                bridge.mtu = (mtu != 0).then_some(mtu);
            }
            "com.docker.network.container_iface_prefix" if interface_name(value) && value.len() <= 11 => bridge.prefix.clone_from(value),
            "com.docker.network.container_iface_prefix" => return Err(invalid("at most 11 characters of an interface name")),
            // People's own labels, which dockerd keeps and shows as they are. What is Docker's to mean something is not ignored.
            other if other == key && !key.starts_with("com.docker.") => {}
            _ => return Err(Error::unsupported(&format!("network option {key}={value}"))),
        }
    }
    Ok(bridge)
}

/// A subnet of a network.
#[derive(Debug, Clone)]
pub struct Subnet {
    /// Its addresses; gateway and auxiliary addresses are taken.
    pub pool: Pool,
    /// The bridge's own address.
    pub gateway: IpAddr,
}

/// A network as it will be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The spec with subnets and gateways filled in.
    pub spec: NetworkSpec,
    /// IPv4.
    pub v4: Option<Subnet>,
    /// IPv6.
    pub v6: Option<Subnet>,
    /// Its options.
    pub bridge: Bridge,
    /// Whether its owner chose the subnets.
    pub chosen: bool,
}

/// Whether a subnet is one of those that a tenant may put on a network: private ones. Others take the host's way to the
/// real owners of those addresses (`docker network create --subnet 8.8.8.0/24` does just that), and are for policy to judge.
pub fn is_private(subnet: &Cidr) -> bool {
    const RANGES: [&str; 10] = [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "198.18.0.0/15",
        // Documentation's.
        "192.0.2.0/24",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "fc00::/7",
        "2001:db8::/32",
    ];
    RANGES.iter().filter_map(|r| r.parse::<Cidr>().ok()).any(|r| r.contains(subnet.first()) && r.contains(subnet.last()))
}

/// Whether a subnet holds addresses that mean something else to every kernel: "this host", loopback, link-local, multicast.
fn is_special(subnet: &Cidr) -> bool {
    const RANGES: [&str; 7] = ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/64", "64:ff9b::/96", "ff00::/8"];
    RANGES.iter().filter_map(|r| r.parse::<Cidr>().ok()).any(|r| r.overlaps(subnet))
}

/// Plans a new bridge network. `busy`: subnets that exist on this host; `start` turns the order of automatic ones; `pools`: where
/// an administrator wants those from.
///
/// # Errors
/// With Docker's texts: `Invalid` for what cannot be, `Forbidden` for overlaps.
pub fn plan(mut spec: NetworkSpec, busy: &[Cidr], tag: &str, start: usize, pools: &[AddressPool]) -> Result<Plan> {
    match spec.driver.as_str() {
        "" | "bridge" => spec.driver = "bridge".to_owned(),
        "macvlan" | "ipvlan" => {}
        "overlay" => {
            return Err(Error::new(
                crate::Kind::Unavailable,
                "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.",
            ));
        }
        "host" | "null" => return Err(Error::forbidden(format!("only one instance of \"{}\" network is allowed", spec.driver))),
        other => return Err(Error::new(crate::Kind::NotFound, format!("plugin {other:?} not found"))),
    }
    match spec.ipam_driver.as_str() {
        "" | "default" => spec.ipam_driver = "default".to_owned(),
        other => return Err(Error::new(crate::Kind::NotFound, format!("error getting IPAM driver {other:?}: plugin not found"))),
    }
    // The default one has no options: dockerd keeps what it is given and shows it.
    let bridge = bridge(&spec)?;
    if spec.ipv6 != Some(true) && spec.options.get("com.docker.network.enable_ipv6").is_some_and(|on| on == "true" || on == "1") {
        spec.ipv6 = Some(true);
    }
    let (mut v4, mut v6) = (None, None);
    // A pool without a subnet is dockerd's way to say "choose one" (`--gateway` without `--subnet` is refused).
    for pool in std::mem::take(&mut spec.ipam) {
        if pool.subnet.is_empty() {
            if !pool.gateway.is_empty() || !pool.ip_range.is_empty() || !pool.aux.is_empty() {
                return Err(Error::invalid("invalid network config:\ngateway, range or auxiliary address without a subnet"));
            }
            continue;
        }
        let subnet: Cidr = pool
            .subnet
            .parse()
            .map_err(|e: Error| Error::invalid(format!("invalid network config:\ninvalid subnet {}: {e}", pool.subnet)))?;
        if pool.subnet.split('/').next().and_then(|ip| ip.parse().ok()) != Some(subnet.first()) {
            return Err(Error::invalid(format!("invalid network config:\ninvalid subnet {}: it should be {subnet}", pool.subnet)));
        }
        if is_special(&subnet) {
            return Err(Error::forbidden(format!(
                "subnet {subnet} cannot be a network's: choose one in 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or fd00::/8"
            )));
        }
        if busy.iter().any(|b| b.overlaps(&subnet)) {
            return Err(Error::forbidden("invalid pool request: Pool overlaps with other one on this address space"));
        }
        let slot = if subnet.is_ipv4() { &mut v4 } else { &mut v6 };
        if slot.is_some() {
            return Err(Error::invalid("bridge driver: at most one IPv4 and one IPv6 subnet"));
        }
        *slot = Some((subnet, pool));
    }
    let wants4 = spec.ipv4.unwrap_or(true);
    let wants6 = spec.ipv6.unwrap_or(v6.is_some());
    if !wants4 && !wants6 {
        return Err(Error::invalid("IPv4 or IPv6 must be enabled"));
    }
    if (v4.is_some() && !wants4) || (v6.is_some() && !wants6) {
        return Err(Error::invalid("invalid network config:\na subnet of a family that is not enabled"));
    }
    let chosen = v4.is_some() || v6.is_some();
    let none = || {
        Error::new(
            crate::Kind::Exhausted,
            "could not find an available, non-overlapping address pool among the defaults to assign to the network",
        )
    };
    if wants4 && v4.is_none() {
        v4 = Some((free_subnet4(busy, start, pools).ok_or_else(none)?, IpamPool::default()));
    }
    if wants6 && v6.is_none() {
        v6 = Some((free_subnet6(busy, tag, pools).ok_or_else(none)?, IpamPool::default()));
    }
    spec.ipv4 = Some(wants4);
    spec.ipv6 = Some(wants6);
    let mut subnets = Vec::new();
    for (subnet, mut pool) in [v4, v6].into_iter().flatten() {
        pool.subnet = subnet.to_string();
        let filled = fill(subnet, &mut pool)?;
        spec.ipam.push(pool);
        subnets.push(filled);
    }
    let (v4, v6) = split(subnets);
    Ok(Plan { spec, v4, v6, bridge, chosen })
}

fn split(subnets: Vec<Subnet>) -> (Option<Subnet>, Option<Subnet>) {
    let (mut v4, mut v6) = (None, None);
    for subnet in subnets {
        let slot = if subnet.gateway.is_ipv4() { &mut v4 } else { &mut v6 };
        *slot = Some(subnet);
    }
    (v4, v6)
}

/// The subnets of a network that was planned before.
pub fn subnets(spec: &NetworkSpec) -> Result<(Option<Subnet>, Option<Subnet>)> {
    let mut subnets = Vec::new();
    for pool in &spec.ipam {
        subnets.push(fill(pool.subnet.parse()?, &mut pool.clone())?);
    }
    Ok(split(subnets))
}

/// Makes the pool of addresses, and takes gateway and auxiliary addresses in it.
fn fill(subnet: Cidr, asked: &mut IpamPool) -> Result<Subnet> {
    let range = match asked.ip_range.as_str() {
        "" => None,
        range => {
            Some(range.parse::<Cidr>().map_err(|e| Error::invalid(format!("invalid network config:\ninvalid ip-range {range}: {e}")))?)
        }
    };
    let mut pool = Pool::new(subnet, range)?;
    let inside = |what: &str, text: &str| {
        text.parse::<IpAddr>()
            .ok()
            .filter(|ip| subnet.contains(*ip))
            .ok_or_else(|| Error::invalid(format!("invalid network config:\ninvalid {what} {text}: parent subnet is {subnet}")))
    };
    let gateway = if asked.gateway.is_empty() {
        // The first usable address of the subnet, whatever the range: what people expect to find there.
        Pool::new(subnet, None)?.take().ok_or_else(|| Error::invalid(format!("subnet {subnet} has no room for a gateway")))?
    } else {
        inside("gateway address", asked.gateway.split('/').next().unwrap_or_default())?
    };
    pool.take_this(gateway)?;
    asked.gateway = gateway.to_string();
    for ip in asked.aux.values() {
        pool.take_this(inside("auxiliary address", ip)?)?;
    }
    Ok(Subnet { pool, gateway })
}

/// The MAC address that goes with an address: the same for the same IPv4 address, so that neighbours' caches stay right.
pub fn mac_of(ipv4: Option<Ipv4Addr>, ipv6: Option<Ipv6Addr>) -> [u8; 6] {
    match (ipv4, ipv6) {
        (Some(ip), _) => {
            let o = ip.octets();
            [0x02, 0x42, o[0], o[1], o[2], o[3]]
        }
        (None, Some(ip)) => {
            let d = crate::Digest::of(&ip.octets());
            let b = d.as_bytes();
            [0x02, 0x42, b[0], b[1], b[2], b[3]]
        }
        (None, None) => [0x02, 0x42, 0, 0, 0, 0],
    }
}

/// Reads a MAC address.
///
/// # Errors
/// `Invalid` when it is none, or a group's.
pub fn parse_mac(text: &str) -> Result<[u8; 6]> {
    let invalid = || Error::invalid(format!("invalid MAC address: {text}"));
    let mut mac = [0u8; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        let part = parts.next().filter(|p| p.len() == 2).ok_or_else(invalid)?;
        *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
    }
    if parts.next().is_some() || mac[0] & 1 == 1 || mac == [0; 6] {
        return Err(invalid());
    }
    Ok(mac)
}

/// As people write it.
pub fn format_mac(mac: [u8; 6]) -> String {
    mac.map(|b| format!("{b:02x}")).join(":")
}

/// The link-local address that the kernel derives from a MAC address (RFC 4291, appendix A).
pub fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn spec(pools: &[(&str, &str, &str)]) -> NetworkSpec {
        let ipam = pools
            .iter()
            .map(|(subnet, range, gateway)| IpamPool {
                subnet: (*subnet).to_owned(),
                ip_range: (*range).to_owned(),
                gateway: (*gateway).to_owned(),
                ..Default::default()
            })
            .collect();
        NetworkSpec { name: "n".to_owned(), ipam, ..Default::default() }
    }

    fn with_options(options: &[(&str, &str)]) -> NetworkSpec {
        NetworkSpec { options: options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(), ..spec(&[]) }
    }

    #[test]
    fn defaults_are_filled_in() {
        let plan = plan(spec(&[]), &[], "abcde", 0, &[]).unwrap();
        assert_eq!(plan.spec.driver, "bridge");
        assert_eq!(plan.spec.ipam.len(), 1);
        assert_eq!((plan.spec.ipam[0].subnet.as_str(), plan.spec.ipam[0].gateway.as_str()), ("172.17.0.0/20", "172.17.0.1"));
        assert!(!plan.chosen && plan.v6.is_none());
        assert_eq!(plan.v4.unwrap().pool.take().unwrap().to_string(), "172.17.0.2");
    }

    #[test]
    fn what_is_asked_is_kept() {
        let mut asked = spec(&[("10.1.0.0/16", "10.1.5.0/24", "10.1.5.254"), ("fd00:9::/64", "", "")]);
        asked.ipam[0].aux.insert("printer".to_owned(), "10.1.5.0".to_owned());
        let mut plan = plan(asked, &[], "abcde", 0, &[]).unwrap();
        assert!(plan.chosen);
        assert_eq!(plan.spec.ipv6, Some(true));
        assert_eq!(plan.v4.as_mut().unwrap().pool.take().unwrap().to_string(), "10.1.5.1");
        assert_eq!(plan.v6.unwrap().gateway.to_string(), "fd00:9::1");
        let (v4, v6) = subnets(&plan.spec).unwrap();
        assert_eq!(v4.unwrap().gateway.to_string(), "10.1.5.254");
        assert_eq!(v6.unwrap().gateway.to_string(), "fd00:9::1");
    }

    #[test]
    fn bad_input_is_refused() {
        let busy: Vec<Cidr> = vec!["192.168.7.0/24".parse().unwrap()];
        for (pools, kind, text) in [
            (vec![("10.1.0.0/33", "", "")], Kind::Invalid, "invalid subnet 10.1.0.0/33"),
            (vec![("10.1.2.0/16", "", "")], Kind::Invalid, "it should be 10.1.0.0/16"),
            (vec![("10.1.0.0/16", "", "10.2.0.1")], Kind::Invalid, "invalid gateway address 10.2.0.1: parent subnet is 10.1.0.0/16"),
            (vec![("10.1.0.0/16", "10.2.0.0/24", "")], Kind::Invalid, "not inside the subnet"),
            (vec![("192.168.0.0/16", "", "")], Kind::Forbidden, "Pool overlaps with other one on this address space"),
            (vec![("10.1.0.0/16", "", ""), ("10.2.0.0/16", "", "")], Kind::Invalid, "at most one IPv4"),
            (vec![("0.0.0.0/0", "", "")], Kind::Forbidden, "cannot be a network's"),
            (vec![("127.0.0.0/8", "", "")], Kind::Forbidden, "cannot be a network's"),
            (vec![("169.254.0.0/16", "", "")], Kind::Forbidden, "cannot be a network's"),
            (vec![("", "", "10.1.0.1")], Kind::Invalid, "without a subnet"),
        ] {
            let error = plan(spec(&pools), &busy, "abcde", 0, &[]).unwrap_err();
            assert_eq!(error.kind(), kind, "{pools:?}: {error}");
            assert!(error.to_string().contains(text), "{pools:?}: {error}");
        }
        for (driver, kind) in [("overlay", Kind::Unavailable), ("host", Kind::Forbidden), ("weave", Kind::NotFound)] {
            let asked = NetworkSpec { driver: driver.to_owned(), ..spec(&[]) };
            assert_eq!(plan(asked, &[], "abcde", 0, &[]).unwrap_err().kind(), kind);
        }
    }

    #[test]
    fn options_are_read_or_refused() {
        let read = bridge(&with_options(&[
            ("com.docker.network.bridge.name", "br-mine"),
            ("com.docker.network.bridge.enable_icc", "false"),
            ("com.docker.network.bridge.host_binding_ipv4", "127.0.0.1"),
            ("com.docker.network.driver.mtu", "1400"),
        ]))
        .unwrap();
        assert_eq!(read.ifname.as_deref(), Some("br-mine"));
        assert!(!read.icc && read.masquerade);
        assert_eq!((read.mtu, read.host_ip), (Some(1400), Some([127, 0, 0, 1].into())));
        for (key, value) in [
            ("com.docker.network.bridge.name", "a/b"),
            ("com.docker.network.bridge.name", ".."),
            ("com.docker.network.bridge.name", "sixteen-letters-x"),
            ("com.docker.network.bridge.enable_icc", "maybe"),
            ("com.docker.network.driver.mtu", "1"),
            ("com.docker.network.bridge.gateway_mode_ipv4", "open"),
            ("com.docker.network.bridge.trusted_host_interfaces", "eth0:a/b"),
            ("com.docker.network.host_ipv4", "fd00::1"),
            ("com.docker.network.other", "x"),
        ] {
            assert!(bridge(&with_options(&[(key, value)])).is_err(), "{key}={value}");
        }
        assert_eq!(bridge(&with_options(&[("other", "x")])).unwrap().mtu, None, "nobody's option is only kept");
    }

    #[test]
    fn mac_addresses() {
        assert_eq!(format_mac(mac_of(Some([172, 17, 0, 2].into()), None)), "02:42:ac:11:00:02");
        assert_eq!(parse_mac("02:42:AC-11:00:02").unwrap(), [2, 0x42, 0xac, 0x11, 0, 2]);
        for bad in [
            "",
            "02:42",
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
            "02:42:ac:11:00:02:03",
            "2:42:ac:11:00:02",
            "0+:42:ac:11:00:02",
        ] {
            assert!(parse_mac(bad).is_err(), "{bad}");
        }
        assert_eq!(link_local([0x02, 0x42, 0xac, 0x11, 0, 2]).to_string(), "fe80::42:acff:fe11:2");
    }
}
