//! `/images`: names there have slashes, so the routes below a name are told apart by their last segment.

use super::archive::upload;
use super::ask::{Args, Name};
use super::containers::PRUNE_FILTERS;
use super::error::{Answer, Failure};
use super::reply::{self, json};
use super::wire;
use crate::{ApiVersion, App, Who};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use engine::image::{ImageFilter, PullRequest, RegistryAuth};
use engine::progress::Progress;
use engine::{Error, Kind};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

const LIST_FILTERS: [&str; 7] = ["before", "dangling", "label", "label!", "reference", "since", "until"];

fn auth(headers: &HeaderMap) -> engine::Result<Option<RegistryAuth>> {
    wire::image::registry_auth_header(headers.get("x-registry-auth").and_then(|value| value.to_str().ok()))
}

fn not_empty(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|t| !t.is_empty())
}

/// `GET /images/json`
pub async fn list(State(app): State<App>, Who(who): Who, version: ApiVersion, args: Args) -> Answer {
    let filter = ImageFilter { all: args.flag("all"), filters: args.filters(&LIST_FILTERS)? };
    let images = app.engine.images(&who, &filter).await?;
    Ok(json(&images.iter().map(|image| wire::image::summary(image, -1, version)).collect::<Vec<_>>()))
}

/// `POST /images/create`: pull, or import of a tar.
pub async fn create(State(app): State<App>, Who(who): Who, args: Args, headers: HeaderMap, body: Body) -> Answer {
    let platform = not_empty(args.text("platform"));
    let image = args.text("fromImage");
    if !image.is_empty() {
        if let Some(text) = &platform {
            known_platform(text)?;
        }
        let request = PullRequest { image: image.to_owned(), tag: args.text("tag").to_owned(), platform, auth: auth(&headers)? };
        return reply::progress(app.engine.pull(&who, request).await?).await;
    }
    match args.text("fromSrc") {
        "" => Err(Error::invalid("one of fromImage and fromSrc is needed").into()),
        "-" => {
            let changes = args.all("changes");
            let (repository, tag, message) = (args.text("repo"), args.text("tag"), args.text("message"));
            let import = app.engine.import(&who, upload(body), repository, tag, message, &changes, platform);
            reply::progress(import.await?).await
        }
        // Fetching a URL as root for somebody is how servers are made to talk to what only they can reach.
        _ => Err(Error::unsupported("import from a URL").into()),
    }
}

/// `GET /images/{name}/json|history|get|attestations`
pub async fn get(State(app): State<App>, Who(who): Who, version: ApiVersion, Path(path): Path<String>, args: Args) -> Answer {
    let (name, what) = split(&path)?;
    one_platform(&args)?;
    match what {
        "json" => Ok(json(&wire::image::inspect(&app.engine.image(&who, name).await?, version))),
        "history" => Ok(json(&wire::image::history(&app.engine.image(&who, name).await?))),
        "get" => Ok(reply::archive(app.engine.save(&who, &[name.to_owned()]).await?, "application/x-tar")),
        "attestations" => Err(Error::unsupported("attestations").into()),
        _ => Err(unknown_path()),
    }
}

/// `GET /distribution/{name}/json`: what the registry has under this name.
pub async fn distribution(State(app): State<App>, Who(who): Who, Path(path): Path<String>, headers: HeaderMap) -> Answer {
    let (name, "json") = split(&path)? else { return Err(unknown_path()) };
    let found = app.engine.distribution(&who, name, auth(&headers)?.as_ref()).await?;
    Ok(json(&wire::image::distribution(&found)))
}

/// `POST /images/{name}/push|tag`
pub async fn post(State(app): State<App>, Who(who): Who, Path(path): Path<String>, args: Args, headers: HeaderMap) -> Answer {
    let (name, what) = split(&path)?;
    one_platform(&args)?;
    match what {
        "tag" => {
            app.engine.tag(&who, name, args.text("repo"), args.text("tag")).await?;
            Ok(StatusCode::CREATED.into_response())
        }
        "push" => match app.engine.push(&who, name, args.text("tag"), auth(&headers)?).await {
            Ok(stream) => Ok(reply::progress_from(stream)),
            // Docker has begun to speak before it looks for the image.
            Err(error) if error.kind() == Kind::NotFound => {
                let begun = Progress::status(format!("The push refers to repository [{name}]"));
                Ok(reply::progress_from(futures_util::stream::iter([begun, Progress::Failed(error)])))
            }
            Err(error) => Err(error.into()),
        },
        _ => Err(unknown_path()),
    }
}

/// `DELETE /images/{name}`
pub async fn remove(State(app): State<App>, Who(who): Who, Name(name): Name, args: Args) -> Answer {
    if args.get("platforms").is_some() {
        return Err(Error::unsupported("removing single platforms of an image").into());
    }
    if name.trim().is_empty() {
        return Err(Error::invalid("image name cannot be blank").into());
    }
    let removed = app.engine.remove_image(&who, &name, args.flag("force"), args.flag("noprune")).await?;
    Ok(json(&wire::image::removals(&removed)))
}

/// `GET /images/get?names=…`
pub async fn save(State(app): State<App>, Who(who): Who, args: Args) -> Answer {
    one_platform(&args)?;
    let names: Vec<String> = args.all("names").iter().flat_map(|n| n.split(',')).map(str::to_owned).collect();
    if names.iter().all(String::is_empty) {
        return Err(Error::invalid("no images to save: names is empty").into());
    }
    Ok(reply::archive(app.engine.save(&who, &names).await?, "application/x-tar"))
}

/// `POST /images/load`
pub async fn load(State(app): State<App>, Who(who): Who, args: Args, body: Body) -> Answer {
    one_platform(&args)?;
    match app.engine.load(&who, upload(body), args.flag("quiet")).await {
        Ok(stream) => Ok(reply::progress_from(stream)),
        // What is wrong with an archive is told in the stream, as it would be further in.
        Err(error) if error.kind() == Kind::Invalid => Ok(reply::progress_from(futures_util::stream::iter([Progress::Failed(error)]))),
        Err(error) => Err(error.into()),
    }
}

/// `POST /images/prune`
pub async fn prune(State(app): State<App>, Who(who): Who, args: Args) -> Answer {
    let mut keys = PRUNE_FILTERS.to_vec();
    keys.push("dangling");
    let (removed, reclaimed) = app.engine.prune_images(&who, &args.filters(&keys)?).await?;
    let removed = if removed.is_empty() { Value::Null } else { wire::image::removals(&removed) };
    Ok(json(&json!({ "ImagesDeleted": removed, "SpaceReclaimed": reclaimed })))
}

/// `POST /auth`
pub async fn login(State(app): State<App>, Who(who): Who, body: Body) -> Answer {
    let bytes = axum::body::to_bytes(body, 64 * 1024)
        .await
        .map_err(|_| Failure::Http(StatusCode::PAYLOAD_TOO_LARGE, "credentials are no longer than 64 KiB".to_owned()))?;
    // dockerd calls this its own fault, and the recordings hold us to it.
    let value = serde_json::from_slice(&bytes).map_err(|e| Error::new(Kind::Internal, format!("invalid JSON: {e}")))?;
    let status = app.engine.registry_login(&who, &wire::image::registry_auth(value)?).await?;
    Ok(json(&json!({ "IdentityToken": "", "Status": status })))
}

/// One word must be a system or a machine that there is.
pub fn known_platform(text: &str) -> engine::Result<()> {
    const KNOWN: [&str; 25] = [
        "linux",
        "windows",
        "darwin",
        "freebsd",
        "openbsd",
        "netbsd",
        "dragonfly",
        "solaris",
        "plan9",
        "android",
        "aix",
        "386",
        "amd64",
        "x86_64",
        "x86-64",
        "arm",
        "arm64",
        "aarch64",
        "ppc64",
        "ppc64le",
        "mips64le",
        "riscv64",
        "s390x",
        "wasm",
        "loong64",
    ];
    match text.contains('/') || KNOWN.contains(&text.to_ascii_lowercase().as_str()) {
        true => Ok(()),
        false => Err(Error::invalid(format!("{text:?}: unknown operating system or architecture: invalid argument"))),
    }
}

/// An image here is of one platform; asking for one of several is for stores that keep them all.
fn one_platform(args: &Args) -> engine::Result<()> {
    match args.text("platform") {
        "" => Ok(()),
        _ => Err(Error::unsupported("choosing one platform of an image")),
    }
}

/// `name/with/slashes/json` → the name and what is asked of it.
fn split(path: &str) -> Answer<(&str, &str)> {
    match path.rsplit_once('/') {
        Some((name, what)) if !name.is_empty() => Ok((name, what)),
        _ => Err(unknown_path()),
    }
}

fn unknown_path() -> Failure {
    Failure::Http(StatusCode::NOT_FOUND, "page not found".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_greedy() {
        assert_eq!(split("localhost:5000/a/b:1/json").unwrap(), ("localhost:5000/a/b:1", "json"));
        assert_eq!(split("alpine/history").unwrap(), ("alpine", "history"));
        // An image may be called what an action is called.
        assert_eq!(split("json/json").unwrap(), ("json", "json"));
        assert_eq!(split("alpine").unwrap_err().status(), 404);
        assert_eq!(split("/json").unwrap_err().status(), 404);
    }
}
