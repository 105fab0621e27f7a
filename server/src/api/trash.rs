//! Removed volumes over the API: look, restore, let go.

use super::volumes::VolumeJson;
use super::wire::{Answer, Json as Strict, Message};
use crate::{App, Who};
use axum::Json;
use axum::extract::{Path, State};
use engine::volume::Trashed;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A removed volume.
#[derive(Serialize, utoipa::ToSchema)]
pub struct TrashedJson {
    /// What it is called in the trash.
    pub id: i64,
    /// Its name; another volume may have it by now.
    pub name: String,
    /// When it was removed.
    pub removed: String,
    /// When it will be gone.
    pub until: String,
    /// Who removed it.
    pub removed_by: String,
    /// Bytes; absent until they were counted.
    pub size: Option<u64>,
    /// Whether nobody had named it.
    pub anonymous: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl From<Trashed> for TrashedJson {
    fn from(t: Trashed) -> Self {
        let Trashed { id, name, removed, until, removed_by, size, anonymous, labels } = t;
        Self { id, name, removed: removed.to_string(), until: until.to_string(), removed_by, size, anonymous, labels }
    }
}

/// Under which name.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// Absent: its old one.
    pub name: Option<String>,
}

/// What can be restored, the latest removal first.
#[utoipa::path(get, path = "/api/v1/trash", responses((status = 200, body = [TrashedJson])))]
pub async fn list(State(app): State<App>, Who(who): Who) -> Answer<Json<Vec<TrashedJson>>> {
    Ok(Json(app.engine.trash(&who).await?.into_iter().map(TrashedJson::from).collect()))
}

/// Lets all of it go for good.
#[utoipa::path(delete, path = "/api/v1/trash", responses((status = 204)))]
pub async fn empty(State(app): State<App>, Who(who): Who) -> Answer<StatusCode> {
    app.engine.empty_trash(&who).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets one go for good.
#[utoipa::path(delete, path = "/api/v1/trash/{id}", params(("id" = i64, Path)), responses((status = 204), (status = 404, body = Message)))]
pub async fn purge(State(app): State<App>, Who(who): Who, Path(id): Path<i64>) -> Answer<StatusCode> {
    app.engine.purge_volume(&who, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Restores one, under its old name or another.
#[utoipa::path(post, path = "/api/v1/trash/{id}/restore", params(("id" = i64, Path)), request_body = Restore, responses((status = 201, body = VolumeJson), (status = 404, body = Message), (status = 409, body = Message)))]
pub async fn restore(
    State(app): State<App>,
    Who(who): Who,
    Path(id): Path<i64>,
    Strict(body): Strict<Restore>,
) -> Answer<(StatusCode, Json<VolumeJson>)> {
    let volume = app.engine.restore_volume(&who, id, body.name.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(volume.into())))
}
