//! `/volumes`.

use super::ask::{Args, Json, Name};
use super::error::Answer;
use super::reply::{created, json, list_or_null, nothing};
use super::wire;
use crate::{ApiVersion, App, Who};
use axum::extract::State;
use serde_json::{Value, json};

/// `GET /volumes`
pub async fn list(State(app): State<App>, Who(who): Who, args: Args) -> Answer {
    let filters = args.filters(&["dangling", "driver", "label", "name"])?;
    let volumes = app.engine.volumes(&who, &filters).await?;
    let volumes: Vec<Value> = volumes.iter().map(wire::volume::volume).collect();
    Ok(json(&json!({ "Volumes": volumes, "Warnings": Value::Null })))
}

/// `GET /volumes/{name}`
pub async fn inspect(State(app): State<App>, Who(who): Who, Name(name): Name) -> Answer {
    Ok(json(&wire::volume::volume(&app.engine.volume(&who, &name).await?)))
}

/// `POST /volumes/create`
pub async fn create(State(app): State<App>, Who(who): Who, Json(body): Json) -> Answer {
    let volume = app.engine.create_volume(&who, wire::volume::create(body)?).await?;
    Ok(created(&wire::volume::volume(&volume)))
}

/// `DELETE /volumes/{name}`
pub async fn remove(State(app): State<App>, Who(who): Who, Name(name): Name, args: Args) -> Answer {
    app.engine.remove_volume(&who, &name, args.flag("force")).await?;
    Ok(nothing())
}

/// `POST /volumes/prune`
pub async fn prune(State(app): State<App>, Who(who): Who, version: ApiVersion, args: Args) -> Answer {
    let mut filters = args.filters(&["all", "label", "label!"])?;
    if !version.at_least(42) {
        // Then a prune took named volumes too, and its clients mean it.
        filters.insert("all".to_owned(), vec!["true".to_owned()]);
    }
    let pruned = app.engine.prune_volumes(&who, &filters).await?;
    Ok(json(&json!({ "VolumesDeleted": list_or_null(&pruned.removed), "SpaceReclaimed": pruned.reclaimed })))
}
