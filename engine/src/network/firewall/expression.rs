//! The few nf_tables expressions that our rules need, and their encoding.
//!
//! Registers are counted in words of four bytes (NFT_REG32_00 + n). A concatenation lies in consecutive words, each part
//! padded to whole words.

use super::wire::Attributes;

/// A word register, 0 to 15.
pub type Word = u32;

/// A header that `payload` reads from.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
#[allow(missing_docs)]
pub enum Header {
    Link = 0,
    Network = 1,
    Transport = 2,
}

/// What `meta` loads (NFT_META_*).
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
#[allow(missing_docs)]
pub enum Meta {
    InName = 6,
    OutName = 7,
    NfProto = 15,
    L4Proto = 16,
}

/// What `ct` loads (NFT_CT_*).
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
#[allow(missing_docs)]
pub enum Conntrack {
    State = 0,
    Status = 2,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub enum Verdict {
    Drop,
    Accept,
    Return,
}

/// An expression.
#[derive(Debug, Clone)]
pub enum Expression {
    /// Loads a fact about the packet.
    Meta(Meta, Word),
    /// Loads bytes: header, offset, length.
    Payload(Header, u32, u32, Word),
    /// Loads from the connection.
    Ct(Conntrack, Word),
    /// Loads the type of the destination address (RTN_*); `true`: it must belong to the interface the packet came by.
    FibType(bool, Word),
    /// Loads the name of the interface by which the destination is reached.
    FibOutName(Word),
    /// Goes on when equal.
    Equal(Word, Vec<u8>),
    /// Goes on when unequal.
    Unequal(Word, Vec<u8>),
    /// Goes on when `word & mask != 0`, in the host's byte order.
    AnyBit(Word, u32),
    /// Goes on when the prefix of an IPv6 address or other bytes matches: mask, value.
    Masked(Word, Vec<u8>, Vec<u8>),
    /// Goes on when the key is in the set.
    In(&'static str, Word),
    /// Goes on when it is not.
    NotIn(&'static str, Word),
    /// Goes on when the key is in the map, with its value.
    Map(&'static str, Word, Word),
    /// Translates the destination: family, word of the address, word of the port.
    Dnat(super::Family, Word, Word),
    /// Translates the source: family, word of the address.
    Snat(super::Family, Word),
    /// Translates the source to the address of the interface it leaves by.
    Masquerade,
    /// Refuses: ICMP "port unreachable".
    Reject,
    /// Refuses a TCP connection by RST.
    Reset,
    /// Ends the rule.
    Verdict(Verdict),
}

fn register(word: Word) -> u32 {
    8 + word
}

fn named(list: &mut Attributes, name: &str, fill: impl FnOnce(&mut Attributes)) {
    list.nest(1, |e| {
        e.text(1, name).nest(2, fill);
    });
}

fn compare(list: &mut Attributes, word: Word, op: u32, value: &[u8]) {
    named(list, "cmp", |a| {
        a.number(1, register(word)).number(2, op).nest(3, |d| {
            d.bytes(1, value);
        });
    });
}

fn mask(list: &mut Attributes, word: Word, mask: &[u8]) {
    named(list, "bitwise", |a| {
        a.number(1, register(word)).number(2, register(word)).number(3, mask.len() as u32);
        a.nest(4, |d| {
            d.bytes(1, mask);
        });
        a.nest(5, |d| {
            d.bytes(1, &vec![0; mask.len()]);
        });
    });
}

impl Expression {
    /// Appends its encoding to a list of expressions.
    pub fn encode(&self, list: &mut Attributes) {
        match self {
            Self::Meta(key, word) => named(list, "meta", |a| {
                a.number(2, *key as u32).number(1, register(*word));
            }),
            Self::Payload(header, offset, length, word) => named(list, "payload", |a| {
                a.number(1, register(*word)).number(2, *header as u32).number(3, *offset).number(4, *length);
            }),
            Self::Ct(key, word) => named(list, "ct", |a| {
                a.number(2, *key as u32).number(1, register(*word));
            }),
            Self::FibType(by_interface, word) => named(list, "fib", |a| {
                // NFTA_FIB_F_DADDR = 2, NFTA_FIB_F_IIF = 8; NFT_FIB_RESULT_ADDRTYPE = 3.
                a.number(3, if *by_interface { 2 | 8 } else { 2 }).number(2, 3).number(1, register(*word));
            }),
            Self::FibOutName(word) => named(list, "fib", |a| {
                // NFT_FIB_RESULT_OIFNAME = 2.
                a.number(3, 2).number(2, 2).number(1, register(*word));
            }),
            Self::Equal(word, value) => compare(list, *word, 0, value),
            Self::Unequal(word, value) => compare(list, *word, 1, value),
            Self::AnyBit(word, bits) => {
                mask(list, *word, &bits.to_ne_bytes());
                compare(list, *word, 1, &[0; 4]);
            }
            Self::Masked(word, bits, value) => {
                mask(list, *word, bits);
                compare(list, *word, 0, value);
            }
            Self::In(set, word) => lookup(list, set, *word, None, false),
            Self::NotIn(set, word) => lookup(list, set, *word, None, true),
            Self::Map(map, word, to) => lookup(list, map, *word, Some(*to), false),
            Self::Dnat(family, address, port) => named(list, "nat", |a| {
                a.number(1, 1).number(2, *family as u32).number(3, register(*address)).number(5, register(*port));
            }),
            Self::Snat(family, address) => named(list, "nat", |a| {
                a.number(1, 0).number(2, *family as u32).number(3, register(*address));
            }),
            Self::Masquerade => named(list, "masq", |_| {}),
            Self::Reject => named(list, "reject", |a| {
                // NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_PORT_UNREACH.
                a.number(1, 2).bytes(2, &[1]);
            }),
            Self::Reset => named(list, "reject", |a| {
                a.number(1, 1).bytes(2, &[0]);
            }),
            Self::Verdict(verdict) => named(list, "immediate", |a| {
                let code: i32 = match verdict {
                    Verdict::Drop => 0,
                    Verdict::Accept => 1,
                    Verdict::Return => -5,
                };
                a.number(1, 0).nest(2, |d| {
                    d.nest(2, |v| {
                        v.bytes(1, &code.to_be_bytes());
                    });
                });
            }),
        }
    }
}

fn lookup(list: &mut Attributes, set: &str, word: Word, to: Option<Word>, invert: bool) {
    named(list, "lookup", |a| {
        a.text(1, set).number(2, register(word));
        if let Some(to) = to {
            a.number(3, register(to));
        }
        if invert {
            a.number(5, 1);
        }
    });
}
