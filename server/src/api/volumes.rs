//! Volumes over the API.

use super::wire::{Answer, Json as Strict, Message};
use crate::{App, Who};
use axum::Json;
use axum::extract::{Path, Query, State};
use engine::Filters;
use engine::volume::{Volume, VolumeSpec};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A volume.
#[derive(Serialize, utoipa::ToSchema)]
pub struct VolumeJson {
    /// Its name.
    pub name: String,
    /// `local`.
    pub driver: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    pub created: String,
    /// Whether nobody named it.
    pub anonymous: bool,
    /// How many containers use it.
    pub users: usize,
}

impl From<Volume> for VolumeJson {
    fn from(v: Volume) -> Self {
        Self { name: v.name, driver: v.driver, labels: v.labels, created: v.created.to_string(), anonymous: v.anonymous, users: v.users }
    }
}

/// What to make.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewVolume {
    /// Its name.
    pub name: String,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// One's volumes.
#[utoipa::path(get, path = "/api/v1/volumes", responses((status = 200, body = [VolumeJson])))]
pub async fn list(State(app): State<App>, Who(who): Who) -> Answer<Json<Vec<VolumeJson>>> {
    Ok(Json(app.engine.volumes(&who, &Filters::new()).await?.into_iter().map(VolumeJson::from).collect()))
}

/// Makes a volume, or gives the one of that name.
#[utoipa::path(post, path = "/api/v1/volumes", request_body = NewVolume, responses((status = 201, body = VolumeJson)))]
pub async fn create(State(app): State<App>, Who(who): Who, Strict(body): Strict<NewVolume>) -> Answer<(StatusCode, Json<VolumeJson>)> {
    let spec = VolumeSpec { name: body.name, labels: body.labels, ..VolumeSpec::default() };
    Ok((StatusCode::CREATED, Json(app.engine.create_volume(&who, spec).await?.into())))
}

/// One volume.
#[utoipa::path(get, path = "/api/v1/volumes/{name}", params(("name" = String, Path)), responses((status = 200, body = VolumeJson), (status = 404, body = Message)))]
pub async fn get(State(app): State<App>, Who(who): Who, Path(name): Path<String>) -> Answer<Json<VolumeJson>> {
    Ok(Json(app.engine.volume(&who, &name).await?.into()))
}

/// How to remove.
#[derive(Deserialize)]
pub struct Removal {
    #[serde(default)]
    purge: bool,
}

/// Removes it: to the trash, or with `purge=true` for good.
#[utoipa::path(delete, path = "/api/v1/volumes/{name}", params(("name" = String, Path), ("purge" = Option<bool>, Query)), responses((status = 204), (status = 404, body = Message), (status = 409, body = Message)))]
pub async fn remove(State(app): State<App>, Who(who): Who, Path(name): Path<String>, Query(how): Query<Removal>) -> Answer<StatusCode> {
    if how.purge {
        app.engine.remove_volume_for_good(&who, &name).await?;
    } else {
        app.engine.remove_volume(&who, &name, false).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
