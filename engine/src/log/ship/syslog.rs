//! Syslog messages: RFC 5424, RFC 3164, and what programs write to /dev/log.

use super::{Borders, SyslogFormat};
use crate::container::request::{LogLine, StreamKind};
use jiff::tz::TimeZone;

/// The severities of the two streams (RFC 5424, 6.2.1).
const INFO: u8 = 6;
const ERR: u8 = 3;

/// One message. `text`: the line without its newline.
pub(super) fn encode(facility: u8, format: SyslogFormat, tag: &str, line: &LogLine, text: &[u8], borders: Borders) -> Vec<u8> {
    let severity = if line.stream == StreamKind::Stderr { ERR } else { INFO };
    let priority = u16::from(facility) * 8 + u16::from(severity);
    // As Docker the daemon's: the program's in the container says nothing outside.
    let pid = std::process::id();
    // The old format knows local time only.
    let local = || line.time.to_zoned_datetime(TimeZone::system()).strftime("%b %e %H:%M:%S").to_string();
    let head = match format {
        SyslogFormat::Local => format!("<{priority}>{} {tag}[{pid}]: ", local()),
        SyslogFormat::Rfc3164 => format!("<{priority}>{} {} {tag}[{pid}]: ", local(), crate::host::name()),
        SyslogFormat::Rfc5424 => new(priority, &format!("{:.0}", line.time), tag, pid),
        SyslogFormat::Rfc5424Micro => new(priority, &format!("{:.6}", line.time), tag, pid),
    };
    let mut message = head.into_bytes();
    message.extend_from_slice(text);
    // Messages in a stream end with a newline (RFC 6587, 3.4.2).
    if borders == Borders::Stream {
        message.push(b'\n');
    }
    message
}

fn new(priority: u16, time: &str, tag: &str, pid: u32) -> String {
    format!("<{priority}>1 {time} {} {tag} {pid} {tag} - ", crate::host::name())
}
