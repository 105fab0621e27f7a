//! Fluentd's forward protocol, version 1, in message mode: `[tag, time, record, option]` in MessagePack. The handful of
//! types it takes is written by hand here.

use crate::container::request::{LogLine, StreamKind};
use crate::log::Facts;

/// One message; with `id` its acknowledgement is asked for.
pub(super) fn encode(facts: &Facts, tag: &str, line: &LogLine, text: &[u8], partial: bool, sub_second: bool, id: Option<&str>) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let source = if line.stream == StreamKind::Stderr { "stderr" } else { "stdout" };
    let name = format!("/{}", facts.name);
    let mut record: Vec<(&str, &str)> = facts.extra.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let ours = [("container_id", facts.id.as_str()), ("container_name", &name), ("source", source), ("log", &text)];
    record.retain(|(key, _)| ours.iter().all(|(own, _)| own != key) && *key != "partial_message");
    record.extend(ours);
    if partial {
        record.push(("partial_message", "true"));
    }
    let mut out = Vec::with_capacity(text.len() + 256);
    // An array of four, or of three without options.
    out.push(0x93 + u8::from(id.is_some()));
    string(&mut out, tag);
    // Times before 1970 and after 2106 are not in it.
    let seconds = u32::try_from(line.time.as_second()).unwrap_or_default();
    if sub_second {
        // EventTime: extension type 0 of eight bytes.
        out.extend_from_slice(&[0xd7, 0x00]);
        out.extend_from_slice(&seconds.to_be_bytes());
        out.extend_from_slice(&line.time.subsec_nanosecond().unsigned_abs().to_be_bytes());
    } else {
        out.push(0xce);
        out.extend_from_slice(&seconds.to_be_bytes());
    }
    map(&mut out, record.len());
    for (key, value) in record {
        string(&mut out, key);
        string(&mut out, value);
    }
    if let Some(id) = id {
        map(&mut out, 1);
        string(&mut out, "chunk");
        string(&mut out, id);
    }
    out
}

/// Whether an answer (`{"ack": id}`) is for this message; `None`: it is not there in full.
pub(super) fn is_acknowledged(message: &[u8], answer: &[u8]) -> Option<bool> {
    // The id is the last 32 characters of the message.
    let id = std::str::from_utf8(message.last_chunk::<32>()?).ok()?;
    let mut expected = Vec::new();
    map(&mut expected, 1);
    string(&mut expected, "ack");
    string(&mut expected, id);
    if answer.len() < expected.len() && expected.starts_with(answer) { None } else { Some(answer == expected) }
}

#[allow(clippy::cast_possible_truncation)] // each after its bounds
fn map(out: &mut Vec<u8>, length: usize) {
    match length {
        0..16 => out.push(0x80 | length as u8),
        16..0x1_0000 => {
            out.push(0xde);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(0xdf);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // each after its bounds; a line has 16 KiB
fn string(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        length @ 0..32 => out.push(0xa0 | length as u8),
        length @ 32..0x100 => out.extend_from_slice(&[0xd9, length as u8]),
        length @ 0x100..0x1_0000 => {
            out.push(0xda);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0xdb);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}
