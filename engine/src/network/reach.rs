//! Addresses that the server reaches and a tenant must not be taken to: it connects from the host's own network, where it stands
//! beside the host's services, its cloud's metadata and everybody's containers. Whoever connects for a tenant asks here, with
//! the address it is going to connect to; the firewall keeps containers themselves from the metadata services.

use super::Cidr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// AWS's metadata service, IPv6 (its IPv4 one is link-local).
pub const AWS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
/// Google's.
pub const GOOGLE: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);
/// Alibaba's.
pub const ALIBABA: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
/// Azure's host: a public address, and also its guests' DNS server.
pub const AZURE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// Whose an address is that a tenant must not be taken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inside {
    /// This host's, or its cloud's.
    Host,
    /// Another tenant's.
    Foreign,
}

/// What lies beyond a tenant's own.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    foreign: Vec<Cidr>,
}

impl Reach {
    /// `foreign`: subnets of other tenants' networks on this host.
    pub fn new(foreign: Vec<Cidr>) -> Self {
        Self { foreign }
    }

    /// Whose this address is; `None`: nobody's on this host.
    pub fn inside(&self, ip: IpAddr) -> Option<Inside> {
        let ip = ip.to_canonical();
        if is_hosts(ip) || is_here(ip) {
            return Some(Inside::Host);
        }
        self.foreign.iter().any(|subnet| subnet.contains(ip)).then_some(Inside::Foreign)
    }
}

/// Addresses that are known by themselves to mean something else, or nothing, on another machine: loopback, link-local,
/// multicast, metadata services.
pub fn is_hosts(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(a) => {
            let special = a.is_loopback() || a.is_link_local() || a.is_multicast() || a.is_broadcast() || a.octets()[0] == 0;
            special || a == ALIBABA || a == AZURE
        }
        IpAddr::V6(a) => {
            // NAT64's well-known prefix leads to IPv4 addresses that were not looked at.
            let nat64 = a.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
            let special = a.is_loopback() || a.is_unspecified() || a.is_multicast() || a.is_unicast_link_local() || nat64;
            special || a == AWS || a == GOOGLE
        }
    }
}

/// Whether an interface of this host has the address: only then can it be bound.
fn is_here(ip: IpAddr) -> bool {
    std::net::UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_its_metadata_and_other_tenants_are_inside() {
        let reach = Reach::new(vec!["172.30.5.0/24".parse().unwrap()]);
        let whose = |ip: &str| reach.inside(ip.parse().unwrap());
        for ip in
            ["127.9.9.9", "169.254.169.254", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254", "::ffff:168.63.129.16"]
        {
            assert_eq!(whose(ip), Some(Inside::Host), "{ip}");
        }
        assert_eq!(whose("172.30.5.9"), Some(Inside::Foreign));
        for ip in ["172.30.6.9", "192.0.2.7", "2001:db8::1"] {
            assert_eq!(whose(ip), None, "{ip}");
        }
    }
}
