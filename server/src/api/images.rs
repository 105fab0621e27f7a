//! Images over the API.

use super::operations::{OperationJson, begun};
use super::wire::{Answer, Json as Strict, Message};
use crate::{App, Who};
use axum::Json;
use axum::extract::{Path, Query, State};
use engine::image::{Image, ImageFilter, PullRequest, RegistryAuth, Removal};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An image.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ImageJson {
    /// Digest of its configuration.
    pub id: String,
    /// Its names.
    pub names: Vec<String>,
    /// `repo@sha256:…` names.
    pub digests: Vec<String>,
    /// Bytes of its unpacked layers.
    pub size: u64,
    /// When it was made, as it says itself.
    pub created: Option<String>,
    /// `linux/amd64`.
    pub platform: String,
    /// Uncompressed digests of its layers, lowest first.
    pub layers: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What containers inherit.
    #[schema(value_type = Object)]
    pub config: engine::image::ImageConfig,
}

impl From<Image> for ImageJson {
    fn from(image: Image) -> Self {
        let variant = if image.variant.is_empty() { String::new() } else { format!("/{}", image.variant) };
        Self {
            id: image.id.to_string(),
            names: image.tags,
            digests: image.digests,
            size: image.size,
            created: image.created.map(|t| t.to_string()),
            platform: format!("{}/{}{variant}", image.os, image.architecture),
            layers: image.diff_ids.iter().map(ToString::to_string).collect(),
            labels: image.config.labels.clone(),
            config: image.config,
        }
    }
}

/// What to pull.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PullJson {
    /// A name, with or without a tag or digest.
    pub image: String,
    /// `os/arch[/variant]`.
    #[serde(default)]
    pub platform: Option<String>,
    /// At the registry.
    #[serde(default)]
    pub username: Option<String>,
    /// Used for this pull only.
    #[serde(default)]
    pub password: Option<String>,
}

/// What became of it.
#[derive(Serialize, utoipa::ToSchema)]
pub struct RemovedJson {
    /// Names taken off.
    pub untagged: Vec<String>,
    /// Digests that are gone.
    pub deleted: Vec<String>,
}

/// How to remove.
#[derive(Deserialize, Default, utoipa::IntoParams)]
#[serde(default)]
pub struct RemoveQuery {
    /// Even if stopped containers were made from it.
    pub force: bool,
}

/// One's images, newest first.
#[utoipa::path(get, path = "/api/v1/images", responses((status = 200, body = [ImageJson])))]
pub async fn list(State(app): State<App>, Who(who): Who) -> Answer<Json<Vec<ImageJson>>> {
    let images = app.engine.images(&who, &ImageFilter::default()).await?;
    Ok(Json(images.into_iter().map(ImageJson::from).collect()))
}

/// One image, by name, digest, id or unique id prefix.
#[utoipa::path(get, path = "/api/v1/images/{name}", params(("name" = String, Path)), responses((status = 200, body = ImageJson), (status = 404, body = Message)))]
pub async fn get(State(app): State<App>, Who(who): Who, Path(name): Path<String>) -> Answer<Json<ImageJson>> {
    Ok(Json(app.engine.image(&who, &name).await?.into()))
}

/// Pulls an image: an operation.
#[utoipa::path(post, path = "/api/v1/images/pull", request_body = PullJson, responses((status = 202, body = OperationJson)))]
pub async fn pull(State(app): State<App>, Who(who): Who, Strict(body): Strict<PullJson>) -> Answer<(StatusCode, Json<OperationJson>)> {
    let auth =
        body.username.map(|username| RegistryAuth { username, password: body.password.unwrap_or_default(), ..RegistryAuth::default() });
    let request = PullRequest { tag: crate::pages::tag_of(&body.image), image: body.image, platform: body.platform, auth };
    Ok(begun(crate::pages::begin_pull(&app, &who, request)?))
}

/// Removes a name, and the image with its last one.
#[utoipa::path(delete, path = "/api/v1/images/{name}", params(("name" = String, Path), RemoveQuery), responses((status = 200, body = RemovedJson), (status = 404, body = Message), (status = 409, body = Message)))]
pub async fn remove(
    State(app): State<App>,
    Who(who): Who,
    Path(name): Path<String>,
    Query(query): Query<RemoveQuery>,
) -> Answer<Json<RemovedJson>> {
    let mut answer = RemovedJson { untagged: vec![], deleted: vec![] };
    for removal in app.engine.remove_image(&who, &name, query.force, false).await? {
        match removal {
            Removal::Untagged(name) => answer.untagged.push(name),
            Removal::Deleted(digest) => answer.deleted.push(digest.to_string()),
        }
    }
    Ok(Json(answer))
}
