//! Streams of containers: attach, logs, exec.

use super::ask::{Args, Json, read_json};
use super::containers::console_size;
use super::detach::Detach;
use super::error::{Answer, Failure};
use super::hijack::{Client, RAW, content_type};
use super::logs::Format;
use super::reply::{created, json};
use super::wire;
use crate::{ApiVersion, App, Who};
use axum::body::{Body, Bytes};
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use engine::container::request::{AttachOptions, Attached, LogOptions};
use engine::{Error, Kind};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use tokio::io::AsyncWriteExt;

fn attach_options(args: &Args) -> AttachOptions {
    AttachOptions {
        stdin: args.flag("stdin"),
        stdout: args.flag("stdout"),
        stderr: args.flag("stderr"),
        logs: args.flag("logs"),
        stream: args.flag("stream"),
        detach_keys: Some(args.text("detachKeys").to_owned()).filter(|keys| !keys.is_empty()),
    }
}

/// `POST /containers/{id}/attach`
pub async fn attach(
    State(app): State<App>,
    Who(who): Who,
    version: ApiVersion,
    Path(name): Path<String>,
    args: Args,
    request: Request,
) -> Answer {
    let detach = Detach::new(args.text("detachKeys"))?;
    match app.engine.attach(&who, &name, &attach_options(&args)).await {
        Ok(attached) => Ok(Client::of(request).await?.join(attached, Some(detach), version)),
        // Docker has left HTTP behind by now, and writes the text alone.
        Err(error) => {
            let body = format!("{error}\r\n");
            Ok((super::error::status(&error), [(header::CONTENT_TYPE, HeaderValue::from_static(RAW))], body).into_response())
        }
    }
}

/// `GET /containers/{id}/attach/ws`: the same over a WebSocket, raw in both directions.
pub async fn attach_ws(
    State(app): State<App>,
    Who(who): Who,
    Path(name): Path<String>,
    args: Args,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Answer {
    let detach = Detach::new(args.text("detachKeys"))?;
    // An absent container is what the client should hear of first.
    app.engine.container(&who, &name).await?;
    let upgrade = upgrade.map_err(|refusal| Failure::Http(refusal.status(), refusal.body_text()))?;
    let attached = app.engine.attach(&who, &name, &attach_options(&args)).await?;
    Ok(upgrade.on_upgrade(move |socket| converse(socket, attached, detach)))
}

async fn converse(socket: WebSocket, attached: Attached, detach: Detach) {
    let Attached { mut input, mut output, tty } = attached;
    let mut detach = Some(detach).filter(|_| tty);
    let (mut send, mut receive) = socket.split();
    let inward = async {
        while let Some(Ok(message)) = receive.next().await {
            let typed: Bytes = match message {
                Message::Binary(bytes) => bytes,
                Message::Text(text) => text.into(),
                Message::Close(_) => break,
                Message::Ping(_) | Message::Pong(_) => continue,
            };
            let (bytes, left) = match &mut detach {
                None => (typed, false),
                Some(detach) => {
                    let (bytes, left) = detach.feed(&typed);
                    (bytes.into(), left)
                }
            };
            if let Some(pipe) = &mut input
                && (pipe.write_all(&bytes).await.is_err() || pipe.flush().await.is_err())
            {
                input = None;
            }
            if left {
                break;
            }
        }
    };
    let outward = async {
        while let Some(Ok(chunk)) = output.next().await {
            if send.send(Message::Binary(chunk.bytes)).await.is_err() {
                return;
            }
        }
        // The browser may be gone by now; then there is nobody to say goodbye to.
        let _ = send.send(Message::Close(None)).await;
    };
    // A WebSocket has no half-close: when the client closes, it is over.
    tokio::select! {
        () = inward => {}
        () = outward => {}
    }
}

/// `GET /containers/{id}/logs`
pub async fn logs(State(app): State<App>, Who(who): Who, version: ApiVersion, Path(name): Path<String>, args: Args) -> Answer {
    let options = LogOptions {
        stdout: args.flag("stdout"),
        stderr: args.flag("stderr"),
        follow: args.flag("follow"),
        since: wire::time::parse(args.text("since"))?,
        until: wire::time::parse(args.text("until"))?,
        // `all`, nothing, and what is no number are all of them.
        tail: args.text("tail").parse().ok(),
    };
    if !options.stdout && !options.stderr {
        return Err(Error::invalid("Bad parameters: you must choose at least one stream").into());
    }
    let details = match args.flag("details") {
        true => Some(super::logs::details(&app.engine.container(&who, &name).await?)?),
        false => None,
    };
    let logs = app.engine.logs(&who, &name, &options).await?;
    let mut format = Format::new(logs.tty, args.flag("timestamps"), details);
    let pieces = logs.lines.map(move |batch| batch.map(|lines| format.batch(&lines)));
    let content_type = HeaderValue::from_static(content_type(logs.tty, version));
    Ok(([(header::CONTENT_TYPE, content_type)], Body::from_stream(pieces)).into_response())
}

/// `POST /containers/{id}/exec`
pub async fn exec_create(State(app): State<App>, Who(who): Who, Path(name): Path<String>, Json(body): Json) -> Answer {
    let spec = wire::exec::create(body)?;
    Detach::new(spec.detach_keys.as_deref().unwrap_or_default())?;
    let id = app.engine.exec_create(&who, &name, spec).await?;
    Ok(created(&json!({ "Id": id.as_str() })))
}

/// `POST /exec/{id}/start`
pub async fn exec_start(State(app): State<App>, Who(who): Who, version: ApiVersion, Path(id): Path<String>, request: Request) -> Answer {
    // The upgrade happens after the whole request was read: the process's input begins behind it.
    let (parts, body) = request.into_parts();
    let start = wire::exec::start(read_json(&parts.headers, body).await?)?;
    let exec = app.engine.exec(&who, &id).await?;
    if start.detach {
        app.engine.exec_start_detached(&who, &id).await?;
        return Ok(StatusCode::OK.into_response());
    }
    let client = Client::of(Request::from_parts(parts, Body::empty())).await?;
    match app.engine.exec_start(&who, &id, start.tty, start.console_size).await {
        Ok(mut attached) => {
            // Docker frames the output by what the start says, even that of a process on a terminal: docker-py leaves it out there.
            attached.tty = start.tty;
            let detach = Detach::new(exec.spec.detach_keys.as_deref().unwrap_or_default())?;
            Ok(client.join(attached, Some(detach), version))
        }
        Err(error) => match refused_before_start(&error) {
            true => Err(error.into()),
            // The client reads why in the stream, and the exit code (126, 127) from inspect.
            false => Ok(client.tell(&error.to_string(), start.tty, version)),
        },
    }
}

/// Whether Docker would find this out before it takes the connection over: then it is an ordinary answer.
fn refused_before_start(error: &Error) -> bool {
    match error.kind() {
        Kind::NotFound | Kind::Forbidden | Kind::Unsupported | Kind::Unavailable | Kind::Exhausted => true,
        Kind::Conflict => {
            let text = error.to_string();
            text.contains("is not running") || text.contains("is paused")
        }
        Kind::Invalid | Kind::Internal => false,
    }
}

/// `POST /exec/{id}/resize`
pub async fn exec_resize(State(app): State<App>, Who(who): Who, Path(id): Path<String>, args: Args) -> Answer {
    let (rows, columns) = console_size(&args)?;
    app.engine.exec_resize(&who, &id, rows, columns).await?;
    Ok(StatusCode::OK.into_response())
}

/// `GET /exec/{id}/json`
pub async fn exec_inspect(State(app): State<App>, Who(who): Who, Path(id): Path<String>) -> Answer<Response> {
    Ok(json(&wire::exec::exec(&app.engine.exec(&who, &id).await.map_err(Failure::from)?)))
}
