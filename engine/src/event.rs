//! What happened: everything observable goes through one broadcast, and the last ones stay for `since`.

use crate::id::TenantId;
use jiff::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::sync::broadcast;

/// How many past events `since` can reach. Docker keeps 256; a busy host fills that within seconds.
const KEPT: usize = 4096;

/// Something that happened to an object of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Whose object.
    pub tenant: TenantId,
    /// container, image, network, volume, daemon, builder.
    pub kind: &'static str,
    /// `create`, `start`, `exec_create: sh`, `health_status: healthy`, ….
    pub action: String,
    /// The object's id (an image's is its name or digest, a volume's its name).
    pub id: String,
    /// Labels, name, image, exit code, ….
    pub attributes: BTreeMap<String, String>,
    /// When.
    pub time: Timestamp,
}

/// The broadcast. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    sender: broadcast::Sender<Arc<Event>>,
    kept: Arc<Mutex<VecDeque<Arc<Event>>>>,
}

impl Default for Events {
    fn default() -> Self {
        Self { sender: broadcast::channel(KEPT).0, kept: Arc::default() }
    }
}

impl Events {
    /// Tells everybody who listens.
    pub fn send(&self, event: Event) {
        let event = Arc::new(event);
        // Kept and sent under one lock, so that a subscriber sees each event once: replayed or live.
        let mut kept = self.kept.lock().unwrap_or_else(|e| e.into_inner());
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(event.clone());
        // An error only says that nobody listens.
        let _ = self.sender.send(event);
    }

    /// The events kept so far, oldest first, and a receiver for those to come, with no gap between.
    pub fn subscribe(&self) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let kept = self.kept.lock().unwrap_or_else(|e| e.into_inner());
        (kept.iter().cloned().collect(), self.sender.subscribe())
    }
}
