//! systemd-journald's native protocol: a datagram of `NAME=value` lines, where a value with a newline in it, or any byte
//! that is no text, is given by its length (systemd.io/JOURNAL_NATIVE_PROTOCOL). Field names are Docker's.

use crate::container::request::{LogLine, StreamKind};
use crate::log::Facts;

/// Where journald listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// One entry. `partial`: the line goes on in the next.
pub(super) fn encode(facts: &Facts, tag: &str, line: &LogLine, text: &[u8], partial: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 512);
    field(&mut out, "MESSAGE", text);
    field(&mut out, "PRIORITY", if line.stream == StreamKind::Stderr { b"3" } else { b"6" });
    field(&mut out, "CONTAINER_ID", facts.id.as_bytes().get(..12).unwrap_or_default());
    field(&mut out, "CONTAINER_ID_FULL", facts.id.as_bytes());
    field(&mut out, "CONTAINER_NAME", facts.name.as_bytes());
    field(&mut out, "CONTAINER_TAG", tag.as_bytes());
    field(&mut out, "IMAGE_NAME", facts.image.as_bytes());
    field(&mut out, "SYSLOG_IDENTIFIER", tag.as_bytes());
    field(&mut out, "SYSLOG_TIMESTAMP", format!("{:.9}", line.time).as_bytes());
    if partial {
        field(&mut out, "CONTAINER_PARTIAL_MESSAGE", b"true");
    }
    for (key, value) in &facts.extra {
        if let Some(name) = name_of(key) {
            field(&mut out, &name, value.as_bytes());
        }
    }
    out
}

/// A label's or variable's name as journald takes them: capitals, digits, underscores, not beginning with one of the latter two. Those
/// of our own cannot be said a second time.
fn name_of(key: &str) -> Option<String> {
    let name: String = key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    let name = name.trim_start_matches(|c: char| c == '_' || c.is_ascii_digit()).to_owned();
    let ours = matches!(name.as_str(), "" | "MESSAGE" | "PRIORITY" | "IMAGE_NAME")
        || ["CONTAINER_", "SYSLOG_"].iter().any(|p| name.starts_with(p));
    (!ours && name.len() <= 64).then_some(name)
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.iter().all(|b| *b >= b' ' || *b == b'\t') {
        out.push(b'=');
    } else {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}
