//! Networks over the API.

use super::wire::{Answer, Json as Strict, Message};
use crate::{App, Who};
use axum::Json;
use axum::extract::{Path, Query, State};
use engine::Filters;
use engine::network::{IpamPool, Network, NetworkSpec};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A network.
#[derive(Serialize, utoipa::ToSchema)]
pub struct NetworkJson {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `bridge`, ….
    pub driver: String,
    /// No way out.
    pub internal: bool,
    /// Whether it always exists.
    pub predefined: bool,
    /// Its subnets.
    pub subnets: Vec<String>,
    /// Running containers in it: name → addresses.
    pub containers: BTreeMap<String, Vec<String>>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    pub created: String,
}

impl From<Network> for NetworkJson {
    fn from(n: Network) -> Self {
        let addresses = |m: &engine::network::NetworkMember| {
            [m.ipv4.map(|a| a.0.to_string()), m.ipv6.map(|a| a.0.to_string())].into_iter().flatten().collect()
        };
        Self {
            id: n.id.to_string(),
            subnets: n.spec.ipam.iter().map(|p| p.subnet.clone()).collect(),
            containers: n.containers.values().map(|m| (m.name.clone(), addresses(m))).collect(),
            name: n.spec.name,
            driver: n.spec.driver,
            internal: n.spec.internal,
            predefined: n.predefined,
            labels: n.spec.labels,
            created: n.created.to_string(),
        }
    }
}

/// What to make.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewNetwork {
    /// Its name.
    pub name: String,
    /// Empty: a free one is taken.
    #[serde(default)]
    pub subnet: String,
    /// Empty: the first address.
    #[serde(default)]
    pub gateway: String,
    /// No way out.
    #[serde(default)]
    pub internal: bool,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// One's networks.
#[utoipa::path(get, path = "/api/v1/networks", responses((status = 200, body = [NetworkJson])))]
pub async fn list(State(app): State<App>, Who(who): Who) -> Answer<Json<Vec<NetworkJson>>> {
    Ok(Json(app.engine.networks(&who, &Filters::new()).await?.into_iter().map(NetworkJson::from).collect()))
}

/// Makes a bridge network.
#[utoipa::path(post, path = "/api/v1/networks", request_body = NewNetwork, responses((status = 201, body = NetworkJson), (status = 409, body = Message)))]
pub async fn create(State(app): State<App>, Who(who): Who, Strict(body): Strict<NewNetwork>) -> Answer<(StatusCode, Json<NetworkJson>)> {
    let pool = IpamPool { subnet: body.subnet, gateway: body.gateway, ..IpamPool::default() };
    let spec = NetworkSpec {
        name: body.name,
        driver: "bridge".into(),
        internal: body.internal,
        attachable: true,
        ipam: if pool == IpamPool::default() { vec![] } else { vec![pool] },
        labels: body.labels,
        ..NetworkSpec::default()
    };
    let (id, _) = app.engine.create_network(&who, spec).await?;
    Ok((StatusCode::CREATED, Json(app.engine.network(&who, id.as_str()).await?.into())))
}

/// One network.
#[utoipa::path(get, path = "/api/v1/networks/{name}", params(("name" = String, Path)), responses((status = 200, body = NetworkJson), (status = 404, body = Message)))]
pub async fn get(State(app): State<App>, Who(who): Who, Path(name): Path<String>) -> Answer<Json<NetworkJson>> {
    Ok(Json(app.engine.network(&who, &name).await?.into()))
}

/// Removes it.
#[utoipa::path(delete, path = "/api/v1/networks/{name}", params(("name" = String, Path)), responses((status = 204), (status = 404, body = Message), (status = 409, body = Message)))]
pub async fn remove(State(app): State<App>, Who(who): Who, Path(name): Path<String>) -> Answer<StatusCode> {
    app.engine.remove_network(&who, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is asked: can one reach the other?
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Question {
    /// A container; `@host`; empty or `@outside`: anybody who reaches the host.
    #[serde(default)]
    pub from: String,
    /// A container.
    pub to: String,
    /// Its port.
    pub port: u16,
    /// `tcp` (also when empty), `udp` or `sctp`.
    #[serde(default)]
    pub proto: String,
}

/// The answer.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ExplanationJson {
    /// Whether networks and firewall let it through.
    pub reachable: bool,
    /// By which address and port.
    pub address: Option<String>,
    /// Names that stand for the destination there.
    pub names: Vec<String>,
    /// Why, a sentence each.
    pub reasons: Vec<String>,
    /// Host addresses and ports where it is published.
    pub published: Vec<String>,
    /// What trying it found: `open`, `refused`, `silent`, `no route`; absent: not tried.
    pub tried: Option<&'static str>,
}

/// In a word.
pub fn tried(tried: engine::network::Tried) -> &'static str {
    match tried {
        engine::network::Tried::Open => "open",
        engine::network::Tried::Refused => "refused",
        engine::network::Tried::Silent => "silent",
        engine::network::Tried::NoRoute => "no route",
    }
}

/// Whether a container's port is reached, and why: from what is known, and tried.
#[utoipa::path(get, path = "/api/v1/networks/explain", params(Question), responses((status = 200, body = ExplanationJson), (status = 404, body = Message)))]
pub async fn explain(State(app): State<App>, Who(who): Who, Query(asked): Query<Question>) -> Answer<Json<ExplanationJson>> {
    let proto = if asked.proto.is_empty() { "tcp" } else { &asked.proto };
    let port = format!("{}/{proto}", asked.port).parse()?;
    let answer = app.engine.explain(&who, &asked.from, &asked.to, port).await?;
    Ok(Json(ExplanationJson {
        reachable: answer.reachable,
        address: answer.at.map(|at| at.to_string()),
        names: answer.names,
        reasons: answer.reasons,
        published: answer.published.iter().map(ToString::to_string).collect(),
        tried: answer.tried.map(tried),
    }))
}
