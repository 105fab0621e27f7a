//! A volume's files over the API: look, download, upload, remove.

use super::wire::{Answer, Message};
use crate::docker::{archive, upload};
use crate::{App, Who};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use engine::Error;
use engine::container::request::ArchiveStream;
use engine::volume::{FileEntry, FileKind, Files};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

/// Where in a volume.
#[derive(Deserialize)]
pub struct At {
    #[serde(default)]
    path: String,
    /// `tar`: a file as an archive too.
    #[serde(default)]
    format: String,
    /// Unpack what is sent.
    #[serde(default)]
    unpack: bool,
}

/// Something in a volume.
#[derive(Serialize, utoipa::ToSchema)]
pub struct FileJson {
    /// Its name; empty for the volume itself.
    pub name: String,
    /// file, folder, link or other.
    #[schema(value_type = String)]
    pub kind: FileKind,
    /// Bytes.
    pub size: u64,
    /// Permission bits, in octal.
    pub mode: String,
    /// Owner, as containers see it.
    pub uid: u32,
    /// Group, as containers see it.
    pub gid: u32,
    /// When it was changed.
    pub modified: String,
    /// Where a link points to; absent for others.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target: String,
}

impl From<FileEntry> for FileJson {
    fn from(e: FileEntry) -> Self {
        let FileEntry { name, kind, size, mode, uid, gid, modified, target } = e;
        let modified = jiff::Timestamp::from_millisecond(modified).unwrap_or_default().to_string();
        Self { name, kind, size, mode: format!("{mode:04o}"), uid, gid, modified, target }
    }
}

/// What lies at a path.
#[derive(Serialize, utoipa::ToSchema)]
pub struct FilesJson {
    /// The path, clean; empty: the volume itself.
    pub path: String,
    /// What is there.
    pub itself: FileJson,
    /// What a folder has in it, folders first.
    pub entries: Vec<FileJson>,
    /// How many more there are than are told.
    pub left_out: usize,
}

impl From<Files> for FilesJson {
    fn from(f: Files) -> Self {
        let entries = f.entries.into_iter().map(FileJson::from).collect();
        Self { path: f.path, itself: f.itself.into(), entries, left_out: f.left_out }
    }
}

/// What lies at a path of a volume, and in it. Links are followed inside the volume, never out of it.
#[utoipa::path(get, path = "/api/v1/volumes/{name}/files", params(("name" = String, Path), ("path" = Option<String>, Query, description = "Absent: the volume itself.")), responses((status = 200, body = FilesJson), (status = 404, body = Message)))]
pub async fn list(State(app): State<App>, Who(who): Who, Path(name): Path<String>, Query(at): Query<At>) -> Answer<Json<FilesJson>> {
    Ok(Json(app.engine.volume_files(&who, &name, &at.path).await?.into()))
}

/// Removes a file, a link (not what it points to), or a folder with all in it.
#[utoipa::path(delete, path = "/api/v1/volumes/{name}/files", params(("name" = String, Path), ("path" = String, Query)), responses((status = 204), (status = 404, body = Message)))]
pub async fn remove(State(app): State<App>, Who(who): Who, Path(name): Path<String>, Query(at): Query<At>) -> Answer<StatusCode> {
    app.engine.remove_volume_file(&who, &name, &at.path).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a folder; the one it is to lie in must be there.
#[utoipa::path(post, path = "/api/v1/volumes/{name}/folders", params(("name" = String, Path), ("path" = String, Query)), responses((status = 201), (status = 400, body = Message), (status = 404, body = Message)))]
pub async fn make_folder(State(app): State<App>, Who(who): Who, Path(name): Path<String>, Query(at): Query<At>) -> Answer<StatusCode> {
    app.engine.make_volume_folder(&who, &name, &at.path).await?;
    Ok(StatusCode::CREATED)
}

/// A file as it is; a folder, or with `format=tar` a file, as a tar.
#[utoipa::path(get, path = "/api/v1/volumes/{name}/content", params(("name" = String, Path), ("path" = Option<String>, Query), ("format" = Option<String>, Query, description = "`tar`: a file as an archive too.")), responses((status = 200, content_type = "application/octet-stream"), (status = 404, body = Message)))]
pub async fn download(State(app): State<App>, Who(who): Who, Path(name): Path<String>, Query(at): Query<At>) -> Answer<Response> {
    if !matches!(at.format.as_str(), "" | "tar") {
        return Err(Error::invalid(format!("the format {:?} is not known: leave it out, or say tar", at.format)).into());
    }
    Ok(content(&app, &who, &name, &at.path, at.format == "tar").await?)
}

/// What is sent becomes the file; with `unpack=true` it is a tar (plain or compressed) and goes into the folder.
#[utoipa::path(put, path = "/api/v1/volumes/{name}/content", params(("name" = String, Path), ("path" = String, Query), ("unpack" = Option<bool>, Query)), responses((status = 204), (status = 404, body = Message), (status = 507, body = Message)))]
pub async fn send(State(app): State<App>, Who(who): Who, Path(name): Path<String>, Query(at): Query<At>, body: Body) -> Answer<StatusCode> {
    if at.unpack {
        app.engine.unpack_into_volume(&who, &name, &at.path, upload(body)).await?;
    } else {
        app.engine.put_volume_file(&who, &name, &at.path, upload(body)).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A file or folder as an answer that a browser keeps and never shows: who can write into a volume must not get to write pages.
pub async fn content(app: &App, who: &engine::Subject, name: &str, path: &str, as_tar: bool) -> engine::Result<Response> {
    let there = app.engine.volume_files(who, name, path).await?.itself;
    if there.kind == FileKind::File && !as_tar {
        let (entry, stream) = app.engine.volume_file(who, name, path).await?;
        let mut response = attachment(stream, "application/octet-stream", &entry.name);
        response.headers_mut().insert(header::CONTENT_LENGTH, entry.size.into());
        return Ok(response);
    }
    let (stat, stream) = app.engine.volume_archive(who, name, path).await?;
    Ok(attachment(stream, "application/x-tar", &format!("{}.tar", stat.name)))
}

fn attachment(stream: ArchiveStream, content_type: &'static str, file: &str) -> Response {
    let mut response = archive(stream, content_type).into_response();
    if let Ok(value) = HeaderValue::try_from(disposition(file)) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

/// RFC 6266: a plain name for old clients, and the true one.
fn disposition(file: &str) -> String {
    let plain: String = file.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' }).collect();
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{}", web::view::piece::segment(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_cannot_leave_its_header() {
        assert_eq!(disposition("a\"b\r\nX: y"), "attachment; filename=\"a_b__X__y\"; filename*=UTF-8''a%22b%0D%0AX%3A%20y");
        assert_eq!(disposition("größe.txt"), "attachment; filename=\"gr__e.txt\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.txt");
    }
}
