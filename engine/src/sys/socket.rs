//! Unix sockets that carry file descriptors.

use bytes::{BufMut, BytesMut};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The kernel's SCM_MAX_FD.
const FDS: usize = 253;

/// Sends as many bytes as fit, with `fds` (at most 253) on the first.
pub fn send_with_fds(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

/// Bytes sent on a Unix stream socket that its other end has not read yet (unix(7), SIOCOUTQ; the kernel counts its own
/// bookkeeping in, so only zero is exact).
pub fn unread(socket: impl AsFd) -> io::Result<u32> {
    // SAFETY: SIOCOUTQ, which has the number of TIOCOUTQ, writes one int.
    let bytes: i32 =
        unsafe { rustix::ioctl::ioctl(socket, rustix::ioctl::Getter::<{ libc::TIOCOUTQ as rustix::ioctl::Opcode }, i32>::new()) }?;
    Ok(bytes.unsigned_abs())
}

/// Receives what is there into the spare capacity of `bytes`; fds (close-on-exec) are appended to `fds`. Returns 0 at the end.
pub fn receive_with_fds(socket: impl AsFd, bytes: &mut BytesMut, fds: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let start = bytes.len();
    if bytes.capacity() == start {
        bytes.reserve(64 * 1024);
    }
    let room = bytes.capacity() - start;
    bytes.put_bytes(0, room);
    let outcome = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes[start..])], &mut control, RecvFlags::CMSG_CLOEXEC);
    bytes.truncate(start + outcome.as_ref().map_or(0, |o| o.bytes));
    let outcome = outcome?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    if outcome.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("file descriptors were lost: the limit of open files is too low"));
    }
    Ok(outcome.bytes)
}
