//! nfnetlink messages as bytes, and the socket that carries them: batches in, acknowledgements and dumps out.
//!
//! A batch is atomic: the kernel takes all of it or nothing (nfnetlink.c, nf_tables_api.c). It is processed within
//! `send`, so every answer waits in the socket when `send` returns.

use netlink_sys::{Socket, SocketAddr};
use std::io;

const NETLINK_NETFILTER: isize = 12;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYS_NFTABLES: u16 = 10;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const F_REQUEST: u16 = 1;
const F_ACK: u16 = 4;
const F_DUMP: u16 = 0x300;
const NLA_F_NESTED: u16 = 1 << 15;

/// NLM_F_CREATE.
pub const CREATE: u16 = 0x400;
/// NLM_F_APPEND: a rule goes to the chain's end; without it, to its head.
pub const APPEND: u16 = 0x800;

/// Message types (NFT_MSG_*).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Kind {
    NewTable = 0,
    DelTable = 2,
    NewChain = 3,
    GetChain = 4,
    NewRule = 6,
    GetRule = 7,
    DelRule = 8,
    NewSet = 9,
    NewElements = 12,
    DelElements = 14,
}

/// Address families as nf_tables counts them (NFPROTO_*).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Family {
    Any = 0,
    Inet = 1,
    Ip = 2,
    Bridge = 7,
    Ip6 = 10,
}

/// Attributes of one message or one nest.
#[derive(Debug, Default, Clone)]
pub struct Attributes(pub(super) Vec<u8>);

impl Attributes {
    /// An attribute with these bytes.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        // nla_len is 16 bits; the callers chunk what could be longer.
        let length = u16::try_from(4 + value.len()).expect("an attribute is below 64 KiB");
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        while !self.0.len().is_multiple_of(4) {
            self.0.push(0);
        }
        self
    }

    /// A big-endian number, as nf_tables has all its numbers.
    pub fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A NUL-terminated text.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// A nest.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes)) -> &mut Self {
        let mut inner = Attributes::default();
        fill(&mut inner);
        self.bytes(kind | NLA_F_NESTED, &inner.0)
    }
}

/// Reads attributes: (kind without flags, value).
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(0..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind & 0x3fff, value))
    })
}

/// The first attribute of a kind.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(k, _)| *k == kind).map(|(_, v)| v)
}

/// An attribute as text, without its NUL.
pub fn text(bytes: &[u8], kind: u16) -> Option<&str> {
    std::str::from_utf8(attribute(bytes, kind)?).ok().map(|t| t.trim_end_matches('\0'))
}

/// An atomic batch.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    last: Option<usize>,
    sequence: u32,
}

impl Default for Batch {
    fn default() -> Self {
        let mut batch = Self { bytes: Vec::with_capacity(4096), last: None, sequence: 0 };
        batch.message(BATCH_BEGIN, F_REQUEST, Family::Any, SUBSYS_NFTABLES, &[]);
        batch
    }
}

impl Batch {
    fn message(&mut self, kind: u16, flags: u16, family: Family, res_id: u16, payload: &[u8]) {
        let length = u32::try_from(20 + payload.len()).expect("a message is below 4 GiB");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&[family as u8, 0]);
        self.bytes.extend_from_slice(&res_id.to_be_bytes());
        self.bytes.extend_from_slice(payload);
        self.sequence += 1;
    }

    /// Adds a message.
    pub fn add(&mut self, kind: Kind, flags: u16, family: Family, fill: impl FnOnce(&mut Attributes)) -> &mut Self {
        let mut attributes = Attributes::default();
        fill(&mut attributes);
        self.last = Some(self.bytes.len());
        self.message(SUBSYS_NFTABLES << 8 | kind as u16, F_REQUEST | flags, family, 0, &attributes.0);
        self
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// All its bytes, with the end mark, asking for an acknowledgement of the last message.
    pub fn finish(mut self) -> Vec<u8> {
        if let Some(at) = self.last {
            let flags = u16::from_ne_bytes([self.bytes[at + 6], self.bytes[at + 7]]) | F_ACK;
            self.bytes[at + 6..at + 8].copy_from_slice(&flags.to_ne_bytes());
        }
        self.message(BATCH_END, F_REQUEST, Family::Any, SUBSYS_NFTABLES, &[]);
        self.bytes
    }
}

/// A netfilter socket in one network namespace.
#[derive(Debug)]
pub struct Netfilter {
    socket: Socket,
    port: u32,
    /// Bytes to the kernel.
    pub carried: usize,
}

impl Netfilter {
    /// Opens it in the calling thread's network namespace.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        let port = socket.bind_auto()?.port_number();
        // A rebuild with thousands of elements is one message; the default limit is 208 KiB.
        rustix::net::sockopt::set_socket_send_buffer_size_force(&socket, 32 << 20)?;
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 8 << 20)?;
        Ok(Self { socket, port, carried: 0 })
    }

    /// Its port id: the sender in the kernel's notifications.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Has the kernel execute a batch.
    ///
    /// # Errors
    /// The errno of the first message that was refused; then nothing of the batch happened.
    pub fn send(&mut self, batch: Batch) -> io::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let bytes = batch.finish();
        self.carried += self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        self.acknowledged()
    }

    /// Takes the answers to what was just sent.
    fn acknowledged(&mut self) -> io::Result<()> {
        let mut outcome = None;
        let mut flags = 0;
        // The first answer is surely there; any further ones are taken so that they are not mistaken for the next
        // batch's.
        loop {
            let mut buffer = Vec::with_capacity(32 * 1024);
            match self.socket.recv(&mut buffer, flags) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            }
            flags = libc::MSG_DONTWAIT;
            for (kind, _, payload) in messages(&buffer) {
                if kind == NLMSG_ERROR {
                    let code = payload.get(0..4).map_or(-libc::EBADMSG, |b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
                    if code != 0 && outcome.is_none_or(|o| o == 0) {
                        outcome = Some(code);
                    }
                    outcome.get_or_insert(code);
                }
            }
        }
        match outcome {
            Some(0) => Ok(()),
            Some(code) => Err(io::Error::from_raw_os_error(-code)),
            None => Err(io::Error::from_raw_os_error(libc::EBADMSG)),
        }
    }

    /// Sends one message that is no nf_tables one, and waits for its acknowledgement.
    pub fn request(&mut self, kind: u16, family: Family, fill: impl FnOnce(&mut Attributes)) -> io::Result<()> {
        let mut request = Batch { bytes: Vec::new(), last: None, sequence: 1 };
        let mut attributes = Attributes::default();
        fill(&mut attributes);
        request.message(kind, F_REQUEST | F_ACK, family, 0, &attributes.0);
        self.carried += self.socket.send_to(&request.bytes, &SocketAddr::new(0, 0), 0)?;
        self.acknowledged()
    }

    /// Dumps objects: for each, its kind, its family and its attributes.
    pub fn dump(&mut self, kind: Kind, family: Family, fill: impl FnOnce(&mut Attributes)) -> io::Result<Vec<(u16, u8, Vec<u8>)>> {
        let mut request = Batch { bytes: Vec::new(), last: None, sequence: 1 };
        let mut filter = Attributes::default();
        fill(&mut filter);
        request.message(SUBSYS_NFTABLES << 8 | kind as u16, F_REQUEST | F_DUMP, family, 0, &filter.0);
        self.carried += self.socket.send_to(&request.bytes, &SocketAddr::new(0, 0), 0)?;
        let mut found = Vec::new();
        loop {
            let mut buffer = Vec::with_capacity(64 * 1024);
            self.socket.recv(&mut buffer, 0)?;
            for (kind, _, payload) in messages(&buffer) {
                match kind {
                    NLMSG_DONE => return Ok(found),
                    NLMSG_ERROR => {
                        let code = payload.get(0..4).map_or(-libc::EBADMSG, |b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
                        return Err(io::Error::from_raw_os_error(-code));
                    }
                    _ if payload.len() >= 4 => found.push((kind & 0xff, payload[0], payload[4..].to_vec())),
                    _ => {}
                }
            }
        }
    }
}

/// The netlink messages in a buffer: (type, sender's port, payload).
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, u32, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes.get(0..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let port = u32::from_ne_bytes(bytes.get(12..16)?.try_into().ok()?);
        let payload = bytes.get(16..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, port, payload))
    })
}
