//! Sending a container's output elsewhere: the drivers `syslog`, `journald`, `gelf` and `fluentd`.
//!
//! The shim keeps the output in our own format as for `local`, and that file is the truth: `docker logs` reads it, and a
//! task of the server reads it too and sends each line on, noting how far it came (`cursor`). So a destination that is down
//! never holds a container up, a server that is killed sends the rest when it is back, and a line is lost only when the file
//! has gone round meanwhile. A line may be sent twice around such an end, never silently not at all.
//!
//! `options` parses what clients ask, `guard` says where a tenant may send, `connection` connects; `syslog`, `journald`,
//! `gelf` and `fluentd` turn a line into bytes and know nothing else.

mod connection;
mod cursor;
mod fluentd;
mod gelf;
mod guard;
mod journald;
mod options;
mod syslog;

pub(crate) use guard::{Guard, is_local};
pub(crate) use options::{CACHE, destination, parse};

use crate::container::request::{LogLine, Logs};
use crate::log::Facts;
use crate::{Error, Result};
use connection::Connection;
use cursor::Cursor;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The first pause after a destination failed, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// How long a destination may take to answer or to take something.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often at most is written down how far we came.
const NOTE: Duration = Duration::from_secs(1);

/// Where and how lines are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipping {
    /// How a line is written.
    pub protocol: Protocol,
    /// To whom.
    pub to: Address,
    /// Whether a container starts although nobody is there (`fluentd-async`).
    pub lazy: bool,
    /// The tag's template.
    pub tag: String,
}

impl Shipping {
    /// Docker's name of the driver.
    pub fn name(&self) -> &'static str {
        match self.protocol {
            Protocol::Syslog { .. } => "syslog",
            Protocol::Journald => "journald",
            Protocol::Gelf { .. } => "gelf",
            Protocol::Fluentd { .. } => "fluentd",
        }
    }
}

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Syslog.
    Syslog {
        /// 0–23 (RFC 5424, 6.2.1).
        facility: u8,
        /// Which of its formats.
        format: SyslogFormat,
    },
    /// systemd-journald's own protocol.
    Journald,
    /// Graylog's.
    Gelf {
        /// Of datagrams.
        compression: Compression,
    },
    /// Fluentd's forward protocol.
    Fluentd {
        /// Whether times have nanoseconds.
        sub_second: bool,
        /// Whether each message waits for its acknowledgement.
        acknowledged: bool,
    },
}

/// Syslog's formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyslogFormat {
    /// As programs write to /dev/log: no host name.
    Local,
    /// BSD syslog.
    Rfc3164,
    /// Seconds.
    Rfc5424,
    /// With microseconds.
    Rfc5424Micro,
}

/// GELF's compressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// None.
    None,
    /// gzip with this level.
    Gzip(u32),
    /// zlib with this level.
    Zlib(u32),
}

/// A destination.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Address {
    /// UDP.
    Udp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// TCP.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A socket of the host: a stream, or datagrams where it is no stream.
    Unix(PathBuf),
    /// A datagram socket of the host.
    UnixDatagram(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let net = |f: &mut std::fmt::Formatter<'_>, kind: &str, host: &str, port: u16| match host.contains(':') {
            true => write!(f, "{kind}://[{host}]:{port}"),
            false => write!(f, "{kind}://{host}:{port}"),
        };
        match self {
            Self::Udp { host, port } => net(f, "udp", host, *port),
            Self::Tcp { host, port } => net(f, "tcp", host, *port),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::UnixDatagram(path) => write!(f, "unixgram://{}", path.display()),
        }
    }
}

/// Whether a destination can be reached and may be; told before a container starts.
///
/// # Errors
/// Docker's `failed to initialize logging driver`.
pub(crate) async fn try_out(shipping: &Shipping, guard: &Guard) -> Result<()> {
    match Connection::open(&shipping.to, guard).await {
        Ok(_) => Ok(()),
        Err(_) if shipping.lazy => Ok(()),
        Err(e) => Err(Error::new(
            crate::Kind::Internal,
            format!("failed to create task for container: failed to initialize logging driver: {}: {e}", shipping.to),
        )),
    }
}

/// What turns lines into messages and sends them.
pub(crate) struct Shipper {
    shipping: Shipping,
    facts: Facts,
    tag: String,
    guard: Guard,
    connection: Option<Connection>,
    cursor: Cursor,
}

impl Shipper {
    /// For a container whose log lies in `folder`.
    ///
    /// # Errors
    /// `Invalid` for a tag that is none; `Internal` when it cannot be found out how far we came.
    pub fn new(shipping: Shipping, facts: Facts, guard: Guard, folder: &Path) -> Result<Self> {
        let tag = crate::log::tag(&shipping.tag, &facts)?;
        Ok(Self { shipping, facts, tag, guard, connection: None, cursor: Cursor::open(folder)? })
    }

    /// From when on lines are to be read.
    pub fn since(&self) -> Option<jiff::Timestamp> {
        self.cursor.since()
    }

    /// Sends what the log gives until it ends or `stop` says so.
    ///
    /// # Errors
    /// `Internal` when the log cannot be read or the place in it not be written down.
    pub async fn run(mut self, logs: Logs, stop: &CancellationToken) -> Result<()> {
        let mut lines = logs.lines;
        loop {
            let next = tokio::select! {
                next = lines.next() => next,
                () = tokio::time::sleep(NOTE), if self.cursor.is_unwritten() => {
                    self.cursor.write()?;
                    continue;
                }
                () = stop.cancelled() => None,
            };
            let Some(batch) = next else { break };
            let mut batch = batch.map_err(|e| Error::internal("reading a log to send it", e))?;
            self.cursor.drop_sent(&mut batch);
            for part in batch.chunks(512) {
                if !self.deliver(part, stop).await {
                    self.cursor.write()?;
                    return Ok(());
                }
                part.iter().for_each(|line| self.cursor.pass(line));
            }
            if self.cursor.is_due(NOTE) {
                self.cursor.write()?;
            }
        }
        self.cursor.write()
    }

    /// Sends these lines, however often that has to be tried. `false`: it was stopped.
    async fn deliver(&mut self, lines: &[LogLine], stop: &CancellationToken) -> bool {
        let messages: Vec<Vec<u8>> = lines.iter().flat_map(|line| self.encode(line)).collect();
        let mut sent = 0;
        let mut pause = PAUSE.0;
        let mut failed = false;
        loop {
            let outcome = tokio::select! {
                outcome = self.send(&messages, &mut sent) => outcome,
                () = stop.cancelled() => return false,
            };
            match outcome {
                Ok(()) if failed => {
                    tracing::info!(container.id = %&self.facts.id[..12], to = %self.shipping.to, "a log's destination takes lines again");
                    return true;
                }
                Ok(()) => return true,
                Err(error) => {
                    self.connection = None;
                    if !std::mem::replace(&mut failed, true) {
                        tracing::warn!(container.id = %&self.facts.id[..12], to = %self.shipping.to, %error, "a log's destination takes nothing; lines wait");
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE.1),
                () = stop.cancelled() => return false,
            }
        }
    }

    async fn send(&mut self, messages: &[Vec<u8>], sent: &mut usize) -> std::io::Result<()> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(&self.shipping.to, &self.guard).await?),
        };
        let acknowledged = matches!(self.shipping.protocol, Protocol::Fluentd { acknowledged: true, .. });
        while *sent < messages.len() {
            *sent += match acknowledged {
                true => connection.send_acknowledged(&messages[*sent], fluentd::is_acknowledged).await?,
                false => connection.send(&messages[*sent..]).await?,
            };
        }
        Ok(())
    }

    /// The messages of one line; without its newline.
    fn encode(&self, line: &LogLine) -> Vec<Vec<u8>> {
        let text = line.bytes.strip_suffix(b"\n").unwrap_or(&line.bytes);
        let partial = text.len() == line.bytes.len();
        let stream = connection_kind(&self.shipping.to);
        match self.shipping.protocol {
            Protocol::Syslog { facility, format } => vec![syslog::encode(facility, format, &self.tag, line, text, stream)],
            Protocol::Journald => vec![journald::encode(&self.facts, &self.tag, line, text, partial)],
            // It knows no message without text.
            Protocol::Gelf { .. } if text.is_empty() => Vec::new(),
            Protocol::Gelf { compression } => gelf::encode(&self.facts, &self.tag, line, text, compression, stream),
            Protocol::Fluentd { sub_second, acknowledged } => {
                let id = acknowledged.then(|| uuid::Uuid::new_v4().simple().to_string());
                vec![fluentd::encode(&self.facts, &self.tag, line, text, partial, sub_second, id.as_deref())]
            }
        }
    }
}

/// Whether messages have borders of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Borders {
    /// One packet each.
    Datagrams,
    /// Bytes one after the other.
    Stream,
}

fn connection_kind(to: &Address) -> Borders {
    match to {
        Address::Udp { .. } | Address::UnixDatagram(_) => Borders::Datagrams,
        Address::Tcp { .. } | Address::Unix(_) => Borders::Stream,
    }
}

#[cfg(test)]
mod tests;
