//! `/networks`.

use super::ask::{Args, Json, Name};
use super::containers::PRUNE_FILTERS;
use super::error::Answer;
use super::reply::{created, json, list_or_null, nothing};
use super::wire;
use crate::{ApiVersion, App, Who};
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use http::StatusCode;
use serde_json::json;

const LIST_FILTERS: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];

/// `GET /networks`
pub async fn list(State(app): State<App>, Who(who): Who, version: ApiVersion, args: Args) -> Answer {
    let networks = app.engine.networks(&who, &args.filters(&LIST_FILTERS)?).await?;
    Ok(json(&networks.iter().map(|n| wire::network::network(n, false, version)).collect::<Vec<_>>()))
}

/// `GET /networks/{id}`
pub async fn inspect(State(app): State<App>, Who(who): Who, version: ApiVersion, Name(name): Name) -> Answer {
    Ok(json(&wire::network::network(&app.engine.network(&who, &name).await?, true, version)))
}

/// `POST /networks/create`
pub async fn create(State(app): State<App>, Who(who): Who, Json(body): Json) -> Answer {
    let (id, warning) = app.engine.create_network(&who, wire::network::create(body)?).await?;
    Ok(created(&json!({ "Id": id.as_str(), "Warning": warning })))
}

/// `DELETE /networks/{id}`
pub async fn remove(State(app): State<App>, Who(who): Who, Name(name): Name) -> Answer {
    app.engine.remove_network(&who, &name).await?;
    Ok(nothing())
}

/// `POST /networks/{id}/connect`
pub async fn connect(State(app): State<App>, Who(who): Who, Path(name): Path<String>, Json(body): Json) -> Answer {
    let (container, endpoint) = wire::network::connect(body)?;
    app.engine.connect(&who, &name, &container, endpoint).await?;
    Ok(StatusCode::OK.into_response())
}

/// `POST /networks/{id}/disconnect`
pub async fn disconnect(State(app): State<App>, Who(who): Who, Path(name): Path<String>, Json(body): Json) -> Answer {
    let (container, force) = wire::network::disconnect(body)?;
    app.engine.disconnect(&who, &name, &container, force).await?;
    Ok(StatusCode::OK.into_response())
}

/// `POST /networks/prune`
pub async fn prune(State(app): State<App>, Who(who): Who, args: Args) -> Answer {
    let pruned = app.engine.prune_networks(&who, &args.filters(&PRUNE_FILTERS)?).await?;
    Ok(json(&json!({ "NetworksDeleted": list_or_null(&pruned.removed) })))
}
