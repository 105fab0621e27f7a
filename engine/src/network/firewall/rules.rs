//! The static part of our tables: sets, chains and rules. Everything that changes is an element of a set or map.
//!
//! Table `inet`: what enters and leaves bridges. Table `bridge`: what a container's veth may say (anti-spoof).
//! The order of rules is the security: `golden` tests hold it.

use super::Family;
use super::expression::{Conntrack, Expression, Expression::*, Header, Meta, Verdict};
use crate::network::reach;

/// A set's or map's key and value types, as nft numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs)]
pub enum Type {
    Ip4 = 7,
    Ip6 = 8,
    Ether = 9,
    Protocol = 12,
    Port = 13,
    Name = 41,
}

impl Type {
    /// Bytes, without padding.
    pub fn size(self) -> u32 {
        match self {
            Type::Ip4 => 4,
            Type::Ip6 | Type::Name => 16,
            Type::Ether => 6,
            Type::Protocol => 1,
            Type::Port => 2,
        }
    }
}

/// A set or map.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Set {
    pub family: Family,
    pub name: &'static str,
    pub key: &'static [Type],
    pub value: &'static [Type],
    pub interval: bool,
}

const fn set(family: Family, name: &'static str, key: &'static [Type]) -> Set {
    Set { family, name, key, value: &[], interval: false }
}
const fn map(name: &'static str, key: &'static [Type], value: &'static [Type]) -> Set {
    Set { family: Family::Inet, name, key, value, interval: false }
}

/// All sets and maps. Names are bound in `Element` below and in the rules.
pub const SETS: &[Set] = &[
    set(Family::Inet, "bridges", &[Type::Name]),
    set(Family::Inet, "internal", &[Type::Name]),
    set(Family::Inet, "masquerade4", &[Type::Name]),
    set(Family::Inet, "masquerade6", &[Type::Name]),
    // Bridges whose traffic leaves by an address of the host's that their owner chose.
    map("source4", &[Type::Name], &[Type::Ip4]),
    map("source6", &[Type::Name], &[Type::Ip6]),
    // (interface of the host . bridge): who comes from there reaches containers by their own addresses.
    set(Family::Inet, "trusted", &[Type::Name, Type::Name]),
    // Bridges whose containers are reached by their own addresses, and what of those.
    set(Family::Inet, "open4", &[Type::Name]),
    set(Family::Inet, "open6", &[Type::Name]),
    Set { family: Family::Inet, name: "open_subnets4", key: &[Type::Ip4], value: &[], interval: true },
    Set { family: Family::Inet, name: "open_subnets6", key: &[Type::Ip6], value: &[], interval: true },
    set(Family::Inet, "routed4", &[Type::Ip4, Type::Protocol, Type::Port]),
    set(Family::Inet, "routed6", &[Type::Ip6, Type::Protocol, Type::Port]),
    // (bridge . same bridge): a packet that goes back where it came from.
    set(Family::Inet, "hairpin", &[Type::Name, Type::Name]),
    // (bridge . address of a container on it).
    set(Family::Inet, "members4", &[Type::Name, Type::Ip4]),
    set(Family::Inet, "members6", &[Type::Name, Type::Ip6]),
    // As hairpin, of bridges whose containers may talk to each other. Where br_netfilter is on, bridged packets come by here.
    set(Family::Inet, "neighbours", &[Type::Name, Type::Name]),
    Set { family: Family::Inet, name: "subnets4", key: &[Type::Ip4], value: &[], interval: true },
    Set { family: Family::Inet, name: "subnets6", key: &[Type::Ip6], value: &[], interval: true },
    map("ports4", &[Type::Ip4, Type::Protocol, Type::Port], &[Type::Ip4, Type::Port]),
    map("ports4_any", &[Type::Protocol, Type::Port], &[Type::Ip4, Type::Port]),
    map("ports6", &[Type::Ip6, Type::Protocol, Type::Port], &[Type::Ip6, Type::Port]),
    map("ports6_any", &[Type::Protocol, Type::Port], &[Type::Ip6, Type::Port]),
    // Interfaces that were there while forwarding was off.
    set(Family::Inet, "uplinks4", &[Type::Name]),
    set(Family::Inet, "uplinks6", &[Type::Name]),
    set(Family::Bridge, "ether", &[Type::Name, Type::Ether]),
    set(Family::Bridge, "arp4", &[Type::Name, Type::Ether, Type::Ip4]),
    set(Family::Bridge, "address4", &[Type::Name, Type::Ip4]),
    set(Family::Bridge, "address6", &[Type::Name, Type::Ip6]),
    set(Family::Bridge, "separate", &[Type::Name]),
];

/// A base chain with its rules.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Chain {
    pub family: Family,
    pub name: &'static str,
    pub kind: &'static str,
    /// NF_INET_* or NF_BR_*: 0 prerouting, 1 input, 2 forward, 3 output, 4 postrouting.
    pub hook: u32,
    pub priority: i32,
    pub rules: Vec<Vec<Expression>>,
}

const ACCEPT: Expression = Verdict(Verdict::Accept);
const DROP: Expression = Verdict(Verdict::Drop);
const V4: u8 = 2;
const V6: u8 = 10;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;
const RTN_LOCAL: u32 = 2;
// enum ip_conntrack_info, as `ct state` bits: established 2, related 4. IPS_DST_NAT: 32.
const ESTABLISHED_RELATED: u32 = 2 | 4;
const DNATED: u32 = 32;

fn name(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

fn rule(parts: &[&[Expression]]) -> Vec<Expression> {
    parts.concat()
}

fn family(nfproto: u8) -> [Expression; 2] {
    [Meta(Meta::NfProto, 0), Equal(0, vec![nfproto])]
}
fn protocol(l4: u8) -> [Expression; 2] {
    [Meta(Meta::L4Proto, 0), Equal(0, vec![l4])]
}
fn established() -> [Expression; 2] {
    [Ct(Conntrack::State, 0), AnyBit(0, ESTABLISHED_RELATED)]
}
fn dnated() -> [Expression; 2] {
    [Ct(Conntrack::Status, 0), AnyBit(0, DNATED)]
}
fn from(set: &'static str) -> [Expression; 2] {
    [Meta(Meta::InName, 0), In(set, 0)]
}
fn not_from(set: &'static str) -> [Expression; 2] {
    [Meta(Meta::InName, 0), NotIn(set, 0)]
}
fn to(set: &'static str) -> [Expression; 2] {
    [Meta(Meta::OutName, 0), In(set, 0)]
}
fn between(set: &'static str) -> [Expression; 3] {
    [Meta(Meta::InName, 0), Meta(Meta::OutName, 4), In(set, 0)]
}
fn member(nfproto: u8) -> Vec<Expression> {
    let (source, set) =
        if nfproto == V4 { (Payload(Header::Network, 12, 4, 4), "members4") } else { (Payload(Header::Network, 8, 16, 4), "members6") };
    rule(&[&family(nfproto), &[Meta(Meta::OutName, 0), source, In(set, 0)]])
}
fn destination4() -> Expression {
    Payload(Header::Network, 16, 4, 0)
}
fn destination6() -> Expression {
    Payload(Header::Network, 24, 16, 0)
}
fn local(by_interface: bool) -> [Expression; 2] {
    [FibType(by_interface, 0), Equal(0, RTN_LOCAL.to_ne_bytes().to_vec())]
}
fn ether(kind: u16) -> [Expression; 2] {
    [Payload(Header::Link, 12, 2, 0), Equal(0, kind.to_be_bytes().to_vec())]
}
fn icmp_type(kind: u8) -> [Expression; 2] {
    [Payload(Header::Transport, 0, 1, 0), Equal(0, vec![kind])]
}
fn port(offset: u32, number: u16) -> [Expression; 2] {
    [Payload(Header::Transport, offset, 2, 0), Equal(0, number.to_be_bytes().to_vec())]
}

/// Published ports: the address's own entry first, then the one for all addresses.
fn publish(output: bool) -> Vec<Vec<Expression>> {
    let not_loopback: Vec<Expression> = if output {
        // 127/8 cannot be translated without route_localnet: the shim's listeners serve it.
        vec![Payload(Header::Network, 16, 1, 0), Unequal(0, vec![127])]
    } else {
        Vec::new()
    };
    vec![
        rule(&[
            &family(V4),
            &not_loopback,
            &local(false),
            &[destination4(), Meta(Meta::L4Proto, 1), Payload(Header::Transport, 2, 2, 2), Map("ports4", 0, 0), Dnat(Family::Ip, 0, 1)],
        ]),
        rule(&[
            &family(V4),
            &not_loopback,
            &local(false),
            &[Meta(Meta::L4Proto, 0), Payload(Header::Transport, 2, 2, 1), Map("ports4_any", 0, 0), Dnat(Family::Ip, 0, 1)],
        ]),
        rule(&[
            &family(V6),
            &local(false),
            &[destination6(), Meta(Meta::L4Proto, 4), Payload(Header::Transport, 2, 2, 5), Map("ports6", 0, 0), Dnat(Family::Ip6, 0, 4)],
        ]),
        rule(&[
            &family(V6),
            // ::1 is the shim's, as 127/8.
            &[destination6(), Unequal(0, std::net::Ipv6Addr::LOCALHOST.octets().to_vec())],
            &local(false),
            &[Meta(Meta::L4Proto, 0), Payload(Header::Transport, 2, 2, 1), Map("ports6_any", 0, 0), Dnat(Family::Ip6, 0, 4)],
        ]),
    ]
}

/// A published port of a container whose network is routed.
fn routed(nfproto: u8) -> Vec<Expression> {
    let (destination, word, set) = if nfproto == V4 { (destination4(), 1, "routed4") } else { (destination6(), 4, "routed6") };
    let key = [destination, Meta(Meta::L4Proto, word), Payload(Header::Transport, 2, 2, word + 1), In(set, 0)];
    rule(&[&family(nfproto), &key])
}

/// All chains. `veths`: what the names of our veths begin with.
pub fn chains(veths: &str) -> Vec<Chain> {
    let inet = |name, kind, hook, priority, rules| Chain { family: Family::Inet, name, kind, hook, priority, rules };
    vec![
        // Before DNAT: containers' addresses and 127/8 are nobody's business outside (moby #45610, CVE-2020-8558).
        inet(
            "guard",
            "filter",
            0,
            -150,
            vec![
                rule(&[&[Meta(Meta::InName, 0), Equal(0, name("lo"))], &[ACCEPT]]),
                rule(&[&family(V4), &[Payload(Header::Network, 16, 1, 0), Equal(0, vec![127])], &[DROP]]),
                rule(&[&family(V4), &[Payload(Header::Network, 12, 1, 0), Equal(0, vec![127])], &[DROP]]),
                rule(&[&established(), &[ACCEPT]]),
                // By where it would leave, for that is not decided yet.
                rule(&[&[Meta(Meta::InName, 0), FibOutName(4), In("trusted", 0)], &[ACCEPT]]),
                rule(&[&family(V4), &[destination4(), In("open_subnets4", 0)], &[ACCEPT]]),
                rule(&[&family(V6), &[destination6(), In("open_subnets6", 0)], &[ACCEPT]]),
                rule(&[&routed(V4), &[ACCEPT]]),
                rule(&[&routed(V6), &[ACCEPT]]),
                rule(&[&family(V4), &[destination4(), In("subnets4", 0)], &not_from("bridges"), &[DROP]]),
                rule(&[&family(V6), &[destination6(), In("subnets6", 0)], &not_from("bridges"), &[DROP]]),
            ],
        ),
        inet("publish", "nat", 0, -100, publish(false)),
        inet("publish_local", "nat", 3, -100, publish(true)),
        inet(
            "source",
            "nat",
            4,
            100,
            vec![
                // A container that talks to a neighbour, or itself, by the host's address must hear the answer from the
                // host. By address and not by incoming interface: br_netfilter, where it is on, knows none here.
                rule(&[&dnated(), &member(V4), &[Masquerade]]),
                rule(&[&dnated(), &member(V6), &[Masquerade]]),
                rule(&[&between("hairpin"), &[Verdict(Verdict::Return)]]),
                rule(&[&family(V4), &[Meta(Meta::InName, 0), Map("source4", 0, 0), Snat(Family::Ip, 0)]]),
                rule(&[&family(V6), &[Meta(Meta::InName, 0), Map("source6", 0, 0), Snat(Family::Ip6, 0)]]),
                rule(&[&family(V4), &from("masquerade4"), &[Masquerade]]),
                rule(&[&family(V6), &from("masquerade6"), &[Masquerade]]),
            ],
        ),
        inet(
            "input",
            "filter",
            1,
            0,
            vec![
                rule(&[&not_from("bridges"), &[ACCEPT]]),
                rule(&[&established(), &[ACCEPT]]),
                rule(&[&family(V6), &protocol(ICMP6), &icmp_type(133), &[ACCEPT]]),
                rule(&[&family(V6), &protocol(ICMP6), &icmp_type(135), &[ACCEPT]]),
                rule(&[&family(V6), &protocol(ICMP6), &icmp_type(136), &[ACCEPT]]),
                rule(&[&family(V4), &protocol(ICMP), &icmp_type(8), &local(true), &[ACCEPT]]),
                rule(&[&family(V6), &protocol(ICMP6), &icmp_type(128), &local(true), &[ACCEPT]]),
                // Other tenants' gateways are local addresses too: they answer nothing.
                rule(&[
                    &family(V4),
                    &[destination4(), In("subnets4", 0)],
                    &[FibType(true, 0), Unequal(0, RTN_LOCAL.to_ne_bytes().to_vec())],
                    &[DROP],
                ]),
                rule(&[
                    &family(V6),
                    &[destination6(), In("subnets6", 0)],
                    &[FibType(true, 0), Unequal(0, RTN_LOCAL.to_ne_bytes().to_vec())],
                    &[DROP],
                ]),
                // The host's DNS server, where resolv.conf names one of the host's own addresses.
                rule(&[&protocol(UDP), &port(2, 53), &[ACCEPT]]),
                rule(&[&protocol(TCP), &port(2, 53), &[ACCEPT]]),
                rule(&[&protocol(TCP), &[Reset]]),
                rule(&[&protocol(UDP), &[Reject]]),
                rule(&[&[DROP]]),
            ],
        ),
        inet(
            "forward",
            "filter",
            2,
            0,
            vec![
                rule(&[&established(), &[ACCEPT]]),
                rule(&[&between("neighbours"), &[ACCEPT]]),
                rule(&[&from("internal"), &[DROP]]),
                rule(&[&to("internal"), &[DROP]]),
                rule(&[&from("bridges"), &family(V4), &[destination4(), Masked(0, vec![255, 255, 0, 0], vec![169, 254, 0, 0])], &[DROP]]),
                rule(&[&from("bridges"), &family(V6), &[destination6(), Equal(0, reach::AWS.octets().to_vec())], &[DROP]]),
                rule(&[&from("bridges"), &family(V6), &[destination6(), Equal(0, reach::GOOGLE.octets().to_vec())], &[DROP]]),
                rule(&[&from("bridges"), &family(V4), &[destination4(), Equal(0, reach::ALIBABA.octets().to_vec())], &[DROP]]),
                // Azure's host, which is also its guests' DNS server: the DNS stays.
                rule(&[
                    &from("bridges"),
                    &family(V4),
                    &[destination4(), Equal(0, reach::AZURE.octets().to_vec())],
                    &protocol(TCP),
                    &port(2, 80),
                    &[DROP],
                ]),
                rule(&[
                    &from("bridges"),
                    &family(V4),
                    &[destination4(), Equal(0, reach::AZURE.octets().to_vec())],
                    &protocol(TCP),
                    &port(2, 32526),
                    &[DROP],
                ]),
                // From outside only: other networks of this server stay apart.
                rule(&[&between("trusted"), &[ACCEPT]]),
                rule(&[&not_from("bridges"), &family(V4), &to("open4"), &[ACCEPT]]),
                rule(&[&not_from("bridges"), &family(V6), &to("open6"), &[ACCEPT]]),
                rule(&[&not_from("bridges"), &to("bridges"), &routed(V4), &[ACCEPT]]),
                rule(&[&not_from("bridges"), &to("bridges"), &routed(V6), &[ACCEPT]]),
                rule(&[&to("bridges"), &dnated(), &[ACCEPT]]),
                rule(&[&to("bridges"), &[DROP]]),
                rule(&[&from("bridges"), &[ACCEPT]]),
                rule(&[&family(V4), &from("uplinks4"), &to("uplinks4"), &[DROP]]),
                rule(&[&family(V6), &from("uplinks6"), &to("uplinks6"), &[DROP]]),
            ],
        ),
        Chain {
            family: Family::Bridge,
            name: "speak",
            kind: "filter",
            hook: 0,
            priority: -300,
            rules: vec![
                // Other bridges of this host are not ours to judge. What has our name and is in no set is mute: a veth whose
                // container has gone, and every one while the sets are empty.
                rule(&[&[Meta(Meta::InName, 0), Unequal(0, veths.as_bytes().to_vec())], &[ACCEPT]]),
                rule(&[&[Meta(Meta::InName, 0), Payload(Header::Link, 6, 6, 4), NotIn("ether", 0)], &[DROP]]),
                // Nobody plays DHCP server.
                rule(&[&ether(0x0800), &protocol(UDP), &port(0, 67), &[DROP]]),
                rule(&[&ether(0x0800), &[Meta(Meta::InName, 0), Payload(Header::Network, 12, 4, 4), In("address4", 0)], &[ACCEPT]]),
                rule(&[
                    &ether(0x0806),
                    &[Meta(Meta::InName, 0), Payload(Header::Network, 8, 6, 4), Payload(Header::Network, 14, 4, 6), In("arp4", 0)],
                    &[ACCEPT],
                ]),
                // Router advertisements and redirects (CVE-2020-13401), DHCPv6 server.
                rule(&[&ether(0x86dd), &protocol(ICMP6), &icmp_type(134), &[DROP]]),
                rule(&[&ether(0x86dd), &protocol(ICMP6), &icmp_type(137), &[DROP]]),
                rule(&[&ether(0x86dd), &protocol(UDP), &port(0, 547), &[DROP]]),
                // A neighbour advertisement speaks for its target, which must be the speaker's own.
                rule(&[
                    &ether(0x86dd),
                    &protocol(ICMP6),
                    &icmp_type(136),
                    &[Meta(Meta::InName, 0), Payload(Header::Transport, 8, 16, 4), NotIn("address6", 0)],
                    &[DROP],
                ]),
                // Duplicate address detection asks from ::.
                rule(&[
                    &ether(0x86dd),
                    &protocol(ICMP6),
                    &icmp_type(135),
                    &[Meta(Meta::InName, 0), Payload(Header::Transport, 8, 16, 4), In("address6", 0)],
                    &[Payload(Header::Network, 8, 16, 0), Equal(0, vec![0; 16])],
                    &[ACCEPT],
                ]),
                rule(&[&ether(0x86dd), &[Meta(Meta::InName, 0), Payload(Header::Network, 8, 16, 4), In("address6", 0)], &[ACCEPT]]),
                rule(&[&[DROP]]),
            ],
        },
        Chain {
            family: Family::Bridge,
            name: "separate",
            kind: "filter",
            hook: 2,
            priority: 0,
            rules: vec![rule(&[&from("separate"), &to("separate"), &[DROP]])],
        },
    ]
}
