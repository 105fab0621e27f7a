//! How far a log was sent: the time of the last line and how many lines of that very time were (a chunk of the log has one
//! time). Kept beside the log in a file of its own, `sent`.

use crate::container::request::LogLine;
use crate::{Doing, Result};
use jiff::Timestamp;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A place in a log.
pub(super) struct Cursor {
    path: PathBuf,
    /// `None`: nothing was sent.
    last: Option<(Timestamp, usize)>,
    /// So many lines of `last`'s time are still to be passed over.
    skip: usize,
    written: Instant,
    unwritten: bool,
}

impl Cursor {
    /// Of the log in this folder.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("sent");
        let text = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
            read => read.doing(|| format!("reading {}", path.display()))?,
        };
        // One that a crash left half written is none: lines are then sent again.
        let last = text.trim_end().split_once(' ').and_then(|(time, count)| {
            let time = Timestamp::from_nanosecond(time.parse().ok()?).ok()?;
            Some((time, count.parse().ok()?))
        });
        Ok(Self { path, skip: last.map_or(0, |(_, count)| count), last, written: Instant::now(), unwritten: false })
    }

    /// From when on lines are to be read.
    pub fn since(&self) -> Option<Timestamp> {
        self.last.map(|(time, _)| time)
    }

    /// Takes out what was sent before we began.
    pub fn drop_sent(&mut self, batch: &mut Vec<LogLine>) {
        let Some((time, _)) = self.last.filter(|_| self.skip > 0) else { return };
        let known = batch.iter().take(self.skip).take_while(|line| line.time <= time).count();
        self.skip = if known < batch.len() { 0 } else { self.skip - known };
        batch.drain(..known);
    }

    /// This line was sent.
    pub fn pass(&mut self, line: &LogLine) {
        let count = self.last.filter(|(time, _)| *time == line.time).map_or(0, |(_, count)| count);
        self.last = Some((line.time, count + 1));
        self.unwritten = true;
    }

    /// Whether there is something to write down.
    pub fn is_unwritten(&self) -> bool {
        self.unwritten
    }

    /// Whether that should be done by now.
    pub fn is_due(&self, after: Duration) -> bool {
        self.unwritten && self.written.elapsed() >= after
    }

    /// Writes it down. A container that was removed has no place for it any more, and needs none.
    pub fn write(&mut self) -> Result<()> {
        let Some((time, count)) = self.last.filter(|_| self.unwritten) else { return Ok(()) };
        let doing = || format!("writing {}", self.path.display());
        let new = self.path.with_extension("new");
        match std::fs::write(&new, format!("{} {count}\n", time.as_nanosecond())) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            written => written.doing(doing)?,
        }
        match std::fs::rename(&new, &self.path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            renamed => renamed.doing(doing)?,
        }
        (self.written, self.unwritten) = (Instant::now(), false);
        Ok(())
    }
}
