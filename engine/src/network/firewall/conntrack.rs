//! Forgetting flows. A UDP flow that the kernel has seen before keeps going where it went then, whatever the maps say now:
//! when a port is published or its container goes, its old flows must be forgotten.

use super::number;
use super::wire::{Attributes, Family, Netfilter};
use crate::container::spec::Protocol;
use std::io;
use std::net::IpAddr;

/// Subsystem 1, IPCTNL_MSG_CT_DELETE.
const DELETE: u16 = 1 << 8 | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_FILTER: u16 = 25;
// CTA_FILTER_F_*, nf_internals.h.
const IP_SRC: u32 = 1 << 0;
const PROTO_NUM: u32 = 1 << 3;
const PROTO_DST_PORT: u32 = 1 << 5;

fn family(ip: IpAddr) -> Family {
    if ip.is_ipv4() { Family::Ip } else { Family::Ip6 }
}

/// Flags of what is compared, in the host's byte order.
fn filter(a: &mut Attributes, original: u32, reply: u32) {
    a.nest(CTA_FILTER, |f| {
        f.bytes(1, &original.to_ne_bytes()).bytes(2, &reply.to_ne_bytes());
    });
}

/// Forgets the flows that are answered by a container.
pub fn forget_container(netfilter: &mut Netfilter, ip: IpAddr) -> io::Result<()> {
    netfilter.request(DELETE, family(ip), |a| {
        a.nest(CTA_TUPLE_REPLY, |t| {
            t.nest(1, |addresses| match ip {
                IpAddr::V4(ip) => {
                    addresses.bytes(1, &ip.octets());
                }
                IpAddr::V6(ip) => {
                    addresses.bytes(3, &ip.octets());
                }
            });
        });
        filter(a, 0, IP_SRC);
    })
}

/// Forgets the flows to a UDP port.
pub fn forget_port(netfilter: &mut Netfilter, ip: IpAddr, port: u16) -> io::Result<()> {
    netfilter.request(DELETE, family(ip), |a| {
        a.nest(CTA_TUPLE_ORIG, |t| {
            t.nest(2, |p| {
                p.bytes(1, &[number(Protocol::Udp)]).bytes(3, &port.to_be_bytes());
            });
        });
        filter(a, PROTO_NUM | PROTO_DST_PORT, 0);
    })
}
