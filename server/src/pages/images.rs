//! Images: list, one, pull, tag, remove, prune.

use super::create::tag as tag_of;
use super::form::Filled;
use super::frame::{OrPage, Visit, capital, status};
use super::words;
use axum::extract::{Path, Query};
use axum::response::Response;
use engine::container::Container;
use engine::container::request::ContainerFilter;
use engine::image::{Image, ImageFilter, PullRequest, RegistryAuth, Removal};
use engine::{Error, Filters};
use serde::Deserialize;
use web::format;
use web::view::image::{HistoryRow, ImageDetail, ImageList, ImagePull, ImageRow};
use web::view::message::Confirm;
use web::view::piece::segment;
use web::view::{Fact, Field, Flash, Tone, Value};

/// What the list shows and how.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Listing {
    q: String,
    sort: String,
}

/// The first twelve characters of its id.
fn short(image: &Image) -> String {
    image.id.hex().chars().take(12).collect()
}

fn name(image: &Image) -> String {
    image.tags.first().cloned().unwrap_or_else(|| short(image))
}

fn platform(image: &Image) -> String {
    let variant = if image.variant.is_empty() { String::new() } else { format!("/{}", image.variant) };
    format!("{}/{}{variant}", image.os, image.architecture)
}

/// `GET /ui/images`
pub async fn list(visit: Visit, Query(asked): Query<Listing>) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let all = app.engine.images(&who, &ImageFilter::default()).await.or_page(&frame)?;
    let containers = app.engine.containers(&who, &ContainerFilter { all: true, ..Default::default() }).await.or_page(&frame)?;
    let query = asked.q.trim().to_lowercase();
    let matches =
        |i: &&Image| query.is_empty() || i.tags.iter().any(|t| t.to_lowercase().contains(&query)) || i.id.hex().starts_with(&query);
    let mut shown: Vec<&Image> = all.iter().filter(matches).collect();
    let (key, down) = asked.sort.strip_prefix('-').map_or((asked.sort.as_str(), false), |k| (k, true));
    match key {
        "name" => shown.sort_by_cached_key(|i| (i.tags.is_empty(), name(i).to_lowercase())),
        "size" => shown.sort_by_key(|i| std::cmp::Reverse(i.size)),
        "made" => shown.sort_by_key(|i| std::cmp::Reverse(i.created)),
        _ => {}
    }
    if down {
        shown.reverse();
    }
    let row = |image: &&Image| ImageRow {
        href: format!("{}/images/{}", frame.base, image.id.hex()),
        id: short(image),
        names: image.tags.clone(),
        platform: platform(image),
        size: engine::size::decimal(image.size),
        created: words::ago_or(image.created, "–"),
        used_by: containers.iter().filter(|c| c.image_id == image.id).count(),
    };
    let view = ImageList {
        page: frame.page("Images", "images"),
        rows: shown.iter().map(row).collect(),
        columns: words::columns(&[("name", "Name"), ("size", "Size"), ("made", "Made")], &asked.sort, &words::keep(&[("q", &asked.q)])),
        total: all.len(),
        // Layers that images share are counted once for each: the sum of what is shown, not of the disk.
        summary: if all.is_empty() {
            String::new()
        } else {
            format!("{}, {} together", format::count(all.len(), "image", "images"), engine::size::decimal(all.iter().map(|i| i.size).sum()))
        },
        query: asked.q,
        sort: asked.sort,
    };
    Ok(frame.show(&view))
}

/// `GET /ui/images/{id}`
pub async fn show(visit: Visit, Path(id): Path<String>) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let image = app.engine.image(&who, &id).await.or_page(&frame)?;
    let containers = app.engine.containers(&who, &ContainerFilter { all: true, ..Default::default() }).await.or_page(&frame)?;
    let config = &image.config;
    let or_nothing = |tags: Vec<String>| if tags.is_empty() { Value::Nothing("none") } else { Value::Tags(tags) };
    let command = config.entrypoint.iter().chain(&config.cmd).flatten().cloned().collect::<Vec<_>>();
    let mut facts = vec![
        Fact::new("Id", Value::Copy(image.id.to_string())),
        Fact::new("Names", or_nothing(image.tags.clone())),
        Fact::new(
            "Size",
            Value::Text(format!("{} in {}", engine::size::decimal(image.size), format::count(image.diff_ids.len(), "layer", "layers"))),
        ),
        Fact::new("Platform", Value::Text(platform(&image))),
        Fact::new("Made", Value::When(words::ago_or(image.created, "not said"))),
    ];
    if !image.digests.is_empty() {
        facts.push(Fact::new("Digests", Value::Tags(image.digests.clone())));
    }
    if !image.author.is_empty() {
        facts.push(Fact::new("Author", Value::Text(image.author.clone())));
    }
    facts.extend(config.labels.iter().map(|(k, v)| Fact::new(k.clone(), Value::Code(v.clone()))));
    let inherited = vec![
        Fact::new("Command", if command.is_empty() { Value::Nothing("none") } else { Value::Code(words::command(&command)) }),
        Fact::new("User", Value::Code(if config.user.is_empty() { "root".into() } else { config.user.clone() })),
        Fact::new("Folder", Value::Code(if config.working_dir.is_empty() { "/".into() } else { config.working_dir.clone() })),
        Fact::new("Ports", or_nothing(config.exposed_ports.iter().map(ToString::to_string).collect())),
        Fact::new("Volumes", or_nothing(config.volumes.clone())),
        Fact::new("Environment", or_nothing(config.env.clone())),
        Fact::new("Stops with", Value::Text(config.stop_signal.clone().unwrap_or_else(|| "SIGTERM".into()))),
    ];
    let step = |h: &engine::image::History| HistoryRow {
        step: h.created_by.trim_start_matches("/bin/sh -c #(nop) ").trim().to_owned(),
        size: if h.empty_layer { String::new() } else { engine::size::decimal(h.size) },
        when: words::ago_or(h.created, "–"),
    };
    let view = ImageDetail {
        page: frame.page(name(&image), "images"),
        name: name(&image),
        href: format!("{}/images/{}", frame.base, image.id.hex()),
        run: format!("{}/containers/new?image={}", frame.base, segment(&name(&image))),
        names: image.tags.clone(),
        facts,
        config: inherited,
        env: config.env.clone(),
        history: image.history.iter().map(step).collect(),
        used_by: users(&image, &containers).map(|c| (words::href(&frame.base, c), c.name.clone())).collect(),
    };
    Ok(frame.show(&view))
}

fn users<'a>(image: &'a Image, containers: &'a [Container]) -> impl Iterator<Item = &'a Container> {
    containers.iter().filter(|c| c.image_id == image.id)
}

fn fields() -> (Field, Field, Field, Field) {
    (
        Field::new("image", "Image")
            .required()
            .mono()
            .focus()
            .example("postgres:17")
            .hint("From Docker Hub, or with a registry's name in front: ghcr.io/owner/app:1. Without a tag: latest."),
        Field::new("platform", "Platform").mono().example("linux/amd64").hint("Only for another than this host's."),
        Field::new("username", "User name at the registry"),
        Field::password("password", "Password or token", "off").optional().hint("Used for this pull only, and not kept."),
    )
}

/// What the address fills in.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Prefill {
    image: String,
}

/// `GET /ui/images/pull`
pub async fn pull_form(visit: Visit, Query(prefill): Query<Prefill>) -> Response {
    let (image, platform, username, password) = fields();
    let frame = &visit.frame;
    frame.show(&ImagePull { page: frame.page("Pull an image", "images"), image: image.with(prefill.image), platform, username, password })
}

/// `POST /ui/images/pull`
pub async fn pull(visit: Visit, form: Filled) -> Response {
    let Visit { who, app, frame } = &visit;
    let name = form.get("image").to_owned();
    let begun = async {
        if name.is_empty() {
            return Err(Error::invalid("Say which image."));
        }
        let auth = (!form.get("username").is_empty()).then(|| RegistryAuth {
            username: form.get("username").to_owned(),
            password: form.exact("password").to_owned(),
            ..RegistryAuth::default()
        });
        let platform = Some(form.get("platform").to_owned()).filter(|p| !p.is_empty());
        let request = PullRequest { image: name.clone(), tag: tag_of(&name), platform, auth };
        begin_pull(app, who, request)
    };
    match begun.await {
        Ok(operation) => frame.to(&format!("{}/operations/{}", frame.base, operation.id), None),
        Err(error) => {
            let (image, platform, username, password) = fields();
            let mut image = image.with(name);
            image.wrong(capital(&error.to_string()));
            let view = ImagePull {
                page: frame.page("Pull an image", "images"),
                image,
                platform: platform.with(form.get("platform")),
                username: username.with(form.get("username")),
                password,
            };
            frame.show_with(status(&error), &view)
        }
    }
}

/// Begins a pull as an operation: for the page and for the API.
///
/// # Errors
/// When the tenant has too many operations running.
pub fn begin_pull(
    app: &crate::App,
    who: &engine::Subject,
    request: PullRequest,
) -> engine::Result<std::sync::Arc<crate::operations::Operation>> {
    let (engine, subject) = (app.engine.clone(), who.clone());
    let name = if request.tag.is_empty() || request.tag == "latest" {
        request.image.clone()
    } else {
        format!("{}:{}", request.image, request.tag)
    };
    app.operations.begin(who, "pull", format!("Pull {name}"), move |report| async move {
        report.consume(engine.pull(&subject, request).await?).await?;
        Ok(Some(crate::operations::Next { path: format!("/images/{}", segment(&name)), text: format!("Open {name}") }))
    })
}

/// `POST /ui/images/{id}/tag`
pub async fn tag(visit: Visit, Path(id): Path<String>, form: Filled) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let name = form.get("name");
    // A colon after the last slash separates the tag; one before it a registry's port.
    let (repository, tag) = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, ""),
    };
    let said = match app.engine.tag(&who, &id, repository, tag).await {
        Ok(()) => Flash { tone: Tone::Ok, text: format!("It is now called {name} as well.") },
        Err(e) if e.is_not_found() => return Err(frame.wrong(&e)),
        Err(e) => Flash { tone: Tone::Err, text: capital(&e.to_string()) },
    };
    Ok(frame.to(&format!("{}/images/{}", frame.base, segment(&id)), Some(said)))
}

/// `GET /ui/images/{id}/remove`
pub async fn ask_remove(visit: Visit, Path(id): Path<String>) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let image = app.engine.image(&who, &id).await.or_page(&frame)?;
    let containers = app.engine.containers(&who, &ContainerFilter { all: true, ..Default::default() }).await.or_page(&frame)?;
    let used: Vec<&str> = users(&image, &containers).map(|c| c.name.as_str()).collect();
    let mut consequences = Vec::new();
    if image.tags.len() > 1 {
        consequences.push(format!("All its {} names go with it.", image.tags.len()));
    }
    if !used.is_empty() {
        consequences
            .push(format!("Containers were made from it: {}. They have to be removed first, or keep it without a name.", used.join(", ")));
    }
    let href = format!("{}/images/{}", frame.base, image.id.hex());
    let view = Confirm {
        page: frame.page(format!("Remove {}?", name(&image)), "images"),
        action: format!("{href}/remove"),
        text: "It can be pulled again if it came from a registry; one that was built or loaded here is gone.".into(),
        objects: if image.tags.is_empty() { vec![short(&image)] } else { image.tags.clone() },
        consequences,
        checks: vec![Field::check("force", "Even if stopped containers were made from it")],
        hidden: vec![],
        button: "Remove".into(),
        back: href,
    };
    Ok(frame.show(&view))
}

/// `POST /ui/images/{id}/remove`
pub async fn remove(visit: Visit, Path(id): Path<String>, form: Filled) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let image = app.engine.image(&who, &id).await.or_page(&frame)?;
    let force = form.has("force");
    // One by one by their names: by its id an image of several names could only be forced out.
    let targets = if image.tags.len() > 1 { image.tags.clone() } else { vec![id] };
    let mut freed = false;
    for target in targets {
        let gone = app.engine.remove_image(&who, &target, force, false).await.or_page(&frame)?;
        freed |= gone.iter().any(|r| matches!(r, Removal::Deleted(_)));
    }
    let said = if freed {
        format!("Removed {}.", name(&image))
    } else {
        format!("Took the name off; the image itself is still used: {}.", short(&image))
    };
    Ok(frame.went("/images", said))
}

/// `GET /ui/images/prune`
pub async fn ask_prune(visit: Visit) -> Response {
    let frame = &visit.frame;
    let view = Confirm {
        page: frame.page("Prune images?", "images"),
        action: format!("{}/images/prune", frame.base),
        text: "Images without a name that no container uses are removed.".into(),
        objects: vec![],
        consequences: vec![],
        checks: vec![
            Field::check("all", "Also those that have a name, if no container uses them")
                .hint("They would have to be pulled or built again."),
        ],
        hidden: vec![],
        button: "Prune".into(),
        back: format!("{}/images", frame.base),
    };
    frame.show(&view)
}

/// `POST /ui/images/prune`
pub async fn prune(visit: Visit, form: Filled) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let mut filters = Filters::new();
    if form.has("all") {
        filters.insert("dangling".into(), vec!["false".into()]);
    }
    let (engine, subject) = (app.engine.clone(), (*who).clone());
    let operation = app.operations.begin(&who, "prune", "Prune images", move |report| async move {
        let (removed, freed) = engine.prune_images(&subject, &filters).await?;
        for removal in &removed {
            report.line(match removal {
                Removal::Untagged(name) => format!("untagged {name}"),
                Removal::Deleted(id) => format!("deleted {id}"),
            });
        }
        report.line(format!("{} freed", engine::size::decimal(freed)));
        Ok(None)
    });
    let operation = operation.or_page(&frame)?;
    Ok(frame.to(&format!("{}/operations/{}", frame.base, operation.id), None))
}
