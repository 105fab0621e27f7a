//! Living beside other firewalls: a packet must pass every base chain of its hook, so a foreign forward chain that drops
//! by policy (ufw, iptables-nft beside dockerd) would cut our containers off. One accept rule of ours is put at its head;
//! what our own chain drops stays dropped, since a drop in any chain is final.

use super::expression::{Expression, Meta, Verdict};
use super::wire::{Batch, CREATE, Family, Kind, Netfilter, attribute, text};
use std::io;

/// Our rules are known by this comment (NFTNL_UDATA_RULE_COMMENT).
fn comment(table: &str) -> Vec<u8> {
    let text = format!("{table}: forwarding is judged in its own table");
    let mut bytes = vec![0, u8::try_from(text.len() + 1).unwrap_or(u8::MAX)];
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

fn family(number: u8) -> Option<Family> {
    match number {
        1 => Some(Family::Inet),
        2 => Some(Family::Ip),
        10 => Some(Family::Ip6),
        _ => None,
    }
}

/// A chain of somebody else's.
struct Foreign {
    family: Family,
    table: String,
    chain: String,
}

/// Where our rule belongs: DOCKER-USER where dockerd made it (its own rules come after), else the dropping base chain.
fn chains(netfilter: &mut Netfilter, own: &str) -> io::Result<Vec<Foreign>> {
    let mut found: Vec<Foreign> = Vec::new();
    for (_, number, attributes) in netfilter.dump(Kind::GetChain, Family::Any, |_| {})? {
        let (Some(family), Some(table), Some(chain)) = (family(number), text(&attributes, 1), text(&attributes, 3)) else { continue };
        if table == own {
            continue;
        }
        let forward = attribute(&attributes, 4).and_then(|hook| attribute(hook, 1)) == Some(&2u32.to_be_bytes()[..]);
        let filter = text(&attributes, 7) == Some("filter");
        let drops = attribute(&attributes, 5) == Some(&0u32.to_be_bytes()[..]);
        // firewalld's chain accepts by policy and rejects by its last rule.
        let firewalld = table == "firewalld" && chain == "filter_FORWARD";
        if (forward && filter && (drops || firewalld)) || chain == "DOCKER-USER" {
            found.push(Foreign { family, table: table.to_owned(), chain: chain.to_owned() });
        }
    }
    let docker: Vec<(Family, String)> = found.iter().filter(|f| f.chain == "DOCKER-USER").map(|f| (f.family, f.table.clone())).collect();
    found.retain(|f| f.chain == "DOCKER-USER" || !docker.contains(&(f.family, f.table.clone())));
    Ok(found)
}

fn ours(netfilter: &mut Netfilter, foreign: &Foreign, comment: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let rules = netfilter.dump(Kind::GetRule, foreign.family, |a| {
        a.text(1, &foreign.table).text(2, &foreign.chain);
    })?;
    Ok(rules
        .into_iter()
        .filter(|(_, _, rule)| text(rule, 1) == Some(&foreign.table) && text(rule, 2) == Some(&foreign.chain))
        .filter(|(_, _, rule)| attribute(rule, 7) == Some(comment))
        .filter_map(|(_, _, rule)| attribute(&rule, 3).map(<[u8]>::to_vec))
        .collect())
}

/// See [`super::Firewall::open_foreign_chains`].
pub fn open(netfilter: &mut Netfilter, own: &str, prefix: &str) -> io::Result<Vec<String>> {
    let comment = comment(own);
    let mut opened = Vec::new();
    for foreign in chains(netfilter, own)? {
        if ours(netfilter, &foreign, &comment)?.len() >= 2 {
            continue;
        }
        let mut batch = Batch::default();
        for direction in [Meta::OutName, Meta::InName] {
            // A comparison shorter than the name is a comparison with its beginning: `oifname "prefix*"`.
            let rule =
                [Expression::Meta(direction, 0), Expression::Equal(0, prefix.as_bytes().to_vec()), Expression::Verdict(Verdict::Accept)];
            batch.add(Kind::NewRule, CREATE, foreign.family, |a| {
                a.text(1, &foreign.table).text(2, &foreign.chain);
                a.nest(4, |list| rule.iter().for_each(|e| e.encode(list)));
                a.bytes(7, &comment);
            });
        }
        match netfilter.send(batch) {
            Ok(()) => opened.push(format!("{} {}", foreign.table, foreign.chain)),
            // Gone since the dump.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(opened)
}

/// See [`super::Firewall::close_foreign_chains`].
pub fn close(netfilter: &mut Netfilter, own: &str) -> io::Result<()> {
    let comment = comment(own);
    for foreign in chains(netfilter, own)? {
        let mut batch = Batch::default();
        for handle in ours(netfilter, &foreign, &comment)? {
            batch.add(Kind::DelRule, 0, foreign.family, |a| {
                a.text(1, &foreign.table).text(2, &foreign.chain).bytes(3, &handle);
            });
        }
        netfilter.send(batch)?;
    }
    Ok(())
}
