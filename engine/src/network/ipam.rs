//! Address management: subnets, and which addresses of them are taken. Pure: no kernel, no database.
//!
//! Addresses are given out in turn (the next after the last given), so that one just freed is the last to be used again:
//! neighbours' ARP caches and DNS answers have aged by then.

use crate::{Error, Result};
use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A subnet: address and prefix length. The address is the network's first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    first: IpAddr,
    length: u8,
}

fn value(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    }
}

fn address(v4: bool, value: u128) -> IpAddr {
    // Values of v4 pools come from u32s and stay inside their subnet.
    if v4 { IpAddr::V4(Ipv4Addr::from(value as u32)) } else { IpAddr::V6(Ipv6Addr::from(value)) }
}

impl Cidr {
    /// The subnet that holds `ip`.
    ///
    /// # Errors
    /// When the length is too long for the family.
    pub fn new(ip: IpAddr, length: u8) -> Result<Self> {
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        if length > bits {
            return Err(Error::invalid(format!("invalid CIDR address: {ip}/{length}")));
        }
        let host = host_mask(bits, length);
        Ok(Self { first: address(ip.is_ipv4(), value(ip) & !host), length })
    }

    /// Its first address.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// Its last address.
    pub fn last(&self) -> IpAddr {
        address(self.is_ipv4(), value(self.first) | host_mask(self.bits(), self.length))
    }

    /// Prefix length.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Whether it is IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.first.is_ipv4()
    }

    /// Whether the address lies in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.is_ipv4() && value(self.first) <= value(ip) && value(ip) <= value(self.last())
    }

    /// Whether they share an address.
    pub fn overlaps(&self, other: &Cidr) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }

    fn bits(&self) -> u8 {
        if self.is_ipv4() { 32 } else { 128 }
    }
}

fn host_mask(bits: u8, length: u8) -> u128 {
    let host = bits - length;
    if host == 128 { u128::MAX } else { (1u128 << host) - 1 }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.length)
    }
}

impl FromStr for Cidr {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::invalid(format!("invalid CIDR address: {text}"));
        let (ip, length) = text.split_once('/').ok_or_else(invalid)?;
        let ip: IpAddr = ip.parse().map_err(|_| invalid())?;
        Self::new(ip, length.parse().map_err(|_| invalid())?).map_err(|_| invalid())
    }
}

/// The addresses of one subnet of one network.
#[derive(Debug, Clone)]
pub struct Pool {
    subnet: Cidr,
    low: u128,
    high: u128,
    taken: HashSet<u128>,
    next: u128,
}

impl Pool {
    /// A pool that gives out addresses of `range` (else of the whole subnet).
    ///
    /// # Errors
    /// `Invalid` when the range is not inside the subnet, or the subnet has no room for a container.
    pub fn new(subnet: Cidr, range: Option<Cidr>) -> Result<Self> {
        let range = range.unwrap_or(subnet);
        if !subnet.contains(range.first()) || !subnet.contains(range.last()) {
            return Err(Error::invalid(format!("invalid range {range}: it is not inside the subnet {subnet}")));
        }
        let mut pool = Self { subnet, low: value(range.first()), high: value(range.last()), taken: HashSet::new(), next: 0 };
        pool.next = pool.low;
        if !(0..=pool.high - pool.low).take(3).any(|i| pool.usable(pool.low + i)) {
            return Err(Error::invalid(format!("subnet {subnet} has no room for a container")));
        }
        Ok(pool)
    }

    /// Its subnet.
    pub fn subnet(&self) -> Cidr {
        self.subnet
    }

    /// Not the network's own address, nor broadcast (RFC 3021: a /31 has neither; RFC 4291: ::0 is the routers').
    fn usable(&self, at: u128) -> bool {
        let short = self.subnet.length() >= self.subnet.bits() - 1;
        short || (at != value(self.subnet.first()) && !(self.subnet.is_ipv4() && at == value(self.subnet.last())))
    }

    /// Takes the next free address; `None`: all are taken.
    pub fn take(&mut self) -> Option<IpAddr> {
        let start = self.next;
        let mut at = start;
        loop {
            if self.usable(at) && !self.taken.contains(&at) {
                self.taken.insert(at);
                self.next = if at == self.high { self.low } else { at + 1 };
                return Some(address(self.subnet.is_ipv4(), at));
            }
            at = if at == self.high { self.low } else { at + 1 };
            if at == start {
                return None;
            }
        }
    }

    /// Takes this address.
    ///
    /// # Errors
    /// Docker's texts when it is taken or does not lie in the subnet.
    pub fn take_this(&mut self, ip: IpAddr) -> Result<()> {
        if !self.subnet.contains(ip) {
            return Err(Error::invalid(format!("no configured subnet contains IP address {ip}")));
        }
        if !self.usable(value(ip)) || !self.taken.insert(value(ip)) {
            // dockerd answers 403 with this text.
            return Err(Error::forbidden("Address already in use"));
        }
        Ok(())
    }

    /// Gives an address back.
    pub fn give(&mut self, ip: IpAddr) {
        if self.subnet.contains(ip) {
            self.taken.remove(&value(ip));
        }
    }

    /// How many are taken.
    #[cfg(test)]
    fn used(&self) -> usize {
        self.taken.len()
    }
}

/// The subnets that networks get when nobody says which: 172.17–31/16 by /20, then 192.168/16 by /24. Docker gives away
/// whole /16s, of which a host has 15; we need one per tenant. A bridge has at most 1023 ports, so a /20 is never short.
/// `start` turns the order of the wide ones, so that several instances on a host rarely want the same.
fn defaults(start: usize) -> impl Iterator<Item = Cidr> {
    let wide = (17..=31u8).flat_map(|b| (0..16u8).map(move |c| (Ipv4Addr::new(172, b, c << 4, 0), 20)));
    let narrow = (0..=255u8).map(|c| (Ipv4Addr::new(192, 168, c, 0), 24));
    let count = wide.clone().count();
    wide.cycle().skip(start % count).take(count).chain(narrow).map(|(ip, length)| Cidr { first: IpAddr::V4(ip), length })
}

/// Where automatic subnets come from when an administrator says so: all of one length in a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPool {
    base: Cidr,
    size: u8,
}

impl FromStr for AddressPool {
    type Err = Error;
    /// dockerd's form: `base=10.200.0.0/16,size=24`.
    fn from_str(text: &str) -> Result<Self> {
        let invalid = |why: &str| Error::invalid(format!("address pool {text:?}: {why}; expected base=CIDR,size=LENGTH"));
        let (mut base, mut size) = (None, None);
        for part in text.split(',') {
            match part.trim().split_once('=') {
                Some(("base", cidr)) => base = Some(cidr.parse::<Cidr>().map_err(|e| invalid(&e.to_string()))?),
                Some(("size", length)) => size = length.parse::<u8>().ok(),
                _ => return Err(invalid("what is neither base nor size")),
            }
        }
        let (base, size) = base.zip(size).ok_or_else(|| invalid("base or size is missing or no number"))?;
        // A container and a gateway need two addresses.
        let longest = if base.is_ipv4() { 30 } else { 126 };
        if size < base.length() || size > longest {
            return Err(invalid("the size is not between the base's length and what holds a container"));
        }
        Ok(Self { base, size })
    }
}

impl AddressPool {
    /// Its subnets, in order; of a very large pool the first 65,536.
    fn subnets(self) -> impl Iterator<Item = Cidr> {
        let count = 1u128 << u32::from(self.size - self.base.length()).min(16);
        let step = 1u128 << (self.base.bits() - self.size);
        let (v4, first) = (self.base.is_ipv4(), value(self.base.first()));
        (0..count).map(move |n| Cidr { first: address(v4, first + n * step), length: self.size })
    }
}

fn free_of(pools: &[AddressPool], v4: bool, busy: &[Cidr]) -> Option<Cidr> {
    pools.iter().filter(|p| p.base.is_ipv4() == v4).flat_map(|p| p.subnets()).find(|c| !busy.iter().any(|b| b.overlaps(c)))
}

/// The first subnet of the pools, else of the default ones, that overlaps none of `busy`.
pub fn free_subnet4(busy: &[Cidr], start: usize, pools: &[AddressPool]) -> Option<Cidr> {
    if pools.iter().any(|p| p.base.is_ipv4()) {
        return free_of(pools, true, busy);
    }
    defaults(start).find(|c| !busy.iter().any(|b| b.overlaps(c)))
}

/// The first free subnet of the pools, else /64 of the instance's own ULA /48 (RFC 4193), made from its tag.
pub fn free_subnet6(busy: &[Cidr], tag: &str, pools: &[AddressPool]) -> Option<Cidr> {
    if pools.iter().any(|p| !p.base.is_ipv4()) {
        return free_of(pools, false, busy);
    }
    let digest = crate::Digest::of(format!("wharf ula {tag}").as_bytes());
    let global = &digest.as_bytes()[..5];
    (0..=u16::MAX)
        .map(|subnet| {
            let mut octets = [0u8; 16];
            octets[0] = 0xfd;
            octets[1..6].copy_from_slice(global);
            octets[6..8].copy_from_slice(&subnet.to_be_bytes());
            Cidr { first: IpAddr::V6(octets.into()), length: 64 }
        })
        .find(|c| !busy.iter().any(|b| b.overlaps(c)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn subnets_parse_and_refuse() {
        assert_eq!(cidr("10.1.2.3/16").to_string(), "10.1.0.0/16");
        assert_eq!(cidr("10.1.2.3/16").last().to_string(), "10.1.255.255");
        assert_eq!(cidr("fd00::1/64").to_string(), "fd00::/64");
        assert_eq!(cidr("0.0.0.0/0").last().to_string(), "255.255.255.255");
        assert_eq!(cidr("::/0").last().to_string(), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "fd00::/129", "10.0.0/8", "10.0.0.0/x", "10.0.0.0/-1", "10.0.0.0/8/9", "a/8"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn small_subnets_have_the_room_they_have() {
        let all = |text: &str| {
            let mut pool = Pool::new(cidr(text), None).unwrap();
            std::iter::from_fn(|| pool.take()).map(|ip| ip.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(all("10.0.0.0/30"), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(all("10.0.0.0/31"), ["10.0.0.0", "10.0.0.1"]);
        assert_eq!(all("10.0.0.0/32"), ["10.0.0.0"]);
        assert_eq!(all("fd00::/127"), ["fd00::", "fd00::1"]);
        assert!(Pool::new(cidr("10.0.0.0/24"), Some(cidr("10.0.1.0/25"))).is_err());
        assert!(Pool::new(cidr("10.0.0.0/24"), Some(cidr("10.0.0.0/32"))).is_err());
    }

    #[test]
    fn a_freed_address_is_the_last_to_come_back() {
        let mut pool = Pool::new(cidr("10.0.0.0/29"), None).unwrap();
        let first = pool.take().unwrap();
        pool.give(first);
        let then: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(then.len(), 6);
        assert_eq!(then.last(), Some(&first));
    }

    #[test]
    fn default_subnets_avoid_what_is_there() {
        assert_eq!(free_subnet4(&[], 0, &[]).unwrap().to_string(), "172.17.0.0/20");
        assert_eq!(free_subnet4(&[cidr("172.16.0.0/12")], 0, &[]).unwrap().to_string(), "192.168.0.0/24");
        assert_eq!(free_subnet4(&[cidr("172.17.4.0/24")], 0, &[]).unwrap().to_string(), "172.17.16.0/20");
        assert_eq!(free_subnet4(&[], 241, &[]).unwrap().to_string(), "172.17.16.0/20");
        assert_eq!(free_subnet4(&[cidr("172.16.0.0/12"), cidr("192.168.0.0/16")], 7, &[]), None);
        assert_eq!(free_subnet4(&[cidr("0.0.0.0/0")], 0, &[]), None);
        let six = free_subnet6(&[], "abcde", &[]).unwrap();
        assert_eq!(six.length(), 64);
        assert_ne!(free_subnet6(&[six], "abcde", &[]), Some(six));
    }

    #[test]
    fn an_administrators_pools_are_taken_instead() {
        let pools: Vec<AddressPool> =
            ["base=10.200.0.0/23,size=24", "base=fd00:77::/48,size=64"].iter().map(|p| p.parse().unwrap()).collect();
        assert_eq!(free_subnet4(&[], 7, &pools).unwrap().to_string(), "10.200.0.0/24");
        assert_eq!(free_subnet4(&[cidr("10.200.0.0/25")], 7, &pools).unwrap().to_string(), "10.200.1.0/24");
        assert_eq!(free_subnet4(&[cidr("10.0.0.0/8")], 7, &pools), None, "and nothing else");
        assert_eq!(free_subnet6(&[cidr("fd00:77::/64")], "abcde", &pools).unwrap().to_string(), "fd00:77:0:1::/64");
        assert_eq!(free_subnet6(&[], "abcde", &pools[..1]), free_subnet6(&[], "abcde", &[]), "pools of one family only");
        for bad in [
            "",
            "base=10.0.0.0/8",
            "size=24",
            "base=10.0.0.0/24,size=16",
            "base=10.0.0.0/24,size=31",
            "base=x,size=24",
            "base=10.0.0.0/8,size=24,x",
        ] {
            assert!(bad.parse::<AddressPool>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn taken_addresses_are_distinct_usable_and_inside(length in 20u8..=30, ops in proptest::collection::vec(any::<(bool, u8)>(), 0..200)) {
            let subnet = Cidr::new("10.20.30.40".parse().unwrap(), length).unwrap();
            let mut pool = Pool::new(subnet, None).unwrap();
            let mut held: Vec<IpAddr> = Vec::new();
            for (take, which) in ops {
                if take || held.is_empty() {
                    let Some(ip) = pool.take() else {
                        prop_assert_eq!(held.len() as u128, value(subnet.last()) - value(subnet.first()) - 1);
                        continue;
                    };
                    prop_assert!(subnet.contains(ip) && ip != subnet.first() && ip != subnet.last());
                    prop_assert!(!held.contains(&ip));
                    prop_assert!(pool.take_this(ip).is_err());
                    held.push(ip);
                } else {
                    let ip = held.swap_remove(usize::from(which) % held.len());
                    pool.give(ip);
                }
                prop_assert_eq!(pool.used(), held.len());
            }
        }

        #[test]
        fn parse_of_display_is_the_same(ip in any::<u32>(), length in 0u8..=32) {
            let subnet = Cidr::new(IpAddr::V4(ip.into()), length).unwrap();
            prop_assert_eq!(subnet, cidr(&subnet.to_string()));
            prop_assert!(subnet.contains(IpAddr::V4(ip.into())));
        }

        #[test]
        fn overlap_is_symmetric(a in any::<u32>(), la in 0u8..=32, b in any::<u32>(), lb in 0u8..=32) {
            let (a, b) = (Cidr::new(IpAddr::V4(a.into()), la).unwrap(), Cidr::new(IpAddr::V4(b.into()), lb).unwrap());
            prop_assert_eq!(a.overlaps(&b), b.overlaps(&a));
        }
    }
}
