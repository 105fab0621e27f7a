//! One connection, from the shim's side: frames and fds over a Unix stream, blocking or not.

use crate::message;
use crate::sys::{R, errno};
use crate::wire::Wire;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Room for the ancillary data of SCM_MAX_FD fds.
const CONTROL: usize = 1040;

/// A connection.
pub struct Channel {
    pub fd: OwnedFd,
    received: Vec<u8>,
    /// Fds received and not yet taken by the message they belong to.
    pub fds: Vec<OwnedFd>,
    /// The peer sends no more.
    pub ended: bool,
    queue: Vec<u8>,
    sent: usize,
}

/// One received frame.
pub struct Frame {
    pub kind: u8,
    pub body: Vec<u8>,
}

impl Channel {
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd, received: Vec::new(), fds: Vec::new(), ended: false, queue: Vec::new(), sent: 0 }
    }

    /// Takes a whole frame out of what was received. `Err` when the peer does not speak our language.
    pub fn frame(&mut self) -> R<Option<Frame>> {
        loop {
            let Some(header) = self.received.first_chunk() else { return Ok(None) };
            let (length, kind) = message::parse_header(header).ok_or(libc::EPROTO)?;
            let end = message::HEADER + length;
            if self.received.len() < end {
                return Ok(None);
            }
            let body = self.received[message::HEADER..end].to_vec();
            self.received.drain(..end);
            if self.received.is_empty() && self.received.capacity() > 4096 {
                self.received = Vec::new(); // A plan has gone by; idle connections shall cost nothing.
            }
            if kind != message::KIND_FDS {
                return Ok(Some(Frame { kind, body }));
            }
        }
    }

    /// Receives what is there (or waits, on a blocking socket).
    pub fn receive(&mut self) -> R<()> {
        let mut buffer = [0u8; 16 * 1024];
        let mut control = [0u64; CONTROL / 8];
        let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: an all-zero msghdr is a valid one.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut vector;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = CONTROL as _;
        let length = loop {
            // SAFETY: `header` points to buffers of ours of the sizes it says, alive until the call returns.
            let length = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
            match errno() {
                libc::EINTR if length < 0 => {}
                error if length < 0 => return Err(error),
                _ => break length as usize,
            }
        };
        // SAFETY: walks the control buffer that the kernel has filled, within the length it set; each SCM_RIGHTS entry
        // holds that many new fds, which nobody else owns.
        unsafe {
            let mut entry = libc::CMSG_FIRSTHDR(&raw const header);
            while !entry.is_null() {
                if (*entry).cmsg_level == libc::SOL_SOCKET && (*entry).cmsg_type == libc::SCM_RIGHTS {
                    let data = libc::CMSG_DATA(entry).cast::<RawFd>();
                    let count = ((*entry).cmsg_len as usize - libc::CMSG_LEN(0) as usize) / size_of::<RawFd>();
                    for i in 0..count {
                        self.fds.push(OwnedFd::from_raw_fd(data.add(i).read_unaligned()));
                    }
                }
                entry = libc::CMSG_NXTHDR(&raw const header, entry);
            }
        }
        if header.msg_flags & libc::MSG_CTRUNC != 0 {
            return Err(libc::EMFILE);
        }
        if length == 0 {
            self.ended = true;
        }
        self.received.extend_from_slice(&buffer[..length]);
        Ok(())
    }

    /// The next message of a blocking channel; `None` at the end.
    pub fn message<T: Wire>(&mut self) -> R<Option<T>> {
        Ok(match self.next_frame()? {
            None => None,
            Some(frame) => Some(T::take(&mut &frame.body[..]).ok_or(libc::EPROTO)?),
        })
    }

    /// The next frame of a blocking channel; `None` at the end.
    pub fn next_frame(&mut self) -> R<Option<Frame>> {
        loop {
            if let Some(frame) = self.frame()? {
                return Ok(Some(frame));
            }
            if self.ended {
                return Ok(None);
            }
            self.receive()?;
        }
    }

    /// Sends a message and the fds it refers to at once, waiting for room.
    pub fn send(&mut self, message: &impl Wire, fds: &[RawFd]) -> R<()> {
        self.send_frame(&message::frame(message), fds)
    }

    /// The same for a message that is encoded already.
    pub fn send_frame(&mut self, frame: &[u8], fds: &[RawFd]) -> R<()> {
        let mut chunks = fds.chunks(message::FDS_MAX).peekable();
        while let Some(fds) = chunks.next() {
            let mut bytes = message::header(1, message::KIND_FDS).to_vec();
            bytes.push(0);
            let last = chunks.peek().is_none();
            if last {
                // In one piece with the message, so that the other side wakes once.
                bytes.extend_from_slice(frame);
            }
            let sent = send_some(self.fd.as_raw_fd(), &bytes, fds)?;
            send_all(self.fd.as_raw_fd(), &bytes[sent..])?;
            if last {
                return Ok(());
            }
        }
        send_all(self.fd.as_raw_fd(), frame)
    }

    /// Queues a message behind what waits, and sends what goes without waiting.
    pub fn queue(&mut self, message: &impl Wire) {
        let frame = message::frame(message);
        self.queue_bytes(&frame, &[]);
    }

    /// Queues a data frame.
    pub fn queue_data(&mut self, kind: u8, data: &[u8]) {
        let header = message::header(data.len(), kind);
        self.queue_bytes(&header, data);
    }

    fn queue_bytes(&mut self, head: &[u8], data: &[u8]) {
        self.queue.extend_from_slice(head);
        self.queue.extend_from_slice(data);
        self.flush();
    }

    /// Sends what goes without waiting. A peer that is gone empties the queue and is seen as ended.
    pub fn flush(&mut self) -> bool {
        let before = self.sent;
        while self.sent < self.queue.len() {
            match send_some(self.fd.as_raw_fd(), &self.queue[self.sent..], &[]) {
                Ok(n) => self.sent += n,
                Err(libc::EAGAIN) => break,
                Err(_) => {
                    self.ended = true;
                    self.sent = self.queue.len();
                }
            }
        }
        let moved = self.sent != before;
        if self.sent == self.queue.len() {
            self.queue.clear();
            self.sent = 0;
            if self.queue.capacity() > 256 * 1024 {
                self.queue = Vec::new();
            }
        } else if self.sent > 512 * 1024 {
            self.queue.drain(..self.sent);
            self.sent = 0;
        }
        moved
    }

    /// Bytes that wait to be sent.
    pub fn waiting(&self) -> usize {
        self.queue.len() - self.sent
    }

    /// Drops bytes that only carried fds.
    pub fn forget_bytes(&mut self) {
        self.received.clear();
    }

    /// Bytes received and not yet handled.
    pub fn unread(&self) -> usize {
        self.received.len()
    }
}

fn send_all(fd: RawFd, mut bytes: &[u8]) -> R<()> {
    while !bytes.is_empty() {
        match send_some(fd, bytes, &[]) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(libc::EAGAIN) => {
                let mut fds = [libc::pollfd { fd, events: libc::POLLOUT, revents: 0 }];
                crate::sys::poll(&mut fds, -1)?;
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Sends what goes, with fds on the first byte.
pub fn send_some(fd: RawFd, bytes: &[u8], fds: &[RawFd]) -> R<usize> {
    let mut control = [0u64; CONTROL / 8];
    let mut vector = libc::iovec { iov_base: bytes.as_ptr() as *mut _, iov_len: bytes.len() };
    // SAFETY: an all-zero msghdr is a valid one.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    if !fds.is_empty() {
        let size = size_of_val(fds) as u32;
        header.msg_control = control.as_mut_ptr().cast();
        // SAFETY: CMSG_SPACE only computes; FIRSTHDR points into `control`, which has room for FDS_MAX (< 253) fds.
        unsafe {
            header.msg_controllen = libc::CMSG_SPACE(size) as _;
            let entry = libc::CMSG_FIRSTHDR(&raw const header);
            (*entry).cmsg_level = libc::SOL_SOCKET;
            (*entry).cmsg_type = libc::SCM_RIGHTS;
            (*entry).cmsg_len = libc::CMSG_LEN(size) as _;
            std::ptr::copy_nonoverlapping(fds.as_ptr(), libc::CMSG_DATA(entry).cast::<RawFd>(), fds.len());
        }
    }
    loop {
        // SAFETY: `header` points to buffers of ours of the sizes it says, alive until the call returns.
        let sent = unsafe { libc::sendmsg(fd, &raw const header, libc::MSG_NOSIGNAL) };
        match errno() {
            libc::EINTR if sent < 0 => {}
            error if sent < 0 => return Err(error),
            _ => return Ok(sent as usize),
        }
    }
}
