//! Logs of all containers, of those too that are gone: the list, one log, its download and its removal.

use super::form::Filled;
use super::frame::{Frame, OrPage, Visit};
use super::logs::{Colours, saved};
use super::words;
use axum::extract::{Path, Query};
use axum::response::Response;
use engine::container::request::{LogLine, LogOptions};
use engine::log::{Cursor, LogView};
use jiff::Timestamp;
use serde::Deserialize;
use web::format;
use web::view::container::LogRow;
use web::view::log::{Log, LogInfo, LogList};
use web::view::message::Confirm;
use web::view::piece::segment;

/// Which lines.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    at: String,
}

/// How many lines are shown before a place, and how many after it.
const LINES: usize = 200;

/// A log in words.
pub(super) fn info(frame: &Frame, log: &LogView) -> LogInfo {
    let gone = log.removed.is_some();
    LogInfo {
        href: format!("{}/logs/{}", frame.base, log.id),
        name: log.name.clone(),
        id: log.id.short().to_owned(),
        full: log.id.to_string(),
        generation: log.generation,
        container: if gone { String::new() } else { format!("{}/containers/{}", frame.base, segment(&log.name)) },
        image: log.image.clone(),
        from: words::ago_or(log.from, "nothing written"),
        to: words::ago_or(log.to, "–"),
        size: engine::size::decimal(log.bytes),
        removed: log.removed.map(words::ago),
        expires: log.expires.map(words::until),
    }
}

/// `GET /ui/logs`
pub async fn list(visit: Visit) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let logs = app.engine.kept_logs(&who).await.or_page(&frame)?;
    let rows = logs.iter().map(|log| info(&frame, log)).collect();
    Ok(frame.show(&LogList { page: frame.page("Logs", "logs"), rows, retention: retention(&app.engine.retention()) }))
}

/// What becomes of logs of removed containers.
fn retention(kept: &engine::log::Retention) -> String {
    if kept.age.is_zero() {
        return "Logs go with their containers here.".into();
    }
    let age = format::span(kept.age.as_secs());
    format!("When a container is removed its log is kept for {age}, and {} of such logs at most.", engine::size::decimal(kept.bytes))
}

/// `GET /ui/logs/{id}`
pub async fn show(visit: Visit, Path(id): Path<String>, Query(asked): Query<Asked>) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let at = match asked.at.as_str() {
        "" => None,
        // A moment, as people write it, or a place, as a search gives it.
        text => Some(text.parse::<Timestamp>().map(Cursor::at).or_else(|_| text.parse::<Cursor>()).or_page(&frame)?),
    };
    let after = if at.is_some() { LINES } else { 0 };
    let around = app.engine.log_lines(&who, &id, at, LINES, after).await.or_page(&frame)?;
    let mut colours = Colours::default();
    let row = |(n, (line, _)): (usize, &(LogLine, Cursor))| LogRow { marked: around.marked == Some(n), ..colours.row(line) };
    let place = |line: Option<&(LogLine, Cursor)>| line.map_or(String::new(), |(_, at)| format!("?at={}#hit", segment(&at.to_string())));
    // At an end the same place would be shown again.
    let (older, newer) = (place(around.lines.first()), place(around.lines.last()));
    let before = around.marked.map_or(around.lines.len(), |n| n + 1);
    let view = Log {
        page: frame.page(format!("Log of {}", around.view.name), "logs"),
        info: info(&frame, &around.view),
        lines: around.lines.iter().enumerate().map(row).collect(),
        older: if before < LINES { String::new() } else { older },
        newer: if after == 0 || around.lines.len() < before + after { String::new() } else { newer },
    };
    Ok(frame.show(&view))
}

/// `GET /ui/logs/{id}/download`
pub async fn download(visit: Visit, Path(id): Path<String>) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let options = LogOptions { stdout: true, stderr: true, ..LogOptions::default() };
    let (log, logs) = app.engine.read_log(&who, &id, options).await.or_page(&frame)?;
    Ok(saved(logs, &format!("{}-{}", log.name, log.generation)))
}

/// `GET /ui/logs/{id}/remove`
pub async fn ask_remove(visit: Visit, Path(id): Path<String>) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let log = app.engine.kept_log(&who, &id).await.or_page(&frame)?;
    let href = format!("{}/logs/{}", frame.base, log.id);
    let mut consequences = vec!["It is gone for good.".to_owned()];
    if log.removed.is_none() {
        consequences.push("Its container is there and would be without its log: remove the container first.".to_owned());
    }
    let view = Confirm {
        page: frame.page(format!("Remove the log of {}?", log.name), "logs"),
        action: format!("{href}/remove"),
        text: "This log will be removed.".into(),
        objects: vec![format!("{}, generation {}", log.name, log.generation)],
        consequences,
        checks: vec![],
        hidden: vec![],
        button: "Remove".into(),
        back: href,
    };
    Ok(frame.show(&view))
}

/// `POST /ui/logs/{id}/remove`
pub async fn remove(visit: Visit, Path(id): Path<String>, _form: Filled) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let log = app.engine.kept_log(&who, &id).await.or_page(&frame)?;
    app.engine.remove_log(&who, log.id.as_str()).await.or_page(&frame)?;
    Ok(frame.went("/logs", format!("Removed the log of {}.", log.name)))
}
