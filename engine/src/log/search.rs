//! Searching what containers wrote: text or an expression, over one log or all of a tenant, within times, either end first.
//!
//! Each log is walked by itself (`segment`), and their hits are merged by time. A log is opened only when the search has come to a
//! time at which it was written, and only one segment of one log is read at a time, so memory does not grow with what is searched.
//! The search is a stream: it goes on only while somebody reads, stops where it is when nobody does, and ends with a cursor when
//! it has found or worked enough.

use super::kept::{Found as FoundLog, LogView};
use super::segment::{Part, Placed, Walker};
use super::{Source, kept};
use crate::container::request::LogLine;
use crate::engine::Engine;
use crate::{ContainerId, Doing, Error, Result, Subject};
use bytes::Bytes;
use futures_util::Stream;
use jiff::Timestamp;
use regex::bytes::{Regex, RegexBuilder};
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// What one search may work before it hands out a cursor: reading and matching, not waiting for its reader.
const WORK: Duration = Duration::from_secs(20);
/// Bytes of segments that one search holds at most, so many logs there be.
const HELD: usize = 64 << 20;
/// A segment's bounds. The smaller holds any chunk.
const SEGMENT: (usize, usize) = (72 << 10, 512 << 10);
/// Hits that a log has ready before it waits for the others.
const READY: usize = 16;
/// The most context one can ask for.
pub const CONTEXT_MAX: usize = 50;
/// The most hits of one answer.
pub const LIMIT_MAX: usize = 10_000;
/// Marked places in one line at most.
const RANGES: usize = 64;
/// Characters of what is searched for.
const PATTERN_MAX: usize = 1000;
/// A compiled expression's bytes: what `\w{50}` takes and `\w{5000}` does not.
const COMPILED_MAX: usize = 1 << 20;

/// Segments that are searched at the same time, by everybody: the host's other work goes on.
static SEARCHING: Semaphore = Semaphore::const_new(2);

/// What lines have to contain.
#[derive(Debug, Clone)]
pub struct Pattern(Option<Regex>);

impl Pattern {
    /// Any line.
    pub fn any() -> Self {
        Self(None)
    }

    /// Lines with this text.
    ///
    /// # Errors
    /// `Invalid` for one that is too long.
    pub fn text(text: &str, ignore_case: bool) -> Result<Self> {
        Self::compile(&regex::escape(text), text, ignore_case)
    }

    /// Lines that this expression matches. It is without look-around and back references: matching takes linear time.
    ///
    /// # Errors
    /// `Invalid` for one that is none, or too big.
    pub fn expression(expression: &str, ignore_case: bool) -> Result<Self> {
        Self::compile(expression, expression, ignore_case)
    }

    fn compile(expression: &str, asked: &str, ignore_case: bool) -> Result<Self> {
        if asked.is_empty() {
            return Ok(Self::any());
        }
        if asked.chars().count() > PATTERN_MAX {
            return Err(Error::invalid(format!("what is searched for is longer than {PATTERN_MAX} characters")));
        }
        let regex = RegexBuilder::new(expression)
            .case_insensitive(ignore_case)
            .size_limit(COMPILED_MAX)
            .dfa_size_limit(2 * COMPILED_MAX)
            .build()
            .map_err(|e| Error::invalid(format!("the expression cannot be used: {e}")).because(e))?;
        Ok(Self(Some(regex)))
    }

    /// Where a line matches; `None`: it does not.
    fn ranges(&self, line: &[u8]) -> Option<Vec<(usize, usize)>> {
        let Some(regex) = &self.0 else { return Some(Vec::new()) };
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut matches = regex.find_iter(line).peekable();
        matches.peek()?;
        Some(matches.filter(|m| !m.is_empty()).take(RANGES).map(|m| (m.start(), m.end())).collect())
    }
}

/// A place among all lines of all logs. As text it is opaque to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    time: Timestamp,
    /// `None`: before all lines of this time, in whichever direction.
    log: Option<ContainerId>,
    place: u64,
}

impl Cursor {
    /// Before all lines of a time.
    pub fn at(time: Timestamp) -> Self {
        Self { time, log: None, place: 0 }
    }

    /// Which of two comes first.
    fn order(&self, other: &Self, newest_first: bool) -> Ordering {
        let turned = |order: Ordering| if newest_first { order.reverse() } else { order };
        let logs = match (&self.log, &other.log) {
            (Some(a), Some(b)) => turned(a.cmp(b)),
            (a, b) => a.is_some().cmp(&b.is_some()),
        };
        turned(self.time.cmp(&other.time)).then(logs).then(turned(self.place.cmp(&other.place)))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.time.as_nanosecond(), self.log.as_ref().map_or("", ContainerId::as_str), self.place)
    }
}

impl std::str::FromStr for Cursor {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        (|| {
            let mut parts = text.rsplitn(3, '-');
            let place = parts.next()?.parse().ok()?;
            let log = Some(parts.next()?).filter(|id| !id.is_empty()).map(str::parse).transpose().ok()?;
            let time = Timestamp::from_nanosecond(parts.next()?.parse().ok()?).ok()?;
            Some(Self { time, log, place })
        })()
        .ok_or_else(|| Error::invalid(format!("{text:?} is no cursor of a search")))
    }
}

/// What is searched for, and where.
#[derive(Debug, Clone)]
pub struct Query {
    /// What lines have to contain.
    pub pattern: Pattern,
    /// One log, as `kept_log` finds it; `None`: all of the tenant.
    pub log: Option<String>,
    /// stdout's.
    pub stdout: bool,
    /// stderr's.
    pub stderr: bool,
    /// From then.
    pub since: Option<Timestamp>,
    /// Until then.
    pub until: Option<Timestamp>,
    /// Lines around each hit.
    pub context: usize,
    /// Which end is searched first.
    pub newest_first: bool,
    /// Hits of this answer.
    pub limit: usize,
    /// Where an earlier answer ended.
    pub after: Option<Cursor>,
}

/// A line that matches.
#[derive(Debug, Clone)]
pub struct Hit {
    /// Its log's container: id, name, generation.
    pub log: Arc<(ContainerId, String, u32)>,
    /// The line.
    pub line: LogLine,
    /// Where it matches, in bytes.
    pub ranges: Vec<(usize, usize)>,
    /// Lines before it, in order.
    pub before: Vec<LogLine>,
    /// Lines after it, in order.
    pub after: Vec<LogLine>,
    /// Its place: the search goes on behind it, and `log_lines` shows what is around it.
    pub cursor: Cursor,
}

/// What a search gives: hits, and at last what became of it.
#[derive(Debug, Clone)]
pub enum Found {
    /// A hit.
    Hit(Box<Hit>),
    /// There are no more in this answer.
    End {
        /// Where to go on; `None`: everything was searched.
        cursor: Option<Cursor>,
        /// Whether it worked as long as it may.
        out_of_time: bool,
        /// Bytes read.
        bytes: u64,
        /// Logs that could not be read: name, why.
        unread: Vec<(String, String)>,
    },
}

/// Lines around a place.
#[derive(Debug, Clone)]
pub struct Around {
    /// Which log.
    pub view: LogView,
    /// The lines with their places, in order.
    pub lines: Vec<(LogLine, Cursor)>,
    /// Which of them is the place.
    pub marked: Option<usize>,
}

impl Engine {
    /// Searches logs. Nothing is read before the stream is polled.
    ///
    /// # Errors
    /// `NotFound` when there is no such log; `Invalid` for a query that asks for nothing or too much.
    pub async fn search_logs(&self, who: &Subject, query: Query) -> Result<impl Stream<Item = Found> + Send + use<>> {
        if !query.stdout && !query.stderr {
            return Err(Error::invalid("search in stdout, stderr or both"));
        }
        if query.context > CONTEXT_MAX || query.limit == 0 || query.limit > LIMIT_MAX {
            return Err(Error::invalid(format!("a search gives 1 to {LIMIT_MAX} hits with at most {CONTEXT_MAX} lines around each")));
        }
        let logs = match &query.log {
            Some(wanted) => vec![self.find_log(who, wanted).await?],
            None => self.found_logs(who).await?,
        };
        Ok(search(logs, query))
    }

    /// Lines around a place of a log (its end, without one): at most so many before and after it.
    ///
    /// # Errors
    /// `NotFound` when there is no such log; `Internal` when it cannot be read.
    pub async fn log_lines(&self, who: &Subject, wanted: &str, at: Option<Cursor>, before: usize, after: usize) -> Result<Around> {
        let FoundLog { view, source, writing, .. } = self.find_log(who, wanted).await?;
        let writing = *writing.borrow();
        let id = view.id.clone();
        let (lines, marked) =
            crate::blocking(move || around(&source, &id, at, before, after, writing).doing(|| "reading a log around a place".to_owned()))
                .await?;
        Ok(Around { view, lines, marked })
    }
}

type Lines = (Vec<(LogLine, Cursor)>, Option<usize>);

fn around(source: &Source, id: &ContainerId, at: Option<Cursor>, before: usize, after: usize, writing: bool) -> std::io::Result<Lines> {
    let part = Part { stdout: true, stderr: true, segment: SEGMENT.1, ..Part::default() };
    // A time alone stands behind all lines of it.
    let key = at.as_ref().map(|at| (at.time, if at.log.is_some() { at.place } else { u64::MAX }));
    let collect = |newest_first: bool, count: usize| -> std::io::Result<Vec<(LogLine, Cursor)>> {
        let mut lines = Vec::new();
        let time = key.map(|(time, _)| time);
        let part = if newest_first { Part { until: time, newest_first, ..part.clone() } } else { Part { since: time, ..part.clone() } };
        let mut walker = Walker::open(source, part, writing)?;
        while lines.len() < count
            && let Some(found) = walker.next()?
        {
            let wanted = |p: &Placed| key.is_none_or(|key| ((p.line.time, p.place) <= key) == newest_first);
            let room = count - lines.len();
            lines.extend(found.into_iter().filter(wanted).take(room).map(|Placed { line, place }| {
                let cursor = Cursor { time: line.time, log: Some(id.clone()), place };
                (line, cursor)
            }));
        }
        Ok(lines)
    };
    let mut lines = collect(true, before)?;
    lines.reverse();
    let marked = lines.len().checked_sub(1).filter(|_| at.as_ref().is_some_and(|at| at.log.is_some()));
    if key.is_some() {
        lines.extend(collect(false, after)?);
    }
    Ok((lines, marked))
}

/// One log of a search.
struct Scan {
    log: Arc<(ContainerId, String, u32)>,
    source: Source,
    writing: bool,
    walker: Option<Walker>,
    lines: VecDeque<Placed>,
    /// The last lines that were passed, for context.
    passed: VecDeque<LogLine>,
    /// Hits that want more lines behind them, and how many.
    waiting: VecDeque<(Hit, usize)>,
    ready: VecDeque<Hit>,
    /// Every line that is still to come is not before this time, in our direction.
    frontier: Timestamp,
    done: bool,
    failed: Option<String>,
    bytes: u64,
    newest_first: bool,
}

impl Scan {
    fn new(found: FoundLog, query: &Query) -> Option<Self> {
        let FoundLog { view, source, writing, .. } = found;
        let writing = *writing.borrow();
        let (from, to) = (view.from?, view.to?.checked_add(kept::COARSE).ok()?);
        let to = if writing { to.max(Timestamp::now()) } else { to };
        if query.since.is_some_and(|since| to < since) || query.until.is_some_and(|until| from > until) {
            return None;
        }
        Some(Self {
            log: Arc::new((view.id, view.name, view.generation)),
            source,
            writing,
            walker: None,
            lines: VecDeque::new(),
            passed: VecDeque::new(),
            waiting: VecDeque::new(),
            ready: VecDeque::new(),
            frontier: if query.newest_first { to } else { from },
            done: false,
            failed: None,
            bytes: 0,
            newest_first: query.newest_first,
        })
    }

    /// The first place at which this one may still have a hit.
    fn next_place(&self) -> Cursor {
        let hit = self.ready.front().or(self.waiting.front().map(|(hit, _)| hit));
        hit.map_or_else(|| Cursor::at(self.frontier), |hit| hit.cursor.clone())
    }

    fn is_over(&self) -> bool {
        self.done && self.ready.is_empty()
    }

    /// Reads on until there are some hits, or the end of a segment. Blocking.
    fn step(&mut self, query: &Query, segment: usize) {
        if let Err(error) = self.read_on(query, segment) {
            // It was removed meanwhile: what is gone is not found.
            if error.kind() != std::io::ErrorKind::NotFound {
                self.failed = Some(error.to_string());
            }
            self.finish();
        }
    }

    fn read_on(&mut self, query: &Query, segment: usize) -> std::io::Result<()> {
        if self.lines.is_empty() {
            let part = Part {
                stdout: query.stdout,
                stderr: query.stderr,
                since: if query.newest_first { query.since } else { latest(query.since, query.after.as_ref().map(|c| c.time)) },
                until: if query.newest_first { earliest(query.until, query.after.as_ref().map(|c| c.time)) } else { query.until },
                newest_first: query.newest_first,
                segment,
            };
            let walker = match &mut self.walker {
                Some(walker) => walker,
                None => self.walker.insert(Walker::open(&self.source, part, self.writing)?),
            };
            let lines = walker.next()?;
            self.bytes = walker.bytes;
            match lines {
                Some(lines) => self.lines = lines,
                None => self.finish(),
            }
        }
        while !self.done
            && self.ready.len() < READY
            && let Some(placed) = self.lines.pop_front()
        {
            self.take(placed, query);
        }
        // Context must not keep whole segments in memory.
        self.passed.iter_mut().for_each(|line| line.bytes = Bytes::copy_from_slice(&line.bytes));
        Ok(())
    }

    fn take(&mut self, Placed { line, place }: Placed, query: &Query) {
        let newest_first = query.newest_first;
        for (hit, missing) in &mut self.waiting {
            let side = if newest_first { &mut hit.before } else { &mut hit.after };
            side.push(own(&line));
            *missing -= 1;
        }
        while self.waiting.front().is_some_and(|(_, missing)| *missing == 0) {
            self.ready.extend(self.waiting.pop_front().map(|(hit, _)| whole(hit, newest_first)));
        }
        let (early, late) = (query.since.is_some_and(|t| line.time < t), query.until.is_some_and(|t| line.time > t));
        if if newest_first { early } else { late } {
            if self.waiting.is_empty() {
                self.finish();
            }
            return;
        }
        self.frontier = if newest_first { self.frontier.min(line.time) } else { self.frontier.max(line.time) };
        let cursor = Cursor { time: line.time, log: Some(self.log.0.clone()), place };
        let wanted = !early && !late && query.after.as_ref().is_none_or(|after| cursor.order(after, newest_first).is_gt());
        if wanted && let Some(ranges) = query.pattern.ranges(&line.bytes) {
            let passed = self.passed.iter().map(own).collect();
            let (before, after) = if newest_first { (Vec::new(), passed) } else { (passed, Vec::new()) };
            let hit = Hit { log: self.log.clone(), line: own(&line), ranges, before, after, cursor };
            match query.context {
                0 => self.ready.push_back(hit),
                more => self.waiting.push_back((hit, more)),
            }
        }
        if query.context > 0 {
            self.passed.push_back(line);
            if self.passed.len() > query.context {
                self.passed.pop_front();
            }
        }
    }

    fn finish(&mut self) {
        self.done = true;
        (self.walker, self.lines, self.passed) = Default::default();
        let newest_first = self.newest_first;
        self.ready.extend(self.waiting.drain(..).map(|(hit, _)| whole(hit, newest_first)));
    }
}

/// A line that does not keep the segment it came from.
fn own(line: &LogLine) -> LogLine {
    LogLine { bytes: Bytes::copy_from_slice(&line.bytes), ..*line }
}

/// A hit with its context in order.
fn whole(mut hit: Hit, newest_first: bool) -> Hit {
    if newest_first {
        hit.before.reverse();
        hit.after.reverse();
    }
    hit
}

fn latest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.max(b)
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}

/// A search under way.
struct Search {
    scans: Vec<Scan>,
    query: Arc<Query>,
    segment: usize,
    given: usize,
    last: Option<Cursor>,
    worked: Duration,
    bytes: u64,
    unread: Vec<(String, String)>,
    over: bool,
}

fn search(logs: Vec<FoundLog>, query: Query) -> impl Stream<Item = Found> + Send + use<> {
    let scans: Vec<Scan> = logs.into_iter().filter_map(|log| Scan::new(log, &query)).collect();
    let state = Search {
        segment: (HELD / scans.len().max(1)).clamp(SEGMENT.0, SEGMENT.1),
        scans,
        last: query.after.clone(),
        query: Arc::new(query),
        given: 0,
        worked: Duration::ZERO,
        bytes: 0,
        unread: Vec::new(),
        over: false,
    };
    futures_util::stream::unfold(state, |mut state| async {
        let found = state.next().await?;
        Some((found, state))
    })
}

impl Search {
    async fn next(&mut self) -> Option<Found> {
        if self.over {
            return None;
        }
        loop {
            let (bytes, unread) = (&mut self.bytes, &mut self.unread);
            self.scans.retain_mut(|scan| {
                if scan.is_over() {
                    *bytes += scan.bytes;
                    unread.extend(scan.failed.take().map(|why| (scan.log.1.clone(), why)));
                }
                !scan.is_over()
            });
            let newest_first = self.query.newest_first;
            let first = self.scans.iter().enumerate().map(|(n, scan)| (n, scan.next_place()));
            let Some((first, place)) = first.min_by(|(_, a), (_, b)| a.order(b, newest_first)) else { return Some(self.end(None, false)) };
            if self.given == self.query.limit {
                let last = self.last.clone();
                return Some(self.end(last, false));
            }
            if let Some(hit) = self.scans[first].ready.pop_front() {
                self.given += 1;
                self.last = Some(hit.cursor.clone());
                return Some(Found::Hit(Box::new(hit)));
            }
            if self.worked >= WORK {
                // All before this time is searched; of this time itself, what was given.
                let reached = Cursor::at(place.time);
                let cursor = self.last.clone().filter(|last| last.order(&reached, newest_first).is_gt()).unwrap_or(reached);
                return Some(self.end(Some(cursor), true));
            }
            let mut scan = self.scans.swap_remove(first);
            let (query, segment) = (self.query.clone(), self.segment);
            let name = scan.log.1.clone();
            let _turn = SEARCHING.acquire().await;
            let stepped = tokio::task::spawn_blocking(move || {
                let begin = Instant::now();
                scan.step(&query, segment);
                (scan, begin.elapsed())
            });
            match stepped.await {
                Ok((scan, took)) => {
                    self.worked += took;
                    self.scans.push(scan);
                }
                Err(error) => self.unread.push((name, error.to_string())),
            }
        }
    }

    fn end(&mut self, cursor: Option<Cursor>, out_of_time: bool) -> Found {
        self.over = true;
        let bytes = self.bytes + self.scans.iter().map(|scan| scan.bytes).sum::<u64>();
        Found::End { cursor, out_of_time, bytes, unread: std::mem::take(&mut self.unread) }
    }
}

#[cfg(test)]
mod tests;
