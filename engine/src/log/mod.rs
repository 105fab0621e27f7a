//! Reading containers' logs back: lines, in order, with their times, from the files the shim writes.
//!
//! A reader belongs to one client. It reads files by itself, a batch at a time and only when polled, so a slow one costs
//! nothing but its own buffer, and neither the container nor other readers ever wait for it. `files` knows the rotated
//! set, `local` and `json` the two formats; here they become one stream that can follow.

mod attributes;
mod files;
mod json;
mod kept;
mod local;
mod pack;
mod reader;
mod search;
mod segment;
pub mod ship;

use crate::container::request::{LogLine, LogOptions, Logs};
use crate::{Doing, Error, Result};
pub use attributes::attributes;
pub(crate) use attributes::{Facts, SHARED, tag};
pub(crate) use files::{Span, span};
use jiff::Timestamp;
pub use kept::{LogView, Retention};
pub(crate) use pack::pack;
use reader::Reader;
pub use search::{Around, CONTEXT_MAX, Cursor, Found, Hit, LIMIT_MAX, Pattern, Query};
use std::path::{Path, PathBuf};
use tokio::sync::watch;

/// A line longer than this is given in parts, as dockerd does.
const PART: usize = 16 * 1024;
/// The most one batch reads from a file.
const BATCH: usize = 1024 * 1024;

/// A container's log files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Our own format (driver `local`): a folder with `container.log` and older ones.
    Local(PathBuf),
    /// Docker's `json-file`: the file being written; older ones are `<file>.1`, …
    JsonFile(PathBuf),
}

impl Source {
    /// The file being written.
    fn base(&self) -> PathBuf {
        match self {
            Self::Local(dir) => dir.join(crate::runtime::logfile::FILE),
            Self::JsonFile(file) => file.clone(),
        }
    }
}

/// Reads a log. `up` tells whether the container runs: with `follow`, the stream ends once it is false (or its sender
/// gone) and everything written has been given. A last line without a newline is given once nothing can complete it.
/// Nothing is read before the stream is polled. As with Docker lines are counted first and then filtered: `tail` looks at
/// the last so many of all, and gives those of them that were asked for.
///
/// # Errors
/// `Invalid` when neither stream is asked for; `Internal` when following and the folder cannot be watched.
pub fn read(source: Source, options: LogOptions, tty: bool, up: watch::Receiver<bool>) -> Result<Logs> {
    if !options.stdout && !options.stderr {
        return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
    }
    // Watched before the first read: what is written in between is seen by the one or told by the other.
    let watch = if options.follow {
        let base = source.base();
        Some(crate::inotify::watch(base.parent().unwrap_or(Path::new("/")))?)
    } else {
        None
    };
    let state = Following { reader: None, source, options, up, watch, finished: false };
    let lines = futures_util::stream::unfold(state, |mut state| async {
        let lines = state.next().await.transpose()?;
        Some((lines, state))
    });
    Ok(Logs { lines: Box::pin(lines), tty })
}

struct Following {
    /// `None` before the first poll, and while a batch is being read elsewhere.
    reader: Option<Reader>,
    source: Source,
    options: LogOptions,
    up: watch::Receiver<bool>,
    watch: Option<crate::inotify::Watch>,
    finished: bool,
}

impl Following {
    /// The next lines; `None`: there will be none.
    async fn next(&mut self) -> std::io::Result<Option<Vec<LogLine>>> {
        while !self.finished {
            // Asked before reading: what was written before it went down is then surely seen.
            let up = *self.up.borrow_and_update() && self.up.has_changed().is_ok();
            let (reader, options, source) = (self.reader.take(), self.options.clone(), self.source.clone());
            let read = tokio::task::spawn_blocking(move || {
                let mut reader = match reader {
                    Some(reader) => reader,
                    None => Reader::open(&source, options, up)?,
                };
                let batch = reader.batch()?;
                let removed = batch.lines.is_empty() && reader.removed()?;
                Ok::<_, std::io::Error>((reader, batch, removed))
            });
            let (reader, batch, removed) = read.await.map_err(std::io::Error::other)??;
            let reader = self.reader.insert(reader);
            if !batch.lines.is_empty() {
                self.finished = batch.past_until;
                return Ok(Some(batch.lines));
            }
            let late = self.options.until.is_some_and(|until| Timestamp::now() > until);
            if batch.past_until || !self.options.follow || !up || late || removed || self.watch.is_none() {
                self.finished = true;
                let rest = if up { Vec::new() } else { reader.finish() };
                return Ok((!rest.is_empty()).then_some(rest));
            }
            self.wait().await;
        }
        Ok(None)
    }

    /// Until something was written, the container went down, or the time asked for has come.
    async fn wait(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        let patience = self.options.until.map(|until| until.duration_since(Timestamp::now()));
        let patience = patience.map_or(std::time::Duration::MAX, |d| d.try_into().unwrap_or_default());
        let gone = tokio::select! {
            told = watch.changed() => told.is_none(),
            told = self.up.changed() => { let _ = told; false } // an error is seen by the next look at `up`
            () = tokio::time::sleep(patience) => false,
        };
        if gone {
            self.watch = None; // the folder went: read what the open file still has, then end
        }
    }
}

/// Docker's answer for drivers whose logs are elsewhere (`none`, `syslog`, …).
pub fn unreadable() -> Error {
    Error::invalid("configured logging driver does not support reading")
}

/// The log files of a container, by its driver's name; `dir` is its log folder, `json` its Docker-style file.
///
/// # Errors
/// Docker's text for a driver that keeps nothing here.
pub fn source_of(driver: &str, dir: &Path, json: &Path) -> Result<Source> {
    match driver {
        "" | "local" => Ok(Source::Local(dir.to_owned())),
        "json-file" => Ok(Source::JsonFile(json.to_owned())),
        _ => Err(unreadable()),
    }
}

/// Removes a log with its rotated files. What is not there is no error.
///
/// # Errors
/// `Internal` when a file cannot be removed.
pub fn remove(source: &Source) -> Result<()> {
    for path in files::names(&source.base()).doing(|| "listing log files".into())? {
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).doing(|| format!("removing {}", path.display())),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
