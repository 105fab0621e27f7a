//! Where the host's own routes go, so that no network of ours takes a subnet of theirs.
//!
//! All routes are read once; afterwards the kernel tells of changes (rtnetlink(7), groups for routes and links), and only what
//! concerns somebody else's interface has them read again. So a network costs the same however many there are.

use super::firewall::{attribute, messages};
use super::ipam::Cidr;
use super::link::Routes;
use netlink_sys::Socket;
use std::collections::HashSet;
use std::io;

/// RTNLGRP_LINK, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE.
const GROUPS: [u32; 3] = [1, 7, 11];
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const IFF_UP: u32 = 1;
const IFLA_IFNAME: u16 = 3;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const AF_INET6: u8 = 10;

/// The host's routes.
#[derive(Debug)]
pub struct HostRoutes {
    changes: Socket,
    known: Option<Vec<Cidr>>,
    /// Indices of bridges of ours, of those that are gone too: they are never given again soon.
    own: HashSet<u32>,
    /// What the names of our interfaces begin with.
    prefixes: [String; 2],
}

impl HostRoutes {
    /// Begins to listen, in the calling thread's network namespace.
    pub fn open(prefixes: [String; 2]) -> io::Result<Self> {
        let mut changes = Socket::new(0)?;
        changes.bind_auto()?;
        for group in GROUPS {
            changes.add_membership(group)?;
        }
        Ok(Self { changes, known: None, own: HashSet::new(), prefixes })
    }

    /// A bridge is ours: its routes are in our own books.
    pub fn own(&mut self, index: u32) {
        self.own.insert(index);
    }

    /// Destinations of all routes and addresses but the default routes and our own.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn busy(&mut self, routes: &mut Routes) -> io::Result<Vec<Cidr>> {
        if self.changed() {
            self.known = None;
        }
        if let Some(known) = &self.known {
            return Ok(known.clone());
        }
        let busy = routes.busy(&self.own)?;
        self.known = Some(busy.clone());
        Ok(busy)
    }

    /// Whether anything changed that is not ours. Takes all that was told.
    fn changed(&mut self) -> bool {
        let mut changed = false;
        let mut buffer = Vec::with_capacity(64 * 1024);
        loop {
            buffer.clear();
            match self.changes.recv(&mut buffer, libc::MSG_DONTWAIT) {
                Ok(_) => changed |= !changed && messages(&buffer).any(|(kind, _, payload)| self.concerns(kind, payload)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return changed,
                // More was told than the socket holds: anything may have happened.
                Err(_) => changed = true,
            }
        }
    }

    fn concerns(&self, kind: u16, payload: &[u8]) -> bool {
        let number = |bytes: &[u8]| bytes.get(0..4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes);
        match kind {
            RTM_NEWROUTE | RTM_DELROUTE => {
                // struct rtmsg is 12 bytes, of which the first is the family. Every interface comes with link-local and multicast routes
                // of IPv6, which are nobody's subnet.
                let to = payload.get(12..).and_then(|attributes| attribute(attributes, RTA_DST)).unwrap_or_default();
                if payload.first() == Some(&AF_INET6) && matches!(to, [0xff, ..] | [0xfe, 0x80..=0xbf, ..]) {
                    return false;
                }
                let out = payload.get(12..).and_then(|attributes| attribute(attributes, RTA_OIF)).and_then(number);
                out.is_none_or(|index| !self.own.contains(&index))
            }
            // Routes of an interface that goes down go without a word. struct ifinfomsg is 16 bytes.
            RTM_NEWLINK | RTM_DELLINK => {
                let up = payload.get(8..).and_then(number).is_some_and(|flags| flags & IFF_UP != 0);
                let name = payload.get(16..).and_then(|attributes| attribute(attributes, IFLA_IFNAME)).unwrap_or_default();
                let ours = self.prefixes.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
                    || payload.get(4..).and_then(number).is_some_and(|index| self.own.contains(&index));
                !ours && (kind == RTM_DELLINK || !up)
            }
            _ => false,
        }
    }
}
