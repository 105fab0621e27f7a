//! The ledger of published ports: which host address, port and protocol belongs to which container. Pure.
//!
//! An unspecified address (0.0.0.0 or ::) stands for all of its family, and is in the way of every other of that family.

use super::PortUse;
use crate::container::spec::Protocol;
use crate::id::ContainerId;
use std::collections::HashMap;
use std::net::IpAddr;

/// The ledger.
#[derive(Debug, Default)]
pub struct Ledger {
    taken: HashMap<(Protocol, u16), Vec<(IpAddr, ContainerId)>>,
}

impl Ledger {
    /// Takes a port for a container; `false`: somebody has it.
    #[must_use]
    pub fn take(&mut self, ip: IpAddr, port: u16, protocol: Protocol, container: &ContainerId) -> bool {
        let users = self.taken.entry((protocol, port)).or_default();
        let in_the_way =
            |other: &IpAddr| other.is_ipv4() == ip.is_ipv4() && (*other == ip || other.is_unspecified() || ip.is_unspecified());
        if users.iter().any(|(other, _)| in_the_way(other)) {
            return false;
        }
        users.push((ip, container.clone()));
        true
    }

    /// Gives a port back.
    pub fn give(&mut self, ip: IpAddr, port: u16, protocol: Protocol) {
        if let Some(users) = self.taken.get_mut(&(protocol, port)) {
            users.retain(|(other, _)| *other != ip);
            if users.is_empty() {
                self.taken.remove(&(protocol, port));
            }
        }
    }

    /// All of it, by port.
    pub fn all(&self) -> Vec<PortUse> {
        let mut all: Vec<PortUse> = self
            .taken
            .iter()
            .flat_map(|((protocol, port), users)| {
                users.iter().map(|(ip, container)| PortUse { ip: *ip, port: *port, protocol: *protocol, container: container.clone() })
            })
            .collect();
        all.sort_by_key(|u| (u.port, u.protocol, u.ip));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_in_the_way_of_its_family() {
        let mut ledger = Ledger::default();
        let (a, b) = (ContainerId::random(), ContainerId::random());
        let ip = |t: &str| t.parse::<IpAddr>().unwrap();
        assert!(ledger.take(ip("127.0.0.1"), 80, Protocol::Tcp, &a));
        assert!(!ledger.take(ip("127.0.0.1"), 80, Protocol::Tcp, &b));
        assert!(!ledger.take(ip("0.0.0.0"), 80, Protocol::Tcp, &b));
        assert!(ledger.take(ip("192.0.2.1"), 80, Protocol::Tcp, &b));
        assert!(ledger.take(ip("::"), 80, Protocol::Tcp, &b), "another family");
        assert!(!ledger.take(ip("::1"), 80, Protocol::Tcp, &a));
        assert!(ledger.take(ip("0.0.0.0"), 80, Protocol::Udp, &b), "another protocol");
        ledger.give(ip("127.0.0.1"), 80, Protocol::Tcp);
        assert!(!ledger.take(ip("0.0.0.0"), 80, Protocol::Tcp, &b));
        ledger.give(ip("192.0.2.1"), 80, Protocol::Tcp);
        assert!(ledger.take(ip("0.0.0.0"), 80, Protocol::Tcp, &b));
        assert_eq!(ledger.all().len(), 3);
    }
}
