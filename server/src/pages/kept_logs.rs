//! Logs of all containers, of those too that are gone: the list, one log, its download and its removal.

use super::form::Filled;
use super::frame::{Frame, OrPage, Visit};
use super::logs::{Colours, TAILS, saved};
use super::words;
use axum::extract::{Path, Query};
use axum::response::Response;
use engine::container::request::LogOptions;
use engine::log::LogView;
use futures_util::StreamExt;
use serde::Deserialize;
use web::format;
use web::view::log::{Log, LogInfo, LogList};
use web::view::message::Confirm;
use web::view::page::Choice;
use web::view::piece::segment;

/// Which lines.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    tail: usize,
}

/// A log in words.
pub(super) fn info(frame: &Frame, log: &LogView) -> LogInfo {
    let gone = log.removed.is_some();
    LogInfo {
        href: format!("{}/logs/{}", frame.base, log.id),
        name: log.name.clone(),
        id: log.id.short().to_owned(),
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
    let tail = TAILS.into_iter().find(|n| *n == asked.tail).unwrap_or(500);
    let options = LogOptions { stdout: true, stderr: true, tail: Some(tail), ..LogOptions::default() };
    let (log, mut logs) = app.engine.read_log(&who, &id, options).await.or_page(&frame)?;
    let (mut lines, mut unreadable, mut colours) = (Vec::new(), String::new(), Colours::default());
    while let Some(batch) = logs.lines.next().await {
        match batch {
            Ok(batch) => lines.extend(batch.iter().map(|line| colours.row(line))),
            Err(e) => {
                unreadable = format!("The log cannot be read further: {e}");
                break;
            }
        }
    }
    let view = Log {
        page: frame.page(format!("Log of {}", log.name), "logs"),
        info: info(&frame, &log),
        lines,
        tails: TAILS
            .into_iter()
            .map(|n| Choice { href: format!("?tail={n}"), text: format!("{n} lines"), count: String::new(), chosen: n == tail })
            .collect(),
        unreadable,
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
