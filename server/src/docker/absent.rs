//! The parts of Docker's API that are not here: each has its route and its clear answer, so that no client mistakes us for
//! something that never heard of it.

use super::archive::drain;
use super::error::{Answer, Failure};
use super::reply::json;
use axum::body::Body;
use axum::extract::{Path, Request};
use axum::response::Response;
use engine::{Error, Kind};
use serde_json::json;

fn unsupported(what: &str) -> Failure {
    Error::unsupported(what).into()
}

/// `/containers/{id}/checkpoints…`
pub async fn checkpoints() -> Answer {
    Err(unsupported("checkpoint and restore"))
}

/// `GET /images/search`
pub async fn search() -> Answer {
    Err(unsupported("searching Docker Hub"))
}

/// `GET /plugins`: none are installed.
pub async fn plugins() -> Response {
    json(&json!([]))
}

/// Installing plugins, and what leads to it.
pub async fn plugin_install(body: Body) -> Answer {
    drain(body.into_data_stream()).await;
    Err(unsupported("installing plugins"))
}

/// Everything about one plugin: there is none (`docker inspect NAME` asks for one before it gives up).
pub async fn plugin(Path(rest): Path<String>) -> Answer {
    let name = rest.rsplit_once('/').map_or(rest.as_str(), |(name, _)| name);
    Err(Error::new(Kind::NotFound, format!("plugin {name:?} not found")).into())
}

/// `POST /swarm/init` and `POST /swarm/join`
pub async fn swarm_start(request: Request) -> Answer {
    drain(request.into_body().into_data_stream()).await;
    Err(unsupported("Swarm mode"))
}

/// Everything else about the swarm that this host is not in.
pub async fn swarm() -> Answer {
    let text =
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";
    Err(Error::new(Kind::Unavailable, text).into())
}

/// `POST /swarm/leave`
pub async fn swarm_leave() -> Answer {
    Err(Error::new(Kind::Unavailable, "This node is not part of a swarm").into())
}

/// `PUT /volumes/{name}`
pub async fn cluster_volume() -> Answer {
    Err(unsupported("updating cluster volumes"))
}
