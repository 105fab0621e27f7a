//! The telling side of a build: events go to whoever started it, and a build that nobody listens to is over.

use super::request::{BuildEvent, End, Vertex, failure};
use crate::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Tells. Cheap to clone.
#[derive(Clone)]
pub(super) struct Teller {
    pub events: mpsc::Sender<BuildEvent>,
    pub cancel: CancellationToken,
    vertexes: Arc<AtomicU32>,
}

impl Teller {
    pub fn new(events: mpsc::Sender<BuildEvent>, cancel: CancellationToken) -> Self {
        Self { events, cancel, vertexes: Arc::default() }
    }

    /// Tells something. Nobody listens any more: then the build is over.
    pub async fn tell(&self, event: BuildEvent) -> Result<()> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(cancelled()),
            sent = self.events.send(event) => sent.map_err(|_| cancelled()),
        }
    }

    /// Begins a vertex.
    pub async fn begin(&self, name: String, line: usize, inputs: Vec<u32>) -> Result<u32> {
        let id = self.vertexes.fetch_add(1, Ordering::Relaxed) + 1;
        self.tell(BuildEvent::Begin(Vertex { id, name, line, inputs })).await?;
        Ok(id)
    }

    /// Ends a vertex as its work did; `cached`: it was remembered.
    pub async fn end<T>(&self, vertex: u32, outcome: &Result<T>, cached: bool) -> Result<()> {
        let end = match outcome {
            Ok(_) if cached => End::Cached,
            Ok(_) => End::Done,
            Err(error) => End::Failed(failure(error).0),
        };
        self.tell(BuildEvent::End(vertex, end)).await
    }
}

/// The build was cancelled.
pub(super) fn cancelled() -> Error {
    Error::conflict("the build was cancelled")
}
