//! Operations: the list, one with its parts and log, and cancelling.

use super::form::Filled;
use super::frame::{OrPage, Visit};
use super::words;
use crate::operations::{Operation, Phase};
use axum::extract::Path;
use axum::response::Response;
use jiff::Timestamp;
use web::format;
use web::view::operation::{OperationDetail, OperationList, OperationRow, PartRow};
use web::view::{Badge, Tone};

/// A row of the list.
pub fn row(operation: &Operation, base: &str) -> OperationRow {
    let seen = operation.snapshot();
    let badge = match &seen.phase {
        Phase::Running => Badge::new("running", "◐", Tone::Live),
        Phase::Done(_) => Badge::new("done", "✓", Tone::Ok),
        Phase::Failed(..) => Badge::new("failed", "✕", Tone::Err),
        Phase::Cancelled(_) => Badge::new("cancelled", "○", Tone::Plain),
    };
    let end = seen.phase.ended().unwrap_or_else(Timestamp::now);
    OperationRow {
        href: format!("{base}/operations/{}", operation.id),
        id: operation.id.to_string(),
        title: operation.title.clone(),
        badge,
        percent: seen.percent,
        owner: operation.owner.clone(),
        started: words::ago(operation.started),
        took: match end.duration_since(operation.started).as_secs() {
            ..=0 => "under 1 s".into(),
            s => format::span(s),
        },
        running: seen.phase == Phase::Running,
        error: seen.phase.error().unwrap_or("").to_owned(),
    }
}

/// `GET /ui/operations`
pub async fn list(visit: Visit) -> Response {
    let Visit { who, app, frame } = visit;
    let rows = app.operations.list(&who).iter().map(|o| row(o, &frame.base)).collect();
    frame.show(&OperationList { page: frame.page("Operations", "operations"), rows })
}

/// `GET /ui/operations/{id}`
pub async fn show(visit: Visit, Path(id): Path<String>) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let operation = app.operations.get(&who, &id).or_page(&frame)?;
    let seen = operation.snapshot();
    let part = |(id, part): (String, crate::operations::Part)| PartRow {
        id,
        bytes: match part.bytes {
            Some((_, Some(total))) if part.is_done() => engine::size::decimal(total),
            Some((done, Some(total))) => format!("{} of {}", engine::size::decimal(done), engine::size::decimal(total)),
            Some((done, None)) => engine::size::decimal(done),
            None => String::new(),
        },
        percent: part.percent(),
        done: part.is_done(),
        status: part.status,
    };
    let view = OperationDetail {
        page: frame.page(operation.title.clone(), "operations"),
        row: row(&operation, &frame.base),
        parts: seen.parts.into_iter().map(part).collect(),
        log: seen.log,
        next: seen.next.map(|next| (format!("{}{}", frame.base, next.path), next.text)),
    };
    Ok(frame.show(&view))
}

/// `POST /ui/operations/{id}/cancel`
pub async fn cancel(visit: Visit, Path(id): Path<String>, _form: Filled) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let operation = app.operations.get(&who, &id).or_page(&frame)?;
    operation.cancel();
    Ok(frame.went(&format!("/operations/{}", operation.id), format!("Cancelling: {}.", operation.title)))
}
