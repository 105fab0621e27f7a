//! Logs of containers that are there and that were, over the API.

use super::containers::LogJson;
use super::wire::{Answer, ApiError, Message, lines};
use crate::{App, Who};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::Error;
use engine::container::request::{LogLine, LogOptions, StreamKind};
use engine::log::LogView;
use futures_util::{StreamExt, stream};
use http::{StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A log.
#[derive(Serialize, utoipa::ToSchema)]
pub struct LogInfoJson {
    /// The id of its container.
    pub id: String,
    /// The container's name, at its end if it is gone.
    pub name: String,
    /// The how manieth container of that name, counted while logs of earlier ones are kept.
    pub generation: u32,
    /// The image as it was asked for.
    pub image: String,
    /// Time of the first line; absent: nothing was ever written.
    pub from: Option<String>,
    /// When it was last written to.
    pub to: Option<String>,
    /// Bytes on disk.
    pub bytes: u64,
    /// When the container was removed; absent: it is there.
    pub removed: Option<String>,
    /// When the log goes at the latest; absent: not while the container is there.
    pub expires: Option<String>,
}

impl From<LogView> for LogInfoJson {
    fn from(v: LogView) -> Self {
        let LogView { id, name, generation, image, from, to, bytes, removed, expires } = v;
        let text = |time: Option<Timestamp>| time.map(|t| t.to_string());
        Self {
            id: id.to_string(),
            name,
            generation,
            image,
            from: text(from),
            to: text(to),
            bytes,
            removed: text(removed),
            expires: text(expires),
        }
    }
}

/// Which lines, and how.
#[derive(Deserialize, Default, utoipa::IntoParams)]
#[serde(default)]
pub struct ReadQuery {
    /// The last so many.
    pub tail: Option<usize>,
    /// From this time on.
    pub since: Option<String>,
    /// Until this time.
    pub until: Option<String>,
    /// Stay for what comes, while the container is there.
    pub follow: bool,
    /// `json` (one object a line) or `text` (the lines as they were written).
    pub format: Option<String>,
    /// With `format=text`: each line's time before it.
    pub timestamps: bool,
}

pub(super) fn time(field: &str, text: Option<&str>) -> Result<Option<Timestamp>, ApiError> {
    let parse = |text: &str| text.parse().map_err(|e| ApiError(Error::invalid(format!("{field}: {e}"))));
    text.filter(|t| !t.is_empty()).map(parse).transpose()
}

/// The logs of the tenant's containers, of those that are gone as well, the last written to first.
#[utoipa::path(get, path = "/api/v1/logs", responses((status = 200, body = [LogInfoJson])))]
pub async fn list(State(app): State<App>, Who(who): Who) -> Answer<Json<Vec<LogInfoJson>>> {
    Ok(Json(app.engine.kept_logs(&who).await?.into_iter().map(LogInfoJson::from).collect()))
}

/// The lines of a log, by its container's id, a unique beginning of it, or a name (of a container that is gone: its newest log).
#[utoipa::path(get, path = "/api/v1/logs/{id}", params(("id" = String, Path), ReadQuery), responses((status = 200, body = LogJson, content_type = "application/x-ndjson"), (status = 404, body = Message)))]
pub async fn get(State(app): State<App>, Who(who): Who, Path(id): Path<String>, Query(query): Query<ReadQuery>) -> Answer<Response> {
    let text = match query.format.as_deref() {
        None | Some("" | "json") => false,
        Some("text") => true,
        Some(other) => return Err(Error::invalid(format!("the format {other:?} is not known: say json or text")).into()),
    };
    let options = LogOptions {
        stdout: true,
        stderr: true,
        follow: query.follow,
        since: time("since", query.since.as_deref())?,
        until: time("until", query.until.as_deref())?,
        tail: query.tail,
    };
    let (_, logs) = app.engine.read_log(&who, &id, options).await?;
    if text {
        let pieces = logs.lines.map(move |batch| batch.map(|lines| plain(&lines, query.timestamps)));
        return Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], Body::from_stream(pieces)).into_response());
    }
    let each = logs.lines.flat_map(|batch| {
        let lines: Vec<std::io::Result<LogJson>> = match batch {
            Ok(lines) => lines.iter().map(|l| Ok(LogJson::from(l))).collect(),
            Err(e) => vec![Err(e)],
        };
        stream::iter(lines)
    });
    Ok(lines(each))
}

/// Removes the log of a container that is gone.
#[utoipa::path(delete, path = "/api/v1/logs/{id}", params(("id" = String, Path)), responses((status = 204), (status = 404, body = Message), (status = 409, body = Message)))]
pub async fn remove(State(app): State<App>, Who(who): Who, Path(id): Path<String>) -> Answer<StatusCode> {
    app.engine.remove_log(&who, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<&LogLine> for LogJson {
    fn from(line: &LogLine) -> Self {
        let text = String::from_utf8_lossy(&line.bytes);
        let stream = if line.stream == StreamKind::Stderr { "stderr" } else { "stdout" };
        Self { time: line.time.to_string(), stream, text: text.strip_suffix('\n').unwrap_or(&text).to_owned() }
    }
}

/// Lines as text.
pub fn plain(lines: &[LogLine], times: bool) -> Bytes {
    let mut text = Vec::with_capacity(lines.iter().map(|l| l.bytes.len() + 32).sum());
    for line in lines {
        if times {
            text.extend_from_slice(line.time.to_string().as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(&line.bytes);
        // With a time before each part, a line longer than 16 KiB becomes several.
        if times && !line.bytes.ends_with(b"\n") {
            text.push(b'\n');
        }
    }
    text.into()
}
