//! GELF 1.1 (Graylog): JSON, over UDP compressed and cut into chunks of a size that passes everywhere, over TCP ended by a
//! zero byte each (go2docs.graylog.org, "GELF payload specification").

use super::{Borders, Compression};
use crate::container::request::{LogLine, StreamKind};
use crate::log::Facts;
use serde_json::{Map, Value, json};
use std::io::Write;

/// The bytes of one UDP packet, and of a chunk's head.
const PACKET: usize = 1420;
const HEAD: usize = 12;
/// A message has at most so many chunks.
const CHUNKS: usize = 128;

/// The packets of one message, or its bytes in a stream.
pub(super) fn encode(facts: &Facts, tag: &str, line: &LogLine, text: &[u8], compression: Compression, borders: Borders) -> Vec<Vec<u8>> {
    let mut message = Map::new();
    // First what somebody chose, so that it cannot replace what is ours.
    for (key, value) in &facts.extra {
        message.insert(format!("_{key}"), json!(value));
    }
    #[allow(clippy::cast_precision_loss)] // milliseconds: 53 bits last until the year 287396
    let time = line.time.as_millisecond() as f64 / 1000.0;
    let fields = [
        ("version", json!("1.1")),
        ("host", json!(crate::host::name())),
        ("short_message", json!(String::from_utf8_lossy(text))),
        ("timestamp", json!(time)),
        ("level", json!(if line.stream == StreamKind::Stderr { 3 } else { 6 })),
        ("_container_id", json!(facts.id)),
        ("_container_name", json!(facts.name)),
        ("_image_id", json!(facts.image_id)),
        ("_image_name", json!(facts.image)),
        ("_command", json!(facts.command)),
        ("_tag", json!(tag)),
        ("_created", json!(facts.created.to_string())),
    ];
    message.extend(fields.map(|(key, value)| (key.to_owned(), value)));
    let mut bytes = Value::Object(message).to_string().into_bytes();
    if borders == Borders::Stream {
        bytes.push(0);
        return vec![bytes];
    }
    let bytes = match compression {
        Compression::None => bytes,
        Compression::Gzip(level) => {
            packed(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level)), &bytes, |e| e.finish())
        }
        Compression::Zlib(level) => {
            packed(flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(level)), &bytes, |e| e.finish())
        }
    };
    chunks(bytes)
}

fn packed<W: Write>(mut encoder: W, bytes: &[u8], finish: impl FnOnce(W) -> std::io::Result<Vec<u8>>) -> Vec<u8> {
    // Memory takes everything that is written to it.
    let written = encoder.write_all(bytes).and_then(|()| finish(encoder));
    written.unwrap_or_else(|e| unreachable!("compressing into memory: {e}"))
}

fn chunks(bytes: Vec<u8>) -> Vec<Vec<u8>> {
    if bytes.len() <= PACKET {
        return vec![bytes];
    }
    let id = uuid::Uuid::new_v4();
    let pieces = bytes.chunks(PACKET - HEAD);
    // 180 KB: more than a line of 16 KiB and its attributes have, unless somebody's labels are that long.
    let count = pieces.len();
    if count > CHUNKS {
        tracing::warn!(bytes = bytes.len(), "a message is too long for GELF over UDP and is not sent");
        return Vec::new();
    }
    let mut out = Vec::with_capacity(count);
    for (number, piece) in pieces.enumerate() {
        let mut packet = Vec::with_capacity(HEAD + piece.len());
        packet.extend_from_slice(&[0x1e, 0x0f]);
        packet.extend_from_slice(&id.as_bytes()[..8]);
        // Both are at most 128.
        packet.extend([number, count].map(|n| u8::try_from(n).unwrap_or(u8::MAX)));
        packet.extend_from_slice(piece);
        out.push(packet);
    }
    out
}
