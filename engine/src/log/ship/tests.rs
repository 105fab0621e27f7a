//! Messages as their receivers read them, and a log sent on to real sockets.

use super::*;
use crate::container::request::StreamKind::{Stderr, Stdout};
use crate::container::request::{LogOptions, StreamKind};
use crate::log::Source;
use crate::runtime::logfile;
use bytes::Bytes;
use std::io::{Read, Write};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn facts() -> Facts {
    Facts { extra: [("app.kind".to_owned(), "a\nb".to_owned())].into(), ..Facts::sample() }
}

fn line(stream: StreamKind, text: &str) -> LogLine {
    LogLine { stream, time: "2026-03-04T05:06:07.123456789Z".parse().unwrap(), bytes: Bytes::from(text.to_owned()) }
}

#[test]
fn syslog_messages() {
    let (host, pid) = (crate::host::name(), std::process::id());
    let of = |format, borders| String::from_utf8(syslog::encode(3, format, "tag", &line(Stderr, "oh\n"), b"oh", borders)).unwrap();
    assert_eq!(of(SyslogFormat::Rfc5424Micro, Borders::Datagrams), format!("<27>1 2026-03-04T05:06:07.123456Z {host} tag {pid} tag - oh"));
    assert_eq!(of(SyslogFormat::Rfc5424, Borders::Stream), format!("<27>1 2026-03-04T05:06:07Z {host} tag {pid} tag - oh\n"));
    let old = of(SyslogFormat::Rfc3164, Borders::Datagrams);
    assert!(old.starts_with("<27>Mar  ") && old.ends_with(&format!(" {host} tag[{pid}]: oh")), "{old}");
    assert!(of(SyslogFormat::Local, Borders::Datagrams).ends_with(&format!(":07 tag[{pid}]: oh")));
}

#[test]
fn journald_entries_cannot_be_forged_by_their_text() {
    let entry = journald::encode(&facts(), "t", &line(Stdout, "x\nPRIORITY=0\n"), b"x\nPRIORITY=0", true);
    assert!(entry.starts_with(b"MESSAGE\n\x0c\0\0\0\0\0\0\0x\nPRIORITY=0\nPRIORITY=6\n"), "{}", String::from_utf8_lossy(&entry));
    let text = String::from_utf8_lossy(&entry);
    assert!(text.contains("\nAPP_KIND\n\u{3}\0\0\0\0\0\0\0a\nb\n") && text.contains("CONTAINER_PARTIAL_MESSAGE=true\n"), "{text}");
    assert!(text.contains(&format!("CONTAINER_ID_FULL={}\n", "0".repeat(64))));
}

#[test]
fn gelf_messages_and_chunks() {
    let short = gelf::encode(&facts(), "t", &line(Stdout, "hi\n"), b"hi", Compression::Gzip(1), Borders::Datagrams);
    let mut json = String::new();
    flate2::read::GzDecoder::new(&short[0][..]).read_to_string(&mut json).unwrap();
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&value["short_message"], &value["level"], &value["_app.kind"]), (&"hi".into(), &6.into(), &"a\nb".into()));
    assert_eq!(value["timestamp"], 1_772_600_767.123);
    let text = "x".repeat(16_000);
    let chunks = gelf::encode(&facts(), "t", &line(Stdout, &text), text.as_bytes(), Compression::None, Borders::Datagrams);
    assert_eq!(chunks.len(), 12);
    assert!(chunks.iter().enumerate().all(|(n, c)| c.len() <= 1420 && c[..2] == [0x1e, 0x0f] && usize::from(c[10]) == n && c[11] == 12));
    let whole: Vec<u8> = chunks.iter().flat_map(|c| c[12..].to_vec()).collect();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&whole).unwrap()["short_message"], text);
    let stream = gelf::encode(&facts(), "t", &line(Stdout, "hi\n"), b"hi", Compression::Gzip(1), Borders::Stream);
    assert_eq!(stream[0].last(), Some(&0));
}

#[test]
fn fluentd_messages() {
    let plain = Facts { extra: Default::default(), ..facts() };
    let bytes = fluentd::encode(&plain, "tag", &line(Stdout, "hi\n"), b"hi", false, true, None);
    let seconds = 1_772_600_767u32.to_be_bytes();
    let mut expected = b"\x93\xa3tag\xd7\x00".to_vec();
    expected.extend(seconds);
    expected.extend(123_456_789u32.to_be_bytes());
    expected.extend(b"\x84\xaccontainer_id\xd9\x40");
    expected.extend("0".repeat(64).as_bytes());
    expected.extend(b"\xaecontainer_name\xa5/name\xa6source\xa6stdout\xa3log\xa2hi");
    assert_eq!(bytes, expected);
    let id = "f".repeat(32);
    let asked = fluentd::encode(&facts(), "tag", &line(Stdout, "hi"), b"hi", true, false, Some(&id));
    let answer = [&b"\x81\xa3ack\xd9\x20"[..], id.as_bytes()].concat();
    assert_eq!(fluentd::is_acknowledged(&asked, &answer), Some(true));
    assert_eq!(fluentd::is_acknowledged(&asked, &answer[..9]), None);
    assert_eq!(fluentd::is_acknowledged(&asked, b"\x81\xa3nak"), Some(false));
}

/// A log folder with a writer like the shim.
struct Log {
    dir: tempfile::TempDir,
    at: u64,
}

impl Log {
    fn put(&mut self, text: &str) {
        let header = logfile::Header { time_ns: self.at, length: u32::try_from(text.len()).unwrap(), stream: logfile::STDOUT, flags: 0 };
        self.at += 1_000_000_000;
        let mut file = std::fs::File::options().create(true).append(true).open(self.dir.path().join(logfile::FILE)).unwrap();
        file.write_all(&[&header.encode()[..], text.as_bytes(), &header.length.to_le_bytes()].concat()).unwrap();
    }

    /// Sends it to its end.
    async fn ship(&self, to: Address, protocol: Protocol, stop: &CancellationToken) {
        let shipping = Shipping { protocol, to, lazy: false, tag: String::new() };
        let guard = Guard { granted: true, ..Guard::default() };
        let shipper = Shipper::new(shipping, facts(), guard, self.dir.path()).unwrap();
        let options = LogOptions { stdout: true, stderr: true, since: shipper.since(), ..LogOptions::default() };
        let (_keep, up) = tokio::sync::watch::channel(false);
        let logs = crate::log::read(Source::Local(self.dir.path().to_owned()), options, false, up).unwrap();
        shipper.run(logs, stop).await.unwrap();
    }
}

const SYSLOG: Protocol = Protocol::Syslog { facility: 1, format: SyslogFormat::Local };

#[tokio::test]
async fn each_line_is_sent_once_and_waits_while_nobody_is_there() {
    let mut log = Log { dir: tempfile::tempdir().unwrap(), at: 1_000_000_000_000 };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = Address::Tcp { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
    let take = |listener: tokio::net::TcpListener| async move {
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut text = String::new();
        peer.read_to_string(&mut text).await.unwrap();
        (listener, text.lines().map(|l| l.split("]: ").last().unwrap().to_owned()).collect::<Vec<_>>())
    };
    log.put("one\ntwo\n");
    let stop = CancellationToken::new();
    let ((), (listener, lines)) = tokio::join!(log.ship(to.clone(), SYSLOG, &stop), take(listener));
    assert_eq!(lines, ["one", "two"]);
    // Nobody is there, and the server ends.
    drop(listener);
    log.put("three\n");
    stop.cancel();
    log.ship(to.clone(), SYSLOG, &stop).await;
    // It is back, and so is the destination: what was sent is not sent again, what was not is.
    log.put("four\n");
    let Address::Tcp { port, .. } = to else { unreachable!() };
    let listening = async {
        tokio::task::yield_now().await;
        take(tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap()).await
    };
    let stop = CancellationToken::new();
    let ((), (_, lines)) = tokio::join!(log.ship(to.clone(), SYSLOG, &stop), listening);
    assert_eq!(lines, ["three", "four"]);
}

#[tokio::test]
async fn fluentd_acknowledges() {
    let mut log = Log { dir: tempfile::tempdir().unwrap(), at: 1_000_000_000_000 };
    log.put("one\ntwo\n");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = Address::Tcp { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
    let server = async {
        let mut seen = Vec::new();
        // The first connection takes a message and says nothing: it is sent again.
        for answers in [false, true] {
            let (mut peer, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = peer.read(&mut buffer).await {
                bytes.extend_from_slice(&buffer[..n]);
                seen.push(String::from_utf8_lossy(&bytes).contains("two"));
                if !answers {
                    break;
                }
                let answer = [&b"\x81\xa3ack\xd9\x20"[..], &bytes[bytes.len() - 32..]].concat();
                peer.write_all(&answer).await.unwrap();
                bytes.clear();
            }
        }
        seen
    };
    let protocol = Protocol::Fluentd { sub_second: true, acknowledged: true };
    let stop = CancellationToken::new();
    let ((), seen) = tokio::join!(log.ship(to, protocol, &stop), server);
    assert_eq!(seen, [false, false, true]);
}

#[tokio::test]
async fn sec_a_name_is_judged_when_it_is_looked_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for to in [Address::Tcp { host: "localhost".into(), port }, Address::Unix("/dev/log".into())] {
        let shipping = Shipping { protocol: SYSLOG, to, lazy: false, tag: String::new() };
        let error = try_out(&shipping, &Guard::default()).await.unwrap_err().to_string();
        assert!(error.contains("grant"), "{error}");
    }
    let shipping = Shipping { protocol: SYSLOG, to: Address::Tcp { host: "localhost".into(), port }, lazy: false, tag: String::new() };
    try_out(&shipping, &Guard { granted: true, ..Guard::default() }).await.unwrap();
}
