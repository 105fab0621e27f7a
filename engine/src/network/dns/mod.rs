//! The embedded DNS server: what containers in user-defined networks ask at 127.0.0.11.
//!
//! Its sockets are opened in each container's network namespace; one thread serves them all with epoll (a plain blocking
//! thread answers twice as many as an async one, LIMITS.md section 6). `answer` decides, `forward` asks upstream, `tcp`
//! serves the rare questions over TCP.

mod answer;
mod forward;
pub mod resolv;
mod tcp;

use super::ResolverSpec;
use super::networks::Inner;
use crate::id::ContainerId;
use crate::{Doing, Result};
use answer::Decision;
use forward::Pending;
use rustix::event::epoll;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Where containers find it.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const PORT: u16 = 53;
/// Questions upstream at a time, of all containers; further ones are answered SERVFAIL. dockerd has as many.
const MAX_PENDING: usize = 1024;
/// Of one container, so that no tenant takes all.
const MAX_PENDING_EACH: usize = 128;
/// TCP conversations at a time.
const MAX_TCP: usize = 64;
/// Datagrams of one container before others get their turn.
const TURN: usize = 32;
/// A DNS message over UDP with EDNS is rarely above 4 KiB; this is the largest datagram.
const DATAGRAM: usize = 65536;

/// A container that is served.
#[derive(Debug)]
struct Client {
    container: ContainerId,
    netns: Arc<OwnedFd>,
    udp: UdpSocket,
    tcp: TcpListener,
    spec: ResolverSpec,
    pending: AtomicUsize,
}

/// What an epoll event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Udp(u64),
    Tcp(u64),
    Upstream(u64),
}

impl Source {
    fn token(self) -> epoll::EventData {
        let (number, kind) = match self {
            Source::Udp(n) => (n, 0),
            Source::Tcp(n) => (n, 1),
            Source::Upstream(n) => (n, 2),
        };
        epoll::EventData::new_u64(number << 2 | kind)
    }

    fn from_token(token: u64) -> Self {
        match token & 3 {
            0 => Source::Udp(token >> 2),
            1 => Source::Tcp(token >> 2),
            _ => Source::Upstream(token >> 2),
        }
    }
}

#[derive(Debug, Default)]
struct Clients {
    next: u64,
    by_number: HashMap<u64, Arc<Client>>,
    by_container: HashMap<ContainerId, u64>,
}

/// The server. Dropping it ends its thread.
#[derive(Debug)]
pub struct Server {
    epoll: Arc<OwnedFd>,
    clients: Arc<Mutex<Clients>>,
}

fn locked(clients: &Mutex<Clients>) -> MutexGuard<'_, Clients> {
    clients.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the server's two sockets. To be called in the container's network namespace, with loopback up.
pub fn open_sockets() -> io::Result<(UdpSocket, TcpListener)> {
    let at = SocketAddr::new(IpAddr::V4(ADDRESS), PORT);
    Ok((UdpSocket::bind(at)?, TcpListener::bind(at)?))
}

/// Tells the sockets that a shim kept apart.
pub fn sort_sockets(held: Vec<OwnedFd>) -> io::Result<Option<(UdpSocket, TcpListener)>> {
    let (mut udp, mut tcp) = (None, None);
    for fd in held {
        match rustix::net::sockopt::socket_type(&fd)? {
            rustix::net::SocketType::DGRAM => udp = Some(UdpSocket::from(fd)),
            rustix::net::SocketType::STREAM => tcp = Some(TcpListener::from(fd)),
            _ => {}
        }
    }
    Ok(udp.zip(tcp))
}

impl Server {
    /// The server, without its thread.
    pub fn new() -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).doing(|| "making an epoll for DNS".to_owned())?;
        Ok(Self { epoll: Arc::new(epoll), clients: Arc::default() })
    }

    /// Starts its thread, in the calling thread's network namespace.
    pub fn start(&self, names: Weak<Inner>) -> Result<()> {
        let home = File::open("/proc/thread-self/ns/net").doing(|| "opening our network namespace".to_owned())?.into();
        let worker = Worker {
            epoll: self.epoll.clone(),
            clients: self.clients.clone(),
            names,
            home: Arc::new(home),
            pending: HashMap::new(),
            next: 0,
            conversations: Arc::default(),
        };
        std::thread::Builder::new().name("dns".to_owned()).spawn(move || worker.run()).doing(|| "starting the DNS thread".to_owned())?;
        Ok(())
    }

    /// Serves a container on these sockets.
    pub fn serve(
        &self,
        container: &ContainerId,
        netns: Arc<OwnedFd>,
        sockets: (UdpSocket, TcpListener),
        spec: ResolverSpec,
    ) -> io::Result<()> {
        self.stop(container);
        let (udp, tcp) = sockets;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        let client = Arc::new(Client { container: container.clone(), netns, udp, tcp, spec, pending: AtomicUsize::new(0) });
        let mut clients = locked(&self.clients);
        let number = clients.next;
        clients.next += 1;
        clients.by_number.insert(number, client.clone());
        clients.by_container.insert(container.clone(), number);
        drop(clients);
        epoll::add(&self.epoll, &client.udp, Source::Udp(number).token(), epoll::EventFlags::IN)?;
        Ok(epoll::add(&self.epoll, &client.tcp, Source::Tcp(number).token(), epoll::EventFlags::IN)?)
    }

    /// Ends serving a container. Its sockets live on where the shim holds them.
    pub fn stop(&self, container: &ContainerId) {
        let client = {
            let mut clients = locked(&self.clients);
            clients.by_container.remove(container).and_then(|number| clients.by_number.remove(&number))
        };
        if let Some(client) = client {
            // The shim's copies keep the sockets open, so closing ours would not take them out.
            for fd in [client.udp.as_fd(), client.tcp.as_fd()] {
                if let Err(error) = epoll::delete(&self.epoll, fd) {
                    tracing::warn!(%error, container.id = container.short(), "taking a DNS socket out of the loop");
                }
            }
        }
    }
}

/// The thread.
struct Worker {
    epoll: Arc<OwnedFd>,
    clients: Arc<Mutex<Clients>>,
    names: Weak<Inner>,
    home: Arc<OwnedFd>,
    pending: HashMap<u64, Pending>,
    next: u64,
    conversations: Arc<AtomicUsize>,
}

/// How a question came.
enum Reply {
    Now(Vec<u8>),
    Nothing,
    Upstream(Vec<SocketAddr>),
}

/// Answers a question of a container, or says whom to ask.
fn reply(names: &Inner, client: &Client, question: &[u8], tcp: bool) -> Reply {
    let zone = answer::Zone {
        addresses: &|name| names.state().resolve(&client.container, name),
        name: &|ip| names.state().reverse(&client.container, ip),
        ports: &|name, protocol| names.state().published(&client.container, name, protocol),
    };
    match answer::decide(question, &zone, &client.spec, tcp) {
        Decision::Answer(bytes) => Reply::Now(bytes),
        Decision::Ignore => Reply::Nothing,
        Decision::Forward => {
            // A container without a way out asks nobody outside, not even through us (CVE-2024-29018).
            let upstreams = if names.state().has_way_out(&client.container) { forward::upstreams(&client.spec) } else { Vec::new() };
            if upstreams.is_empty() { answer::failure(question).map_or(Reply::Nothing, Reply::Now) } else { Reply::Upstream(upstreams) }
        }
    }
}

impl Worker {
    fn run(mut self) {
        let mut buffer = vec![0u8; DATAGRAM];
        let mut events = Vec::with_capacity(128);
        loop {
            // Wakes at least each second to see whether anybody still needs us, and whom nobody answered.
            let tick = if self.pending.is_empty() { 1_000_000_000 } else { 100_000_000 };
            let timeout = rustix::event::Timespec { tv_sec: tick / 1_000_000_000, tv_nsec: tick % 1_000_000_000 };
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "the DNS loop ends");
                    return;
                }
            }
            let Some(names) = self.names.upgrade() else { return };
            let sources: Vec<Source> = events.iter().map(|e: &epoll::Event| Source::from_token(e.data.u64())).collect();
            for source in sources {
                match source {
                    Source::Udp(n) => self.udp(n, &names, &mut buffer),
                    Source::Tcp(n) => self.tcp(n),
                    Source::Upstream(n) => self.answered(n, &mut buffer),
                }
            }
            self.expire();
        }
    }

    fn client(&self, number: u64) -> Option<Arc<Client>> {
        locked(&self.clients).by_number.get(&number).cloned()
    }

    fn udp(&mut self, number: u64, names: &Inner, buffer: &mut [u8]) {
        let Some(client) = self.client(number) else { return };
        for _ in 0..TURN {
            let Ok((length, from)) = client.udp.recv_from(buffer) else { return };
            match reply(names, &client, &buffer[..length], false) {
                Reply::Now(bytes) => send(&client, &bytes, from),
                Reply::Nothing => {}
                Reply::Upstream(upstreams) => self.ask(&client, &buffer[..length], from, upstreams),
            }
        }
    }

    /// Asks upstream on behalf of a container.
    fn ask(&mut self, client: &Arc<Client>, question: &[u8], from: SocketAddr, upstreams: Vec<SocketAddr>) {
        let full = self.pending.len() >= MAX_PENDING || client.pending.load(Ordering::Relaxed) >= MAX_PENDING_EACH;
        if full {
            if let Some(bytes) = answer::failure(question) {
                send(client, &bytes, from);
            }
            return;
        }
        client.pending.fetch_add(1, Ordering::Relaxed);
        let pending = Pending::new(client.clone(), question.to_vec(), from, upstreams);
        self.next_upstream(pending);
    }

    /// Sends a question to the next server that takes it; when there is none left, the answer is SERVFAIL.
    fn next_upstream(&mut self, mut pending: Pending) {
        loop {
            if !pending.advance(&self.home) {
                if let Some(bytes) = answer::failure(&pending.question) {
                    send(&pending.client, &bytes, pending.from);
                }
                pending.client.pending.fetch_sub(1, Ordering::Relaxed);
                return;
            }
            let number = self.next;
            let registered =
                pending.socket.as_ref().map(|s| epoll::add(&self.epoll, s, Source::Upstream(number).token(), epoll::EventFlags::IN));
            if matches!(registered, Some(Ok(()))) {
                self.next += 1;
                self.pending.insert(number, pending);
                return;
            }
        }
    }

    fn answered(&mut self, number: u64, buffer: &mut [u8]) {
        let Some(mut pending) = self.pending.remove(&number) else { return };
        match pending.receive(buffer) {
            forward::Received::Answer(length) => {
                send(&pending.client, &buffer[..length], pending.from);
                pending.client.pending.fetch_sub(1, Ordering::Relaxed);
            }
            forward::Received::NotYet => {
                self.pending.insert(number, pending);
            }
            // Refused by ICMP, or SERVFAIL: another may know.
            forward::Received::Refused => self.next_upstream(pending),
        }
    }

    fn expire(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let now = Instant::now();
        let late: Vec<u64> = self.pending.iter().filter(|(_, p)| p.deadline <= now).map(|(n, _)| *n).collect();
        for number in late {
            if let Some(pending) = self.pending.remove(&number) {
                self.next_upstream(pending);
            }
        }
    }

    fn tcp(&mut self, number: u64) {
        let Some(client) = self.client(number) else { return };
        let Ok((stream, _)) = client.tcp.accept() else { return };
        if self.conversations.fetch_add(1, Ordering::Relaxed) >= MAX_TCP {
            self.conversations.fetch_sub(1, Ordering::Relaxed);
            // Dropped: the resolver tries again.
            return;
        }
        let (names, home, running) = (self.names.clone(), self.home.clone(), self.conversations.clone());
        let spawned = std::thread::Builder::new().name("dns-tcp".to_owned()).stack_size(256 * 1024).spawn(move || {
            if let Err(error) = tcp::converse(&names, &client, &home, stream) {
                tracing::debug!(%error, container.id = client.container.short(), "a DNS conversation over TCP ended");
            }
            running.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(error) = spawned {
            self.conversations.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(%error, "no thread for DNS over TCP");
        }
    }
}

/// Sends an answer. One that cannot be sent is lost like any datagram: the resolver asks again.
fn send(client: &Client, bytes: &[u8], to: SocketAddr) {
    if let Err(error) = client.udp.send_to(bytes, to) {
        tracing::debug!(%error, container.id = client.container.short(), "a DNS answer was not sent");
    }
}

/// How long an upstream server may think.
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(4);
