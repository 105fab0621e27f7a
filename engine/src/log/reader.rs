//! One reader's place in the rotated set, and the batches it reads from there. Blocking.

use super::files::{self, Open};
use super::{BATCH, PART, Source, json, local};
use crate::container::request::{LogLine, LogOptions, StreamKind};
use bytes::Bytes;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

/// What one call read.
pub(super) struct Batch {
    /// Empty: there is nothing more now.
    pub lines: Vec<LogLine>,
    /// A line after `until` was seen: there will be no more.
    pub past_until: bool,
}

/// A place in a log.
pub(super) struct Reader {
    base: PathBuf,
    /// Oldest first; the first is being read.
    files: VecDeque<Open>,
    offset: u64,
    /// Without follow: where the newest file ended when we began. Otherwise a fast writer would never let go of us.
    end: Option<u64>,
    assembler: Assembler,
    format: Format,
}

#[derive(Clone, Copy)]
pub(super) enum Format {
    Local,
    Json,
}

impl Reader {
    /// Opens the set and goes to where `options` want to begin. `up`: whether unfinished lines may still be completed.
    pub fn open(source: &Source, options: LogOptions, up: bool) -> io::Result<Self> {
        let base = source.base();
        let format = match source {
            Source::Local(_) => Format::Local,
            Source::JsonFile(_) => Format::Json,
        };
        let mut files: VecDeque<Open> = files::open(&base, None)?.into();
        // Whole files from before `since` need no reading. The clock that stamps lines is the clock of mtime.
        if let Some(since) = options.since {
            while files.len() > 1 && modified(&files[0])?.is_some_and(|m| m.checked_add(super::kept::COARSE).is_ok_and(|m| m < since)) {
                files.pop_front();
            }
        }
        let end = match files.back() {
            Some(last) if !options.follow => Some(last.len()?),
            _ => None,
        };
        let mut reader = Self { base, files, offset: 0, end, assembler: Assembler::new(&options), format };
        if let Some(tail) = options.tail {
            reader.go_to_tail(tail, up)?;
        }
        Ok(reader)
    }

    /// Walks back from the end until so many lines lie ahead.
    fn go_to_tail(&mut self, tail: usize, up: bool) -> io::Result<()> {
        let mut counted = local::Counted::new(tail, !up);
        for index in (0..self.files.len()).rev() {
            let file = &self.files[index];
            let end = match self.end {
                Some(end) if index + 1 == self.files.len() => end,
                _ => file.len()?,
            };
            let start = match self.format {
                Format::Local => local::walk_back(file, end, &mut counted)?,
                Format::Json => json::walk_back(file, end, &mut counted)?,
            };
            if counted.enough() || index == 0 {
                self.files.drain(..index);
                self.offset = start;
                break;
            }
        }
        self.assembler.skip = counted.surplus();
        Ok(())
    }

    /// Reads until there are lines, or nothing more.
    pub fn batch(&mut self) -> io::Result<Batch> {
        loop {
            if self.files.is_empty() {
                self.files = files::open(&self.base, None)?.into();
            }
            let Some(file) = self.files.front() else {
                return Ok(Batch { lines: Vec::new(), past_until: false }); // nothing was ever written
            };
            let limit = match self.end {
                Some(end) if self.files.len() == 1 => end,
                _ => file.len()?,
            };
            let left = usize::try_from(limit.saturating_sub(self.offset)).unwrap_or(usize::MAX);
            let bytes = Bytes::from(file.read_at(self.offset, left.min(BATCH))?);
            let full = bytes.len() == BATCH;
            let consumed = match self.format {
                Format::Local => local::decode(&bytes, &mut self.assembler),
                Format::Json => json::decode(&bytes, &mut self.assembler),
            };
            let mut consumed = consumed as u64;
            let lost = matches!(self.format, Format::Local) && local::is_lost(&bytes);
            if consumed == 0 && (full || lost) {
                // No chunk and no line is that long, or this is none: the file is damaged here.
                tracing::warn!(file = %self.base.display(), offset = self.offset, "a part of a log file is damaged and skipped");
                let to = if lost { local::resume(file, self.offset, limit)? } else { limit };
                consumed = to.saturating_sub(self.offset);
            }
            self.offset += consumed;
            let past_until = self.assembler.past_until;
            let lines = std::mem::take(&mut self.assembler.lines);
            if !lines.is_empty() || past_until {
                return Ok(Batch { lines, past_until });
            }
            if consumed == 0 && !self.advance(limit)? {
                return Ok(Batch { lines: Vec::new(), past_until: false });
            }
        }
    }

    /// Goes to the next newer file, if there is one and this one has no more.
    fn advance(&mut self, seen: u64) -> io::Result<bool> {
        if self.files.len() > 1 {
            self.files.pop_front();
            self.offset = 0;
            return Ok(true);
        }
        let Some(file) = self.files.front() else { return Ok(false) };
        if self.end.is_some() || !files::rotated(&self.base, file.inode)? {
            return Ok(false);
        }
        // It is rotated, so nothing more is appended; but something may have been since we looked.
        if file.len()? > seen {
            return Ok(true);
        }
        let newer = files::open(&self.base, Some(file.inode))?;
        if newer.is_empty() {
            return Ok(false);
        }
        self.files = newer.into();
        self.offset = 0;
        Ok(true)
    }

    /// Whether the log was removed while we read it. The folder's watch does not tell: our open file keeps it alive.
    pub fn removed(&self) -> io::Result<bool> {
        Ok(!self.files.is_empty() && files::names(&self.base)?.is_empty())
    }

    /// The last lines, that nobody will complete.
    pub fn finish(&mut self) -> Vec<LogLine> {
        self.assembler.finish();
        std::mem::take(&mut self.assembler.lines)
    }
}

fn modified(open: &Open) -> io::Result<Option<Timestamp>> {
    Ok(Timestamp::try_from(open.file.metadata()?.modified()?).ok())
}

/// Makes lines of pieces and drops those that were not asked for.
pub(super) struct Assembler {
    stdout: bool,
    stderr: bool,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// So many lines are passed over first (`tail` begins inside a chunk).
    pub skip: usize,
    /// What each stream has of a line so far, with the time of its last piece.
    open: [(Vec<u8>, Timestamp); 2],
    pub lines: Vec<LogLine>,
    pub past_until: bool,
}

impl Assembler {
    pub fn new(options: &LogOptions) -> Self {
        Self {
            stdout: options.stdout,
            stderr: options.stderr,
            since: options.since,
            until: options.until,
            skip: 0,
            open: Default::default(),
            lines: Vec::new(),
            past_until: false,
        }
    }

    pub fn wants(&self, stream: StreamKind) -> bool {
        match stream {
            StreamKind::Stdout => self.stdout,
            StreamKind::Stderr => self.stderr,
        }
    }

    /// Whether a time is within `since` and `until`; one after `until` ends everything.
    fn in_time(&mut self, time: Timestamp) -> bool {
        if self.until.is_some_and(|u| time > u) {
            self.past_until = true;
            return false;
        }
        self.since.is_none_or(|s| time >= s)
    }

    /// Bytes of a stream as they were written, at any border.
    pub fn feed(&mut self, stream: StreamKind, time: Timestamp, data: &Bytes) {
        if self.past_until || self.skip == 0 && !self.wants(stream) {
            return;
        }
        let mut start = 0;
        for newline in memchr::memchr_iter(b'\n', data) {
            let line = start..newline + 1;
            start = newline + 1;
            if self.open[stream as usize].0.is_empty() && line.len() <= PART {
                self.push(stream, time, || data.slice(line));
            } else {
                self.extend(stream, time, &data[line], true);
            }
        }
        if start < data.len() {
            self.extend(stream, time, &data[start..], false);
        }
    }

    /// Adds to a stream's open line, giving away full parts, and all of it when it is complete.
    fn extend(&mut self, stream: StreamKind, time: Timestamp, piece: &[u8], complete: bool) {
        let (mut bytes, _) = std::mem::take(&mut self.open[stream as usize]);
        bytes.extend_from_slice(piece);
        let mut bytes = Bytes::from(bytes);
        // A newline alone does not make a part of its own.
        while bytes.len() > PART + usize::from(complete) {
            let part = bytes.split_to(PART);
            self.push(stream, time, || part);
        }
        if complete {
            self.push(stream, time, || bytes);
        } else {
            self.open[stream as usize] = (bytes.into(), time);
        }
    }

    /// A line, or a part of one (without newline).
    pub fn push(&mut self, stream: StreamKind, time: Timestamp, bytes: impl FnOnce() -> Bytes) {
        // As with Docker `tail` counts all lines, and only then is asked which of them are wanted.
        if self.skip > 0 {
            self.skip -= usize::from(bytes().last() == Some(&b'\n'));
        } else if self.wants(stream) && self.in_time(time) {
            self.lines.push(LogLine { stream, time, bytes: bytes() });
        }
    }

    /// Nothing will complete what is open.
    pub fn finish(&mut self) {
        for stream in [StreamKind::Stdout, StreamKind::Stderr] {
            let (bytes, time) = std::mem::take(&mut self.open[stream as usize]);
            if bytes.is_empty() {
                continue;
            }
            // `tail` counted it as a line, though it has no newline to be told by.
            match self.skip.checked_sub(1) {
                Some(less) => self.skip = less,
                None => self.push(stream, time, || bytes.into()),
            }
        }
    }
}
