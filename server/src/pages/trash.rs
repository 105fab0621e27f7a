//! The trash: removed volumes, to restore or to let go.

use super::form::Filled;
use super::frame::{Frame, OrPage, Visit, capital, status};
use super::words;
use axum::extract::Path;
use axum::response::Response;
use engine::volume::Trashed;
use engine::{Error, Kind};
use web::format;
use web::view::message::Confirm;
use web::view::trash::{TrashDetail, TrashList, TrashRow};
use web::view::{Fact, Field, Value};

/// `GET /ui/trash`
pub async fn list(visit: Visit) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let all = app.engine.trash(&who).await.or_page(&frame)?;
    let total: u64 = all.iter().filter_map(|t| t.size).sum();
    let row = |t: Trashed| TrashRow {
        href: format!("{}/trash/{}", frame.base, t.id),
        size: t.size.map_or_else(|| "being counted".into(), engine::size::decimal),
        removed: words::ago(t.removed),
        until: words::until(t.until),
        by: t.removed_by,
        anonymous: t.anonymous,
        name: t.name,
    };
    let summary = if all.is_empty() {
        String::new()
    } else {
        format!("{}, {}", format::count(all.len(), "volume", "volumes"), engine::size::decimal(total))
    };
    let rows = all.into_iter().map(row).collect();
    Ok(frame.show(&TrashList { page: frame.page("Trash", "volumes"), summary, rows, off: app.config.trash.is_zero() }))
}

fn detail(frame: &Frame, trashed: Trashed, name: String, error: String) -> TrashDetail {
    let mut facts = vec![
        Fact::new("Removed", Value::When(words::ago(trashed.removed))),
        Fact::new("By", Value::Text(trashed.removed_by)),
        Fact::new("Gone for good", Value::When(words::until(trashed.until))),
    ];
    facts.extend(trashed.size.map(|size| Fact::new("Size", Value::Text(engine::size::decimal(size)))));
    TrashDetail {
        page: frame.page(trashed.name.clone(), "volumes"),
        href: format!("{}/trash/{}", frame.base, trashed.id),
        facts,
        labels: trashed.labels.into_iter().collect(),
        new_name: Field::new("name", "Name").mono().required().with(name),
        name: trashed.name,
        error,
    }
}

async fn find(visit: &Visit, id: &str) -> Result<Trashed, Response> {
    let all = visit.app.engine.trash(&visit.who).await.or_page(&visit.frame)?;
    let number = number(id);
    all.into_iter().find(|t| t.id == number).ok_or_else(|| visit.frame.wrong(&absent(id)))
}

/// What is no number is none that exists: ids begin with 1.
fn number(id: &str) -> i64 {
    id.parse().unwrap_or(0)
}

fn absent(id: &str) -> Error {
    Error::new(Kind::NotFound, format!("get {id}: no such volume"))
}

/// `GET /ui/trash/{id}`
pub async fn show(visit: Visit, Path(id): Path<String>) -> Result<Response, Response> {
    let trashed = find(&visit, &id).await?;
    let name = trashed.name.clone();
    Ok(visit.frame.show(&detail(&visit.frame, trashed, name, String::new())))
}

/// `POST /ui/trash/{id}/restore`
pub async fn restore(visit: Visit, Path(id): Path<String>, form: Filled) -> Result<Response, Response> {
    let trashed = find(&visit, &id).await?;
    let name = form.get("name");
    match visit.app.engine.restore_volume(&visit.who, trashed.id, Some(name)).await {
        Ok(volume) => {
            Ok(visit.frame.went(&format!("/volumes/{}", web::view::piece::segment(&volume.name)), format!("Restored {}.", volume.name)))
        }
        // The form again, with what was typed.
        Err(e) => Ok(visit.frame.show_with(status(&e), &detail(&visit.frame, trashed, name.to_owned(), capital(&e.to_string())))),
    }
}

/// `POST /ui/trash/{id}/remove`
pub async fn purge(visit: Visit, Path(id): Path<String>, _form: Filled) -> Result<Response, Response> {
    let trashed = find(&visit, &id).await?;
    visit.app.engine.purge_volume(&visit.who, trashed.id).await.or_page(&visit.frame)?;
    Ok(visit.frame.went("/trash", format!("{} is gone for good.", trashed.name)))
}

/// `GET /ui/trash/empty`
pub async fn ask_empty(visit: Visit) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let all = app.engine.trash(&who).await.or_page(&frame)?;
    let view = Confirm {
        page: frame.page("Empty the trash?", "volumes"),
        action: format!("{}/trash/empty", frame.base),
        text: "These volumes will be removed for good.".into(),
        objects: all.into_iter().map(|t| t.name).collect(),
        consequences: vec!["Nothing brings them back.".into()],
        checks: vec![],
        hidden: vec![],
        button: "Empty the trash".into(),
        back: format!("{}/trash", frame.base),
    };
    Ok(frame.show(&view))
}

/// `POST /ui/trash/empty`
pub async fn empty(visit: Visit, _form: Filled) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let freed = app.engine.empty_trash(&who).await.or_page(&frame)?;
    Ok(frame.went("/trash", format!("{} freed.", engine::size::decimal(freed))))
}
