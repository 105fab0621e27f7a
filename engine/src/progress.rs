//! Progress of long-running work (pull, push, load, build, prune), as a stream of small facts.
//!
//! Dropping the stream cancels the work unless an operation owns it.

use crate::Error;
use futures_util::Stream;
use std::pin::Pin;

/// One fact about work in progress.
#[derive(Debug)]
pub enum Progress {
    /// What part `id` (a layer's short id, a tag) is doing now.
    Status {
        /// Which part; `None`: the whole.
        id: Option<String>,
        /// Docker's words: `Downloading`, `Pull complete`, `Digest: sha256:…`, ….
        status: String,
        /// Bytes done and to do, where known.
        bytes: Option<(u64, Option<u64>)>,
    },
    /// Text for the person who waits (build and load output).
    Text(String),
    /// A fact for programs, as Docker's `aux`.
    Aux(serde_json::Value),
    /// It failed; nothing follows.
    Failed(Error),
}

impl Progress {
    /// A status of the whole.
    pub fn status(status: impl Into<String>) -> Self {
        Progress::Status { id: None, status: status.into(), bytes: None }
    }

    /// A status of one part.
    pub fn part(id: impl Into<String>, status: impl Into<String>) -> Self {
        Progress::Status { id: Some(id.into()), status: status.into(), bytes: None }
    }
}

/// The stream of facts. Ends after the last one; a failure is `Progress::Failed`.
pub type ProgressStream = Pin<Box<dyn Stream<Item = Progress> + Send>>;

/// The sending side, for the noun that does the work. Bounded: a slow reader slows the work, not the memory.
pub type ProgressSender = tokio::sync::mpsc::Sender<Progress>;
