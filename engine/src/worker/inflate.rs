//! The first of two threads: reads what comes in, inflates it, and hands buffers on.
//!
//! Compression is told by its first bytes, never by a media type or a name. Everything is decoded in this process: no
//! program of anybody's image or host is started (CVE-2026-41567).

use super::job::{Failure, Limits, RATIO_FROM};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Large enough that the hand-over costs nothing, small enough for the cache.
const BUFFER: usize = 256 * 1024;
/// Buffers between the threads.
const BUFFERS: usize = 8;

/// Counts what it reads.
struct Counted {
    file: File,
    count: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buf)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// The inflated stream, read from the other thread.
pub struct Inflated {
    receiver: Receiver<io::Result<Vec<u8>>>,
    buffer: Vec<u8>,
    at: usize,
    over: bool,
    thread: Option<JoinHandle<()>>,
}

/// Starts inflating `file`.
pub fn inflate(file: File, limits: Limits) -> Inflated {
    let (sender, receiver) = sync_channel(BUFFERS);
    let thread = std::thread::spawn(move || {
        if let Err(e) = run(file, limits, &sender) {
            // An error here only says that the reader has gone.
            let _ = sender.send(Err(e));
        }
    });
    Inflated { receiver, buffer: Vec::new(), at: 0, over: false, thread: Some(thread) }
}

/// Sends on what is written to it, in whole buffers, and stops a bomb.
struct Feed<'a> {
    sender: &'a SyncSender<io::Result<Vec<u8>>>,
    pending: Vec<u8>,
    total: u64,
    packed: Arc<AtomicU64>,
    limits: Limits,
}

impl Feed<'_> {
    fn pass(&mut self) -> io::Result<()> {
        self.total += self.pending.len() as u64;
        // Headers and padding come on top of file bytes: up to 2 KiB an entry.
        let most = self.limits.bytes.saturating_add(self.limits.entries.saturating_mul(2048));
        if self.total > most {
            return Err(Failure::exhausted(format!("the archive unpacks to more than {} bytes", self.limits.bytes)).into());
        }
        if self.total > RATIO_FROM && self.total / self.limits.ratio > self.packed.load(Ordering::Relaxed) {
            return Err(Failure::exhausted(format!("the archive is a bomb: more than {} bytes from one", self.limits.ratio)).into());
        }
        let full = std::mem::replace(&mut self.pending, Vec::with_capacity(BUFFER));
        self.sender.send(Ok(full)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl Write for Feed<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = buf.len().min(BUFFER - self.pending.len());
        self.pending.extend_from_slice(&buf[..n]);
        if self.pending.len() == BUFFER {
            self.pass()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() { Ok(()) } else { self.pass() }
    }
}

fn run(file: File, limits: Limits, sender: &SyncSender<io::Result<Vec<u8>>>) -> io::Result<()> {
    let packed = Arc::new(AtomicU64::new(0));
    let mut feed = Feed { sender, pending: Vec::with_capacity(BUFFER), total: 0, packed: packed.clone(), limits };
    let mut input = BufReader::with_capacity(BUFFER, Counted { file, count: packed });
    let mut magic = Vec::with_capacity(6);
    input.by_ref().take(6).read_to_end(&mut magic)?;
    let mut input = BufReader::with_capacity(BUFFER, io::Cursor::new(magic.clone()).chain(input));
    if magic.starts_with(&[0x1f, 0x8b]) {
        pump(&mut flate2::bufread::MultiGzDecoder::new(input), &mut feed)?;
    } else if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        || (magic.len() >= 4 && magic[0] & 0xf0 == 0x50 && magic[1..4] == [0x2a, 0x4d, 0x18])
    {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
        // 128 MiB: what `zstd --long` needs at most by default; more would be the archive's memory, not ours.
        decoder.window_log_max(27)?;
        pump(&mut decoder, &mut feed)?;
    } else if magic.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
        lzma_rs::xz_decompress(&mut input, &mut feed).map_err(|e| match e {
            lzma_rs::error::Error::IoError(e) => e,
            other => io::Error::new(io::ErrorKind::InvalidData, format!("xz: {other:?}")),
        })?;
        feed.flush()?;
    } else if magic.starts_with(b"BZh") {
        return Err(Failure::invalid("the archive is compressed with bzip2, which is not supported: use gzip, zstd or xz").into());
    } else {
        pump(&mut input, &mut feed)?;
    }
    Ok(())
}

/// Reads straight into the buffers that are handed on.
fn pump(from: &mut dyn Read, feed: &mut Feed<'_>) -> io::Result<()> {
    loop {
        let at = feed.pending.len();
        feed.pending.resize(BUFFER, 0);
        match from.read(&mut feed.pending[at..]) {
            Ok(0) => {
                feed.pending.truncate(at);
                return feed.flush();
            }
            Ok(n) => {
                feed.pending.truncate(at + n);
                if at + n == BUFFER {
                    feed.pass()?;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => feed.pending.truncate(at),
            Err(e) => return Err(e),
        }
    }
}

impl Read for Inflated {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.buffer.len() {
            if self.over {
                return Ok(0);
            }
            match self.receiver.recv() {
                Ok(Ok(buffer)) => (self.buffer, self.at) = (buffer, 0),
                Ok(Err(e)) => {
                    self.over = true;
                    return Err(e);
                }
                Err(_) => {
                    self.over = true;
                    // Without this a thread that panicked would look like the end of the stream.
                    if self.thread.take().is_some_and(|t| t.join().is_err()) {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "the decoder failed"));
                    }
                }
            }
        }
        let n = buf.len().min(self.buffer.len() - self.at);
        buf[..n].copy_from_slice(&self.buffer[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
