//! Published ports on the host's loopback addresses, which DNAT cannot reach without route_localnet: a listener for
//! each, whose connections are spliced to the container. It lives in the shim so that it outlives the server.

use crate::message::Loopback;
use crate::sys::{self, R};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// What one splice moves at most; a pipe's size.
const PIPE: usize = 64 * 1024;
/// Fds that are left to others; the rest is for connections, six each.
const RESERVED_FDS: u64 = 200;
/// A UDP client that is silent so long is forgotten (conntrack's timeout for answered flows).
const UDP_IDLE_MS: u64 = 120_000;
const UDP_CLIENTS_MAX: usize = 256;

/// An address as the kernel wants it.
#[derive(Clone, Copy)]
struct Address {
    storage: libc::sockaddr_storage,
    length: libc::socklen_t,
}

struct Listener {
    fd: OwnedFd,
    udp: bool,
    target: Address,
}

/// One direction of a connection, through a pipe.
struct Flow {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
    source_ended: bool,
    told: bool,
}

struct Link {
    /// The client, the container.
    ends: [OwnedFd; 2],
    /// Client to container, container to client.
    flows: [Flow; 2],
    gone: bool,
}

/// A UDP client: its own socket towards the container, so that answers find their way back.
struct Client {
    listener: usize,
    from: Address,
    socket: OwnedFd,
    seen_ms: u64,
}

/// All of a container's.
#[derive(Default)]
pub struct Forwarder {
    listeners: Vec<Listener>,
    links: Vec<Link>,
    clients: Vec<Client>,
}

impl Forwarder {
    /// Serves these, instead of those served before; connections that exist go on.
    pub fn serve(&mut self, wanted: &[Loopback], fds: Vec<OwnedFd>) -> R<()> {
        let mut fds: Vec<Option<OwnedFd>> = fds.into_iter().map(Some).collect();
        let mut listeners = Vec::new();
        for loopback in wanted {
            let fd = fds.get_mut(loopback.listener.index as usize).and_then(Option::take).ok_or(libc::EBADF)?;
            sys::set_nonblocking(fd.as_raw_fd(), true)?;
            listeners.push(Listener { fd, udp: loopback.udp, target: Address::of(loopback) });
        }
        self.listeners = listeners;
        self.clients.clear();
        Ok(())
    }

    fn has_room(&self) -> bool {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: fills the struct it is given.
        unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
        (self.links.len() as u64) < limit.rlim_cur.saturating_sub(RESERVED_FDS) / 6
    }

    /// Adds what it waits for; returns the timeout.
    pub fn add_to(&self, fds: &mut Vec<libc::pollfd>, timeout: i32) -> i32 {
        let mut add = |fd: RawFd, events: i16| fds.push(libc::pollfd { fd, events, revents: 0 });
        if self.listeners.is_empty() && self.links.is_empty() {
            return timeout;
        }
        let room = self.has_room();
        for listener in &self.listeners {
            // With no room the kernel's backlog waits for us.
            add(listener.fd.as_raw_fd(), if listener.udp || room { libc::POLLIN } else { 0 });
        }
        for link in &self.links {
            for i in 0..2 {
                let (out, back) = (&link.flows[i], &link.flows[1 - i]);
                let mut events = 0;
                if !out.source_ended && out.held < PIPE {
                    events |= libc::POLLIN;
                }
                if back.held > 0 {
                    events |= libc::POLLOUT;
                }
                // An end that has said all and is owed nothing is not asked: its hang-up would wake us for ever.
                let silent = events == 0 && out.source_ended;
                add(if silent { -1 } else { link.ends[i].as_raw_fd() }, events);
            }
        }
        for client in &self.clients {
            add(client.socket.as_raw_fd(), libc::POLLIN);
        }
        if self.clients.is_empty() || (0..=30_000).contains(&timeout) { timeout } else { 30_000 }
    }

    /// Handles what poll said about the entries of `add_to`.
    pub fn turn(&mut self, fds: &[libc::pollfd]) {
        let mut ready = fds.iter().map(|entry| entry.revents);
        let listeners: Vec<i16> = ready.by_ref().take(self.listeners.len()).collect();
        for link in &mut self.links {
            let (a, b) = (ready.next().unwrap_or(0), ready.next().unwrap_or(0));
            if a | b != 0 {
                link.turn((a | b) & (libc::POLLHUP | libc::POLLERR) != 0);
            }
        }
        let now = sys::ticks_ms();
        for client in &mut self.clients {
            if ready.next().unwrap_or(0) != 0
                && let Some(listener) = self.listeners.get(client.listener)
            {
                client.answer(listener, now);
            }
        }
        self.links.retain(|link| !link.gone);
        self.clients.retain(|client| now - client.seen_ms < UDP_IDLE_MS);
        for (i, ready) in listeners.into_iter().enumerate() {
            match ready {
                0 => {}
                _ if self.listeners[i].udp => self.receive(i, now),
                _ => self.accept(i),
            }
        }
    }

    fn accept(&mut self, i: usize) {
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let null = std::ptr::null_mut();
        // SAFETY: no address is asked for; the fd is new and ours.
        let client = unsafe {
            match libc::accept4(self.listeners[i].fd.as_raw_fd(), null, null.cast(), flags) {
                -1 => return,
                fd => OwnedFd::from_raw_fd(fd),
            }
        };
        // A container that refuses is a connection that closes.
        if let Ok(container) = self.listeners[i].target.connect(libc::SOCK_STREAM)
            && let (Ok(there), Ok(back)) = (Flow::new(), Flow::new())
        {
            self.links.push(Link { ends: [client, container], flows: [there, back], gone: false });
        }
    }

    // Not inlined: a frame this large is touched when it is entered (stack probes), and most shims never come here.
    #[inline(never)]
    fn receive(&mut self, i: usize, now: u64) {
        let mut buffer = [0u8; 65536];
        for _ in 0..64 {
            let mut from = Address::empty();
            // SAFETY: fills the buffer and the address within the lengths given.
            let length = unsafe {
                libc::recvfrom(
                    self.listeners[i].fd.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    libc::MSG_DONTWAIT,
                    (&raw mut from.storage).cast(),
                    &raw mut from.length,
                )
            };
            let Ok(length) = usize::try_from(length) else { return };
            let known = self.clients.iter().position(|c| c.listener == i && c.from.bytes() == from.bytes());
            let at = match known {
                Some(at) => at,
                None if self.clients.len() >= UDP_CLIENTS_MAX => continue, // A datagram may be lost.
                None => {
                    let Ok(socket) = self.listeners[i].target.connect(libc::SOCK_DGRAM) else { continue };
                    self.clients.push(Client { listener: i, from, socket, seen_ms: now });
                    self.clients.len() - 1
                }
            };
            self.clients[at].seen_ms = now;
            let _ = crate::channel::send_some(self.clients[at].socket.as_raw_fd(), &buffer[..length], &[]);
        }
    }
}

impl Client {
    #[inline(never)] // As `receive`.
    fn answer(&mut self, listener: &Listener, now: u64) {
        let mut buffer = [0u8; 65536];
        while let Ok(length) = sys::read(self.socket.as_raw_fd(), &mut buffer) {
            self.seen_ms = now;
            // SAFETY: reads the buffer and the address within the lengths given.
            unsafe {
                libc::sendto(
                    listener.fd.as_raw_fd(),
                    buffer.as_ptr().cast(),
                    length,
                    libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                    (&raw const self.from.storage).cast(),
                    self.from.length,
                )
            };
        }
    }
}

impl Flow {
    fn new() -> R<Self> {
        let (read, write) = sys::pipe()?;
        sys::set_nonblocking(read.as_raw_fd(), true)?;
        sys::set_nonblocking(write.as_raw_fd(), true)?;
        Ok(Self { read, write, held: 0, source_ended: false, told: false })
    }

    /// Moves what goes. `Err` when the connection is broken.
    fn pump(&mut self, from: RawFd, to: RawFd) -> R<bool> {
        let mut moved = false;
        loop {
            let mut again = false;
            if !self.source_ended && self.held < PIPE {
                match splice(from, self.write.as_raw_fd(), PIPE - self.held) {
                    Ok(0) => self.source_ended = true,
                    Ok(n) => {
                        self.held += n;
                        again = true;
                    }
                    // Also when the pipe is full of small pieces, or the connect is under way.
                    Err(libc::EAGAIN | libc::ENOTCONN) => {}
                    Err(e) => return Err(e),
                }
            }
            if self.held > 0 {
                match splice(self.read.as_raw_fd(), to, self.held) {
                    Ok(n) => {
                        self.held -= n;
                        again = true;
                    }
                    Err(libc::EAGAIN | libc::ENOTCONN) => {}
                    Err(e) => return Err(e),
                }
            }
            if self.source_ended && self.held == 0 && !self.told {
                // SAFETY: an fd of ours and a number.
                unsafe { libc::shutdown(to, libc::SHUT_WR) };
                self.told = true;
            }
            if !again {
                return Ok(moved);
            }
            moved = true;
        }
    }
}

impl Link {
    fn turn(&mut self, hung_up: bool) {
        let (client, container) = (self.ends[0].as_raw_fd(), self.ends[1].as_raw_fd());
        let there = self.flows[0].pump(client, container);
        let back = self.flows[1].pump(container, client);
        let moved = match (there, back) {
            (Ok(a), Ok(b)) => a | b,
            _ => {
                self.gone = true;
                return;
            }
        };
        let finished = self.flows.iter().all(|f| f.told);
        self.gone = finished || (hung_up && !moved);
    }
}

fn splice(from: RawFd, to: RawFd, length: usize) -> R<usize> {
    let null = std::ptr::null_mut();
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    // SAFETY: fds and numbers; no offsets are given.
    let moved = unsafe { libc::splice(from, null, to, null, length, flags) };
    usize::try_from(moved).map_err(|_| sys::errno())
}

impl Address {
    fn empty() -> Self {
        // SAFETY: all-zero is a valid sockaddr_storage.
        let storage = unsafe { std::mem::zeroed() };
        Self { storage, length: size_of::<libc::sockaddr_storage>() as _ }
    }

    fn of(loopback: &Loopback) -> Self {
        let mut address = Self::empty();
        if loopback.family == 6 {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&loopback.high.to_be_bytes());
            bytes[8..].copy_from_slice(&loopback.low.to_be_bytes());
            let v6 = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as _,
                sin6_port: loopback.port.to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: bytes },
                sin6_scope_id: 0,
            };
            // SAFETY: a sockaddr_storage has room and alignment for every address family.
            unsafe { (&raw mut address.storage).cast::<libc::sockaddr_in6>().write(v6) };
            address.length = size_of::<libc::sockaddr_in6>() as _;
        } else {
            let v4 = libc::sockaddr_in {
                sin_family: libc::AF_INET as _,
                sin_port: loopback.port.to_be(),
                sin_addr: libc::in_addr { s_addr: (loopback.high as u32).to_be() },
                sin_zero: [0; 8],
            };
            // SAFETY: as above.
            unsafe { (&raw mut address.storage).cast::<libc::sockaddr_in>().write(v4) };
            address.length = size_of::<libc::sockaddr_in>() as _;
        }
        address
    }

    fn bytes(&self) -> &[u8] {
        let length = (self.length as usize).min(size_of::<libc::sockaddr_storage>());
        // SAFETY: that many bytes of the storage, all of which were zeroed at first.
        unsafe { std::slice::from_raw_parts((&raw const self.storage).cast(), length) }
    }

    /// A socket that is, or will be, connected to it.
    fn connect(&self, kind: i32) -> R<OwnedFd> {
        let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: the fd is new and ours; the address lives through the call.
        unsafe {
            let fd = libc::socket(i32::from(self.storage.ss_family), kind, 0);
            if fd < 0 {
                return Err(sys::errno());
            }
            let fd = OwnedFd::from_raw_fd(fd);
            match libc::connect(fd.as_raw_fd(), (&raw const self.storage).cast(), self.length) {
                0 => Ok(fd),
                _ if sys::errno() == libc::EINPROGRESS => Ok(fd),
                _ => Err(sys::errno()),
            }
        }
    }
}
