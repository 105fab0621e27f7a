//! Writing a container's log (formats: logfile.rs). A write that fails (a full disk) loses that piece and nothing else:
//! the container goes on.

use crate::logfile::{self, Header};
use crate::plan::{LogDriver, LogPlan};
use crate::sys::{self, R};
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// A log open for writing.
pub struct Log {
    file: Option<File>,
    json: Option<Json>,
}

/// The current file of a rotated set.
struct File {
    folder: OwnedFd,
    name: String,
    fd: OwnedFd,
    size: u64,
    max_size: u64,
    max_files: u32,
}

impl Log {
    /// Opens it; `folder` is needed unless output is discarded.
    pub fn open(plan: &LogPlan, folder: Option<OwnedFd>) -> R<Self> {
        if plan.driver == LogDriver::Discard {
            return Ok(Self { file: None, json: None });
        }
        let folder = folder.ok_or(libc::EBADF)?;
        let fd = open_file(&folder, &plan.file)?;
        let size = sys::stat(fd.as_raw_fd())?.st_size as u64;
        let json = (plan.driver == LogDriver::JsonFile).then(|| Json { attrs: plan.attrs.clone(), ..Json::default() });
        let mut file = File { folder, name: plan.file.clone(), fd, size, max_size: plan.max_size, max_files: plan.max_files.max(1) };
        if json.is_none() {
            file.cut_incomplete_chunk()?;
        }
        Ok(Self { file: Some(file), json })
    }

    /// Keeps what one read(2) gave.
    pub fn write(&mut self, stream: u8, data: &[u8]) {
        let Some(file) = &mut self.file else { return };
        let time_ns = sys::now_ns();
        match &mut self.json {
            None => {
                // A file that is to stay small is not made big by one read.
                let piece = if file.max_size == 0 { data.len() } else { (file.max_size / 8).clamp(512, 64 * 1024) as usize };
                for part in data.chunks(piece.max(1)) {
                    file.write_chunk(stream, time_ns, part);
                }
            }
            Some(json) => {
                json.add(stream, time_ns, data);
                file.write_lines(&mut json.out);
            }
        }
    }

    /// The streams have ended: what lacks its newline is written as it is.
    pub fn end(&mut self) {
        if let (Some(file), Some(json)) = (&mut self.file, &mut self.json) {
            let now = sys::now_ns();
            json.end(now);
            file.write_lines(&mut json.out);
        }
    }
}

fn open_file(folder: &OwnedFd, name: &str) -> R<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_APPEND | libc::O_NOFOLLOW;
    sys::with_path(name, |name| sys::open_at(folder.as_raw_fd(), name, flags, 0o600))
}

fn read_at(fd: RawFd, buffer: &mut [u8], offset: u64) -> R<()> {
    // SAFETY: fills at most the buffer's length.
    let length = unsafe { libc::pread(fd, buffer.as_mut_ptr().cast(), buffer.len(), offset as libc::off_t) };
    if length == buffer.len() as isize { Ok(()) } else { Err(libc::EIO) }
}

impl File {
    fn truncate(&mut self, size: u64) -> R<()> {
        // SAFETY: an fd of ours and a number.
        if unsafe { libc::ftruncate(self.fd.as_raw_fd(), size as libc::off_t) } != 0 {
            return Err(sys::errno());
        }
        self.size = size;
        Ok(())
    }

    /// A crash may have cut the last chunk. Its trailer says whether it is whole; if not, walk from the start.
    fn cut_incomplete_chunk(&mut self) -> R<()> {
        let fd = self.fd.as_raw_fd();
        let around = (logfile::HEADER + logfile::TRAILER) as u64;
        let mut trailer = [0; logfile::TRAILER];
        if self.size >= around && read_at(fd, &mut trailer, self.size - 4).is_ok() {
            let length = u32::from_le_bytes(trailer);
            if let Some(start) = self.size.checked_sub(around + u64::from(length)) {
                let mut header = [0; logfile::HEADER];
                read_at(fd, &mut header, start)?;
                if Header::decode(&header).is_some_and(|h| h.length == length) {
                    return Ok(());
                }
            }
        }
        let mut whole = 0;
        while self.size - whole >= around {
            let mut header = [0; logfile::HEADER];
            read_at(fd, &mut header, whole)?;
            match Header::decode(&header) {
                Some(header) if whole + header.chunk_len() as u64 <= self.size => whole += header.chunk_len() as u64,
                _ => break,
            }
        }
        if whole < self.size { self.truncate(whole) } else { Ok(()) }
    }

    fn write_chunk(&mut self, stream: u8, time_ns: u64, data: &[u8]) {
        for data in data.chunks(logfile::CHUNK_MAX) {
            let header = Header { time_ns, length: data.len() as u32, stream, flags: 0 };
            let length = header.chunk_len() as u64;
            self.rotate_before(length);
            let outcome = sys::write_parts(self.fd.as_raw_fd(), [&header.encode(), data, &header.length.to_le_bytes()]);
            self.count(outcome, length);
        }
    }

    fn write_lines(&mut self, lines: &mut Vec<u8>) {
        if !lines.is_empty() {
            self.rotate_before(lines.len() as u64);
            let outcome = sys::write(self.fd.as_raw_fd(), lines);
            self.count(outcome, lines.len() as u64);
            lines.clear();
        }
    }

    /// Counts what was written; a piece that was written in part (disk full) is cut off again.
    fn count(&mut self, outcome: R<usize>, length: u64) {
        if outcome.is_ok_and(|n| n as u64 == length) {
            self.size += length;
        } else {
            let _ = self.truncate(self.size);
        }
    }

    /// Makes room. Older files move up first, the oldest going; a crash between two renames leaves a gap in the numbers
    /// and loses nothing.
    fn rotate_before(&mut self, length: u64) {
        if self.max_size == 0 || self.size == 0 || self.size + length <= self.max_size {
            return;
        }
        let at = self.folder.as_raw_fd();
        let name = |n: u32| CString::new(if n == 0 { self.name.clone() } else { format!("{}.{n}", self.name) }).unwrap_or_default();
        if self.max_files == 1 {
            let _ = self.truncate(0);
            return;
        }
        // Held while the server puts a compressed file in another's place. It is never waited for: if it is taken, this file
        // grows a little and the next write tries again.
        let Ok(_lock) = sys::lock(at) else { return };
        let packed = |n: u32| CString::new(format!("{}.{n}.gz", self.name)).unwrap_or_default();
        for n in (0..self.max_files - 1).rev() {
            // Missing ones are skipped; renaming over the oldest removes it, and whichever spelling is left of it goes too.
            if sys::rename_at(at, &name(n), &name(n + 1)).is_ok() {
                let _ = sys::unlink_at(at, &packed(n + 1));
            } else if n > 0 && sys::rename_at(at, &packed(n), &packed(n + 1)).is_ok() {
                let _ = sys::unlink_at(at, &name(n + 1));
            }
        }
        if let Ok(fd) = open_file(&self.folder, &self.name) {
            self.fd = fd;
            self.size = sys::stat(self.fd.as_raw_fd()).map_or(0, |s| s.st_size as u64);
        }
    }
}

/// Docker's json-file: one object a line, lines longer than 16 KiB in pieces.
#[derive(Default)]
struct Json {
    /// What has no newline yet, by stream (1, 2).
    partial: [Vec<u8>; 2],
    out: Vec<u8>,
    /// An object that every line has as its `attrs`; empty: none.
    attrs: String,
}

impl Json {
    fn add(&mut self, stream: u8, time_ns: u64, data: &[u8]) {
        let index = usize::from(stream == logfile::STDERR);
        for piece in data.split_inclusive(|b| *b == b'\n') {
            self.partial[index].extend_from_slice(piece);
            while self.partial[index].len() > logfile::JSON_LINE_MAX {
                let rest = self.partial[index].split_off(logfile::JSON_LINE_MAX);
                let line = std::mem::replace(&mut self.partial[index], rest);
                self.put(stream, time_ns, &line);
            }
            if self.partial[index].last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.partial[index]);
                self.put(stream, time_ns, &line);
                self.partial[index] = line;
                self.partial[index].clear();
            }
        }
    }

    fn end(&mut self, time_ns: u64) {
        for (index, stream) in [(0, logfile::STDOUT), (1, logfile::STDERR)] {
            let line = std::mem::take(&mut self.partial[index]);
            if !line.is_empty() {
                self.put(stream, time_ns, &line);
            }
        }
    }

    fn put(&mut self, stream: u8, time_ns: u64, line: &[u8]) {
        self.out.extend_from_slice(b"{\"log\":\"");
        escape(line, &mut self.out);
        let name: &[u8] = if stream == logfile::STDERR { b"stderr" } else { b"stdout" };
        self.out.extend_from_slice(b"\",\"stream\":\"");
        self.out.extend_from_slice(name);
        self.out.push(b'"');
        if !self.attrs.is_empty() {
            self.out.extend_from_slice(b",\"attrs\":");
            self.out.extend_from_slice(self.attrs.as_bytes());
        }
        self.out.extend_from_slice(b",\"time\":\"");
        put_time(time_ns, &mut self.out);
        self.out.extend_from_slice(b"\"}\n");
    }
}

/// A JSON string's inside as Go's encoder writes it (`<`, `>`, `&` and the two line separators escaped).
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    let hex = |n: u32| b"0123456789abcdef"[(n & 15) as usize];
                    let n = character as u32;
                    out.extend_from_slice(&[b'\\', b'u', hex(n >> 12), hex(n >> 8), hex(n >> 4), hex(n)]);
                }
                character => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        // Go replaces each byte that is not UTF-8.
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

/// RFC 3339 in UTC with as many digits of the second as are not zero, as Go's RFC3339Nano.
fn put_time(time_ns: u64, out: &mut Vec<u8>) {
    let (seconds, nanos) = (time_ns / 1_000_000_000, time_ns % 1_000_000_000);
    let (year, month, day) = date(seconds / 86400);
    let second = seconds % 86400;
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{nanos:09}");
    let kept = text.trim_end_matches('0').trim_end_matches('.').len();
    text.truncate(if nanos == 0 { 19 } else { kept });
    out.extend_from_slice(text.as_bytes());
    out.push(b'Z');
}

/// The civil date of a day counted from 1970-01-01 (Howard Hinnant's days algorithm, for days after 1970 only).
fn date(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + u64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}
