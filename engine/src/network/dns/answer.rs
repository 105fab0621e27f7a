//! What a question gets: an answer from our own names, an error, or the way upstream. Pure.

use super::super::ResolverSpec;
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::net::IpAddr;

/// Seconds that answers may be kept; dockerd's.
const TTL: u32 = 600;
/// RFC 1035: what a client takes that did not say more by EDNS.
const PLAIN_UDP: usize = 512;

/// The names that one container sees.
pub struct Zone<'a> {
    /// The addresses of a name (lower case, no final dot); `None`: not ours.
    pub addresses: &'a dyn Fn(&str) -> Option<Vec<IpAddr>>,
    /// The name of an address: `web.network`.
    pub name: &'a dyn Fn(IpAddr) -> Option<String>,
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

/// Decides.
pub fn decide(question: &[u8], zone: &Zone, spec: &ResolverSpec, tcp: bool) -> Decision {
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
    use hickory_proto::op::Query;
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
            name: &|ip| (ip.to_string() == "172.18.0.2").then(|| "web.net".to_owned()),
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
        }
    }
}
