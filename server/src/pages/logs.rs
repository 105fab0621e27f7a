//! The log of a container: as a page, as a file, and live over a WebSocket that resumes after the last line seen.

use super::frame::{OrPage, Visit, capital};
use super::shell::{Again, still_allowed};
use super::words;
use crate::auth::cross_site;
use axum::body::Body;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Response};
use engine::container::request::{LogLine, LogOptions, StreamKind};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use std::time::Duration;
use web::ansi::Converter;
use web::view::container::{ContainerLogs, LogRow};
use web::view::page::Choice;

/// How many lines a page can show.
const TAILS: [usize; 3] = [100, 500, 2000];
/// How many earlier containers of the name are told.
const EARLIER: usize = 5;
/// Lines in one message at most, so that a fast log cannot make one message of any size.
const BATCH: usize = 500;

/// Which lines.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    q: String,
    tail: usize,
}

/// Standard output and standard error each keep their own colours.
#[derive(Default)]
pub(super) struct Colours {
    out: Converter,
    err: Converter,
}

impl Colours {
    pub(super) fn row(&mut self, line: &LogLine) -> LogRow {
        let error = line.stream == StreamKind::Stderr;
        let converter = if error { &mut self.err } else { &mut self.out };
        LogRow {
            exact: line.time.to_string(),
            time: line.time.strftime("%H:%M:%S.%3f").to_string(),
            error,
            marked: false,
            html: converter.line(&line.bytes),
        }
    }
}

/// `GET /ui/containers/{name}/logs`
pub async fn page(visit: Visit, Path(name): Path<String>, Query(asked): Query<Asked>) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let container = app.engine.container(&who, &name).await.or_page(&frame)?;
    let tail = TAILS.into_iter().find(|n| *n == asked.tail).unwrap_or(500);
    let options = LogOptions { stdout: true, stderr: true, tail: Some(tail), ..LogOptions::default() };
    let (mut rows, mut unreadable) = (Vec::new(), String::new());
    let mut colours = Colours::default();
    let query = asked.q.to_lowercase();
    let mut cursor = None;
    match app.engine.logs(&who, &name, &options).await {
        Ok(mut logs) => {
            while let Some(batch) = logs.lines.next().await {
                match batch {
                    Ok(batch) => {
                        for line in batch {
                            cursor = Some(line.time);
                            let row = colours.row(&line);
                            if query.is_empty() || String::from_utf8_lossy(&line.bytes).to_lowercase().contains(&query) {
                                rows.push(row);
                            }
                        }
                    }
                    Err(e) => {
                        unreadable = format!("The log cannot be read further: {e}");
                        break;
                    }
                }
            }
        }
        Err(e) if e.is_not_found() => return Err(frame.wrong(&e)),
        Err(e) => unreadable = capital(&e.to_string()),
    }
    let head = words::head(&container, &frame.base, "logs");
    let keep = words::keep(&[("q", &asked.q)]);
    let earlier = app.engine.earlier_logs(&who, &container.name).await.or_page(&frame)?;
    let earlier = earlier.iter().take(EARLIER).map(|log| {
        let gone = log.removed.map_or(String::new(), |t| format!(", removed {}", words::ago(t).text));
        (format!("{}/logs/{}", frame.base, log.id), format!("generation {}{gone}", log.generation))
    });
    let earlier = earlier.collect();
    let view = ContainerLogs {
        page: frame.page("Logs", "containers"),
        lines: rows,
        socket: format!("{}/logs/ws", head.href),
        // A log that is empty now: everything from its beginning is new.
        cursor: cursor.map_or(String::new(), |t| t.to_string()),
        tail,
        tails: TAILS
            .into_iter()
            .map(|n| Choice { href: format!("?tail={n}{keep}"), text: format!("{n} lines"), count: String::new(), chosen: n == tail })
            .collect(),
        query: asked.q,
        head,
        earlier,
        unreadable,
    };
    Ok(frame.show(&view))
}

/// `GET /ui/containers/{name}/logs/download`
pub async fn download(visit: Visit, Path(name): Path<String>) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let container = app.engine.container(&who, &name).await.or_page(&frame)?;
    let options = LogOptions { stdout: true, stderr: true, ..LogOptions::default() };
    let logs = app.engine.logs(&who, &name, &options).await.or_page(&frame)?;
    Ok(saved(logs, &container.name))
}

/// A log as a file that a browser keeps.
pub(super) fn saved(logs: engine::container::request::Logs, name: &str) -> Response {
    let lines = logs.lines.map(|batch| batch.map(|lines| crate::api::logs::plain(&lines, true)));
    let mut response = Body::from_stream(lines).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    let file: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')).collect();
    if let Ok(value) = HeaderValue::try_from(format!("attachment; filename=\"{file}.log\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

/// Where the live lines begin.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct After {
    after: String,
}

/// `GET /ui/containers/{name}/logs/ws`
pub async fn follow(
    visit: Visit,
    again: Again,
    Path(name): Path<String>,
    Query(after): Query<After>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !cross_site::is_own_origin(&headers) {
        return (StatusCode::FORBIDDEN, "a WebSocket needs this site's Origin").into_response();
    }
    // Judged before the upgrade, so that somebody else's container answers as an absent one.
    let since = after.after.parse::<Timestamp>().ok().and_then(|t| t.checked_add(SignedDuration::from_nanos(1)).ok());
    let options = LogOptions { stdout: true, stderr: true, follow: true, since, ..LogOptions::default() };
    match visit.app.engine.logs(&visit.who, &name, &options).await {
        Ok(logs) => upgrade.max_message_size(4096).on_upgrade(move |socket| send(socket, visit, again, name, logs, since)),
        Err(error) => visit.frame.wrong(&error),
    }
}

async fn send(
    mut socket: WebSocket,
    visit: Visit,
    again: Again,
    name: String,
    mut logs: engine::container::request::Logs,
    since: Option<Timestamp>,
) {
    let mut colours = Colours::default();
    let mut check = tokio::time::interval(Duration::from_secs(30));
    let mut accounts = visit.app.accounts.changes();
    let mut last = since;
    let close = loop {
        tokio::select! {
            batch = logs.lines.next() => match batch {
                Some(Ok(batch)) => {
                    for lines in batch.chunks(BATCH) {
                        // The engine's `since` may be coarser than a nanosecond: nothing is sent twice.
                        let fresh: Vec<&LogLine> = lines.iter().filter(|l| last.is_none_or(|t| l.time >= t)).collect();
                        let Some(newest) = fresh.last().map(|l| l.time) else { continue };
                        last = Some(newest);
                        let rows: Vec<serde_json::Value> = fresh.iter().map(|l| {
                            let row = colours.row(l);
                            serde_json::json!({ "t": row.exact, "x": row.time, "s": u8::from(row.error), "h": row.html })
                        }).collect();
                        let message = serde_json::json!({ "lines": rows, "cursor": newest.to_string() });
                        if socket.send(Message::Text(message.to_string().into())).await.is_err() {
                            return;
                        }
                    }
                }
                Some(Err(e)) => {
                    let end = serde_json::json!({ "end": format!("The log cannot be read further: {e}") });
                    let _ = socket.send(Message::Text(end.to_string().into())).await;
                    break 1000;
                }
                None => {
                    let state = visit.app.engine.container(&visit.who, &name).await.map_or("gone".to_owned(), |c| words::status(&c).text);
                    let end = serde_json::json!({ "end": format!("The log ends here: {}.", state.to_lowercase()) });
                    let _ = socket.send(Message::Text(end.to_string().into())).await;
                    break 1000;
                }
            },
            message = socket.recv() => match message {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
            _ = check.tick() => if !still_allowed(&visit.app, &again).await { break 1008 },
            changed = accounts.changed() => if changed.is_err() || !still_allowed(&visit.app, &again).await { break 1008 },
        }
    };
    let _ = socket.send(Message::Close(Some(CloseFrame { code: close, reason: "".into() }))).await;
}
