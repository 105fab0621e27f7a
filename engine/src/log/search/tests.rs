//! Searches against logs written as the shim writes them, compared with a plain look at all lines.

use super::*;
use crate::container::request::StreamKind::{self, Stderr, Stdout};
use crate::runtime::logfile;
use futures_util::StreamExt;
use std::io::Write;
use std::path::{Path, PathBuf};
use tokio::sync::watch;

fn second(n: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + n).unwrap()
}

/// Appends pieces `(second, stream, text)` to a file in a format.
fn write(file: &Path, json: bool, pieces: &[(i64, StreamKind, String)]) {
    let mut out = std::fs::File::options().create(true).append(true).open(file).unwrap();
    for (at, stream, text) in pieces {
        if json {
            let stream = if *stream == Stdout { "stdout" } else { "stderr" };
            for line in text.split_inclusive('\n') {
                let line = serde_json::json!({ "log": line, "stream": stream, "time": second(*at).to_string() });
                writeln!(out, "{line}").unwrap();
            }
            continue;
        }
        let header = logfile::Header {
            time_ns: u64::try_from(second(*at).as_nanosecond()).unwrap(),
            length: u32::try_from(text.len()).unwrap(),
            stream: if *stream == Stdout { logfile::STDOUT } else { logfile::STDERR },
            flags: 0,
        };
        out.write_all(&header.encode()).unwrap();
        out.write_all(text.as_bytes()).unwrap();
        out.write_all(&header.length.to_le_bytes()).unwrap();
    }
    let last = second(pieces.last().map_or(0, |p| p.0));
    out.set_modified(last.try_into().unwrap()).unwrap();
}

struct Shelf(tempfile::TempDir);

impl Shelf {
    /// One log's folder and source.
    fn source(&self, name: &str, json: bool) -> Source {
        let folder = self.0.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        if json { Source::JsonFile(folder.join("x-json.log")) } else { Source::Local(folder) }
    }

    fn found(&self, name: &str, source: &Source) -> FoundLog {
        let span = super::super::span(source).unwrap();
        let digit = name.bytes().map(usize::from).sum::<usize>() % 10;
        let view = LogView {
            id: digit.to_string().repeat(64).parse().unwrap(),
            name: name.to_owned(),
            generation: 1,
            image: String::new(),
            from: span.map(|s| s.from),
            to: span.map(|s| s.to),
            bytes: 0,
            removed: None,
            expires: None,
        };
        FoundLog { view, source: source.clone(), tty: false, writing: watch::channel(false).1 }
    }
}

fn base(source: &Source) -> PathBuf {
    source.base()
}

fn query(text: &str) -> Query {
    Query {
        pattern: Pattern::text(text, false).unwrap(),
        log: None,
        stdout: true,
        stderr: true,
        since: None,
        until: None,
        context: 0,
        newest_first: true,
        limit: 1000,
        after: None,
    }
}

fn text(line: &LogLine) -> String {
    String::from_utf8_lossy(&line.bytes).trim_end().to_owned()
}

async fn run(logs: Vec<FoundLog>, query: Query) -> (Vec<Hit>, Option<Cursor>, u64) {
    let mut stream = Box::pin(search(logs, query));
    let mut hits = Vec::new();
    while let Some(found) = stream.next().await {
        match found {
            Found::Hit(hit) => hits.push(*hit),
            Found::End { cursor, bytes, unread, .. } => {
                assert!(unread.is_empty(), "{unread:?}");
                assert!(stream.next().await.is_none());
                return (hits, cursor, bytes);
            }
        }
    }
    panic!("a search without an end");
}

/// Three files, the oldest compressed, with lines across chunks, streams and files. Returns all lines as they complete.
fn rotated(shelf: &Shelf, name: &str, json: bool, from: i64) -> (Source, Vec<(i64, String)>) {
    let source = shelf.source(name, json);
    let file = base(&source);
    let mut lines = Vec::new();
    for n in [2, 1, 0] {
        let mut pieces = Vec::new();
        for k in 0..2000i64 {
            let at = from + (2 - n) * 2000 + k;
            let line = format!("{name} line {at} {}", "x".repeat(usize::try_from(at % 97).unwrap()));
            let stream = if k % 3 == 0 { Stderr } else { Stdout };
            lines.push((at, line.clone()));
            pieces.push((at, stream, format!("{line}\n")));
        }
        let path = if n == 0 { file.clone() } else { super::super::files::numbered(&file, u32::try_from(n).unwrap()) };
        write(&path, json, &pieces);
        if n == 2 {
            super::super::pack(&source).unwrap();
        }
    }
    (source, lines)
}

#[tokio::test]
async fn both_formats_give_what_a_plain_look_gives_from_either_end() {
    for json in [false, true] {
        let shelf = Shelf(tempfile::tempdir().unwrap());
        let (source, lines) = rotated(&shelf, "web", json, 0);
        for newest_first in [true, false] {
            for (since, until) in [(None, None), (Some(1500), Some(4500)), (Some(3999), None), (None, Some(10))] {
                let asked = Query { newest_first, since: since.map(second), until: until.map(second), ..query("7 ") };
                let (hits, cursor, _) = run(vec![shelf.found("web", &source)], asked).await;
                let mut expected: Vec<&String> = lines
                    .iter()
                    .filter(|(at, line)| line.contains("7 ") && since.is_none_or(|s| *at >= s) && until.is_none_or(|u| *at <= u))
                    .map(|(_, line)| line)
                    .collect();
                if newest_first {
                    expected.reverse();
                }
                let seen: Vec<String> = hits.iter().map(|h| text(&h.line)).collect();
                let expected: Vec<String> = expected.into_iter().map(|l| l.trim_end().to_owned()).collect();
                assert_eq!(seen, expected, "json {json}, newest first {newest_first}, {since:?} to {until:?}");
                assert!(cursor.is_none());
            }
        }
    }
}

#[tokio::test]
async fn cursors_page_through_several_logs_without_a_gap_or_a_repeat() {
    let shelf = Shelf(tempfile::tempdir().unwrap());
    let (a, lines_a) = rotated(&shelf, "a", false, 0);
    let (b, lines_b) = rotated(&shelf, "b", true, 0); // the same seconds
    let logs = || vec![shelf.found("a", &a), shelf.found("b", &b)];
    for newest_first in [true, false] {
        let mut expected: Vec<(i64, String)> = lines_a.iter().chain(&lines_b).filter(|(_, l)| l.contains("99 ")).cloned().collect();
        expected.sort();
        if newest_first {
            expected.reverse();
        }
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let (hits, cursor, _) = run(logs(), Query { newest_first, limit: 7, after, ..query("99 ") }).await;
            assert!(hits.len() <= 7);
            seen.extend(hits.iter().map(|h| text(&h.line)));
            match cursor {
                Some(cursor) => after = Some(cursor.to_string().parse().unwrap()),
                None => break,
            }
        }
        assert_eq!(seen, expected.into_iter().map(|(_, l)| l.trim_end().to_owned()).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn context_is_in_order_and_lines_that_span_chunks_are_whole() {
    let shelf = Shelf(tempfile::tempdir().unwrap());
    let source = shelf.source("web", false);
    let pieces = [(1, Stdout, "one\nnee"), (2, Stderr, "two\n"), (3, Stdout, "dle\nthree\n"), (4, Stdout, "four\n"), (5, Stderr, "end")];
    write(&base(&source), false, &pieces.map(|(at, stream, text)| (at, stream, text.to_owned())));
    for newest_first in [true, false] {
        let (hits, ..) = run(vec![shelf.found("web", &source)], Query { newest_first, context: 2, ..query("needle") }).await;
        assert_eq!(hits.len(), 1);
        let side = |lines: &[LogLine]| lines.iter().map(text).collect::<Vec<_>>();
        assert_eq!((side(&hits[0].before), side(&hits[0].after)), (vec!["one".into(), "two".into()], vec!["three".into(), "four".into()]));
        assert_eq!(hits[0].ranges, [(0, 6)]);
        // What nobody completes any more is a line as well.
        let (hits, ..) = run(vec![shelf.found("web", &source)], Query { newest_first, context: 1, stdout: false, ..query("end") }).await;
        assert_eq!((hits.len(), side(&hits[0].before)), (1, vec!["two".into()]));
    }
}

#[tokio::test]
async fn times_spare_reading() {
    let shelf = Shelf(tempfile::tempdir().unwrap());
    for json in [false, true] {
        let source = shelf.source(if json { "j" } else { "l" }, json);
        let pieces: Vec<_> = (0..100_000).map(|n| (n, Stdout, format!("line {n} {}\n", "y".repeat(80)))).collect();
        write(&base(&source), json, &pieces);
        let size = std::fs::metadata(base(&source)).unwrap().len();
        for newest_first in [true, false] {
            let asked = Query { newest_first, since: Some(second(50_000)), until: Some(second(50_010)), ..query("line") };
            let (hits, _, bytes) = run(vec![shelf.found("web", &source)], asked).await;
            assert_eq!(hits.len(), 11, "json {json}");
            assert!(bytes < size / 5, "json {json}: {bytes} of {size} bytes were read");
        }
        // The first hits of a search that finds many come without the rest.
        let (hits, cursor, bytes) = run(vec![shelf.found("web", &source)], Query { limit: 10, ..query("line") }).await;
        assert!(hits.len() == 10 && cursor.is_some() && bytes < size / 5, "{bytes} of {size}");
    }
}

#[test]
fn expressions_are_held_small() {
    assert!(Pattern::expression(r"\w{5000}\w{5000}\w{5000}", false).unwrap_err().to_string().contains("cannot be used"));
    assert!(Pattern::expression("(?=x)", false).is_err());
    assert!(Pattern::text(&"x".repeat(1001), false).is_err());
    assert_eq!(Pattern::text("A.b", true).unwrap().ranges(b"xa.B a-b\n"), Some(vec![(1, 4)]));
    assert_eq!(Pattern::text("", false).unwrap().ranges(b"x"), Some(vec![]));
}

#[test]
fn around_a_place_are_the_lines_before_and_after_it() {
    let shelf = Shelf(tempfile::tempdir().unwrap());
    let (source, lines) = rotated(&shelf, "web", false, 0);
    let id: ContainerId = "1".repeat(64).parse().unwrap();
    let (end, none) = around(&source, &id, None, 3, 0, false).unwrap();
    assert_eq!((end.len(), none), (3, None));
    assert_eq!(text(&end[2].0), lines[5999].1.trim_end());
    let (middle, marked) = around(&source, &id, Some(end[0].1.clone()), 3, 3, false).unwrap();
    assert_eq!((middle.len(), marked), (5, Some(2)));
    assert_eq!(text(&middle[2].0), lines[5997].1.trim_end());
    let (moment, _) = around(&source, &id, Some(Cursor::at(second(2000))), 2, 2, false).unwrap();
    let seen: Vec<String> = moment.iter().map(|(l, _)| text(l)).collect();
    assert_eq!(seen, lines[1999..2003].iter().map(|(_, l)| l.trim_end().to_owned()).collect::<Vec<_>>());
}

/// A log of ragged chunks: several lines of one time in each, lines across chunks, streams and files.
fn ragged(shelf: &Shelf) -> Source {
    let source = shelf.source("ragged", false);
    let mut random = 1u64;
    let mut below = |n: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % n
    };
    let mut text = [Stdout, Stderr].map(|stream| (stream, String::new(), 0));
    let mut at = 0;
    for n in [1, 0] {
        let mut pieces = Vec::new();
        for _ in 0..400 {
            let (stream, written, count) = &mut text[usize::from(below(4) == 0)];
            while written.len() < 300 {
                *count += 1;
                written.push_str(&format!("{stream:?} {count} {}\n", "z".repeat(usize::try_from(below(60)).unwrap())));
            }
            let rest = written.split_off(usize::try_from(1 + below(300)).unwrap());
            pieces.push((at, *stream, std::mem::replace(written, rest)));
            at += i64::from(below(3) == 0);
        }
        let file = if n == 0 { base(&source) } else { super::super::files::numbered(&base(&source), n) };
        write(&file, false, &pieces);
    }
    source
}

type Told = (Timestamp, String);

/// Where two lists of lines begin to differ, and what stands there.
fn differ<'a>(a: &'a [Told], b: &'a [Told]) -> Option<(usize, Option<&'a Told>, Option<&'a Told>)> {
    (0..a.len().max(b.len())).find(|n| a.get(*n) != b.get(*n)).map(|n| (n, a.get(n), b.get(n)))
}

#[tokio::test]
async fn segments_of_ragged_chunks_give_every_line_whole_and_once() {
    let shelf = Shelf(tempfile::tempdir().unwrap());
    let source = ragged(&shelf);
    let options = crate::container::request::LogOptions { stdout: true, stderr: true, ..Default::default() };
    let mut reader = super::super::read(source.clone(), options, false, watch::channel(false).1).unwrap().lines;
    let mut expected = Vec::new();
    while let Some(batch) = reader.next().await {
        expected.extend(batch.unwrap().iter().map(|line| (line.time, text(line))));
    }
    assert!(expected.len() > 500);
    for newest_first in [true, false] {
        for segment in [700, 3000, 1 << 20] {
            let part = Part { stdout: true, stderr: true, newest_first, segment, ..Part::default() };
            let mut walker = Walker::open(&source, part, false).unwrap();
            let mut seen = Vec::new();
            while let Some(lines) = walker.next().unwrap() {
                seen.extend(lines.iter().map(|placed| (placed.line.time, text(&placed.line))));
            }
            if newest_first {
                seen.reverse();
            }
            assert_eq!(differ(&seen, &expected), None, "newest first {newest_first}, segments of {segment}");
        }
    }
    // Many lines have the same time: pages break among them.
    for newest_first in [true, false] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let (hits, cursor, _) = run(vec![shelf.found("ragged", &source)], Query { newest_first, limit: 5, after, ..query("") }).await;
            seen.extend(hits.iter().map(|h| (h.line.time, text(&h.line))));
            match cursor {
                Some(cursor) => after = Some(cursor),
                None => break,
            }
        }
        if newest_first {
            seen.reverse();
        }
        assert_eq!(differ(&seen, &expected), None, "newest first {newest_first}, in pages");
    }
}
