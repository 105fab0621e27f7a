//! Our own format, read forwards and backwards. `runtime::logfile` has the layout, which the writer shares.

use super::files::Open;
use super::reader::Assembler;
use super::segment::Placed;
use crate::container::request::StreamKind;
use crate::runtime::logfile::{CHUNK_MAX, HEADER, Header, STDERR, TRAILER};
use bytes::Bytes;
use jiff::Timestamp;
use std::io;

/// How far before the first wanted line we look for where the open line of each stream begins: chunks, bytes. Lines of
/// one stream seldom span more than this of the other's output; one that does loses its head in `--tail`.
const LOOK_BACK: (usize, usize) = (256, 512 * 1024);

fn header_at(bytes: &[u8]) -> Option<Header> {
    Header::decode(bytes.first_chunk::<HEADER>()?)
}

fn stream(header: &Header) -> StreamKind {
    if header.stream == STDERR { StreamKind::Stderr } else { StreamKind::Stdout }
}

fn time(header: &Header) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(header.time_ns)).unwrap_or(Timestamp::MAX)
}

/// The time of the chunk that bytes begin with.
pub(super) fn first_time(bytes: &[u8]) -> Option<Timestamp> {
    header_at(bytes).map(|header| time(&header))
}

/// Gives the whole chunks at the front of `bytes` to the assembler; how many bytes those were. A last chunk that is not
/// there in full is not there.
pub(super) fn decode(bytes: &Bytes, assembler: &mut Assembler) -> usize {
    let mut at = 0;
    while let Some(header) = header_at(&bytes[at..]) {
        let end = at + header.chunk_len();
        if end > bytes.len() || assembler.past_until {
            break;
        }
        assembler.feed(stream(&header), time(&header), &bytes.slice(at + HEADER..end - TRAILER));
        at = end;
    }
    at
}

/// As `decode`, telling with each line its place: the chunk's data's, and the how manieth line of it it is.
pub(super) fn decode_placed(bytes: &Bytes, offset: u64, assembler: &mut Assembler, placed: &mut Vec<Placed>) -> usize {
    let mut at = 0;
    while let Some(header) = header_at(&bytes[at..]) {
        let end = at + header.chunk_len();
        if end > bytes.len() {
            break;
        }
        assembler.feed(stream(&header), time(&header), &bytes.slice(at + HEADER..end - TRAILER));
        // No more lines end in a chunk than it has bytes, so no two have the same place.
        let first = offset + (at + HEADER) as u64;
        placed.extend(assembler.lines.drain(..).zip(first..).map(|(line, place)| Placed { line, place }));
        at = end;
    }
    at
}

/// Where chunks begin in bytes that end with one, ascending. Found from their trailers, so nothing before a damaged place.
pub(super) fn starts(bytes: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut end = bytes.len();
    loop {
        let start = (|| {
            let length = u32::from_le_bytes(*bytes[..end].last_chunk::<TRAILER>()?) as usize;
            let start = end.checked_sub(HEADER + length + TRAILER)?;
            (header_at(&bytes[start..])?.length as usize == length).then_some(start)
        })();
        let Some(start) = start else { break };
        starts.push(start);
        end = start;
    }
    starts.reverse();
    starts
}

/// The first border in bytes that begin anywhere, and the time of the chunk there. A header is believed when its trailer and the
/// next headers agree. (A container that writes such bytes hides lines of its own log from searches by time, and no others.)
pub(super) fn border(bytes: &[u8]) -> Option<(usize, Timestamp)> {
    const CHAIN: usize = 3;
    let magic = crate::runtime::logfile::MAGIC.to_le_bytes();
    let fits = |start: usize| -> Option<Timestamp> {
        let first = header_at(bytes.get(start..)?)?;
        let mut at = start;
        for n in 0..CHAIN {
            let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= HEADER) else { return (n > 0).then(|| time(&first)) };
            let header = header_at(rest)?;
            let Some(chunk) = rest.get(..header.chunk_len()) else { return (n > 0).then(|| time(&first)) };
            if *chunk.last_chunk::<TRAILER>()? != header.length.to_le_bytes() {
                return None;
            }
            at += header.chunk_len();
        }
        Some(time(&first))
    };
    memchr::memmem::find_iter(bytes, &magic).filter_map(|at| at.checked_sub(HEADER - magic.len())).find_map(|at| Some((at, fits(at)?)))
}

/// The records that bytes begin with: where each begins, and its time.
pub(super) fn records(bytes: &[u8]) -> impl Iterator<Item = (usize, Timestamp)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let header = header_at(bytes.get(at..)?)?;
        let start = at;
        at += header.chunk_len();
        (at <= bytes.len()).then(|| (start, time(&header)))
    })
}

/// Lines counted from the end backwards.
pub(super) struct Counted {
    wanted: usize,
    lines: usize,
    /// Whether a last line without a newline counts: nobody will complete it.
    open_count: bool,
    /// Streams whose end was seen.
    ended: [bool; 2],
    /// Streams of which a newline before the first wanted line was seen: their first wanted line is complete.
    begun: [bool; 2],
    /// What was looked at beyond the wanted lines: pieces, bytes.
    beyond: (usize, usize),
}

impl Counted {
    pub fn new(wanted: usize, open_count: bool) -> Self {
        Self { wanted, lines: 0, open_count, ended: [false; 2], begun: [false; 2], beyond: (0, 0) }
    }

    /// Counts the lines that end in a piece, which lies before all pieces counted so far.
    pub fn add(&mut self, stream: StreamKind, data: &[u8]) {
        let s = stream as usize;
        if self.lines >= self.wanted {
            self.beyond = (self.beyond.0 + 1, self.beyond.1 + data.len());
        }
        if !data.is_empty() && !std::mem::replace(&mut self.ended[s], true) && !data.ends_with(b"\n") {
            self.lines += usize::from(self.open_count);
        }
        let newlines = memchr::memchr_iter(b'\n', data).count();
        self.begun[s] |= newlines > self.wanted.saturating_sub(self.lines);
        self.lines += newlines;
    }

    /// Whether we are far enough back.
    pub fn enough(&self) -> bool {
        self.lines >= self.wanted && (self.begun == [true; 2] || self.beyond.0 > LOOK_BACK.0 || self.beyond.1 > LOOK_BACK.1)
    }

    /// How many of the counted lines are too many.
    pub fn surplus(&self) -> usize {
        self.lines.saturating_sub(self.wanted)
    }
}

/// Walks chunks backwards from `end` and counts lines; where to read on from.
pub(super) fn walk_back(file: &Open, end: u64, counted: &mut Counted) -> io::Result<u64> {
    const WINDOW: u64 = 256 * 1024;
    let mut at = last_border(file, end)?;
    let mut window_start = at;
    let mut window: Vec<u8> = Vec::new();
    while at > 0 && !counted.enough() {
        // The whole chunk before `at` must be in the window, header to trailer.
        let inside = |window_start: u64, window: &[u8]| -> Option<(Header, usize)> {
            let to = usize::try_from(at.checked_sub(window_start)?).ok().filter(|to| *to <= window.len())?;
            let length = u32::from_le_bytes(*window[..to].last_chunk::<TRAILER>()?) as usize;
            let from = to.checked_sub(HEADER + length + TRAILER)?;
            let header = header_at(&window[from..])?;
            (header.length as usize == length).then_some((header, from))
        };
        let found = match inside(window_start, &window) {
            Some(found) => found,
            None => {
                window_start = at.saturating_sub(WINDOW.max(CHUNK_MAX as u64 * 2));
                #[allow(clippy::cast_possible_truncation)] // at most 256 KiB
                let want = (at - window_start) as usize;
                window = file.read_at(window_start, want)?;
                match inside(window_start, &window) {
                    Some(found) => found,
                    None => break, // damaged: what lies before cannot be reached backwards
                }
            }
        };
        let (header, from) = found;
        at = window_start + from as u64;
        counted.add(stream(&header), &window[from + HEADER..from + HEADER + header.length as usize]);
    }
    Ok(at)
}

/// The end of the last whole chunk. Usually `end` itself; in the middle of a write we count from the front. (A torn
/// chunk whose bytes end in something that looks like a whole one is taken for it: the container fooled its own log, and
/// reading on finds the true border again.)
pub(super) fn last_border(file: &Open, end: u64) -> io::Result<u64> {
    let tail = file.read_at(end.saturating_sub((CHUNK_MAX + HEADER + TRAILER) as u64), CHUNK_MAX + HEADER + TRAILER)?;
    let whole = || {
        let length = u32::from_le_bytes(*tail.last_chunk::<TRAILER>()?) as usize;
        let header = header_at(&tail[tail.len().checked_sub(HEADER + length + TRAILER)?..])?;
        (header.length as usize == length).then_some(())
    };
    if end == 0 || whole().is_some() { Ok(end) } else { Ok(borders(file, end, end)?.0) }
}

/// Whether reading at `offset` meets bytes that are no chunk, rather than one that is not there in full.
pub(super) fn is_lost(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER && header_at(bytes).is_none()
}

/// Where to read on after bytes that are no chunk: the first true border behind `offset`, else the end.
pub(super) fn resume(file: &Open, offset: u64, end: u64) -> io::Result<u64> {
    let (_, after) = borders(file, offset, end)?;
    Ok(after.unwrap_or(end))
}

/// Counts chunks from the front of the file: the last border not behind `offset`, and the next one.
fn borders(file: &Open, offset: u64, end: u64) -> io::Result<(u64, Option<u64>)> {
    let mut border = 0;
    loop {
        #[allow(clippy::cast_possible_truncation)] // at most BATCH
        let want = (end - border).min(super::BATCH as u64) as usize;
        let bytes = file.read_at(border, want)?;
        let mut at = 0;
        while let Some(header) = header_at(&bytes[at..]) {
            let next = at + header.chunk_len();
            if next > bytes.len() {
                break;
            }
            if border + next as u64 > offset {
                return Ok((border + at as u64, Some(border + next as u64)));
            }
            at = next;
        }
        if at == 0 {
            return Ok((border, None));
        }
        border += at as u64;
    }
}
