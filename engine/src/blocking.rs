//! Blocking work off the async threads.

use crate::{Doing, Result};

/// Runs `work` on a thread that may block, and waits for it.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.doing(|| "waiting for a blocking task".to_owned())?
}
