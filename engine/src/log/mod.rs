//! Reading containers' logs back: lines, in order, with their times, from the files the shim writes.

use crate::container::request::{LogOptions, Logs};
use crate::{Error, Result};
use std::path::PathBuf;
use tokio::sync::watch;

/// A container's log files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Our own format (driver `local`): a folder with `container.log` and older ones.
    Local(PathBuf),
    /// Docker's `json-file`: the file being written; older ones are `<file>.1`, …
    JsonFile(PathBuf),
}

/// Reads a log. `up` tells whether the container runs: with `follow`, the stream ends once it is false and everything
/// written has been given. Nothing is read before the stream is polled, and never more than a batch ahead.
///
/// # Errors
/// `Internal` when the files cannot be read.
pub fn read(source: Source, options: LogOptions, tty: bool, up: watch::Receiver<bool>) -> Result<Logs> {
    let _ = (source, options, tty, up);
    Err(Error::unsupported("reading logs"))
}

/// Docker's answer for drivers whose logs are elsewhere (`none`, `syslog`, …).
pub fn unreadable() -> Error {
    Error::invalid("configured logging driver does not support reading")
}
