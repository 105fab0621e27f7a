//! Volumes: list, one, make, remove, prune.

use super::form::Filled;
use super::frame::{OrPage, Visit, capital, status};
use super::words;
use axum::extract::Path;
use axum::response::Response;
use engine::container::request::ContainerFilter;
use engine::volume::VolumeSpec;
use engine::{Filters, Kind};
use web::format;
use web::view::message::Confirm;
use web::view::piece::segment;
use web::view::volume::{VolumeDetail, VolumeList, VolumeNew, VolumeRow};
use web::view::{Fact, Field, Value};

/// `GET /ui/volumes`
pub async fn list(visit: Visit) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let (volumes, unsupported) = match app.engine.volumes(&who, &Filters::new()).await {
        Ok(volumes) => (volumes, String::new()),
        Err(e) if e.kind() == Kind::Unsupported => (Vec::new(), capital(&e.to_string())),
        Err(e) => return Err(frame.wrong(&e)),
    };
    let row = |v: engine::volume::Volume| VolumeRow {
        href: format!("{}/volumes/{}", frame.base, segment(&v.name)),
        anonymous: v.anonymous,
        users: v.users,
        created: words::ago(v.created),
        name: v.name,
    };
    let rows = volumes.into_iter().map(row).collect();
    Ok(frame.show(&VolumeList { page: frame.page("Volumes", "volumes"), rows, unsupported }))
}

/// `GET /ui/volumes/{name}`
pub async fn show(visit: Visit, Path(name): Path<String>) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let volume = app.engine.volume(&who, &name).await.or_page(&frame)?;
    let containers = app.engine.containers(&who, &ContainerFilter { all: true, ..Default::default() }).await.or_page(&frame)?;
    let users = containers
        .iter()
        .flat_map(|c| {
            c.mounts.iter().filter(|m| m.name == volume.name).map(|m| (words::href(&frame.base, c), c.name.clone(), m.destination.clone()))
        })
        .collect();
    let mut facts = vec![
        Fact::new("Name", Value::Copy(volume.name.clone())),
        Fact::new("Driver", Value::Text(volume.driver.clone())),
        Fact::new("Made", Value::When(words::ago(volume.created))),
        Fact::new("Kind", Value::Text(if volume.anonymous { "anonymous: made for one container".into() } else { "named".into() })),
    ];
    facts.extend(volume.options.iter().map(|(k, v)| Fact::new(format!("Option {k}"), Value::Code(v.clone()))));
    let view = VolumeDetail {
        page: frame.page(volume.name.clone(), "volumes"),
        href: format!("{}/volumes/{}", frame.base, segment(&volume.name)),
        name: volume.name,
        facts,
        users,
        labels: volume.labels.into_iter().collect(),
    };
    Ok(frame.show(&view))
}

fn new(visit: &Visit, form: &Filled, error: String) -> VolumeNew {
    VolumeNew {
        page: visit.frame.page("New volume", "volumes"),
        name: Field::new("name", "Name").mono().required().focus().example("data").with(form.get("name")),
        labels: Field::area("labels", "Labels", 2).example("team=web").hint("NAME=value, one a line.").with(form.get("labels")),
        error,
    }
}

/// `GET /ui/volumes/new`
pub async fn form(visit: Visit) -> Response {
    visit.frame.show(&new(&visit, &Filled::default(), String::new()))
}

/// `POST /ui/volumes/new`
pub async fn create(visit: Visit, form: Filled) -> Response {
    let labels = form.lines("labels").map(|l| l.split_once('=').unwrap_or((l, ""))).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let spec = VolumeSpec { name: form.get("name").to_owned(), labels, ..VolumeSpec::default() };
    match visit.app.engine.create_volume(&visit.who, spec).await {
        Ok(volume) => visit.frame.went(&format!("/volumes/{}", segment(&volume.name)), format!("Made {}.", volume.name)),
        Err(e) => visit.frame.show_with(status(&e), &new(&visit, &form, capital(&e.to_string()))),
    }
}

/// `GET /ui/volumes/{name}/remove`
pub async fn ask_remove(visit: Visit, Path(name): Path<String>) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let volume = app.engine.volume(&who, &name).await.or_page(&frame)?;
    let href = format!("{}/volumes/{}", frame.base, segment(&volume.name));
    let time = app.config.trash;
    let mut consequences = if time.is_zero() {
        vec!["What is in it is gone for good.".to_owned()]
    } else {
        vec![format!("It goes to the trash and can be restored for {}.", format::span(i64::try_from(time.as_secs()).unwrap_or(i64::MAX)))]
    };
    if volume.users > 0 {
        consequences.push(format!("{} still uses it: remove that first.", format::count(volume.users, "container", "containers")));
    }
    let view = Confirm {
        page: frame.page(format!("Remove {}?", volume.name), "volumes"),
        action: format!("{href}/remove"),
        text: "This volume will be removed.".into(),
        objects: vec![volume.name],
        consequences,
        checks: vec![],
        hidden: vec![],
        button: "Remove".into(),
        back: href,
    };
    Ok(frame.show(&view))
}

/// `POST /ui/volumes/{name}/remove`
pub async fn remove(visit: Visit, Path(name): Path<String>, _form: Filled) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    app.engine.remove_volume(&who, &name, false).await.or_page(&frame)?;
    Ok(frame.went("/volumes", format!("Removed {name}.")))
}

/// `GET /ui/volumes/prune`
pub async fn ask_prune(visit: Visit) -> Response {
    let frame = &visit.frame;
    let view = Confirm {
        page: frame.page("Prune volumes?", "volumes"),
        action: format!("{}/volumes/prune", frame.base),
        text: "Anonymous volumes that no container uses are removed.".into(),
        objects: vec![],
        consequences: vec![if visit.app.config.trash.is_zero() {
            "What is in them is gone for good.".into()
        } else {
            "They go to the trash, where they still take room, and can be restored for a while.".into()
        }],
        checks: vec![Field::check("all", "Also those that have a name")],
        hidden: vec![],
        button: "Prune".into(),
        back: format!("{}/volumes", frame.base),
    };
    frame.show(&view)
}

/// `POST /ui/volumes/prune`
pub async fn prune(visit: Visit, form: Filled) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let mut filters = Filters::new();
    if form.has("all") {
        filters.insert("all".into(), vec!["true".into()]);
    }
    let (engine, subject) = (app.engine.clone(), (*who).clone());
    let operation = app.operations.begin(&who, "prune", "Prune volumes", move |report| async move {
        let pruned = engine.prune_volumes(&subject, &filters).await?;
        for name in &pruned.removed {
            report.line(format!("removed {name}"));
        }
        report.line(format!("{} freed", engine::size::decimal(pruned.reclaimed)));
        Ok(None)
    });
    let operation = operation.or_page(&frame)?;
    Ok(frame.to(&format!("{}/operations/{}", frame.base, operation.id), None))
}
