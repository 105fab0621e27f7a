//! One connection to a shim, from the server's side: frames (`engine/shim/src/message.rs`) and fds over a Unix stream.

use super::message::{self, Reply, Request};
use super::wire::Wire;
use crate::sys::socket;
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// A connection to a shim.
#[derive(Debug)]
pub(super) struct Link {
    stream: UnixStream,
    received: BytesMut,
    fds: VecDeque<OwnedFd>,
}

/// One frame.
#[derive(Debug)]
pub(super) struct Frame {
    pub kind: u8,
    pub body: Bytes,
}

impl Link {
    pub fn new(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream: UnixStream::from_std(stream)?, received: BytesMut::new(), fds: VecDeque::new() })
    }

    /// Sends a request with the fds it refers to.
    pub async fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut message = message::frame(request);
        let mut chunks = fds.chunks(message::FDS_MAX).peekable();
        while let Some(fds) = chunks.next() {
            let mut bytes = message::header(1, message::KIND_FDS).to_vec();
            bytes.push(0);
            if chunks.peek().is_none() {
                // In one piece with the message, so that the shim wakes once.
                bytes.append(&mut message);
            }
            let sent = self.stream.async_io(Interest::WRITABLE, || socket::send_with_fds(&self.stream, &bytes, fds)).await?;
            self.write_all(&bytes[sent..]).await?;
        }
        self.write_all(&message).await
    }

    /// Sends raw bytes.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = self.stream.async_io(Interest::WRITABLE, || socket::send_with_fds(&self.stream, bytes, &[])).await?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// The next frame; `None` at the end.
    pub async fn frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(header) = self.received.first_chunk() {
                let (length, kind) = message::parse_header(header)
                    .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the shim speaks another protocol"))?;
                if self.received.len() >= message::HEADER + length {
                    self.received.advance(message::HEADER);
                    let body = self.received.split_to(length).freeze();
                    if kind == message::KIND_FDS {
                        continue;
                    }
                    return Ok(Some(Frame { kind, body }));
                }
            }
            self.received.reserve(message::DATA_MAX);
            let received = &mut self.received;
            let fds = &mut self.fds;
            let stream = &self.stream;
            let length = stream.async_io(Interest::READABLE, || socket::receive_with_fds(stream, received, fds)).await?;
            if length == 0 {
                return if self.received.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// The next reply, skipping nothing: a data frame here is an error.
    pub async fn reply(&mut self) -> io::Result<Reply> {
        let frame = self.frame().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        decode(&frame)
    }

    /// Sends and waits for the reply.
    pub async fn ask(&mut self, request: &Request, fds: &[BorrowedFd<'_>]) -> io::Result<Reply> {
        self.send(request, fds).await?;
        self.reply().await
    }

    /// The stream and what was received beyond the last frame.
    pub fn into_parts(self) -> (UnixStream, BytesMut) {
        (self.stream, self.received)
    }

    /// The fds received since last asked.
    pub fn take_fds(&mut self) -> Vec<OwnedFd> {
        self.fds.drain(..).collect()
    }
}

/// The reply in a message frame.
pub(super) fn decode(frame: &Frame) -> io::Result<Reply> {
    let mut body = &frame.body[..];
    (frame.kind == message::KIND_MESSAGE)
        .then(|| Reply::take(&mut body))
        .flatten()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unexpected answer of a shim"))
}
