//! Log lines as Docker's clients read them: framed unless from a terminal, with times and details where asked.

use super::hijack::frame;
use super::wire::container::labels;
use super::wire::time::rfc3339_fixed;
use axum::body::Bytes;
use bytes::BytesMut;
use engine::container::Container;
use engine::container::request::{LogLine, StreamKind};

/// How lines are written.
pub struct Format {
    tty: bool,
    timestamps: bool,
    details: Option<String>,
    /// Whether each stream is inside a line: what follows is that line's rest and gets no second time stamp.
    inside: [bool; 2],
}

impl Format {
    /// `details`: the text before each line, if asked for.
    pub fn new(tty: bool, timestamps: bool, details: Option<String>) -> Self {
        Self { tty, timestamps, details, inside: [false; 2] }
    }

    /// A batch of lines as one piece of the answer.
    pub fn batch(&mut self, lines: &[LogLine]) -> Bytes {
        let mut out = BytesMut::with_capacity(lines.iter().map(|line| line.bytes.len() + 64).sum());
        let mut dressed = Vec::new();
        for line in lines {
            let inside = &mut self.inside[usize::from(line.stream == StreamKind::Stderr)];
            let continued = std::mem::replace(inside, !line.bytes.ends_with(b"\n"));
            let bytes: &[u8] = if continued || !(self.timestamps || self.details.is_some()) {
                &line.bytes
            } else {
                dressed.clear();
                if self.timestamps {
                    dressed.extend_from_slice(rfc3339_fixed(line.time).as_bytes());
                    dressed.push(b' ');
                }
                if let Some(details) = &self.details {
                    dressed.extend_from_slice(details.as_bytes());
                    dressed.push(b' ');
                }
                dressed.extend_from_slice(&line.bytes);
                &dressed
            };
            match self.tty {
                true => out.extend_from_slice(bytes),
                false => frame(&mut out, line.stream, bytes),
            }
        }
        out.freeze()
    }
}

/// `key=value,…` of the labels and variables that the log options name.
///
/// # Errors
/// What the engine says of the options; they were checked when the container was made.
pub fn details(c: &Container) -> engine::Result<String> {
    let all = labels(c);
    let labels = all.iter().map(|(name, value)| (*name, *value));
    let details = engine::log::attributes(&c.spec.host.log.options, labels, &c.env)?;
    Ok(details.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::wire::container::tests::sample;

    fn line(stream: StreamKind, nanos: i32, text: &str) -> LogLine {
        let time = jiff::Timestamp::new(1_700_000_000, nanos).unwrap();
        LogLine { stream, time, bytes: Bytes::copy_from_slice(text.as_bytes()) }
    }

    #[test]
    fn lines_are_framed_unless_from_a_terminal() {
        let lines = [line(StreamKind::Stdout, 0, "a\n"), line(StreamKind::Stderr, 0, "bc\n")];
        let framed = Format::new(false, false, None).batch(&lines);
        assert_eq!(framed, b"\x01\0\0\0\0\0\0\x02a\n\x02\0\0\0\0\0\0\x03bc\n".as_slice());
        assert_eq!(Format::new(true, false, None).batch(&lines), b"a\nbc\n".as_slice());
    }

    #[test]
    fn a_long_line_has_one_time_stamp() {
        let mut format = Format::new(true, true, Some("k=v".into()));
        let first = format.batch(&[line(StreamKind::Stdout, 5, "long "), line(StreamKind::Stderr, 6, "x\n")]);
        let rest = format.batch(&[line(StreamKind::Stdout, 7, "rest\n"), line(StreamKind::Stdout, 8, "y\n")]);
        let text = [first, rest].concat();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "2023-11-14T22:13:20.000000005Z k=v long 2023-11-14T22:13:20.000000006Z k=v x\nrest\n\
             2023-11-14T22:13:20.000000008Z k=v y\n"
        );
    }

    #[test]
    fn details_come_from_the_log_options() {
        let mut c = sample();
        std::sync::Arc::make_mut(&mut c.spec).host.log.options.insert("labels".into(), "shp,nosuch".into());
        std::sync::Arc::make_mut(&mut c.spec).host.log.options.insert("env".into(), "A".into());
        assert_eq!(details(&c).unwrap(), "A=b,shp=1");
        assert_eq!(details(&sample()).unwrap(), "");
    }
}
