//! `/containers`: making, looking at and steering them. Their streams are in `streams`, their files in `archive`.

use super::ask::{Args, Json, Name};
use super::error::Answer;
use super::reply::{created, json, nothing, unchanged};
use super::wire;
use crate::{ApiVersion, App, Who};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use engine::Error;
use engine::container::CommitRequest;
use engine::container::request::{Changed, ContainerFilter, RemoveOptions, StopOptions, WaitCondition};
use futures_util::StreamExt;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use std::sync::Arc;

/// The filters a list knows.
const LIST_FILTERS: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "isolation",
    "is-task",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];
/// The filters a prune knows.
pub const PRUNE_FILTERS: [&str; 3] = ["until", "label", "label!"];

/// `POST /containers/create`
pub async fn create(State(app): State<App>, Who(who): Who, version: ApiVersion, args: Args, Json(body): Json) -> Answer {
    let mut spec = wire::create::container(body, version.minor)?;
    spec.platform = Some(args.text("platform").to_owned()).filter(|p| !p.is_empty());
    let name = args.text("name");
    let made = app.engine.create_container(&who, name.strip_prefix('/').unwrap_or(name), spec).await?;
    Ok(created(&json!({ "Id": made.id.as_str(), "Warnings": made.warnings })))
}

/// `GET /containers/json`
pub async fn list(State(app): State<App>, Who(who): Who, version: ApiVersion, args: Args) -> Answer {
    let filter = ContainerFilter {
        all: args.flag("all"),
        limit: args.int("limit")?.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0),
        filters: args.filters(&LIST_FILTERS)?,
    };
    let mut containers = app.engine.containers(&who, &filter).await?;
    // A name that means another image by now, or none, would mislead: dockerd shows the image's id.
    let now = app.engine.image_ids(&who, containers.iter().map(|c| c.spec.image.clone()).collect()).await?;
    for container in &mut containers {
        if now.get(&container.spec.image) != Some(&container.image_id) {
            Arc::make_mut(&mut container.spec).image = container.image_id.to_string();
        }
    }
    let mut sizes = Vec::new();
    if args.flag("size") {
        for container in &containers {
            sizes.push(app.engine.container_size(&who, container.id.as_str()).await.ok());
        }
    }
    let now = jiff::Timestamp::now();
    let rows = containers.iter().enumerate();
    let rows = rows.map(|(i, c)| wire::summary::summary(c, sizes.get(i).copied().flatten(), now, version));
    Ok(json(&rows.collect::<Vec<_>>()))
}

/// `GET /containers/{id}/json`
pub async fn inspect(State(app): State<App>, Who(who): Who, version: ApiVersion, Path(name): Path<String>, args: Args) -> Answer {
    let container = app.engine.container(&who, &name).await?;
    let size = match args.flag("size") {
        true => Some(app.engine.container_size(&who, container.id.as_str()).await?),
        false => None,
    };
    Ok(json(&wire::container::inspect(&container, size, version)))
}

fn changed(changed: Changed) -> Response {
    match changed {
        Changed::Yes => nothing(),
        Changed::AlreadySo => unchanged(),
    }
}

/// `POST /containers/{id}/start`
pub async fn start(State(app): State<App>, Who(who): Who, Path(name): Path<String>, args: Args, headers: HeaderMap) -> Answer {
    // Docker's measure too: the JSON of an object with anything in it is at least that long.
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|n| n > 7) || headers.contains_key(header::TRANSFER_ENCODING) {
        let text = "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24";
        return Err(Error::invalid(text).into());
    }
    if !args.text("checkpoint").is_empty() {
        return Err(Error::unsupported("starting from a checkpoint").into());
    }
    Ok(changed(app.engine.start(&who, &name).await?))
}

fn stop_options(args: &Args) -> engine::Result<StopOptions> {
    Ok(StopOptions { timeout: args.int("t")?, signal: Some(args.text("signal").to_owned()).filter(|s| !s.is_empty()) })
}

/// `POST /containers/{id}/stop`
pub async fn stop(State(app): State<App>, Who(who): Who, Path(name): Path<String>, args: Args) -> Answer {
    Ok(changed(app.engine.stop(&who, &name, &stop_options(&args)?).await?))
}

/// `POST /containers/{id}/restart`
pub async fn restart(State(app): State<App>, Who(who): Who, Path(name): Path<String>, args: Args) -> Answer {
    app.engine.restart(&who, &name, &stop_options(&args)?).await?;
    Ok(nothing())
}

/// `POST /containers/{id}/kill`
pub async fn kill(State(app): State<App>, Who(who): Who, Path(name): Path<String>, args: Args) -> Answer {
    app.engine.kill(&who, &name, args.text("signal")).await?;
    Ok(nothing())
}

/// `POST /containers/{id}/pause`
pub async fn pause(State(app): State<App>, Who(who): Who, Path(name): Path<String>) -> Answer {
    app.engine.pause(&who, &name).await?;
    Ok(nothing())
}

/// `POST /containers/{id}/unpause`
pub async fn unpause(State(app): State<App>, Who(who): Who, Path(name): Path<String>) -> Answer {
    app.engine.unpause(&who, &name).await?;
    Ok(nothing())
}

/// `POST /containers/{id}/rename`
pub async fn rename(State(app): State<App>, Who(who): Who, Path(name): Path<String>, args: Args) -> Answer {
    let new = args.text("name");
    let new = new.strip_prefix('/').unwrap_or(new);
    if new.is_empty() {
        return Err(Error::invalid("Neither old nor new names may be empty").into());
    }
    app.engine.rename(&who, &name, new).await?;
    Ok(nothing())
}

/// `POST /containers/{id}/update`
pub async fn update(State(app): State<App>, Who(who): Who, version: ApiVersion, Path(name): Path<String>, Json(body): Json) -> Answer {
    let (resources, restart) = wire::create::update(body, version.minor)?;
    let warnings = app.engine.update(&who, &name, resources, restart).await?;
    Ok(json(&json!({ "Warnings": if warnings.is_empty() { Value::Null } else { json!(warnings) } })))
}

/// `DELETE /containers/{id}`
pub async fn remove(State(app): State<App>, Who(who): Who, Name(name): Name, args: Args) -> Answer {
    if args.flag("link") {
        return Err(Error::unsupported("removing a link").into());
    }
    let options = RemoveOptions { force: args.flag("force"), volumes: args.flag("v") };
    app.engine.remove_container(&who, &name, options).await?;
    Ok(nothing())
}

/// `POST /containers/{id}/resize`
pub async fn resize(State(app): State<App>, Who(who): Who, Path(name): Path<String>, args: Args) -> Answer {
    let (rows, columns) = console_size(&args)?;
    app.engine.resize(&who, &name, rows, columns).await?;
    Ok(StatusCode::OK.into_response())
}

/// `h` and `w`, which must both be there.
pub fn console_size(args: &Args) -> engine::Result<(u16, u16)> {
    let side = |key: &str, what: &str| {
        let text = args.text(key);
        text.parse::<u16>().map_err(|_| Error::invalid(format!("invalid resize {what} {text:?}: expected a number up to 65535")))
    };
    Ok((side("h", "height")?, side("w", "width")?))
}

/// `POST /containers/{id}/wait`: the headers go out at once (the CLI starts the container only after it has them), the
/// body when it ended.
pub async fn wait(State(app): State<App>, Who(who): Who, Path(name): Path<String>, args: Args) -> Answer {
    let condition = match args.text("condition") {
        "" | "not-running" => WaitCondition::NotRunning,
        "next-exit" => WaitCondition::NextExit,
        "removed" => WaitCondition::Removed,
        other => return Err(Error::invalid(format!("invalid condition: {other:?}")).into()),
    };
    let end = app.engine.wait(&who, &name, condition).await?;
    let body = async move {
        let value = match end.await {
            Ok(outcome) => match outcome.error.filter(|e| !e.is_empty()) {
                None => json!({ "StatusCode": outcome.code }),
                Some(error) => json!({ "StatusCode": outcome.code, "Error": { "Message": error } }),
            },
            Err(error) => json!({ "StatusCode": -1, "Error": { "Message": error.to_string() } }),
        };
        Ok::<_, std::convert::Infallible>(format!("{value}\n"))
    };
    Ok(super::reply::json_stream(futures_util::stream::once(body)))
}

/// `GET /containers/{id}/top`
pub async fn top(State(app): State<App>, Who(who): Who, Path(name): Path<String>, args: Args) -> Answer {
    let table = app.engine.top(&who, &name, args.text("ps_args")).await?;
    Ok(json(&json!({ "Titles": table.titles, "Processes": table.processes })))
}

/// `GET /containers/{id}/changes`
pub async fn changes(State(app): State<App>, Who(who): Who, Path(name): Path<String>) -> Answer {
    let changes = app.engine.changes(&who, &name).await?;
    if changes.is_empty() {
        return Ok(json(&Value::Null));
    }
    Ok(json(&changes.iter().map(|(path, kind)| json!({ "Path": path, "Kind": kind })).collect::<Vec<_>>()))
}

/// `GET /containers/{id}/stats`: one look, or one a second for as long as the client listens.
pub async fn stats(State(app): State<App>, Who(who): Who, Path(name): Path<String>, args: Args) -> Answer {
    let container = app.engine.container(&who, &name).await?;
    let id = container.id.as_str().to_owned();
    let stream = args.flag_or("stream", true);
    let first = app.engine.stats(&who, &id).await?;
    if !stream && (args.flag("one-shot") || first.is_none()) {
        return Ok(json(&wire::stats::stats(&container, first.as_ref(), None)));
    }
    // Each look is told with the one a second before it, or its percentages would mean nothing.
    let looks = futures_util::stream::unfold((app, first), move |(app, before)| {
        let (who, id, container) = (who.clone(), id.clone(), container.clone());
        async move {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            // Gone meanwhile: the stream ends.
            let now = app.engine.stats(&who, &id).await.ok()?;
            let line = format!("{}\n", wire::stats::stats(&container, now.as_ref(), before.as_ref()));
            Some((Ok::<_, std::convert::Infallible>(line), (app, now)))
        }
    });
    Ok(match stream {
        true => super::reply::json_stream(looks),
        false => super::reply::json_stream(looks.take(1)),
    })
}

/// `POST /containers/prune`
pub async fn prune(State(app): State<App>, Who(who): Who, args: Args) -> Answer {
    let pruned = app.engine.prune_containers(&who, &args.filters(&PRUNE_FILTERS)?).await?;
    Ok(json(&json!({
        "ContainersDeleted": super::reply::list_or_null(&pruned.removed),
        "SpaceReclaimed": pruned.reclaimed,
    })))
}

/// `POST /commit`
pub async fn commit(State(app): State<App>, Who(who): Who, args: Args, Json(body): Json) -> Answer {
    let config = wire::create::config(body)?;
    let request = CommitRequest {
        repository: args.text("repo").to_owned(),
        tag: args.text("tag").to_owned(),
        comment: args.text("comment").to_owned(),
        author: args.text("author").to_owned(),
        pause: args.flag_or("pause", true),
        changes: args.all("changes").iter().flat_map(|lines| lines.lines()).map(str::to_owned).collect(),
        config: (config != engine::container::ContainerSpec::default()).then_some(config),
    };
    let id = app.engine.commit(&who, args.text("container"), request).await?;
    Ok(created(&json!({ "Id": id.to_string() })))
}
