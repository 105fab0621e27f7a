//! An attached connection as two independent halves: input to write, output to read.

use super::link::{Frame, Link, decode};
use super::message::{self, Reply, Streams};
use crate::container::request::{Attached, Chunk, StreamKind};
use bytes::{Buf, BytesMut};
use futures_util::Stream;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// Makes the halves of an attached connection.
pub(super) fn attached(link: Link, streams: Streams, tty: bool) -> Attached {
    let (stream, received) = link.into_parts();
    let (read, write) = stream.into_split();
    let input: Option<Pin<Box<dyn AsyncWrite + Send>>> = if streams.stdin {
        Some(Box::pin(Input { write, pending: BytesMut::new(), ended: false }))
    } else {
        // Dropping it only says that no input comes; output goes on.
        drop(write);
        None
    };
    Attached { input, output: Box::pin(Output { read, received, ended: false }), tty }
}

/// The process's stdin. `shutdown` is its end.
struct Input {
    write: OwnedWriteHalf,
    /// A frame being sent.
    pending: BytesMut,
    ended: bool,
}

impl Input {
    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let sent = ready!(Pin::new(&mut self.write).poll_write(cx, &self.pending))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.advance(sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Input {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_pending(cx))?;
        let length = bytes.len().min(message::DATA_MAX);
        if length > 0 {
            self.pending.extend_from_slice(&message::header(length, message::KIND_STDIN));
            self.pending.extend_from_slice(&bytes[..length]);
            // What does not fit now goes with the next write or flush.
            if let Poll::Ready(outcome) = self.poll_pending(cx) {
                outcome?;
            }
        }
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_pending(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            self.ended = true;
            self.pending.extend_from_slice(&message::header(0, message::KIND_STDIN_END));
        }
        ready!(self.poll_pending(cx))?;
        Poll::Ready(Ok(()))
    }
}

/// The process's output until it ends.
struct Output {
    read: OwnedReadHalf,
    received: BytesMut,
    ended: bool,
}

impl Output {
    /// The next whole frame among what was received.
    fn frame(&mut self) -> io::Result<Option<Frame>> {
        let Some(header) = self.received.first_chunk() else { return Ok(None) };
        let (length, kind) = message::parse_header(header).ok_or(io::ErrorKind::InvalidData)?;
        if self.received.len() < message::HEADER + length {
            return Ok(None);
        }
        self.received.advance(message::HEADER);
        Ok(Some(Frame { kind, body: self.received.split_to(length).freeze() }))
    }
}

impl Stream for Output {
    type Item = io::Result<Chunk>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            match this.frame() {
                Err(e) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(e)));
                }
                Ok(Some(Frame { kind: message::KIND_STDOUT, body })) => {
                    return Poll::Ready(Some(Ok(Chunk { stream: StreamKind::Stdout, bytes: body })));
                }
                Ok(Some(Frame { kind: message::KIND_STDERR, body })) => {
                    return Poll::Ready(Some(Ok(Chunk { stream: StreamKind::Stderr, bytes: body })));
                }
                Ok(Some(frame)) => {
                    // `Started` of an early attach is passed over; `Exited` is the end.
                    if matches!(decode(&frame), Ok(Reply::Exited { .. }) | Err(_)) {
                        this.ended = true;
                    }
                    continue;
                }
                Ok(None) => {}
            }
            let mut space = [std::mem::MaybeUninit::uninit(); 16 * 1024];
            let mut buffer = ReadBuf::uninit(&mut space);
            let outcome = ready!(Pin::new(&mut this.read).poll_read(cx, &mut buffer));
            let filled = buffer.filled().len();
            this.received.extend_from_slice(buffer.filled());
            if let Err(e) = outcome {
                this.ended = true;
                return Poll::Ready(Some(Err(e)));
            }
            if filled == 0 {
                this.ended = true;
            }
        }
    }
}
