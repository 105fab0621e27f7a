//! Writing lives in the background: what already happened (a start that succeeded, an end) is acknowledged by the kernel, so its
//! row may wait a moment and share a transaction with others. What is *about* to happen is never written here.

use super::record::Entry;
use crate::Result;
use crate::inventory::{self, Inventory, containers};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// The queue. Unbounded in type, bounded in fact: one entry a container is kept per batch.
#[derive(Clone)]
pub(crate) struct LifeWriter(mpsc::UnboundedSender<Message>);

enum Message {
    Save(Arc<Entry>),
    Flush(oneshot::Sender<()>),
}

impl LifeWriter {
    /// Starts the task; it ends when the last handle is dropped.
    pub fn start(inventory: Inventory) -> Self {
        let (sender, mut queue) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut messages = Vec::new();
            while queue.recv_many(&mut messages, 512).await > 0 {
                // What comes soon after shares the transaction, and one that was removed meanwhile needs none.
                if !messages.iter().any(|message| matches!(message, Message::Flush(_))) {
                    tokio::time::sleep(crate::inventory::SOON).await;
                    while let Ok(message) = queue.try_recv() {
                        messages.push(message);
                    }
                }
                let mut flushes = Vec::new();
                let mut entries: HashMap<String, Arc<Entry>> = HashMap::new();
                for message in messages.drain(..) {
                    match message {
                        Message::Save(entry) => drop(entries.insert(entry.id.to_string(), entry)),
                        Message::Flush(done) => flushes.push(done),
                    }
                }
                if let Err(error) = write(&inventory, entries.values()).await {
                    tracing::error!(?error, "states could not be written; the next start asks the kernel");
                }
                for done in flushes {
                    let _ = done.send(());
                }
            }
        });
        Self(sender)
    }

    /// Writes the entry's life as it is when its turn comes.
    pub fn save(&self, entry: &Arc<Entry>) {
        // The task ends only after this handle.
        let _ = self.0.send(Message::Save(entry.clone()));
    }

    /// Returns when everything saved before is written.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        let _ = self.0.send(Message::Flush(done));
        let _ = wait.await;
    }
}

async fn write(inventory: &Inventory, entries: impl Iterator<Item = &Arc<Entry>>) -> Result<()> {
    let lives: Vec<_> = entries.filter(|e| !e.turns.borrow().removed).map(|e| (e.id.clone(), e.record().life.clone())).collect();
    if lives.is_empty() {
        return Ok(());
    }
    let mut tx = inventory.begin().await?;
    for (id, life) in &lives {
        containers::set_life(&mut tx, id, life).await?;
    }
    inventory::commit(tx).await
}
