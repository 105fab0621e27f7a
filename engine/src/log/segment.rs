//! A log in segments, from either end, each with its lines and their places: what a search walks. Only what lies between two
//! times is read: whole files are passed over by their first and last time, and within a file the place is found by halving.
//!
//! A segment read backwards begins in the middle of things, so a little more is read before it, to know where the open line of
//! each stream begins; a line with more than that of other output inside it loses its head. Blocking.

use super::files::{self, Open};
use super::reader::{Assembler, Format};
use super::{BATCH, Source, json, local};
use crate::container::request::{LogLine, LogOptions};
use crate::runtime::logfile::CHUNK_MAX;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use std::collections::VecDeque;
use std::io;

/// Read before a segment.
const LEAD: u64 = 64 * 1024;
/// Halving ends with so much left.
const NEAR: u64 = 128 * 1024;
/// Has a border in it wherever it begins, and the record after that: two chunks, or two lines of `json-file`.
const WINDOW: usize = 256 * 1024;

/// A line, and its place in its file: greater for later lines.
#[derive(Debug)]
pub(super) struct Placed {
    pub line: LogLine,
    pub place: u64,
}

/// What of a log is walked through.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    pub stdout: bool,
    pub stderr: bool,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub newest_first: bool,
    /// Bytes of a segment, at least a chunk's.
    pub segment: usize,
}

/// A place in a log that moves through it in one direction.
pub(super) struct Walker {
    /// Oldest first. Of the newest, where it ended when we began.
    files: VecDeque<(Open, Option<u64>)>,
    /// The one before those: the first line may begin in it.
    passed_over: Option<Open>,
    format: Format,
    part: Part,
    /// In the file that is being read, the first or the last by direction; `None`: not gone to yet.
    at: Option<u64>,
    assembler: Assembler,
    /// Whether a last line may still be completed.
    writing: bool,
    /// What was read.
    pub bytes: u64,
}

impl Walker {
    /// Opens the log's files. `writing`: whether a last line may still be completed.
    pub fn open(source: &Source, part: Part, writing: bool) -> io::Result<Self> {
        let format = match source {
            Source::Local(_) => Format::Local,
            Source::JsonFile(_) => Format::Json,
        };
        let mut files: VecDeque<(Open, Option<u64>)> = files::open(&source.base(), None)?.into_iter().map(|f| (f, None)).collect();
        if let Some((newest, end)) = files.back_mut() {
            *end = Some(newest.len()?);
        }
        // The clock that stamps lines is the clock of mtime.
        let mut passed_over = None;
        if let Some(since) = part.since {
            while files
                .front()
                .is_some_and(|(f, _)| f.written().is_some_and(|t| t.checked_add(super::kept::COARSE).is_ok_and(|t| t < since)))
            {
                passed_over = files.pop_front().map(|(file, _)| file);
            }
        }
        if let Some(until) = part.until {
            while let Some((newest, _)) = files.back()
                && format.first_time(&newest.head(WINDOW)?).is_some_and(|t| t > until)
            {
                files.pop_back();
            }
        }
        let assembler = assembler(&part);
        Ok(Self { files, passed_over, format, part, at: None, assembler, writing, bytes: 0 })
    }

    /// The next lines in our direction; `None`: there are no more. Lines somewhat before and after the times asked for come too.
    pub fn next(&mut self) -> io::Result<Option<VecDeque<Placed>>> {
        loop {
            let lines = if self.part.newest_first { self.back()? } else { self.forth()? };
            match lines {
                Some(lines) if lines.is_empty() => {}
                lines => return Ok(lines),
            }
        }
    }

    fn back(&mut self) -> io::Result<Option<VecDeque<Placed>>> {
        let Some((file, known_end)) = self.files.back() else { return Ok(None) };
        let end = known_end.map_or_else(|| file.len(), Ok)?;
        let mut open_line = false;
        let at = match self.at {
            Some(at) => at,
            None => {
                let end = self.format.last_border(file, end)?;
                let after = self.part.until.and_then(|t| t.checked_add(SignedDuration::from_nanos(1)).ok());
                let at = match after {
                    Some(time) => self.format.end_before(file, end, time)?,
                    None => end,
                };
                open_line = at == end && known_end.is_some() && !self.writing;
                at
            }
        };
        let wanted = at.saturating_sub(self.part.segment as u64);
        let lead = wanted.saturating_sub(LEAD);
        #[allow(clippy::cast_possible_truncation)] // a segment and its lead
        let bytes = Bytes::from(file.read_at(lead, (at - lead) as usize)?);
        self.bytes += bytes.len() as u64;
        #[allow(clippy::cast_possible_truncation)]
        let Some((first, from)) = self.format.borders(&bytes, lead == 0, (wanted - lead) as usize) else {
            if at > 0 {
                tracing::warn!(offset = at, "a part of a log file is damaged, and what lies before it is not searched");
            }
            self.files.pop_back();
            self.at = None;
            return Ok(Some(VecDeque::new()));
        };
        let mut assembler = assembler(&self.part);
        let mut lines = Vec::new();
        if lead == 0 {
            // A line may have been begun before the rotation.
            let older = self.files.len().checked_sub(2).and_then(|n| self.files.get(n)).map(|(f, _)| f).or(self.passed_over.as_ref());
            if let Some(older) = older {
                self.format.lead(older, older.len()?, &mut assembler)?;
            }
        }
        self.format.decode(&bytes.slice(first..from), 0, &mut assembler, &mut lines);
        lines.clear();
        self.format.decode(&bytes.slice(from..), lead + from as u64, &mut assembler, &mut lines);
        if open_line {
            assembler.finish();
            lines.extend(assembler.lines.drain(..).map(|line| Placed { line, place: end }));
        }
        self.at = Some(lead + from as u64);
        if self.at == Some(0) {
            self.files.pop_back();
            self.at = None;
        }
        lines.reverse();
        Ok(Some(lines.into()))
    }

    fn forth(&mut self) -> io::Result<Option<VecDeque<Placed>>> {
        let Some((file, known_end)) = self.files.front() else { return Ok(None) };
        let end = known_end.map_or_else(|| file.len(), Ok)?;
        let at = match (self.at, self.part.since) {
            (Some(at), _) => at,
            (None, since) => {
                let at = since.map_or(Ok(0), |since| self.format.start_before(file, end, since))?;
                match &self.passed_over {
                    Some(older) if at == 0 => self.format.lead(older, older.len()?, &mut self.assembler)?,
                    _ => self.format.lead(file, at, &mut self.assembler)?,
                }
                at
            }
        };
        let left = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut lines = Vec::new();
        let mut taken = 0;
        // A record may be longer than a segment.
        for want in [self.part.segment, BATCH] {
            let bytes = Bytes::from(file.read_at(at, left.min(want))?);
            self.bytes += bytes.len() as u64;
            taken = self.format.decode(&bytes, at, &mut self.assembler, &mut lines) as u64;
            if taken == 0 && self.format.is_lost(&bytes) {
                tracing::warn!(offset = at, "a part of a log file is damaged and not searched");
                taken = local::resume(file, at, end)? - at;
            }
            if taken > 0 || left <= want {
                break;
            }
        }
        self.at = Some(at + taken);
        if taken == 0 {
            let newest = known_end.is_some();
            self.files.pop_front();
            self.at = Some(0);
            if newest && !self.writing {
                self.assembler.finish();
                lines.extend(self.assembler.lines.drain(..).map(|line| Placed { line, place: end }));
            }
        }
        Ok(Some(lines.into()))
    }
}

fn assembler(part: &Part) -> Assembler {
    Assembler::new(&LogOptions { stdout: part.stdout, stderr: part.stderr, ..LogOptions::default() })
}

impl Format {
    fn first_time(self, bytes: &[u8]) -> Option<Timestamp> {
        match self {
            Self::Local => local::first_time(bytes),
            Self::Json => json::first_time(bytes),
        }
    }

    fn decode(self, bytes: &Bytes, offset: u64, assembler: &mut Assembler, placed: &mut Vec<Placed>) -> usize {
        match self {
            Self::Local => local::decode_placed(bytes, offset, assembler, placed),
            Self::Json => json::decode_placed(bytes, offset, assembler, placed),
        }
    }

    /// Takes in what lies before a border, for the lines that are open there; no line of it is given.
    fn lead(self, file: &Open, end: u64, assembler: &mut Assembler) -> io::Result<()> {
        let start = end.saturating_sub(LEAD);
        #[allow(clippy::cast_possible_truncation)] // at most LEAD
        let bytes = Bytes::from(file.read_at(start, (end - start) as usize)?);
        if let Some((first, _)) = self.borders(&bytes, start == 0, 0) {
            self.decode(&bytes.slice(first..), 0, assembler, &mut Vec::new());
        }
        Ok(())
    }

    fn is_lost(self, bytes: &[u8]) -> bool {
        matches!(self, Self::Local) && local::is_lost(bytes)
    }

    /// The end of the last record that is there in full.
    fn last_border(self, file: &Open, end: u64) -> io::Result<u64> {
        match self {
            Self::Local => local::last_border(file, end),
            Self::Json => Ok(end),
        }
    }

    /// The first border in bytes that end with one, and the first that is not before `wanted`. `whole`: they begin with one.
    fn borders(self, bytes: &[u8], whole: bool, wanted: usize) -> Option<(usize, usize)> {
        match self {
            Self::Local => {
                let starts = local::starts(bytes);
                let first = *starts.first()?;
                Some((first, starts.into_iter().find(|s| *s >= wanted).unwrap_or(first)))
            }
            Self::Json => {
                let next = |from: usize| memchr::memchr(b'\n', bytes.get(from..)?).map(|n| from + n + 1).filter(|n| *n < bytes.len());
                let first = if whole && !bytes.is_empty() { 0 } else { next(0)? };
                let from = if wanted <= first { Some(first) } else { next(wanted - 1) };
                // One line that is longer than all of the segment.
                Some((first, from.unwrap_or(first)))
            }
        }
    }

    fn border(self, bytes: &[u8]) -> Option<(usize, Timestamp)> {
        match self {
            Self::Local => local::border(bytes),
            Self::Json => json::border(bytes),
        }
    }

    /// A border such that every record from `time` on lies behind it, and not much else.
    pub(super) fn start_before(self, file: &Open, end: u64, time: Timestamp) -> io::Result<u64> {
        let (mut low, mut high) = (0, end);
        while high - low > NEAR {
            let middle = low + (high - low) / 2;
            let bytes = file.read_at(middle, WINDOW.min(usize::try_from(end - middle).unwrap_or(WINDOW)))?;
            match self.border(&bytes) {
                Some((at, found)) if middle + (at as u64) < high && found < time => low = middle + at as u64,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// The border behind the last record from before `time`, and a little more where there is more.
    fn end_before(self, file: &Open, end: u64, time: Timestamp) -> io::Result<u64> {
        let mut at = self.start_before(file, end, time)?;
        let mut reached = None;
        loop {
            let bytes = file.read_at(at, WINDOW.min(usize::try_from(end - at).unwrap_or(WINDOW)))?;
            let mut next = None;
            let mut look = |start: usize, found: Timestamp| {
                let start = at + start as u64;
                if found >= time {
                    let reached = *reached.get_or_insert(start);
                    if start >= reached + LEAD {
                        return Some(start);
                    }
                }
                next = Some(start);
                None
            };
            let stop = match self {
                Self::Local => local::records(&bytes).find_map(|(start, found)| look(start, found)),
                Self::Json => json::records(&bytes).find_map(|(start, found)| look(start, found)),
            };
            match (stop, next) {
                (Some(stop), _) => return Ok(stop),
                (None, Some(next)) if next > at => at = next,
                _ => return Ok(end),
            }
        }
    }
}

const _: () = assert!(WINDOW > 2 * (CHUNK_MAX + 64));
