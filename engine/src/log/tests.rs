//! The reader against a writer that does what the shim does, and against a plain reading of the same pieces.

use super::*;
use crate::container::request::StreamKind::{self, Stderr, Stdout};
use crate::runtime::logfile;
use futures_util::StreamExt;
use proptest::prelude::*;
use std::io::Write;

/// Writes chunks as the shim does.
struct Writer {
    dir: tempfile::TempDir,
    at: i64,
}

impl Writer {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), at: 1000 }
    }

    fn source(&self) -> Source {
        Source::Local(self.dir.path().to_owned())
    }

    fn file(&self) -> PathBuf {
        self.source().base()
    }

    fn append(&self, bytes: &[u8]) {
        let mut file = std::fs::File::options().create(true).append(true).open(self.file()).unwrap();
        file.write_all(bytes).unwrap();
    }

    /// One chunk; each a second after the one before.
    fn put(&mut self, stream: StreamKind, data: &[u8]) {
        let bytes = chunk(self.at, stream, data);
        self.at += 1;
        self.append(&bytes);
    }

    fn rotate(&self, keep: u32) {
        let base = self.file();
        let name = |n: u32| if n == 0 { base.clone() } else { files::numbered(&base, n) };
        for n in (0..keep).rev() {
            if std::fs::rename(name(n), name(n + 1)).is_ok() {
                let _ = std::fs::remove_file(files::packed_name(&base, n + 1));
            } else if std::fs::rename(files::packed_name(&base, n), files::packed_name(&base, n + 1)).is_ok() {
                let _ = std::fs::remove_file(name(n + 1));
            }
        }
        std::fs::File::create(&base).unwrap();
    }
}

fn chunk(second: i64, stream: StreamKind, data: &[u8]) -> Vec<u8> {
    let header = logfile::Header {
        time_ns: u64::try_from(second).unwrap() * 1_000_000_000,
        length: u32::try_from(data.len()).unwrap(),
        stream: if stream == Stdout { logfile::STDOUT } else { logfile::STDERR },
        flags: 0,
    };
    let mut bytes = header.encode().to_vec();
    bytes.extend(data);
    bytes.extend(header.length.to_le_bytes());
    bytes
}

fn both() -> LogOptions {
    LogOptions { stdout: true, stderr: true, ..LogOptions::default() }
}

fn second(s: i64) -> Timestamp {
    Timestamp::from_second(s).unwrap()
}

async fn all(source: Source, options: LogOptions, up: bool) -> Vec<LogLine> {
    let (_keep, up) = watch::channel(up);
    let mut lines = read(source, options, false, up).unwrap().lines;
    let mut out = Vec::new();
    while let Some(batch) = lines.next().await {
        let batch = batch.unwrap();
        assert!(!batch.is_empty(), "an empty batch says nothing");
        out.extend(batch);
    }
    out
}

async fn text(source: Source, options: LogOptions, up: bool) -> String {
    let lines = all(source, options, up).await;
    String::from_utf8(lines.iter().flat_map(|l| l.bytes.to_vec()).collect()).unwrap()
}

#[tokio::test]
async fn an_absent_log_is_empty_and_one_stream_must_be_asked() {
    let w = Writer::new();
    assert_eq!(text(w.source(), both(), false).await, "");
    let (_keep, up) = watch::channel(false);
    let error = read(w.source(), LogOptions::default(), false, up).err().unwrap();
    assert_eq!(error.to_string(), "Bad parameters: you must choose at least one stream");
    assert_eq!(
        source_of("none", w.dir.path(), w.dir.path()).unwrap_err().to_string(),
        "configured logging driver does not support reading"
    );
}

#[tokio::test]
async fn lines_span_chunks_and_streams_interleave() {
    let mut w = Writer::new();
    w.put(Stdout, b"one\ntw");
    w.put(Stderr, b"err");
    w.put(Stdout, b"o\nthree");
    w.put(Stderr, b"or\n");
    let lines = all(w.source(), both(), false).await;
    let seen: Vec<_> = lines.iter().map(|l| (l.stream, l.time, std::str::from_utf8(&l.bytes).unwrap())).collect();
    assert_eq!(
        seen,
        [
            (Stdout, second(1000), "one\n"),
            (Stdout, second(1002), "two\n"),
            (Stderr, second(1003), "error\n"),
            (Stdout, second(1002), "three"),
        ]
    );
    assert_eq!(text(w.source(), both(), true).await, "one\ntwo\nerror\n", "while it runs, `three` may go on");
    assert_eq!(text(w.source(), LogOptions { stdout: false, ..both() }, false).await, "error\n");
}

#[tokio::test]
async fn long_lines_come_in_parts_of_16_kib() {
    let mut w = Writer::new();
    let long = vec![b'x'; 40_000];
    w.put(Stdout, &long);
    w.put(Stdout, b"\nshort\n");
    let lengths: Vec<_> = all(w.source(), both(), false).await.iter().map(|l| l.bytes.len()).collect();
    assert_eq!(lengths, [PART, PART, 40_000 - 2 * PART + 1, 6]);
    let last = all(w.source(), LogOptions { tail: Some(2), ..both() }, false).await;
    assert_eq!(last.iter().map(|l| l.bytes.len()).sum::<usize>(), 40_007, "a line in parts counts once");
}

#[tokio::test]
async fn a_torn_chunk_is_not_there_yet() {
    let mut w = Writer::new();
    w.put(Stdout, b"whole\n");
    // Torn, with bytes in it that look like a chunk.
    let fake = chunk(1, Stdout, b"fake\n");
    let torn = chunk(1001, Stdout, &[fake.as_slice(), b"rest\n"].concat());
    for cut in [1, 15, 16, 20, 16 + fake.len() - 1, torn.len() - 1] {
        let before = std::fs::metadata(w.file()).unwrap().len();
        w.append(&torn[..cut]);
        for tail in [None, Some(0), Some(1), Some(5)] {
            let seen = text(w.source(), LogOptions { tail, ..both() }, false).await;
            assert_eq!(seen, if tail == Some(0) { "" } else { "whole\n" }, "cut {cut} tail {tail:?}");
        }
        std::fs::File::options().write(true).open(w.file()).unwrap().set_len(before).unwrap();
    }
}

#[tokio::test]
async fn garbage_does_no_harm() {
    let mut w = Writer::new();
    w.put(Stdout, b"before\n");
    w.append(&[0xff; 3_000_000]);
    w.rotate(3);
    w.put(Stdout, b"after\n");
    assert_eq!(text(w.source(), both(), false).await, "before\nafter\n");
    assert_eq!(text(w.source(), LogOptions { tail: Some(1), ..both() }, false).await, "after\n");
}

#[tokio::test]
async fn since_until_and_tail_over_rotated_files() {
    let mut w = Writer::new();
    for n in 0..10 {
        w.put(Stdout, format!("{n}\n").as_bytes());
        if n % 3 == 2 {
            w.rotate(4);
        }
    }
    let ask = |since: Option<i64>, until: Option<i64>, tail| {
        text(w.source(), LogOptions { since: since.map(second), until: until.map(second), tail, ..both() }, false)
    };
    assert_eq!(ask(None, None, None).await, "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    assert_eq!(ask(Some(1003), None, None).await, "3\n4\n5\n6\n7\n8\n9\n");
    assert_eq!(ask(Some(1003), Some(1005), None).await, "3\n4\n5\n");
    assert_eq!(ask(None, None, Some(1)).await, "9\n");
    assert_eq!(ask(None, None, Some(5)).await, "5\n6\n7\n8\n9\n");
    assert_eq!(ask(None, None, Some(100)).await, "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    // As with Docker the last two of all, of which none is that old.
    assert_eq!(ask(None, Some(1005), Some(2)).await, "");
    assert_eq!(ask(None, Some(1005), Some(6)).await, "4\n5\n");
    assert_eq!(ask(Some(1004), Some(1005), Some(9)).await, "4\n5\n");
    assert_eq!(ask(None, None, Some(0)).await, "");
}

#[tokio::test]
async fn following_crosses_rotations_and_ends_with_the_container() {
    let mut w = Writer::new();
    w.put(Stdout, b"0\n");
    let (set, up) = watch::channel(true);
    let lines = read(w.source(), LogOptions { follow: true, ..both() }, false, up).unwrap().lines;
    let reader = tokio::spawn(async move {
        let batches: Vec<_> = lines.map(|b| b.unwrap()).collect().await;
        batches.into_iter().flatten().map(|l| String::from_utf8(l.bytes.to_vec()).unwrap()).collect::<String>()
    });
    let mut wanted = String::from("0\n");
    for n in 1..400 {
        w.put(Stdout, format!("{n}\n").as_bytes());
        wanted.push_str(&format!("{n}\n"));
        if n % 50 == 0 {
            w.rotate(20);
        }
        if n % 7 == 0 {
            tokio::task::yield_now().await;
        }
    }
    w.put(Stdout, b"end");
    wanted.push_str("end");
    set.send(false).unwrap();
    assert_eq!(reader.await.unwrap(), wanted);
}

#[tokio::test]
async fn following_begins_before_the_file_and_survives_its_folders_end() {
    let mut w = Writer::new();
    let (_set, up) = watch::channel(true);
    let mut lines = read(w.source(), LogOptions { follow: true, ..both() }, false, up).unwrap().lines;
    let first = tokio::spawn(async move { (lines.next().await, lines) });
    tokio::task::yield_now().await;
    w.put(Stdout, b"hello\n");
    let (batch, mut lines) = first.await.unwrap();
    assert_eq!(&batch.unwrap().unwrap()[0].bytes[..], b"hello\n");
    w.dir.close().unwrap();
    assert!(lines.next().await.is_none());
}

#[tokio::test]
async fn compressed_files_are_read_like_others() {
    let mut w = Writer::new();
    for n in 0..4 {
        w.put(Stdout, format!("{n}\n").as_bytes());
        w.rotate(4);
    }
    w.put(Stdout, b"4\n");
    assert_eq!(pack(&w.source()).unwrap(), 4);
    assert_eq!(pack(&w.source()).unwrap(), 0, "once is enough");
    let names: Vec<_> = files::names(&w.file()).unwrap().iter().map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(names, ["container.log", "container.log.1.gz", "container.log.2.gz", "container.log.3.gz", "container.log.4.gz"]);
    assert_eq!(text(w.source(), both(), false).await, "0\n1\n2\n3\n4\n");
    assert_eq!(text(w.source(), LogOptions { tail: Some(2), ..both() }, false).await, "3\n4\n");
    let mut packed = std::fs::File::open(files::packed_name(&w.file(), 1)).unwrap();
    let mut plain = Vec::new();
    std::io::copy(&mut flate2::read::GzDecoder::new(&mut packed), &mut plain).unwrap();
    assert_eq!(plain, chunk(1003, Stdout, b"3\n"), "any gzip unpacks it");
    remove(&w.source()).unwrap();
    assert_eq!(std::fs::read_dir(w.dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_follower_meets_no_line_twice_when_its_file_is_compressed() {
    let mut w = Writer::new();
    w.put(Stdout, b"one\n");
    let (down, up) = watch::channel(true);
    let mut lines = read(w.source(), LogOptions { follow: true, ..both() }, false, up).unwrap().lines;
    let mut seen = String::new();
    let take = |batch: Vec<LogLine>, seen: &mut String| batch.iter().for_each(|l| seen.push_str(std::str::from_utf8(&l.bytes).unwrap()));
    take(lines.next().await.unwrap().unwrap(), &mut seen);
    // It goes on reading the file it has open, which is compressed by now, and its inode perhaps somebody else's.
    w.rotate(4);
    pack(&w.source()).unwrap();
    w.put(Stdout, b"two\n");
    w.rotate(4);
    pack(&w.source()).unwrap();
    w.put(Stdout, b"three\n");
    down.send_replace(false);
    while let Some(batch) = lines.next().await {
        take(batch.unwrap(), &mut seen);
    }
    assert_eq!(seen, "one\ntwo\nthree\n");
}

#[tokio::test]
async fn json_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x-json.log");
    let line = |n: u32, text: &str, stream: &str| {
        format!("{{\"log\":{},\"stream\":\"{stream}\",\"time\":\"2026-01-01T00:00:{n:02}.5Z\"}}\n", serde_json::to_string(text).unwrap())
    };
    std::fs::write(dir.path().join("x-json.log.1"), line(0, "old\n", "stdout") + &line(1, "é\u{1}\"\n", "stderr")).unwrap();
    std::fs::write(
        &file,
        line(2, "par", "stdout") + "damaged\n" + &line(3, "tial\n", "stdout") + &line(4, "last\n", "stdout") + "{\"log\":\"to",
    )
    .unwrap();
    let source = Source::JsonFile(file);
    let ask = |tail, stdout| text(source.clone(), LogOptions { tail, stdout, ..both() }, false);
    assert_eq!(ask(None, true).await, "old\né\u{1}\"\npartial\nlast\n");
    assert_eq!(ask(Some(1), true).await, "last\n");
    assert_eq!(ask(Some(2), true).await, "partial\nlast\n");
    assert_eq!(ask(Some(3), true).await, "é\u{1}\"\npartial\nlast\n");
    assert_eq!(ask(Some(9), false).await, "é\u{1}\"\n");
    let since = LogOptions { since: Some("2026-01-01T00:00:03Z".parse().unwrap()), ..both() };
    assert_eq!(text(source.clone(), since, false).await, "tial\nlast\n");
    remove(&source).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// Lines of pieces, the plain way: complete ones in the order of their ends, then what is left open.
fn plain(pieces: &[(bool, Vec<u8>)]) -> Vec<(StreamKind, Vec<u8>)> {
    let mut open = [Vec::new(), Vec::new()];
    let mut lines = Vec::new();
    for (stderr, data) in pieces {
        for byte in data {
            let line = &mut open[usize::from(*stderr)];
            line.push(*byte);
            if *byte == b'\n' {
                lines.push((if *stderr { Stderr } else { Stdout }, std::mem::take(line)));
            }
        }
    }
    let [out, err] = open;
    lines.extend([(Stdout, out), (Stderr, err)].into_iter().filter(|(_, l)| !l.is_empty()));
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_pieces_give_their_lines_and_any_tail_its_last(
        pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(prop_oneof![2 => Just(b'a'), 1 => Just(b'\n')], 0..12)), 0..40),
        rotations in prop::collection::btree_set(0usize..40, 0..4),
        tail in 0usize..30,
    ) {
        let mut w = Writer::new();
        for (i, (stderr, data)) in pieces.iter().enumerate() {
            w.put(if *stderr { Stderr } else { Stdout }, data);
            if rotations.contains(&i) {
                w.rotate(9);
                if i % 2 == 0 {
                    pack(&w.source()).unwrap();
                }
            }
        }
        let expected = plain(&pieces);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let given = |lines: Vec<LogLine>| lines.into_iter().map(|l| (l.stream, l.bytes.to_vec())).collect::<Vec<_>>();
            prop_assert_eq!(given(all(w.source(), both(), false).await), expected.clone());
            let last = given(all(w.source(), LogOptions { tail: Some(tail), ..both() }, false).await);
            prop_assert_eq!(last, expected[expected.len().saturating_sub(tail)..].to_vec());
            for stdout in [true, false] {
                let wanted = if stdout { Stdout } else { Stderr };
                let last = expected[expected.len().saturating_sub(tail)..].iter().filter(|l| l.0 == wanted).cloned().collect::<Vec<_>>();
                let options = LogOptions { stdout, stderr: !stdout, tail: Some(tail), ..both() };
                prop_assert_eq!(given(all(w.source(), options, false).await), last);
            }
            Ok(())
        })?;
    }
}
