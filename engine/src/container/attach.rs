//! `attach`: a process's streams for whoever asks. Asking before the start means seeing the first byte: such an attachment
//! waits in the container's entry until the start has a process to connect it to.

use super::record::Entry;
use super::request::{AttachOptions, Attached, Chunk, LogOptions};
use super::view::State;
use crate::engine::Engine;
use crate::policy::Action;
use crate::runtime::{Prepared, Streams};
use crate::{Error, Result, Subject};
use futures_util::{Stream, StreamExt};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;

/// How much of a client's input waits for a container that has not started.
const EARLY_INPUT: usize = 64 * 1024;

type Output = Pin<Box<dyn Stream<Item = io::Result<Chunk>> + Send>>;

/// An attachment that waits for the start.
pub(crate) struct Waiting {
    pub streams: Streams,
    connected: oneshot::Sender<Attached>,
}

impl Engine {
    /// Attaches to its process; before its start this sees the first byte.
    ///
    /// # Errors
    /// `Conflict` while it is paused or restarting.
    pub async fn attach(&self, who: &Subject, name: &str, options: &AttachOptions) -> Result<Attached> {
        let entry = self.registry().find(who.tenant, name)?;
        self.judge(who, if options.stdin { Action::ContainerAttach } else { Action::ContainerRead }).await?;
        let process = &entry.fixed.effective.process;
        let tty = process.tty;
        match &entry.record().life.state {
            State::Paused(_) => {
                return Err(Error::conflict(format!("container {} is paused, unpause the container before attach", entry.id)));
            }
            State::Restarting(_) => {
                return Err(Error::conflict(format!("container {} is restarting, wait until the container is running", entry.id)));
            }
            _ => {}
        }
        self.tell_container(&entry, "attach", &[]);
        let history: Output = if options.logs {
            let wanted = LogOptions { stdout: options.stdout, stderr: options.stderr, ..LogOptions::default() };
            let lines = self.read_logs(&entry, wanted)?.lines;
            Box::pin(lines.flat_map(|batch| {
                let chunks: Vec<_> = match batch {
                    Ok(lines) => lines.into_iter().map(|l| Ok(Chunk { stream: l.stream, bytes: l.bytes })).collect(),
                    Err(error) => vec![Err(error)],
                };
                futures_util::stream::iter(chunks)
            }))
        } else {
            Box::pin(futures_util::stream::empty())
        };
        if !options.stream {
            return Ok(Attached { input: None, output: history, tty });
        }
        let streams = Streams { stdin: options.stdin && process.open_stdin, stdout: options.stdout, stderr: options.stderr };
        let connection = connect(&entry, streams).await?;
        Ok(attached(connection, streams.stdin, tty, history))
    }
}

/// What an attachment is connected to, now or later.
enum Connection {
    Now(Attached),
    AtStart(oneshot::Receiver<Attached>),
}

async fn connect(entry: &Arc<Entry>, streams: Streams) -> Result<Connection> {
    let up = {
        // Under the lock that the start takes when it has a process: either it finds this one, or there is a process.
        let mut waiting = entry.waiting.lock().unwrap_or_else(|e| e.into_inner());
        match entry.up() {
            Some(up) => up,
            None => {
                let (connected, receiver) = oneshot::channel();
                // Those whose clients went away before any start.
                waiting.retain(|w: &Waiting| !w.connected.is_closed());
                waiting.push(Waiting { streams, connected });
                return Ok(Connection::AtStart(receiver));
            }
        }
    };
    Ok(Connection::Now(up.shim.attach(streams).await?))
}

fn attached(connection: Connection, stdin: bool, tty: bool, history: Output) -> Attached {
    match connection {
        Connection::Now(now) => Attached { input: now.input, output: Box::pin(history.chain(now.output)), tty },
        Connection::AtStart(receiver) => {
            let (mut early, theirs) = tokio::io::duplex(EARLY_INPUT);
            let (output_sender, output) = oneshot::channel::<Output>();
            tokio::spawn(async move {
                // The start failed, or the container was removed: the client's output ends.
                let Ok(connected) = receiver.await else { return };
                // A client that is gone: the copy below ends at once, and dropping the streams detaches.
                let _ = output_sender.send(connected.output);
                if let Some(mut input) = connected.input {
                    // A process that closed its stdin ends the copy; the client is not told, as with a pipe.
                    let _ = tokio::io::copy(&mut early, &mut input).await;
                    let _ = input.shutdown().await;
                }
            });
            let later = futures_util::stream::once(output).flat_map(|o| o.unwrap_or_else(|_| Box::pin(futures_util::stream::empty())));
            let input = stdin.then(|| Box::pin(theirs) as Pin<Box<dyn tokio::io::AsyncWrite + Send>>);
            Attached { input, output: Box::pin(history.chain(later)), tty }
        }
    }
}

/// Connects everybody who waits to a process that has not begun to run.
pub(super) fn connect_early(entry: &Entry, prepared: &mut Prepared) -> Result<()> {
    let waiting = std::mem::take(&mut *entry.waiting.lock().unwrap_or_else(|e| e.into_inner()));
    for one in waiting {
        if !one.connected.is_closed() {
            let streams = prepared.attach(one.streams, entry.fixed.effective.process.tty)?;
            // The client went away meanwhile; dropping the streams detaches.
            let _ = one.connected.send(streams);
        }
    }
    Ok(())
}

/// Makes the process known; whoever came between `connect_early` and now is connected to it as it runs.
pub(super) async fn now_up(entry: &Entry, up: &Arc<super::start::Up>) {
    let late = {
        let mut waiting = entry.waiting.lock().unwrap_or_else(|e| e.into_inner());
        *entry.up.lock().unwrap_or_else(|e| e.into_inner()) = Some(up.clone());
        entry.writing.send_replace(true);
        std::mem::take(&mut *waiting)
    };
    for one in late {
        // An error: it ended already; the client's output ends too.
        if let Ok(streams) = up.shim.attach(one.streams).await {
            let _ = one.connected.send(streams);
        }
    }
}
