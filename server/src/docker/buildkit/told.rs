//! What a build has told so far, in BuildKit's words: vertexes, their statuses, logs and warnings. Kept from the beginning, so
//! that who asks late (a second client, the history) hears all of it.

use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex, VertexLog, VertexStatus, VertexWarning};
use bollard_buildkit_proto::pb::{Position, Range, SourceInfo};
use engine::Digest;
use engine::build::{BuildEvent, End};
use engine::container::request::StreamKind;
use engine::progress::Progress;
use futures_util::Stream;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// Bytes of one vertex's log that are kept and shown, as with BuildKit.
const LOG_MAX: usize = 2 << 20;
const CLIPPED: &[u8] = b"[output clipped, log limit 2MiB reached]\n";
/// Messages of one build that are kept: a RUN that writes a byte at a time ends there.
const PIECES_MAX: usize = 100_000;

/// Now, as messages have it.
pub fn now() -> Timestamp {
    timestamp(jiff::Timestamp::now())
}

/// A time as messages have it.
pub fn timestamp(time: jiff::Timestamp) -> Timestamp {
    Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

/// The Dockerfile, for errors and warnings that point into it.
#[derive(Debug, Clone, Default)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: Vec<u8>,
}

impl Definition {
    /// As messages have it.
    pub fn info(&self) -> SourceInfo {
        SourceInfo { filename: self.name.clone(), data: self.text.clone(), definition: None, language: "Dockerfile".to_owned() }
    }
}

/// A line as messages have it.
pub fn range(line: usize) -> Range {
    let position = || Some(Position { line: i32::try_from(line).unwrap_or(0), character: 0 });
    Range { start: position(), end: position() }
}

#[derive(Default)]
struct Vertexes {
    names: HashMap<u32, (String, Timestamp, String, usize, usize)>,
    statuses: HashMap<(u32, String), Timestamp>,
    last: u32,
    failed_line: usize,
    definition: Definition,
}

/// Counts for the history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Vertexes that began.
    pub total: i32,
    /// That were remembered.
    pub cached: i32,
    /// That ended well.
    pub completed: i32,
    /// Warnings.
    pub warnings: i32,
}

#[derive(Default)]
struct Inner {
    pieces: Vec<Arc<StatusResponse>>,
    vertexes: Vertexes,
    counts: Counts,
}

/// What was told.
pub struct Told {
    build: String,
    inner: Mutex<Inner>,
    /// How many pieces there are, and whether there will be more.
    grown: watch::Sender<(usize, bool)>,
}

impl Told {
    /// Nothing yet, of the build with this reference.
    pub fn new(build: &str) -> Self {
        Self { build: build.to_owned(), inner: Mutex::default(), grown: watch::Sender::new((0, false)) }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Tells more.
    pub fn tell(&self, piece: StatusResponse) {
        let count = {
            let mut inner = self.inner();
            if inner.pieces.len() >= PIECES_MAX && piece.vertexes.is_empty() {
                return;
            }
            for vertex in &piece.vertexes {
                match (&vertex.started, &vertex.completed) {
                    (Some(_), None) => inner.counts.total += 1,
                    (Some(_), Some(_)) if vertex.error.is_empty() => {
                        inner.counts.completed += 1;
                        inner.counts.cached += i32::from(vertex.cached);
                    }
                    _ => {}
                }
            }
            inner.counts.warnings += i32::try_from(piece.warnings.len()).unwrap_or(0);
            inner.pieces.push(Arc::new(piece));
            inner.pieces.len()
        };
        self.grown.send_modify(|(n, _)| *n = count);
    }

    /// There will be no more.
    pub fn end(&self) {
        self.grown.send_modify(|(_, over)| *over = true);
    }

    /// Counts so far.
    pub fn counts(&self) -> Counts {
        self.inner().counts
    }

    /// The Dockerfile, and the line of what failed; 0: none did.
    pub fn place(&self) -> (Definition, usize) {
        let inner = self.inner();
        (inner.vertexes.definition.clone(), inner.vertexes.failed_line)
    }

    /// Everything from the beginning, and what comes, to the end.
    pub fn listen(self: &Arc<Self>) -> impl Stream<Item = Arc<StatusResponse>> + Send + use<> {
        let told = self.clone();
        let grown = self.grown.subscribe();
        futures_util::stream::unfold((told, grown, 0), |(told, mut grown, next)| async move {
            loop {
                let over = grown.borrow_and_update().1;
                let piece = told.inner().pieces.get(next).cloned();
                if let Some(piece) = piece {
                    return Some((piece, (told, grown, next + 1)));
                }
                if over || grown.changed().await.is_err() {
                    return None;
                }
            }
        })
    }

    /// A vertex of ours beside the builder's: begins it.
    pub fn begin(&self, name: &str) -> Own<'_> {
        let number = {
            let mut inner = self.inner();
            inner.vertexes.last += 1;
            inner.vertexes.last
        };
        let own = Own { told: self, digest: self.digest(&format!("own {number}")), name: name.to_owned(), started: now() };
        self.tell(StatusResponse { vertexes: vec![own.vertex()], ..StatusResponse::default() });
        own
    }

    fn digest(&self, what: &str) -> String {
        Digest::of(format!("{} {what}", self.build).as_bytes()).to_string()
    }

    /// Tells an event of the builder.
    pub fn event(&self, event: &BuildEvent) {
        if let Some(piece) = self.piece(event) {
            self.tell(piece);
        }
    }

    fn piece(&self, event: &BuildEvent) -> Option<StatusResponse> {
        let mut inner = self.inner();
        let vertexes = &mut inner.vertexes;
        match event {
            BuildEvent::Definition(name, text) => {
                vertexes.definition = Definition { name: name.clone(), text: text.clone() };
                None
            }
            BuildEvent::Begin(vertex) => {
                let digest = self.digest(&vertex.id.to_string());
                let started = now();
                let inputs = vertex.inputs.iter().filter_map(|id| vertexes.names.get(id).map(|v| v.0.clone())).collect();
                vertexes.names.insert(vertex.id, (digest.clone(), started, vertex.name.clone(), vertex.line, 0));
                let vertex = Vertex { digest, inputs, name: vertex.name.clone(), started: Some(started), ..Vertex::default() };
                Some(StatusResponse { vertexes: vec![vertex], ..StatusResponse::default() })
            }
            BuildEvent::End(id, end) => {
                let (digest, started, name, line, _) = vertexes.names.get(id)?.clone();
                let (cached, error) = match end {
                    End::Done => (false, String::new()),
                    End::Cached => (true, String::new()),
                    End::Failed(error) => {
                        vertexes.failed_line = line;
                        (false, error.clone())
                    }
                };
                let vertex = Vertex { digest, name, cached, started: Some(started), completed: Some(now()), error, ..Vertex::default() };
                Some(StatusResponse { vertexes: vec![vertex], ..StatusResponse::default() })
            }
            BuildEvent::Transfer { vertex, what, bytes, done } => {
                self.status(vertexes, *vertex, format!("{what}:"), String::new(), (*bytes, None), *done)
            }
            BuildEvent::Pull(vertex, Progress::Status { id: Some(id), status, bytes }) => {
                let done = status.contains("complete") || status.contains("exists");
                bytes
                    .or(done.then_some((0, None)))
                    .and_then(|bytes| self.status(vertexes, *vertex, id.clone(), status.clone(), bytes, done))
            }
            BuildEvent::Output(id, kind, bytes) => {
                let (digest, .., logged) = vertexes.names.get_mut(id)?;
                if *logged >= LOG_MAX {
                    return None;
                }
                *logged += bytes.len();
                let mut msg = bytes.to_vec();
                if *logged >= LOG_MAX {
                    msg.extend_from_slice(CLIPPED);
                }
                let stream = match kind {
                    StreamKind::Stdout => 1,
                    StreamKind::Stderr => 2,
                };
                let log = VertexLog { vertex: digest.clone(), timestamp: Some(now()), stream, msg };
                Some(StatusResponse { logs: vec![log], ..StatusResponse::default() })
            }
            BuildEvent::Warning(text) => {
                let text = text.trim().trim_start_matches("---> [Warning] ").trim();
                // `# Executing 2 build triggers`: those have vertexes. MAINTAINER has a check of its own.
                if text.is_empty() || text.starts_with('#') || text.starts_with("MAINTAINER has been") {
                    return None;
                }
                let last = vertexes.names.values().max_by_key(|v| (v.1.seconds, v.1.nanos))?;
                let warning = VertexWarning {
                    vertex: last.0.clone(),
                    level: 1,
                    short: text.as_bytes().to_vec(),
                    info: Some(vertexes.definition.info()),
                    ranges: if last.3 == 0 { Vec::new() } else { vec![range(last.3)] },
                    ..VertexWarning::default()
                };
                Some(StatusResponse { warnings: vec![warning], ..StatusResponse::default() })
            }
            BuildEvent::Advice(finding) => {
                let last = vertexes.names.values().max_by_key(|v| (v.1.seconds, v.1.nanos))?;
                let warning = VertexWarning {
                    vertex: last.0.clone(),
                    level: 1,
                    short: finding.short().into_bytes(),
                    detail: vec![finding.rule.about.as_bytes().to_vec()],
                    url: finding.rule.url(),
                    info: Some(vertexes.definition.info()),
                    ranges: vec![range(finding.line)],
                };
                Some(StatusResponse { warnings: vec![warning], ..StatusResponse::default() })
            }
            BuildEvent::Pull(..)
            | BuildEvent::Step { .. }
            | BuildEvent::Cached
            | BuildEvent::Running(_)
            | BuildEvent::Removed(_)
            | BuildEvent::Done(_)
            | BuildEvent::Built(..)
            | BuildEvent::Failed(_) => None,
        }
    }

    fn status(
        &self,
        vertexes: &mut Vertexes,
        vertex: u32,
        id: String,
        name: String,
        (current, total): (u64, Option<u64>),
        done: bool,
    ) -> Option<StatusResponse> {
        let digest = vertexes.names.get(&vertex)?.0.clone();
        let started = *vertexes.statuses.entry((vertex, id.clone())).or_insert_with(now);
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let status = VertexStatus {
            id,
            vertex: digest,
            name,
            current: number(current),
            total: number(total.unwrap_or(0)),
            timestamp: Some(now()),
            started: Some(started),
            completed: done.then(now),
        };
        Some(StatusResponse { statuses: vec![status], ..StatusResponse::default() })
    }
}

/// A vertex of the door's own: an export.
pub struct Own<'a> {
    told: &'a Told,
    digest: String,
    name: String,
    started: Timestamp,
}

impl Own<'_> {
    fn vertex(&self) -> Vertex {
        Vertex { digest: self.digest.clone(), name: self.name.clone(), started: Some(self.started), ..Vertex::default() }
    }

    /// One part of it is done.
    pub fn did(&self, what: impl Into<String>) {
        self.part(what.into(), 0, true);
    }

    /// Bytes of a part.
    pub fn part(&self, id: String, bytes: u64, done: bool) {
        let status = VertexStatus {
            id,
            vertex: self.digest.clone(),
            current: i64::try_from(bytes).unwrap_or(i64::MAX),
            timestamp: Some(now()),
            started: Some(self.started),
            completed: done.then(now),
            ..VertexStatus::default()
        };
        self.told.tell(StatusResponse { statuses: vec![status], ..StatusResponse::default() });
    }

    /// It is over.
    pub fn end<T, E: std::fmt::Debug>(self, outcome: &Result<T, E>, text: impl Fn(&E) -> String) {
        let error = outcome.as_ref().err().map(text).unwrap_or_default();
        let vertex = Vertex { completed: Some(now()), error, ..self.vertex() };
        self.told.tell(StatusResponse { vertexes: vec![vertex], ..StatusResponse::default() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;

    #[tokio::test]
    async fn a_late_listener_hears_everything() {
        let told = Arc::new(Told::new("r"));
        let vertex = |id, name: &str, inputs| engine::build::Vertex { id, name: name.into(), line: 3, inputs };
        told.event(&BuildEvent::Begin(vertex(1, "[1/2] FROM bb", vec![])));
        told.event(&BuildEvent::End(1, End::Cached));
        told.event(&BuildEvent::Begin(vertex(2, "[2/2] RUN x", vec![1])));
        told.event(&BuildEvent::Output(2, StreamKind::Stderr, "oops\n".into()));
        told.event(&BuildEvent::End(2, End::Failed("exit code 1".into())));
        told.end();
        let all: Vec<_> = told.listen().collect().await;
        assert_eq!(all.len(), 5);
        assert!(all[1].vertexes[0].cached && all[1].vertexes[0].completed.is_some());
        assert_eq!(all[2].vertexes[0].inputs, [all[0].vertexes[0].digest.clone()]);
        assert_eq!((all[3].logs[0].stream, all[3].logs[0].msg.as_slice()), (2, b"oops\n".as_slice()));
        assert_eq!(all[4].vertexes[0].error, "exit code 1");
        assert_eq!(told.place().1, 3);
        assert_eq!(told.counts(), Counts { total: 2, cached: 1, completed: 1, warnings: 0 });
    }

    #[test]
    fn logs_are_clipped() {
        let told = Told::new("r");
        told.event(&BuildEvent::Begin(engine::build::Vertex { id: 1, name: "x".into(), line: 0, inputs: vec![] }));
        for _ in 0..40 {
            told.event(&BuildEvent::Output(1, StreamKind::Stdout, vec![b'x'; 100_000].into()));
        }
        let kept: usize = told.inner().pieces.iter().flat_map(|p| &p.logs).map(|l| l.msg.len()).sum();
        assert!((LOG_MAX..LOG_MAX + 200_000).contains(&kept), "{kept}");
    }
}
