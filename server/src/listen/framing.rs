//! Refuses requests whose end two parsers could see in different places: both Content-Length and Transfer-Encoding, two
//! Content-Lengths, folded header lines, bare line feeds (request smuggling; CVE-2024-41110 began with a body that one side
//! did not see). hyper settles some of these silently, so the bytes are watched on their way to it, and a head that is
//! ambiguous is spoiled, which makes hyper answer 400 and close.
//!
//! Only watching: nothing here decides what a request is. After an `Upgrade` the bytes are no longer HTTP and pass unseen.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What hyper is given in place of an ambiguous head: a NUL is legal nowhere in a head.
const SPOILED: &[u8] = b"\0\r\n\r\n";
/// Longer heads are hyper's to refuse.
const HEAD_MAX: usize = 256 * 1024;

/// A stream whose request heads are watched.
pub(crate) struct Framed<I> {
    io: I,
    watch: Watch,
    /// Still to be given instead of what the client sent.
    spoil: Option<&'static [u8]>,
}

impl<I> Framed<I> {
    /// Watches `io`.
    pub fn new(io: I) -> Self {
        Self { io, watch: Watch::default(), spoil: None }
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &I {
        &self.io
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Framed<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.spoil.is_none() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
            let new = &buf.filled()[before..];
            match self.watch.see(new) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(kept) => {
                    buf.set_filled(before + kept);
                    self.spoil = Some(SPOILED);
                }
            }
        }
        // When all of it was given, the client has "closed".
        if let Some(rest) = self.spoil {
            let (now, later) = rest.split_at(rest.len().min(buf.remaining()));
            buf.put_slice(now);
            self.spoil = Some(later);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Framed<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// Where in the stream of requests we are.
enum Watch {
    /// In a head; what came of it so far.
    Head(Vec<u8>),
    /// In a body of known length.
    Body(u64),
    /// In a chunk's size line; what came of it so far.
    ChunkSize(Vec<u8>),
    /// In a chunk, its CRLF included.
    Chunk(u64),
    /// After the last chunk; the bytes of the current trailer line so far.
    Trailer(usize),
    /// Not ours to watch any more: HTTP/2, upgraded, or something hyper will refuse by itself.
    Unwatched,
}

impl Default for Watch {
    fn default() -> Self {
        Watch::Head(Vec::new())
    }
}

/// How a head says its body ends.
#[derive(Debug, PartialEq, Eq)]
enum Ends {
    After(u64),
    Chunked,
    Unwatched,
    Ambiguous,
}

impl Watch {
    /// Sees bytes. `Err`: the head is ambiguous; so many of these bytes came before it.
    fn see(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self {
                Watch::Unwatched => return Ok(()),
                Watch::Head(head) => {
                    let start = at;
                    // Up to the next line feed, then look whether the head is over.
                    let line = rest.iter().position(|b| *b == b'\n').map_or(rest.len(), |n| n + 1);
                    head.extend_from_slice(&rest[..line]);
                    at += line;
                    // Empty lines before a request line are allowed, and no head.
                    if head == b"\r\n" || head == b"\n" {
                        head.clear();
                    } else if head == b"PRI * HTTP/2.0\r\n" || head.len() > HEAD_MAX {
                        *self = Watch::Unwatched;
                    } else if head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n") {
                        match ends(head) {
                            Ends::After(0) => *self = Watch::default(),
                            Ends::After(length) => *self = Watch::Body(length),
                            Ends::Chunked => *self = Watch::ChunkSize(Vec::new()),
                            Ends::Unwatched => *self = Watch::Unwatched,
                            // Lines of this head given to hyper before stay: the NUL then stands in the middle of it.
                            Ends::Ambiguous => return Err(start),
                        }
                    }
                }
                Watch::Body(left) | Watch::Chunk(left) => {
                    let step = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    at += step;
                    *left -= step as u64;
                    if *left == 0 {
                        *self = if matches!(self, Watch::Body(_)) { Watch::default() } else { Watch::ChunkSize(Vec::new()) };
                    }
                }
                Watch::ChunkSize(line) => {
                    let step = rest.iter().position(|b| *b == b'\n').map_or(rest.len(), |n| n + 1);
                    line.extend_from_slice(&rest[..step]);
                    at += step;
                    if line.ends_with(b"\n") {
                        *self = match chunk_size(line) {
                            Some(0) => Watch::Trailer(0),
                            Some(size) => size.checked_add(2).map_or(Watch::Unwatched, Watch::Chunk),
                            None => Watch::Unwatched,
                        };
                    } else if line.len() > 4096 {
                        *self = Watch::Unwatched;
                    }
                }
                Watch::Trailer(length) => {
                    match rest.iter().position(|b| *b == b'\n') {
                        None => {
                            *length += rest.len();
                            at = bytes.len();
                        }
                        Some(n) => {
                            at += n + 1;
                            // `\r\n` or `\n` alone: an empty line, the end.
                            let empty = *length + n == 0 || (*length + n == 1 && (n == 0 || rest[0] == b'\r'));
                            *self = if empty { Watch::default() } else { Watch::Trailer(0) };
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let text = std::str::from_utf8(&line[..digits]).ok()?;
    u64::from_str_radix(text, 16).ok()
}

fn ends(head: &[u8]) -> Ends {
    let mut lengths = 0;
    let mut length = 0;
    let (mut encoded, mut chunked, mut upgrade) = (false, false, false);
    let mut lines = head.split_inclusive(|b| *b == b'\n');
    let request = lines.next().unwrap_or_default();
    for (number, line) in std::iter::once(request).chain(lines).enumerate() {
        let Some(line) = line.strip_suffix(b"\r\n") else { return Ends::Ambiguous };
        if number == 0 {
            upgrade |= line.starts_with(b"CONNECT ");
            continue;
        }
        if line.first().is_some_and(|b| matches!(b, b' ' | b'\t')) {
            return Ends::Ambiguous;
        }
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            lengths += 1;
            match std::str::from_utf8(value).ok().filter(|v| v.bytes().all(|b| b.is_ascii_digit())).and_then(|v| v.parse().ok()) {
                Some(n) => length = n,
                None => return Ends::Ambiguous,
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            encoded = true;
            chunked = value.to_ascii_lowercase().ends_with(b"chunked");
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            upgrade = true;
        }
    }
    match (lengths, encoded) {
        (2.., _) | (1.., true) => Ends::Ambiguous,
        _ if upgrade => Ends::Unwatched,
        (_, true) if chunked => Ends::Chunked,
        (_, true) => Ends::Unwatched,
        _ => Ends::After(length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    /// What hyper would read of these bytes, arriving `step` at a time.
    async fn through(input: &str, step: usize) -> Vec<u8> {
        struct Steps<'a>(&'a [u8], usize);
        impl AsyncRead for Steps<'_> {
            fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                let n = self.1.min(self.0.len()).min(buf.remaining());
                buf.put_slice(&self.0[..n]);
                self.0 = &self.0[n..];
                Poll::Ready(Ok(()))
            }
        }
        let mut out = Vec::new();
        Framed::new(Steps(input.as_bytes(), step)).read_to_end(&mut out).await.unwrap();
        out
    }

    #[tokio::test]
    async fn sec_a01_ambiguous_heads_are_spoiled_wherever_they_stand() {
        let heads = [
            "POST /x HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\ncontent-length: 4\r\n\r\n",
            "POST /x HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n",
            "POST /x HTTP/1.1\r\nContent-Length: 4, 4\r\n\r\n",
            "POST /x HTTP/1.1\r\nContent-Length: +4\r\n\r\n",
            "POST /x HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            "POST /x HTTP/1.1\nA: b\n\n",
            "POST /x HTTP/1.1\r\nA: b\nContent-Length: 4\r\n\r\n",
        ];
        let before = [
            "",
            "GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
            "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\n\r\n\r\nx",
            "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;e=1\r\nabc\r\n0\r\nT: 1\r\n\r\n",
            "\r\nPOST /a HTTP/1.1\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n0\r\n\r\n",
        ];
        for head in heads {
            for before in before {
                for step in [1, 7, 4096] {
                    let out = through(&format!("{before}{head}rest"), step).await;
                    assert!(out.starts_with(before.as_bytes()), "{before:?} {head:?} {step}");
                    assert!(out.ends_with(SPOILED), "{before:?} {head:?} {step}: {}", String::from_utf8_lossy(&out));
                }
            }
        }
    }

    #[tokio::test]
    async fn plain_streams_pass_unchanged() {
        let streams = [
            "POST /x HTTP/1.1\r\nContent-Length: 4\r\n\r\nContGET / HTTP/1.1\r\n\r\n",
            "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1b\r\nContent-Length: 1\nmore here\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\n\n a: b\n\n",
            "POST /attach HTTP/1.1\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\nContent-Length: 1\nTransfer-Encoding: chunked\n\n",
            "",
        ];
        for stream in streams {
            for step in [1, 5, 4096] {
                assert_eq!(through(stream, step).await, stream.as_bytes(), "{stream:?} by {step}");
            }
        }
    }
}
