//! What a question gets: an answer from our own names, an error, or the way upstream. Pure.

use super::super::ResolverSpec;
use crate::container::spec::Protocol;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR, SRV};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::OnceLock;

/// Seconds that answers may be kept; dockerd's.
const TTL: u32 = 600;
/// RFC 1035: what a client takes that did not say more by EDNS.
const PLAIN_UDP: usize = 512;
/// What we take over UDP: no question is longer, and this passes every path unbroken (DNS flag day 2020).
const OWN_UDP: u16 = 1232;

/// The names that one container sees.
pub struct Zone<'a> {
    /// The addresses of a name (lower case, no final dot); `None`: not ours.
    pub addresses: &'a dyn Fn(&str) -> Option<Vec<IpAddr>>,
    /// The name of an address: `web.network`.
    pub name: &'a dyn Fn(IpAddr) -> Option<String>,
    /// The container ports that the holders of a name publish.
    pub ports: &'a dyn Fn(&str, Protocol) -> Vec<u16>,
}

/// What becomes of a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// This answer.
    Answer(Vec<u8>),
    /// Not a question.
    Ignore,
    /// Somebody else knows.
    Forward,
}

/// Whether the container's options keep dotless names at home (`ndots` above 0).
fn keeps_dotless(spec: &ResolverSpec) -> bool {
    let ndots = spec.options.iter().rev().find_map(|o| o.strip_prefix("ndots:"));
    ndots.and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n > 0)
}

fn respond(query: &Message, code: ResponseCode) -> Message {
    let mut message = Message::response(query.metadata.id, query.metadata.op_code);
    message.metadata.recursion_desired = query.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.metadata.response_code = code;
    message.add_queries(query.queries.iter().cloned());
    if query.edns.is_some() {
        // RFC 6891, 6.1.1: who is asked with it answers with it.
        let mut edns = Edns::new();
        edns.set_max_payload(OWN_UDP);
        message.set_edns(edns);
    }
    message
}

fn encode(query: &Message, message: Message, tcp: bool) -> Decision {
    let room =
        if tcp { usize::from(u16::MAX) } else { query.edns.as_ref().map_or(PLAIN_UDP, |e| usize::from(e.max_payload()).max(PLAIN_UDP)) };
    match message.to_vec() {
        Ok(bytes) if bytes.len() <= room => Decision::Answer(bytes),
        Ok(_) => message.truncate().to_vec().map_or(Decision::Ignore, Decision::Answer),
        Err(_) => Decision::Ignore,
    }
}

/// SERVFAIL for a question; `None` for what is none.
pub fn failure(question: &[u8]) -> Option<Vec<u8>> {
    let query = Message::from_vec(question).ok()?;
    respond(&query, ResponseCode::ServFail).to_vec().ok()
}

/// `_http._tcp.web` (RFC 2782): service, protocol, name.
fn service_name(name: &str) -> Option<(&str, Protocol, &str)> {
    let (service, rest) = name.strip_prefix('_')?.split_once("._")?;
    let (protocol, host) = rest.split_once('.')?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return None,
    };
    Some((service, protocol, host))
}

/// The number of a service: itself one, or a name of services(5).
fn service_port(service: &str, protocol: Protocol) -> Option<u16> {
    static SERVICES: OnceLock<HashMap<String, u16>> = OnceLock::new();
    let read = || {
        let text = std::fs::read_to_string("/etc/services").unwrap_or_default();
        let lines = text.lines().filter_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let (name, at) = (words.next()?, words.next()?);
            let (port, protocol) = at.split_once('/')?;
            let port: u16 = port.parse().ok()?;
            Some([name].into_iter().chain(words).map(|name| (format!("{name}/{protocol}"), port)).collect::<Vec<_>>())
        });
        lines.flatten().collect()
    };
    service.parse().ok().or_else(|| SERVICES.get_or_init(read).get(&format!("{service}/{protocol}")).copied())
}

/// The place of a service of a name of ours, if it publishes it, with the addresses beside.
fn with_services(
    mut message: Message,
    asked: &Query,
    zone: &Zone,
    (service, protocol, host): (&str, Protocol, &str),
    addresses: &[IpAddr],
) -> Message {
    let port = service_port(service, protocol).filter(|port| (zone.ports)(host, protocol).contains(port));
    let target = Name::from_ascii(format!("{host}.")).ok();
    if let (RecordType::SRV, Some(port), Some(target)) = (asked.query_type(), port, target) {
        let srv = SRV::new(0, 0, port, target.clone());
        message.add_answer(Record::from_rdata(asked.name().clone(), TTL, RData::SRV(srv)));
        for ip in addresses {
            let data = match ip {
                IpAddr::V4(ip) => RData::A(A(*ip)),
                IpAddr::V6(ip) => RData::AAAA(AAAA(*ip)),
            };
            message.add_additional(Record::from_rdata(target.clone(), TTL, data));
        }
    }
    message
}

/// A question as resolvers ask it all day: one name's A or AAAA, and nothing more.
struct Plain<'a> {
    /// In lower case, without a final dot.
    name: &'a str,
    kind: RecordType,
    /// Where the question ends in the message.
    end: usize,
}

/// Reads one; `None`: it is another, or none. `room` holds the name.
fn plain<'a>(message: &[u8], room: &'a mut [u8; 256]) -> Option<Plain<'a>> {
    // RFC 1035, 4.1.1: a standard query, one question, nothing else; recursion may be asked for.
    let head = message.first_chunk::<12>()?;
    if head[2] & 0xfe != 0 || head[4..12] != [0, 1, 0, 0, 0, 0, 0, 0] {
        return None;
    }
    let (mut at, mut length) = (12, 0);
    loop {
        let label = usize::from(*message.get(at)?);
        at += 1;
        if label == 0 {
            break;
        }
        // 64 and more are pointers, which a question has no use for.
        let bytes = message.get(at..at + label).filter(|_| label < 64)?;
        if length > 0 {
            *room.get_mut(length)? = b'.';
            length += 1;
        }
        for byte in bytes {
            if !byte.is_ascii_graphic() || matches!(byte, b'.' | b'\\') {
                return None;
            }
            *room.get_mut(length)? = byte.to_ascii_lowercase();
            length += 1;
        }
        at += label;
    }
    let kind = match message.get(at..)? {
        [0, 1, 0, 1] => RecordType::A,
        [0, 28, 0, 1] => RecordType::AAAA,
        _ => return None,
    };
    Some(Plain { name: std::str::from_utf8(&room[..length]).ok()?, kind, end: at + 4 })
}

/// Answers a plain question for a name of ours, byte by byte: most of all questions. `None`: by the long way.
fn answer_plain(message: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let mut room = [0; 256];
    let asked = plain(message, &mut room)?;
    let addresses = (zone.addresses)(asked.name)?;
    let of_kind = |ip: &&IpAddr| ip.is_ipv4() == (asked.kind == RecordType::A);
    let count = addresses.iter().filter(of_kind).count();
    let size = if asked.kind == RecordType::A { 16 } else { 28 };
    if asked.end + count * size > PLAIN_UDP {
        return None;
    }
    let mut bytes = Vec::with_capacity(asked.end + count * size);
    bytes.extend_from_slice(&message[..asked.end]);
    // An answer; recursion as it was asked for, and available.
    bytes[2] = 0x80 | (message[2] & 1);
    bytes[3] = 0x80;
    bytes[7] = u8::try_from(count).ok()?;
    let turn = usize::from(u16::from_be_bytes([message[0], message[1]])) % count.max(1);
    let in_turn = addresses.iter().filter(of_kind).cycle().skip(turn).take(count);
    for ip in in_turn {
        // The name is the one at byte 12.
        bytes.extend_from_slice(&[0xc0, 12, 0, if ip.is_ipv4() { 1 } else { 28 }, 0, 1]);
        bytes.extend_from_slice(&TTL.to_be_bytes());
        match ip {
            IpAddr::V4(ip) => {
                bytes.extend_from_slice(&[0, 4]);
                bytes.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                bytes.extend_from_slice(&[0, 16]);
                bytes.extend_from_slice(&ip.octets());
            }
        }
    }
    Some(bytes)
}

/// Decides.
pub fn decide(question: &[u8], zone: &Zone, spec: &ResolverSpec, tcp: bool) -> Decision {
    if let Some(bytes) = answer_plain(question, zone) {
        return Decision::Answer(bytes);
    }
    let Ok(query) = Message::from_vec(question) else { return Decision::Ignore };
    if query.metadata.message_type != MessageType::Query {
        return Decision::Ignore;
    }
    let [asked] = query.queries.as_slice() else { return encode(&query, respond(&query, ResponseCode::FormErr), tcp) };
    if query.metadata.op_code != OpCode::Query {
        return encode(&query, respond(&query, ResponseCode::NotImp), tcp);
    }
    if asked.query_class() != DNSClass::IN {
        return Decision::Forward;
    }
    let name = asked.name().to_ascii().to_ascii_lowercase();
    let name = name.trim_end_matches('.');
    if asked.query_type() == RecordType::PTR {
        let known = asked.name().parse_arpa_name().ok().and_then(|net| (zone.name)(net.addr()));
        let target = known.and_then(|n| Name::from_ascii(format!("{n}.")).ok());
        return match target {
            Some(target) => {
                let mut message = respond(&query, ResponseCode::NoError);
                message.add_answer(Record::from_rdata(asked.name().clone(), TTL, RData::PTR(PTR(target))));
                encode(&query, message, tcp)
            }
            None => Decision::Forward,
        };
    }
    if let Some((service, protocol, host)) = service_name(name)
        && let Some(addresses) = (zone.addresses)(host)
    {
        let message = respond(&query, ResponseCode::NoError);
        return encode(&query, with_services(message, asked, zone, (service, protocol, host), &addresses), tcp);
    }
    if let Some(addresses) = (zone.addresses)(name) {
        // Known here: other types are empty, not somebody else's to answer.
        let mut message = respond(&query, ResponseCode::NoError);
        let data = addresses.iter().filter_map(|ip| match (asked.query_type(), ip) {
            (RecordType::A, IpAddr::V4(ip)) => Some(RData::A(A(*ip))),
            (RecordType::AAAA, IpAddr::V6(ip)) => Some(RData::AAAA(AAAA(*ip))),
            _ => None,
        });
        let mut data: Vec<RData> = data.collect();
        // Round robin: whoever takes the first one takes each in turn.
        let turn = usize::from(query.metadata.id) % data.len().max(1);
        data.rotate_left(turn);
        for rdata in data {
            message.add_answer(Record::from_rdata(asked.name().clone(), TTL, rdata));
        }
        return encode(&query, message, tcp);
    }
    if !name.contains('.') && !name.is_empty() && keeps_dotless(spec) {
        return encode(&query, respond(&query, ResponseCode::NXDomain), tcp);
    }
    Decision::Forward
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn zone() -> Zone<'static> {
        Zone {
            addresses: &|name| {
                let ip = |t: &str| t.parse::<IpAddr>().unwrap();
                match name {
                    "web" => Some(vec![ip("172.18.0.2"), ip("172.18.0.3")]),
                    "six" => Some(vec![ip("fd00::2"), ip("172.18.0.4")]),
                    "many" => Some((0..100).map(|n| IpAddr::from([10, 0, 0, n])).collect()),
                    _ => None,
                }
            },
            name: &|ip| matches!(ip.to_string().as_str(), "172.18.0.2" | "fd00::2").then(|| "web.net".to_owned()),
            ports: &|name, protocol| if name == "web" && protocol == Protocol::Tcp { vec![80, 8443] } else { Vec::new() },
        }
    }

    fn ask(name: &str, kind: RecordType, id: u16) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.id = id;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message.to_vec().unwrap()
    }

    fn answer(name: &str, kind: RecordType, id: u16, tcp: bool) -> Option<Message> {
        match decide(&ask(name, kind, id), &zone(), &ResolverSpec::default(), tcp) {
            Decision::Answer(bytes) => Some(Message::from_vec(&bytes).unwrap()),
            Decision::Ignore => panic!("ignored"),
            Decision::Forward => None,
        }
    }

    fn data(message: &Message) -> Vec<String> {
        message.answers.iter().map(|r| r.data.to_string()).collect()
    }

    #[test]
    fn own_names_are_answered() {
        let reply = answer("WEB.", RecordType::A, 0, false).unwrap();
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
        assert_eq!(data(&reply), ["172.18.0.2", "172.18.0.3"]);
        assert_eq!(reply.answers[0].ttl, 600);
        assert_eq!(data(&answer("web.", RecordType::A, 1, false).unwrap()), ["172.18.0.3", "172.18.0.2"]);
        assert_eq!(data(&answer("six.", RecordType::AAAA, 0, false).unwrap()), ["fd00::2"]);
        for kind in [RecordType::AAAA, RecordType::MX, RecordType::TXT, RecordType::SRV] {
            let reply = answer("web.", kind, 0, false).unwrap();
            assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 0), "{kind}");
        }
        assert_eq!(data(&answer("2.0.18.172.in-addr.arpa.", RecordType::PTR, 0, false).unwrap()), ["web.net."]);
    }

    #[test]
    fn other_names_go_upstream() {
        assert!(answer("example.org.", RecordType::A, 0, false).is_none());
        assert!(answer("unknown.", RecordType::A, 0, false).is_none());
        assert!(answer("9.0.18.172.in-addr.arpa.", RecordType::PTR, 0, false).is_none());
        let ndots = ResolverSpec { options: vec!["ndots:1".to_owned()], ..Default::default() };
        let Decision::Answer(bytes) = decide(&ask("unknown.", RecordType::A, 7), &zone(), &ndots, false) else { panic!() };
        assert_eq!(Message::from_vec(&bytes).unwrap().metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(decide(&ask("example.org.", RecordType::A, 7), &zone(), &ndots, false), Decision::Forward);
    }

    #[test]
    fn long_answers_are_truncated_over_udp_only() {
        let udp = answer("many.", RecordType::A, 0, false).unwrap();
        assert!(udp.metadata.truncation && udp.answers.is_empty());
        let tcp = answer("many.", RecordType::A, 0, true).unwrap();
        assert_eq!((tcp.metadata.truncation, tcp.answers.len()), (false, 100));
    }

    #[test]
    fn a_client_that_takes_more_gets_more_and_is_answered_in_kind() {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii("many.").unwrap(), RecordType::A));
        message.set_edns(Edns::new());
        let with = |room: u16| {
            let mut message = message.clone();
            message.edns.as_mut().unwrap().set_max_payload(room);
            match decide(&message.to_vec().unwrap(), &zone(), &ResolverSpec::default(), false) {
                Decision::Answer(bytes) => (bytes.len(), Message::from_vec(&bytes).unwrap()),
                _ => panic!(),
            }
        };
        let (length, whole) = with(4096);
        assert!(length > 1232 && whole.answers.len() == 100 && !whole.metadata.truncation && whole.edns.is_some());
        let (length, cut) = with(1232);
        assert!(length <= 1232 && cut.metadata.truncation && cut.answers.is_empty() && cut.edns.is_some());
        // RFC 6891, 6.2.3: less than 512 counts as 512.
        assert!(with(0).0 <= 512);
    }

    #[test]
    fn services_and_addresses_of_both_families_have_names() {
        let reply = answer("_8443._tcp.web.", RecordType::SRV, 0, false).unwrap();
        assert_eq!(data(&reply), ["0 0 8443 web."]);
        assert_eq!(reply.additionals.len(), 2);
        // Known here, and not somebody else's to answer.
        for name in ["_8443._udp.web.", "_9._tcp.web.", "_nonsense._tcp.web."] {
            let reply = answer(name, RecordType::SRV, 0, false).unwrap();
            assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 0), "{name}");
        }
        assert!(answer("_8443._tcp.example.org.", RecordType::SRV, 0, false).is_none());
        let nibbles = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.";
        assert_eq!(data(&answer(nibbles, RecordType::PTR, 0, false).unwrap()), ["web.net."]);
    }

    /// The short way and the long way say the same.
    #[test]
    fn a_plain_answer_is_what_the_long_way_says() {
        let spec = ResolverSpec::default();
        for (name, kind) in [("web.", RecordType::A), ("WEB.", RecordType::AAAA), ("six.", RecordType::AAAA), ("six.", RecordType::A)] {
            for id in 0..4 {
                let question = ask(name, kind, id);
                let quick = Message::from_vec(&answer_plain(&question, &zone()).unwrap()).unwrap();
                let mut long = Message::from_vec(&question).unwrap();
                long.set_edns(Edns::new());
                let Decision::Answer(bytes) = decide(&long.to_vec().unwrap(), &zone(), &spec, false) else { panic!() };
                let mut long = Message::from_vec(&bytes).unwrap();
                long.edns = None;
                assert_eq!((quick.metadata, &quick.queries, data(&quick)), (long.metadata, &long.queries, data(&long)), "{name} {kind}");
                assert!(quick.answers.iter().all(|r| r.ttl == TTL));
            }
        }
        for (name, kind) in [("many.", RecordType::A), ("web.", RecordType::MX), ("unknown.", RecordType::A)] {
            assert_eq!(answer_plain(&ask(name, kind, 0), &zone()), None);
        }
    }

    #[test]
    fn answers_are_not_questions() {
        let mut message = Message::response(1, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii("web.").unwrap(), RecordType::A));
        assert_eq!(decide(&message.to_vec().unwrap(), &zone(), &ResolverSpec::default(), false), Decision::Ignore);
        assert_eq!(decide(b"", &zone(), &ResolverSpec::default(), false), Decision::Ignore);
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), tcp: bool) {
            decide(&bytes, &zone(), &ResolverSpec::default(), tcp);
            failure(&bytes);
            // With a header of a plain question, which few random bytes have.
            let mut plain = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            plain.extend(bytes);
            answer_plain(&plain, &zone());
        }
    }
}
