//! Questions that others answer: each gets a socket of its own, in the container's network namespace, so that the packet
//! goes the container's way (and nowhere, where it has none), with a port and an id that nobody can guess.

use super::super::ResolverSpec;
use super::{Client, UPSTREAM_TIMEOUT, resolv};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

/// The kernel's answer to a question that reached nobody.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// An answer of this length, with the id the client used.
    Answer(usize),
    /// Nothing, or something that is not the answer.
    NotYet,
    /// This server does not answer.
    Refused,
}

/// A question under way.
#[derive(Debug)]
pub struct Pending {
    /// Whose.
    pub client: Arc<Client>,
    /// As it came.
    pub question: Vec<u8>,
    /// Where the answer goes.
    pub from: SocketAddr,
    /// Servers to be asked yet.
    upstreams: std::vec::IntoIter<SocketAddr>,
    /// The socket to the one being asked.
    pub socket: Option<UdpSocket>,
    id: [u8; 2],
    /// When the next is asked.
    pub deadline: Instant,
}

/// The servers that answer for a container: its own, else the host's; at most three, as resolvers do.
pub fn upstreams(spec: &ResolverSpec) -> Vec<SocketAddr> {
    let servers = if spec.servers.is_empty() { resolv::host().servers } else { spec.servers.clone() };
    servers.into_iter().take(3).map(|ip| SocketAddr::new(ip, 53)).collect()
}

/// Runs something in the namespace from which a server is asked: the container's; the host's for a loopback address of
/// the host's resolv.conf (127.0.0.53 of systemd-resolved), which means the host there.
pub fn at_origin<T>(client: &Client, home: &OwnedFd, server: IpAddr, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    if server.is_loopback() && client.spec.servers.is_empty() {
        return work();
    }
    move_into_link_name_space(client.netns.as_fd(), Some(LinkNameSpaceType::Network))?;
    let outcome = work();
    if let Err(e) = move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network)) {
        // This thread would speak for one container on behalf of all others.
        panic!("cannot return to the host's network namespace: {e}");
    }
    outcome
}

impl Pending {
    /// A question that was not asked yet.
    pub fn new(client: Arc<Client>, question: Vec<u8>, from: SocketAddr, upstreams: Vec<SocketAddr>) -> Self {
        Self { client, question, from, upstreams: upstreams.into_iter(), socket: None, id: [0; 2], deadline: Instant::now() }
    }

    /// Sends it to the next server that can be reached; `false`: there is none left.
    pub fn advance(&mut self, home: &OwnedFd) -> bool {
        self.socket = None;
        while let Some(server) = self.upstreams.next() {
            match self.send(home, server) {
                Ok(socket) => {
                    self.socket = Some(socket);
                    self.deadline = Instant::now() + UPSTREAM_TIMEOUT;
                    return true;
                }
                Err(error) => {
                    tracing::debug!(%error, %server, container.id = self.client.container.short(), "a DNS server cannot be asked")
                }
            }
        }
        false
    }

    fn send(&mut self, home: &OwnedFd, server: SocketAddr) -> io::Result<UdpSocket> {
        getrandom::fill(&mut self.id).map_err(io::Error::other)?;
        let socket = at_origin(&self.client, home, server.ip(), || {
            let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let socket = UdpSocket::bind((any, 0))?;
            // Connected: the kernel drops what comes from anybody else.
            socket.connect(server)?;
            Ok(socket)
        })?;
        socket.set_nonblocking(true)?;
        let mut question = self.question.clone();
        if let Some(id) = question.get_mut(0..2) {
            id.copy_from_slice(&self.id);
        }
        socket.send(&question)?;
        Ok(socket)
    }

    /// Takes what came.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Received {
        let Some(socket) = &self.socket else { return Received::Refused };
        match socket.recv(buffer) {
            Ok(length) if length >= 12 && buffer[..2] == self.id => {
                // SERVFAIL (2) and REFUSED (5): the next server may do better.
                if matches!(buffer[3] & 15, 2 | 5) && self.upstreams.len() > 0 {
                    return Received::Refused;
                }
                buffer[..2].copy_from_slice(&self.question[..2]);
                Received::Answer(length)
            }
            Ok(_) => Received::NotYet,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Received::NotYet,
            Err(_) => Received::Refused,
        }
    }
}
