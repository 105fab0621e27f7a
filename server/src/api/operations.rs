//! Operations over the API: list, look, cancel, and progress as it comes.

use super::wire::{Answer, lines};
use crate::operations::{Operation, Snapshot};
use crate::{App, Who};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use futures_util::stream;
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;

/// An operation.
#[derive(Serialize, utoipa::ToSchema)]
pub struct OperationJson {
    /// Its number.
    pub id: String,
    /// pull, load, create, prune.
    pub kind: &'static str,
    /// For people.
    pub title: String,
    /// Who began it.
    pub owner: String,
    /// running, done, failed, cancelled.
    pub state: &'static str,
    /// When it began.
    pub started: String,
    /// When it ended.
    pub finished: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// 0–100 where known.
    pub percent: Option<u8>,
    /// Its parts, layers for instance.
    pub parts: Vec<PartJson>,
    /// The last lines of its log.
    pub log: Vec<String>,
}

/// A part of an operation.
#[derive(Serialize, utoipa::ToSchema)]
pub struct PartJson {
    /// Which.
    pub id: String,
    /// What it is doing.
    pub status: String,
    /// Bytes done.
    pub done: Option<u64>,
    /// Bytes to do.
    pub total: Option<u64>,
}

impl OperationJson {
    /// As it is now.
    pub fn of(operation: &Operation) -> Self {
        let Snapshot { phase, parts, log, percent, .. } = operation.snapshot();
        Self {
            id: operation.id.to_string(),
            kind: operation.kind,
            title: operation.title.clone(),
            owner: operation.owner.clone(),
            state: phase.word(),
            started: operation.started.to_string(),
            finished: phase.ended().map(|t| t.to_string()),
            error: phase.error().map(str::to_owned),
            percent,
            parts: parts
                .into_iter()
                .map(|(id, p)| PartJson { id, status: p.status, done: p.bytes.map(|b| b.0), total: p.bytes.and_then(|b| b.1) })
                .collect(),
            log,
        }
    }
}

/// The operations of one's tenant, newest first.
#[utoipa::path(get, path = "/api/v1/operations", responses((status = 200, body = [OperationJson])))]
pub async fn list(State(app): State<App>, Who(who): Who) -> Json<Vec<OperationJson>> {
    Json(app.operations.list(&who).iter().map(|o| OperationJson::of(o)).collect())
}

/// One operation.
#[utoipa::path(get, path = "/api/v1/operations/{id}", params(("id" = String, Path)), responses((status = 200, body = OperationJson), (status = 404, body = super::wire::Message)))]
pub async fn get(State(app): State<App>, Who(who): Who, Path(id): Path<String>) -> Answer<Json<OperationJson>> {
    Ok(Json(OperationJson::of(&*app.operations.get(&who, &id)?)))
}

/// Asks an operation to stop.
#[utoipa::path(post, path = "/api/v1/operations/{id}/cancel", params(("id" = String, Path)), responses((status = 200, body = OperationJson), (status = 404, body = super::wire::Message)))]
pub async fn cancel(State(app): State<App>, Who(who): Who, Path(id): Path<String>) -> Answer<Json<OperationJson>> {
    let operation = app.operations.get(&who, &id)?;
    operation.cancel();
    Ok(Json(OperationJson::of(&operation)))
}

/// An operation after each change until it ends, one JSON object a line.
#[utoipa::path(get, path = "/api/v1/operations/{id}/progress", params(("id" = String, Path)), responses((status = 200, body = OperationJson, content_type = "application/x-ndjson"), (status = 404, body = super::wire::Message)))]
pub async fn progress(State(app): State<App>, Who(who): Who, Path(id): Path<String>) -> Answer<Response> {
    // Subscribed before the first look, so that no change falls between.
    let changes = app.operations.changes();
    let operation = app.operations.get(&who, &id)?;
    let first = Some((operation, changes, true));
    Ok(lines(stream::unfold(first, |state| async {
        let (operation, mut changes, first) = state?;
        if !first {
            loop {
                match changes.recv().await {
                    Ok((_, id)) if id == operation.id => break,
                    Ok(_) => {}
                    // Others were busy: look anyway.
                    Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return None,
                }
            }
        }
        let now = OperationJson::of(&operation);
        let next = (now.state == "running").then_some((operation, changes, false));
        Some((Ok(now), next))
    })))
}

/// The answer to work that was begun.
pub fn begun(operation: Arc<Operation>) -> (http::StatusCode, Json<OperationJson>) {
    (http::StatusCode::ACCEPTED, Json(OperationJson::of(&operation)))
}
