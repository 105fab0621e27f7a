//! A volume's files in a browser: look around, download, upload, make a folder, remove. Works without scripts.

use super::form::Filled;
use super::frame::{Frame, OrPage, Visit};
use super::words;
use crate::App;
use crate::api::volume_files::content;
use crate::auth::session::FormToken;
use axum::extract::{FromRequestParts, Path, Query, Request};
use axum::response::Response;
use engine::volume::{FileEntry, FileKind, Files};
use engine::{Error, Subject};
use futures_util::StreamExt;
use serde::Deserialize;
use tokio_util::io::StreamReader;
use web::view::message::Confirm;
use web::view::piece::segment;
use web::view::volume::{FileRow, VolumeFiles};
use web::view::{Flash, Tone};

/// Where in a volume.
#[derive(Deserialize)]
pub struct At {
    #[serde(default)]
    path: String,
}

/// Fields of an upload that are no files: a path and a token.
const FIELD_MAX: usize = 8 * 1024;

fn address(frame: &Frame, name: &str, path: &str) -> String {
    format!("{}/volumes/{}/files?path={}", frame.base, segment(name), segment(path))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

fn above(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(above, _)| above)
}

fn said(frame: &Frame, address: &str, text: String) -> Response {
    frame.to(address, Some(Flash { tone: Tone::Ok, text }))
}

fn view(frame: &Frame, name: &str, files: Files) -> VolumeFiles {
    let href = format!("{}/volumes/{}", frame.base, segment(name));
    let mut crumbs = vec![(format!("{href}/files"), name.to_owned())];
    let mut so_far = String::new();
    for part in files.path.split('/').filter(|p| !p.is_empty()) {
        so_far = join(&so_far, part);
        crumbs.push((address(frame, name, &so_far), part.to_owned()));
    }
    let row = |entry: FileEntry| {
        let path = segment(&join(&files.path, &entry.name));
        // A name that is not UTF-8 was told with a sign that it does not have: nothing is found by that.
        let odd = entry.name.contains('\u{fffd}');
        FileRow {
            open: match entry.kind {
                FileKind::Folder if !odd => format!("{href}/files?path={path}"),
                _ => String::new(),
            },
            download: match entry.kind {
                FileKind::File | FileKind::Folder if !odd => format!("{href}/files/download?path={path}"),
                _ => String::new(),
            },
            remove: if odd { String::new() } else { format!("{href}/files/remove?path={path}") },
            size: if entry.kind == FileKind::File { engine::size::decimal(entry.size) } else { String::new() },
            mode: format!("{:04o}", entry.mode),
            owner: format!("{}:{}", entry.uid, entry.gid),
            modified: words::ago(jiff::Timestamp::from_millisecond(entry.modified).unwrap_or_default()),
            folder: entry.kind == FileKind::Folder,
            target: entry.target,
            name: entry.name,
        }
    };
    VolumeFiles {
        page: frame.page(format!("{} · files", if files.path.is_empty() { name } else { &files.path }), "volumes"),
        title: crumbs.last().map(|(_, text)| text.clone()).unwrap_or_default(),
        volume: (href.clone(), name.to_owned()),
        download: format!("{href}/files/download?path={}", segment(&files.path)),
        upload: format!("{href}/files/upload"),
        make_folder: format!("{href}/files/folder"),
        crumbs,
        rows: files.entries.into_iter().map(row).collect(),
        path: files.path,
        left_out: files.left_out,
    }
}

/// `GET /ui/volumes/{name}/files`
pub async fn list(visit: Visit, Path(name): Path<String>, Query(at): Query<At>) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let files = app.engine.volume_files(&who, &name, &at.path).await.or_page(&frame)?;
    if files.itself.kind != FileKind::Folder {
        return Ok(frame.to(&address(&frame, &name, above(&files.path)), None));
    }
    Ok(frame.show(&view(&frame, &name, files)))
}

/// `GET /ui/volumes/{name}/files/download`
pub async fn download(visit: Visit, Path(name): Path<String>, Query(at): Query<At>) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    content(&app, &who, &name, &at.path, false).await.or_page(&frame)
}

/// `POST /ui/volumes/{name}/files/folder`
pub async fn make_folder(visit: Visit, Path(name): Path<String>, form: Filled) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    app.engine.volume(&who, &name).await.or_page(&frame)?;
    let (path, folder) = (form.get("path"), form.get("folder"));
    if folder.is_empty() || folder.contains('/') {
        return Err(frame.wrong(&Error::invalid("a folder needs a name, without a slash")));
    }
    app.engine.make_volume_folder(&who, &name, &join(path, folder)).await.or_page(&frame)?;
    Ok(said(&frame, &address(&frame, &name, path), format!("Made {folder}.")))
}

/// `POST /ui/volumes/{name}/files/upload`: a form with files, which are written as they come.
pub async fn upload(visit: Visit, Path(name): Path<String>, request: Request) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    app.engine.volume(&who, &name).await.or_page(&frame)?;
    let (mut parts, body) = request.into_parts();
    let Ok(token) = FormToken::from_request_parts(&mut parts, &app).await;
    let boundary = parts
        .headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|t| t.to_str().ok())
        .and_then(|t| multer::parse_boundary(t).ok())
        .ok_or_else(|| frame.wrong(&Error::invalid("an upload is a form with files (multipart/form-data)")))?;
    let mut form = multer::Multipart::new(body.into_data_stream(), boundary);
    let (path, sent) = receive(&app, &who, &frame, &name, &token, &mut form).await?;
    let text = match sent.as_slice() {
        [] => return Err(frame.wrong(&Error::invalid("no file was chosen"))),
        [one] => format!("Uploaded {one}."),
        many => format!("Uploaded {} files.", many.len()),
    };
    Ok(said(&frame, &address(&frame, &name, &path), text))
}

/// Writes the files of an upload; its folder, and what was sent. The token and the path stand before the files in our form.
async fn receive(
    app: &App,
    who: &Subject,
    frame: &Frame,
    name: &str,
    token: &FormToken,
    form: &mut multer::Multipart<'static>,
) -> Result<(String, Vec<String>), Response> {
    let broken = |e: multer::Error| frame.wrong(&Error::invalid(format!("the upload broke off: {e}")).because(e));
    let (mut path, mut unpack, mut checked, mut sent) = (String::new(), false, false, Vec::new());
    while let Some(mut field) = form.next_field().await.map_err(broken)? {
        let key = field.name().unwrap_or_default().to_owned();
        if key != "file" {
            let mut text = Vec::new();
            while let Some(piece) = field.chunk().await.map_err(broken)? {
                text.extend_from_slice(&piece);
                if text.len() > FIELD_MAX {
                    return Err(frame.wrong(&Error::invalid(format!("the field {key} is too long"))));
                }
            }
            let text = String::from_utf8_lossy(&text).into_owned();
            match key.as_str() {
                "form_token" => {
                    token.check(&text).map_err(|refusal| frame.refused(&refusal))?;
                    checked = true;
                }
                "path" => path = text,
                "unpack" => unpack = !text.is_empty(),
                _ => {}
            }
            continue;
        }
        if !checked {
            token.check("").map_err(|refusal| frame.refused(&refusal))?;
            checked = true;
        }
        // Browsers send a name, some a path; a field without any is one in which nothing was chosen.
        let file = field.file_name().unwrap_or_default().rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
        if file.is_empty() {
            continue;
        }
        let body = Box::pin(StreamReader::new(field.map(|piece| piece.map_err(std::io::Error::other))));
        if unpack {
            app.engine.unpack_into_volume(who, name, &path, body).await.or_page(frame)?;
        } else {
            app.engine.put_volume_file(who, name, &join(&path, &file), body).await.or_page(frame)?;
        }
        sent.push(file);
    }
    Ok((path, sent))
}

/// `GET /ui/volumes/{name}/files/remove`
pub async fn ask_remove(visit: Visit, Path(name): Path<String>, Query(at): Query<At>) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let path = at.path.trim_matches('/').to_owned();
    // Looked for in its folder, for a link is to be removed itself.
    let files = app.engine.volume_files(&who, &name, above(&path)).await.or_page(&frame)?;
    let last = path.rsplit('/').next().unwrap_or_default();
    let Some(entry) = files.entries.into_iter().find(|e| e.name == last) else {
        let text = if path.is_empty() { "what is to be removed?".to_owned() } else { format!("there is no {path:?} in volume {name}") };
        return Err(frame.wrong(&Error::invalid(text)));
    };
    let mut consequences = vec!["It is gone for good: what is removed from inside a volume does not go to the trash.".to_owned()];
    if entry.kind == FileKind::Folder {
        consequences.insert(0, "So is all that is in the folder.".to_owned());
    }
    let view = Confirm {
        page: frame.page(format!("Remove {}?", entry.name), "volumes"),
        action: format!("{}/volumes/{}/files/remove", frame.base, segment(&name)),
        text: format!("From volume {name} this will be removed:"),
        objects: vec![path.clone()],
        consequences,
        checks: vec![],
        hidden: vec![("path".into(), path.clone())],
        button: "Remove".into(),
        back: address(&frame, &name, above(&path)),
    };
    Ok(frame.show(&view))
}

/// `POST /ui/volumes/{name}/files/remove`
pub async fn remove(visit: Visit, Path(name): Path<String>, form: Filled) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let path = form.get("path");
    app.engine.remove_volume_file(&who, &name, path).await.or_page(&frame)?;
    Ok(said(&frame, &address(&frame, &name, above(path)), format!("Removed {path}.")))
}
