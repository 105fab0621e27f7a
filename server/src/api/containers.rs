//! Containers over the API.

use super::wire::{Answer, Json as Strict, Message, lines};
use crate::pages::shell::{Again, still_allowed};
use crate::{App, Who};
use axum::Json;
use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use engine::container::request::{ContainerFilter, ExecSpec, LogOptions, RemoveOptions, StopOptions, StreamKind};
use engine::container::spec::{ContainerSpec, RestartPolicy};
use engine::container::{Container, State as Life};
use engine::{Error, Subject};
use futures_util::{StreamExt, stream};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// A container.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ContainerJson {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The image as it was asked for.
    pub image: String,
    /// The image it was made from.
    pub image_id: String,
    /// created, running, paused, restarting, removing, exited, dead.
    pub state: &'static str,
    /// starting, healthy, unhealthy.
    pub health: Option<String>,
    /// When it ended by itself or was killed.
    pub exit_code: Option<i32>,
    /// Killed at its memory limit.
    pub oom_killed: bool,
    /// Why it could not be started.
    pub error: Option<String>,
    /// Process 1 as the host sees it.
    pub pid: Option<i32>,
    /// When it was made.
    pub created: String,
    /// By whom.
    pub created_by: String,
    /// When it started last.
    pub started: Option<String>,
    /// When it ended last.
    pub finished: Option<String>,
    /// How often its restart policy started it.
    pub restart_count: u32,
    /// What runs.
    pub command: Vec<String>,
    /// Its environment.
    pub env: Vec<String>,
    /// Its user.
    pub user: String,
    /// Its working directory.
    pub working_dir: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Published ports.
    pub ports: Vec<PortJson>,
    /// Networks: name → addresses.
    pub networks: BTreeMap<String, Vec<String>>,
    /// Mounts.
    pub mounts: Vec<MountJson>,
    /// Bytes; nothing: as the tenant.
    pub memory_limit: Option<i64>,
    /// CPUs; nothing: as the tenant.
    pub cpus: Option<f64>,
    /// Everything that was asked for.
    #[schema(value_type = Object)]
    pub spec: ContainerSpec,
}

/// A published port.
#[derive(Serialize, utoipa::ToSchema)]
pub struct PortJson {
    /// `80/tcp`.
    pub container: String,
    /// Host address.
    pub ip: String,
    /// Host port.
    pub port: u16,
}

/// A mount.
#[derive(Serialize, utoipa::ToSchema)]
pub struct MountJson {
    /// bind, volume, tmpfs, image.
    #[schema(value_type = String)]
    pub kind: engine::container::spec::MountKind,
    /// Volume name or host path.
    pub source: String,
    /// In the container.
    pub target: String,
    /// Whether it can be written to.
    pub writable: bool,
}

impl From<&Container> for ContainerJson {
    fn from(c: &Container) -> Self {
        let ended = match &c.state {
            Life::Exited(f) | Life::Dead(f) | Life::Restarting(f) => Some(f),
            _ => None,
        };
        let up = match &c.state {
            Life::Running(r) | Life::Paused(r) => Some(r),
            _ => None,
        };
        let resources = &c.spec.host.resources;
        Self {
            id: c.id.to_string(),
            name: c.name.clone(),
            image: c.spec.image.clone(),
            image_id: c.image_id.to_string(),
            state: c.state.word(),
            health: c.health.as_ref().map(|h| h.status.clone()),
            exit_code: ended.map(|f| f.code),
            oom_killed: ended.is_some_and(|f| f.oom_killed),
            error: ended.map(|f| f.error.clone()).filter(|e| !e.is_empty()),
            pid: up.map(|r| r.pid),
            created: c.created.to_string(),
            created_by: c.created_by.clone(),
            started: up.map(|r| r.started).or(ended.and_then(|f| f.started)).map(|t| t.to_string()),
            finished: ended.map(|f| f.finished.to_string()),
            restart_count: c.restart_count,
            command: c.argv.clone(),
            env: c.env.clone(),
            user: c.user.clone(),
            working_dir: c.working_dir.clone(),
            labels: c.spec.labels.clone(),
            ports: c.ports.iter().map(|p| PortJson { container: p.container.to_string(), ip: p.ip.to_string(), port: p.port }).collect(),
            networks: c
                .networks
                .iter()
                .map(|(n, e)| {
                    (n.clone(), [e.ipv4.map(|a| a.0.to_string()), e.ipv6.map(|a| a.0.to_string())].into_iter().flatten().collect())
                })
                .collect(),
            mounts: c
                .mounts
                .iter()
                .map(|m| MountJson {
                    kind: m.kind,
                    source: if m.name.is_empty() { m.source.clone() } else { m.name.clone() },
                    target: m.destination.clone(),
                    writable: m.rw,
                })
                .collect(),
            memory_limit: (resources.memory > 0).then_some(resources.memory),
            cpus: (resources.nano_cpus > 0).then_some(resources.nano_cpus as f64 / 1e9),
            spec: ContainerSpec::clone(&c.spec),
        }
    }
}

/// A container as a JSON value, for the inspect page.
pub fn json(container: &Container) -> serde_json::Value {
    serde_json::to_value(ContainerJson::from(container)).unwrap_or_default()
}

/// What to make. Names, ports and volumes are written as in `docker run`.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewContainer {
    /// Empty: made up.
    #[serde(default)]
    pub name: String,
    /// An image that is here.
    pub image: String,
    /// Instead of the image's command.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// Instead of the image's entry point.
    #[serde(default)]
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=value`.
    #[serde(default)]
    pub env: Vec<String>,
    /// `[[address:]host-port:]container-port[/protocol]`.
    #[serde(default)]
    pub ports: Vec<String>,
    /// `volume-or-path:/path[:ro]`.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// `bridge`, `none`, `host` or a network's name; empty: bridge.
    #[serde(default)]
    pub network: String,
    /// no, always, unless-stopped or on-failure.
    #[serde(default)]
    pub restart: Restart,
    /// Bytes.
    #[serde(default)]
    pub memory: i64,
    /// CPUs.
    #[serde(default)]
    pub cpus: f64,
    /// Empty: the image's.
    #[serde(default)]
    pub user: String,
    /// Empty: the image's.
    #[serde(default)]
    pub working_dir: String,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// With a terminal.
    #[serde(default)]
    pub tty: bool,
    /// Root file system read-only.
    #[serde(default)]
    pub read_only: bool,
    /// Remove it when it exits.
    #[serde(default)]
    pub auto_remove: bool,
    /// Start it at once.
    #[serde(default)]
    pub start: bool,
}

/// What to do when it exits.
#[derive(Deserialize, Default, Clone, Copy, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Restart {
    #[default]
    No,
    Always,
    UnlessStopped,
    OnFailure,
}

impl NewContainer {
    fn spec(self) -> Result<ContainerSpec, Error> {
        if !(0.0..=4096.0).contains(&self.cpus) {
            return Err(Error::invalid("cpus must be a number from 0 to 4096"));
        }
        let mut spec = ContainerSpec {
            image: self.image,
            cmd: self.command,
            entrypoint: self.entrypoint,
            env: self.env,
            user: self.user,
            working_dir: self.working_dir,
            labels: self.labels,
            tty: self.tty,
            open_stdin: self.tty,
            ..ContainerSpec::default()
        };
        for text in &self.ports {
            let (container, host) = crate::pages::port(text).map_err(|why| Error::invalid(format!("ports: {text:?}: {why}")))?;
            spec.exposed_ports.push(container);
            spec.host.port_bindings.entry(container).or_default().push(host);
        }
        spec.host.binds = self.volumes;
        spec.host.network_mode = if self.network.is_empty() { "bridge".into() } else { self.network };
        spec.host.restart = match self.restart {
            Restart::No => RestartPolicy::No,
            Restart::Always => RestartPolicy::Always,
            Restart::UnlessStopped => RestartPolicy::UnlessStopped,
            Restart::OnFailure => RestartPolicy::OnFailure(0),
        };
        spec.host.resources.memory = self.memory;
        spec.host.resources.nano_cpus = (self.cpus * 1e9) as i64;
        spec.host.read_only = self.read_only;
        spec.host.auto_remove = self.auto_remove;
        Ok(spec)
    }
}

/// The outcome of making one.
#[derive(Serialize, utoipa::ToSchema)]
pub struct CreatedJson {
    /// Its id.
    pub id: String,
    /// What the creator should know.
    pub warnings: Vec<String>,
}

/// Which containers.
#[derive(Deserialize, Default, utoipa::IntoParams)]
#[serde(default)]
pub struct ListQuery {
    /// Only those that are up.
    pub up: bool,
}

/// One's containers, newest first.
#[utoipa::path(get, path = "/api/v1/containers", params(ListQuery), responses((status = 200, body = [ContainerJson])))]
pub async fn list(State(app): State<App>, Who(who): Who, Query(query): Query<ListQuery>) -> Answer<Json<Vec<ContainerJson>>> {
    let filter = ContainerFilter { all: !query.up, ..ContainerFilter::default() };
    Ok(Json(app.engine.containers(&who, &filter).await?.iter().map(ContainerJson::from).collect()))
}

/// Makes a container; its image must be here (pull it first).
#[utoipa::path(post, path = "/api/v1/containers", request_body = NewContainer, responses((status = 201, body = CreatedJson), (status = 400, body = Message), (status = 403, body = Message), (status = 404, body = Message), (status = 409, body = Message)))]
pub async fn create(
    State(app): State<App>,
    Who(who): Who,
    Strict(mut body): Strict<NewContainer>,
) -> Answer<(StatusCode, Json<CreatedJson>)> {
    let (name, start) = (std::mem::take(&mut body.name), body.start);
    let created = app.engine.create_container(&who, &name, body.spec()?).await?;
    if start {
        app.engine.start(&who, created.id.as_str()).await?;
    }
    Ok((StatusCode::CREATED, Json(CreatedJson { id: created.id.to_string(), warnings: created.warnings })))
}

async fn now(app: &App, who: &Subject, name: &str) -> Answer<Json<ContainerJson>> {
    Ok(Json(ContainerJson::from(&app.engine.container(who, name).await?)))
}

/// One container, by name, id or unique id prefix.
#[utoipa::path(get, path = "/api/v1/containers/{name}", params(("name" = String, Path)), responses((status = 200, body = ContainerJson), (status = 404, body = Message)))]
pub async fn get(State(app): State<App>, Who(who): Who, Path(name): Path<String>) -> Answer<Json<ContainerJson>> {
    now(&app, &who, &name).await
}

/// One container as an OCI runtime specification (`config.json`): what another runtime would be given to make the same.
#[utoipa::path(get, path = "/api/v1/containers/{name}/oci-spec", params(("name" = String, Path)), responses((status = 200, body = serde_json::Value), (status = 404, body = Message)))]
pub async fn oci_spec(State(app): State<App>, Who(who): Who, Path(name): Path<String>) -> Answer<Json<serde_json::Value>> {
    Ok(Json(app.engine.oci_spec(&who, &name).await?))
}

/// What goes with it.
#[derive(Deserialize, Default, utoipa::IntoParams)]
#[serde(default)]
pub struct RemoveQuery {
    /// Kill it first if it runs.
    pub force: bool,
    /// Remove its anonymous volumes as well.
    pub volumes: bool,
}

/// Removes it.
#[utoipa::path(delete, path = "/api/v1/containers/{name}", params(("name" = String, Path), RemoveQuery), responses((status = 204), (status = 404, body = Message), (status = 409, body = Message)))]
pub async fn remove(
    State(app): State<App>,
    Who(who): Who,
    Path(name): Path<String>,
    Query(query): Query<RemoveQuery>,
) -> Answer<StatusCode> {
    app.engine.remove_container(&who, &name, RemoveOptions { force: query.force, volumes: query.volumes }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Starts it.
#[utoipa::path(post, path = "/api/v1/containers/{name}/start", params(("name" = String, Path)), responses((status = 200, body = ContainerJson), (status = 404, body = Message)))]
pub async fn start(State(app): State<App>, Who(who): Who, Path(name): Path<String>) -> Answer<Json<ContainerJson>> {
    app.engine.start(&who, &name).await?;
    now(&app, &who, &name).await
}

/// How to stop.
#[derive(Deserialize, Default, utoipa::IntoParams)]
#[serde(default)]
pub struct StopQuery {
    /// Seconds before SIGKILL; −1 for ever.
    pub timeout: Option<i64>,
}

/// Stops it: its stop signal, then SIGKILL.
#[utoipa::path(post, path = "/api/v1/containers/{name}/stop", params(("name" = String, Path), StopQuery), responses((status = 200, body = ContainerJson), (status = 404, body = Message)))]
pub async fn stop(
    State(app): State<App>,
    Who(who): Who,
    Path(name): Path<String>,
    Query(query): Query<StopQuery>,
) -> Answer<Json<ContainerJson>> {
    app.engine.stop(&who, &name, &StopOptions { timeout: query.timeout, signal: None }).await?;
    now(&app, &who, &name).await
}

/// Stops and starts it.
#[utoipa::path(post, path = "/api/v1/containers/{name}/restart", params(("name" = String, Path), StopQuery), responses((status = 200, body = ContainerJson), (status = 404, body = Message)))]
pub async fn restart(
    State(app): State<App>,
    Who(who): Who,
    Path(name): Path<String>,
    Query(query): Query<StopQuery>,
) -> Answer<Json<ContainerJson>> {
    app.engine.restart(&who, &name, &StopOptions { timeout: query.timeout, signal: None }).await?;
    now(&app, &who, &name).await
}

/// Which signal.
#[derive(Deserialize, Default, utoipa::IntoParams)]
#[serde(default)]
pub struct KillQuery {
    /// By name or number; empty: SIGKILL.
    pub signal: String,
}

/// Sends a signal.
#[utoipa::path(post, path = "/api/v1/containers/{name}/kill", params(("name" = String, Path), KillQuery), responses((status = 200, body = ContainerJson), (status = 404, body = Message), (status = 409, body = Message)))]
pub async fn kill(
    State(app): State<App>,
    Who(who): Who,
    Path(name): Path<String>,
    Query(query): Query<KillQuery>,
) -> Answer<Json<ContainerJson>> {
    app.engine.kill(&who, &name, &query.signal).await?;
    now(&app, &who, &name).await
}

/// Freezes it.
#[utoipa::path(post, path = "/api/v1/containers/{name}/pause", params(("name" = String, Path)), responses((status = 200, body = ContainerJson), (status = 404, body = Message), (status = 409, body = Message)))]
pub async fn pause(State(app): State<App>, Who(who): Who, Path(name): Path<String>) -> Answer<Json<ContainerJson>> {
    app.engine.pause(&who, &name).await?;
    now(&app, &who, &name).await
}

/// Thaws it.
#[utoipa::path(post, path = "/api/v1/containers/{name}/unpause", params(("name" = String, Path)), responses((status = 200, body = ContainerJson), (status = 404, body = Message), (status = 409, body = Message)))]
pub async fn unpause(State(app): State<App>, Who(who): Who, Path(name): Path<String>) -> Answer<Json<ContainerJson>> {
    app.engine.unpause(&who, &name).await?;
    now(&app, &who, &name).await
}

/// Which lines.
#[derive(Deserialize, Default, utoipa::IntoParams)]
#[serde(default)]
pub struct LogQuery {
    /// The last so many.
    pub tail: Option<usize>,
    /// From this time on.
    pub since: Option<String>,
    /// Until this time.
    pub until: Option<String>,
    /// Stay for what comes.
    pub follow: bool,
}

/// A log line.
#[derive(Serialize, utoipa::ToSchema)]
pub struct LogJson {
    /// When it was written.
    pub time: String,
    /// stdout or stderr.
    pub stream: &'static str,
    /// Without its newline; bytes that are no UTF-8 are replaced.
    pub text: String,
}

/// Its log, one JSON object a line.
#[utoipa::path(get, path = "/api/v1/containers/{name}/logs", params(("name" = String, Path), LogQuery), responses((status = 200, body = LogJson, content_type = "application/x-ndjson"), (status = 404, body = Message)))]
pub async fn logs(State(app): State<App>, Who(who): Who, Path(name): Path<String>, Query(query): Query<LogQuery>) -> Answer<Response> {
    let options = LogOptions {
        stdout: true,
        stderr: true,
        follow: query.follow,
        since: super::logs::time("since", query.since.as_deref())?,
        until: super::logs::time("until", query.until.as_deref())?,
        tail: query.tail,
    };
    let logs = app.engine.logs(&who, &name, &options).await?;
    let each = logs.lines.flat_map(|batch| {
        let lines: Vec<std::io::Result<LogJson>> = match batch {
            Ok(lines) => lines.iter().map(|l| Ok(LogJson::from(l))).collect(),
            Err(e) => vec![Err(e)],
        };
        stream::iter(lines)
    });
    Ok(lines(each))
}

/// What to run.
#[derive(Deserialize, utoipa::IntoParams)]
pub struct ExecQuery {
    /// The command as JSON: `["sh","-c","id"]`.
    pub command: String,
    /// Empty: the container's.
    #[serde(default)]
    pub user: String,
    /// Empty: the container's.
    #[serde(default)]
    pub working_dir: String,
    /// With a terminal.
    #[serde(default)]
    pub tty: bool,
}

/// Runs a command over a WebSocket: binary messages to it are its input (an empty one ends it), binary messages from it its
/// output with one byte before (1 stdout, 2 stderr), text messages to it `{"rows": …, "columns": …}`, and the last one from it
/// `{"exit_code": …}`.
#[utoipa::path(get, path = "/api/v1/containers/{name}/exec", params(("name" = String, Path), ExecQuery), responses((status = 101), (status = 404, body = Message), (status = 409, body = Message)))]
pub async fn exec(
    State(app): State<App>,
    Who(who): Who,
    again: Again,
    Path(name): Path<String>,
    Query(query): Query<ExecQuery>,
    upgrade: WebSocketUpgrade,
) -> Answer<Response> {
    let argv: Vec<String> = serde_json::from_str(&query.command).map_err(|e| Error::invalid(format!("command: {e}")))?;
    let spec = ExecSpec {
        argv,
        user: query.user,
        working_dir: query.working_dir,
        tty: query.tty,
        stdin: true,
        stdout: true,
        stderr: true,
        ..ExecSpec::default()
    };
    // Made before the upgrade, so that errors are answers with a status.
    let id = app.engine.exec_create(&who, &name, spec).await?;
    Ok(upgrade.max_message_size(64 << 10).on_upgrade(move |mut socket| async move {
        let last = match run(&mut socket, &app, &who, &again, id.as_str(), query.tty).await {
            Ok(Some(code)) => serde_json::json!({ "exit_code": code }),
            Ok(None) => return,
            Err(error) => serde_json::json!({ "message": error.to_string() }),
        };
        // The other side may be gone by now, which is as good.
        let _ = socket.send(Frame::Text(last.to_string().into())).await;
        let _ = socket.send(Frame::Close(Some(CloseFrame { code: 1000, reason: "".into() }))).await;
    }))
}

#[derive(Deserialize)]
struct Size {
    rows: u16,
    columns: u16,
}

/// The exit code; nothing when the other side left.
async fn run(socket: &mut WebSocket, app: &App, who: &Subject, again: &Again, id: &str, tty: bool) -> Result<Option<i32>, Error> {
    let mut attached = app.engine.exec_start(who, id, tty, None).await?;
    let mut check = tokio::time::interval(Duration::from_secs(30));
    let mut accounts = app.accounts.changes();
    loop {
        tokio::select! {
            chunk = attached.output.next() => match chunk {
                Some(Ok(chunk)) => {
                    let mut bytes = Vec::with_capacity(chunk.bytes.len() + 1);
                    bytes.push(if chunk.stream == StreamKind::Stderr { 2 } else { 1 });
                    bytes.extend_from_slice(&chunk.bytes);
                    if socket.send(Frame::Binary(bytes.into())).await.is_err() {
                        return Ok(None);
                    }
                }
                Some(Err(e)) => return Err(Error::internal("reading its output", e)),
                None => return Ok(Some(app.engine.exec(who, id).await?.exit_code.unwrap_or(-1))),
            },
            message = socket.recv() => match message {
                Some(Ok(Frame::Binary(bytes))) if bytes.is_empty() => {
                    if let Some(mut input) = attached.input.take() {
                        // It may have closed its input itself.
                        let _ = input.shutdown().await;
                    }
                }
                Some(Ok(Frame::Binary(bytes))) => {
                    if let Some(input) = attached.input.as_mut() && (input.write_all(&bytes).await.is_err() || input.flush().await.is_err()) {
                        attached.input = None;
                    }
                }
                Some(Ok(Frame::Text(text))) => {
                    let size: Size = serde_json::from_str(&text).map_err(|e| Error::invalid(e.to_string()))?;
                    app.engine.exec_resize(who, id, size.rows, size.columns).await?;
                }
                Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => {}
                Some(Ok(Frame::Close(_)) | Err(_)) | None => return Ok(None),
            },
            _ = check.tick() => if !still_allowed(app, again).await { return Err(Error::forbidden("the credential has ended")) },
            changed = accounts.changed() => if changed.is_err() || !still_allowed(app, again).await { return Err(Error::forbidden("the credential has ended")) },
        }
    }
}
