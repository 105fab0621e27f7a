//! Docker's `json-file`: a line of JSON for each line or part of one, `{"log":"…\n","stream":"stdout","time":"…Z"}`.

use super::files::Open;
use super::local::Counted;
use super::reader::Assembler;
use super::segment::Placed;
use crate::container::request::StreamKind;
use bytes::Bytes;
use jiff::Timestamp;
use std::borrow::Cow;
use std::io;

#[derive(serde::Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// One line of the file; `None` when it is damaged (dockerd skips those as well).
fn entry(line: &[u8]) -> Option<(StreamKind, Timestamp, Cow<'_, str>)> {
    let entry: Entry = serde_json::from_slice(line).ok()?;
    let stream = if entry.stream == "stderr" { StreamKind::Stderr } else { StreamKind::Stdout };
    Some((stream, entry.time.parse().ok()?, entry.log))
}

/// The time of the first line that is whole.
pub(super) fn first_time(bytes: &[u8]) -> Option<Timestamp> {
    records(bytes).next().map(|(_, time)| time)
}

/// Gives the whole lines at the front of `bytes` to the assembler; how many bytes those were.
pub(super) fn decode(bytes: &Bytes, assembler: &mut Assembler) -> usize {
    let mut at = 0;
    for newline in memchr::memchr_iter(b'\n', bytes) {
        if assembler.past_until {
            break;
        }
        if let Some((stream, time, text)) = entry(&bytes[at..newline]) {
            assembler.push(stream, time, || Bytes::from(text.into_owned()));
        }
        at = newline + 1;
    }
    at
}

/// As `decode`, telling with each line where it begins.
pub(super) fn decode_placed(bytes: &Bytes, offset: u64, assembler: &mut Assembler, placed: &mut Vec<Placed>) -> usize {
    let mut at = 0;
    for newline in memchr::memchr_iter(b'\n', bytes) {
        if let Some((stream, time, text)) = entry(&bytes[at..newline]) {
            assembler.push(stream, time, || Bytes::from(text.into_owned()));
            let place = offset + at as u64;
            placed.extend(assembler.lines.drain(..).map(|line| Placed { line, place }));
        }
        at = newline + 1;
    }
    at
}

/// The first border in bytes that begin anywhere, and the time of the line there.
pub(super) fn border(bytes: &[u8]) -> Option<(usize, Timestamp)> {
    let start = memchr::memchr(b'\n', bytes)? + 1;
    records(&bytes[start..]).next().map(|(at, time)| (start + at, time))
}

/// The whole lines that bytes begin with: where each begins, and its time.
pub(super) fn records(bytes: &[u8]) -> impl Iterator<Item = (usize, Timestamp)> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', bytes).filter_map(move |newline| {
        let at = std::mem::replace(&mut start, newline + 1);
        entry(&bytes[at..newline]).map(|(_, time, _)| (at, time))
    })
}

/// Walks lines backwards from `end` and counts; where to read on from.
pub(super) fn walk_back(file: &Open, end: u64, counted: &mut Counted) -> io::Result<u64> {
    const WINDOW: u64 = 256 * 1024;
    let mut at = end; // just behind a newline, or behind a torn last line
    loop {
        let start = at.saturating_sub(WINDOW);
        #[allow(clippy::cast_possible_truncation)] // at most 256 KiB
        let window = file.read_at(start, (at - start) as usize)?;
        let Some(last) = memchr::memrchr(b'\n', &window) else { return Ok(start) };
        let mut line_end = last;
        loop {
            let before = memchr::memrchr(b'\n', &window[..line_end]);
            let line_start = match before {
                Some(newline) => newline + 1,
                None if start == 0 => 0,
                None => break, // begins before the window
            };
            if let Some((stream, _, text)) = entry(&window[line_start..line_end]) {
                counted.add(stream, text.as_bytes());
            }
            if line_start == 0 && start == 0 {
                return Ok(0);
            }
            line_end = line_start - 1;
            if counted.enough() {
                return Ok(start + line_start as u64);
            }
        }
        if line_end == last && start > 0 && at - start == WINDOW && last + 1 == window.len() {
            return Ok(start); // one line longer than the window: damaged
        }
        at = start + line_end as u64 + 1;
    }
}
