//! `/api/v1/tenants` and `/api/v1/grants`.

use super::admin::{Desk, time};
use crate::Who;
use crate::auth::Refusal;
use crate::auth::lifetime;
use crate::route::JsonBody;
use axum::Json;
use axum::extract::{Path, Query, State};
use engine::audit::Entry;
use engine::container::request::{ContainerFilter, RemoveOptions};
use engine::grant::{Grant, GrantKind};
use engine::image::ImageFilter;
use engine::tenant::{MemberRole, Quota, Tenant, TenantKind};
use engine::{Error, Filters, GrantId, Result as EngineResult, Subject};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A tenant on the wire.
#[derive(Debug, Serialize)]
pub(super) struct TenantView {
    id: i64,
    name: String,
    /// personal or team.
    kind: &'static str,
    uid_first: u32,
    uid_count: u32,
    created: String,
    members: Vec<MemberView>,
    quota: Quota,
}

/// A member on the wire.
#[derive(Debug, Serialize)]
struct MemberView {
    user: String,
    role: &'static str,
}

fn view(desk: &Desk, tenant: &Tenant) -> TenantView {
    let name = |user| desk.accounts.user_by_id(user).map(|u| u.name).unwrap_or_default();
    let (kind, members) = match tenant.kind {
        TenantKind::Personal { owner } => ("personal", vec![MemberView { user: name(owner), role: "owner" }]),
        TenantKind::Team => {
            let members = desk.accounts.tenants().members(tenant.id);
            ("team", members.into_iter().map(|(u, role)| MemberView { user: name(u), role: role.as_str() }).collect())
        }
    };
    TenantView {
        id: tenant.id.0,
        name: tenant.name.clone(),
        kind,
        uid_first: tenant.block.base,
        uid_count: engine::tenant::BLOCK_SIZE,
        created: time(tenant.created),
        members,
        quota: tenant.quota,
    }
}

fn named(desk: &Desk, name: &str) -> EngineResult<Arc<Tenant>> {
    desk.accounts.tenants().by_name(name).ok_or_else(|| Error::no_such("tenant", name))
}

pub(super) async fn list(State(desk): State<Desk>) -> Json<Vec<TenantView>> {
    Json(desk.accounts.tenants().list().iter().map(|t| view(&desk, t)).collect())
}

/// The body of `POST /api/v1/tenants`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Add {
    name: String,
    /// The first owner.
    owner: String,
}

pub(super) async fn add(
    State(desk): State<Desk>,
    Who(who): Who,
    JsonBody(body): JsonBody<Add>,
) -> Result<(StatusCode, Json<TenantView>), Refusal> {
    let owner = desk.accounts.user(&body.owner)?;
    let accounts = &desk.accounts;
    let mut tx = accounts.inventory().begin().await?;
    let audit = accounts.audit().intent(&mut tx, &Entry::of(&who, "tenant.add", &body.name).by("administrator")).await?;
    let tenant = accounts.tenants().create_team(tx, &body.name, owner.id).await?;
    accounts.audit().outcome(audit, &Ok(())).await;
    accounts.touched();
    Ok((StatusCode::CREATED, Json(view(&desk, &tenant))))
}

/// The query of `DELETE /api/v1/tenants/{name}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remove {
    #[serde(default)]
    force: bool,
}

pub(super) async fn remove(
    State(desk): State<Desk>,
    Who(who): Who,
    Path(name): Path<String>,
    Query(Remove { force }): Query<Remove>,
) -> Result<StatusCode, Refusal> {
    let tenant = named(&desk, &name)?;
    if let TenantKind::Personal { .. } = tenant.kind {
        return Err(Error::conflict(format!("{name} is a user's personal tenant: it goes with its user")).into());
    }
    empty(&desk, &who, &tenant, force).await?;
    let mut tx = desk.accounts.inventory().begin().await?;
    let audit = desk.accounts.audit().intent(&mut tx, &Entry::of(&who, "tenant.remove", &name).by("administrator")).await?;
    desk.accounts.tenants().remove(tx, tenant.id).await?;
    desk.accounts.audit().outcome(audit, &Ok(())).await;
    desk.accounts.touched();
    Ok(StatusCode::NO_CONTENT)
}

/// Sees that a tenant holds nothing; with `force`, stops and removes what it holds, as the administrator, each step audited.
pub(super) async fn empty(desk: &Desk, who: &Subject, tenant: &Tenant, force: bool) -> EngineResult<()> {
    let Some(engine) = &desk.engine else {
        return Err(Error::conflict(
            "removing this needs a running server, which looks for containers and data first: start it with `wharf serve`",
        ));
    };
    let inside = Subject { tenant: tenant.id, tenant_name: tenant.name.clone(), ..who.clone() };
    let all = ContainerFilter { all: true, ..ContainerFilter::default() };
    let containers = engine.containers(&inside, &all).await?;
    let volumes = engine.volumes(&inside, &Filters::new()).await?;
    if !force && (!containers.is_empty() || !volumes.is_empty()) {
        return Err(Error::conflict(format!(
            "the tenant {} holds {} containers and {} volumes: remove them first, or force their removal",
            tenant.name,
            containers.len(),
            volumes.len()
        )));
    }
    for container in containers {
        let options = RemoveOptions { force: true, volumes: true };
        engine.remove_container(&inside, container.id.as_str(), options).await?;
    }
    for volume in engine.volumes(&inside, &Filters::new()).await? {
        engine.remove_volume(&inside, &volume.name, true).await?;
    }
    // What nothing uses any more: networks of its own, and images.
    engine.prune_networks(&inside, &Filters::new()).await?;
    for image in engine.images(&inside, &ImageFilter::default()).await? {
        engine.remove_image(&inside, &image.id.to_string(), true, false).await?;
    }
    Ok(())
}

/// The body of `PUT /api/v1/tenants/{name}/members/{user}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Member {
    role: MemberRole,
}

pub(super) async fn set_member(
    State(desk): State<Desk>,
    Who(who): Who,
    Path((name, user)): Path<(String, String)>,
    JsonBody(body): JsonBody<Member>,
) -> Result<StatusCode, Refusal> {
    let (tenant, user) = (named(&desk, &name)?, desk.accounts.user(&user)?);
    let mut tx = desk.accounts.inventory().begin().await?;
    let object = format!("{} as {} of {name}", user.name, body.role.as_str());
    let audit = desk.accounts.audit().intent(&mut tx, &Entry::of(&who, "tenant.member", object).by("administrator")).await?;
    desk.accounts.tenants().set_member(tx, tenant.id, user.id, body.role).await?;
    desk.accounts.audit().outcome(audit, &Ok(())).await;
    desk.accounts.touched();
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn remove_member(
    State(desk): State<Desk>,
    Who(who): Who,
    Path((name, user)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    let (tenant, user) = (named(&desk, &name)?, desk.accounts.user(&user)?);
    let mut tx = desk.accounts.inventory().begin().await?;
    let object = format!("{} of {name}", user.name);
    let audit = desk.accounts.audit().intent(&mut tx, &Entry::of(&who, "tenant.member.remove", object).by("administrator")).await?;
    desk.accounts.tenants().remove_member(tx, tenant.id, user.id).await?;
    desk.accounts.audit().outcome(audit, &Ok(())).await;
    desk.accounts.touched();
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn set_quota(
    State(desk): State<Desk>,
    Who(who): Who,
    Path(name): Path<String>,
    JsonBody(quota): JsonBody<Quota>,
) -> Result<StatusCode, Refusal> {
    let tenant = named(&desk, &name)?;
    if let Some(engine) = &desk.engine {
        // What no group can have is not kept.
        quota.limits(engine.cgroups().support())?;
    }
    let mut tx = desk.accounts.inventory().begin().await?;
    let audit = desk.accounts.audit().intent(&mut tx, &Entry::of(&who, "tenant.quota", &name).by("administrator")).await?;
    desk.accounts.tenants().set_quota(tx, tenant.id, quota).await?;
    // Without an engine it comes into force at the server's next start.
    let held = desk.engine.as_ref().map_or(Ok(()), |engine| engine.hold_to_quota(tenant.id));
    desk.accounts.audit().outcome(audit, &held).await;
    held?;
    Ok(StatusCode::NO_CONTENT)
}

/// A grant on the wire.
#[derive(Debug, Serialize)]
pub(super) struct GrantView {
    id: i64,
    tenant: String,
    /// `KIND[=VALUE]`.
    grant: String,
    created: String,
    created_by: String,
    expires: Option<String>,
    in_force: bool,
}

fn grant_view(tenant: &Tenant, grant: Grant, now: Timestamp) -> GrantView {
    GrantView {
        id: grant.id.0,
        tenant: tenant.name.clone(),
        grant: grant.kind.to_string(),
        created: time(grant.created),
        in_force: grant.is_in_force(now),
        created_by: grant.created_by,
        expires: grant.expires.map(time),
    }
}

/// The query of `GET /api/v1/grants`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Of {
    tenant: Option<String>,
}

pub(super) async fn grants(State(desk): State<Desk>, Query(of): Query<Of>) -> Result<Json<Vec<GrantView>>, Refusal> {
    let tenants = match &of.tenant {
        Some(name) => vec![named(&desk, name)?],
        None => desk.accounts.tenants().list(),
    };
    let now = Timestamp::now();
    let of_one =
        |t: &Arc<Tenant>| -> Vec<GrantView> { desk.accounts.tenants().grants(t.id).into_iter().map(|g| grant_view(t, g, now)).collect() };
    Ok(Json(tenants.iter().flat_map(of_one).collect()))
}

/// The body of `POST /api/v1/grants`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AddGrant {
    tenant: String,
    /// `KIND[=VALUE]`.
    grant: String,
    /// `30d`; absent: until it is removed.
    expires: Option<String>,
}

pub(super) async fn add_grant(
    State(desk): State<Desk>,
    Who(who): Who,
    JsonBody(body): JsonBody<AddGrant>,
) -> Result<(StatusCode, Json<GrantView>), Refusal> {
    let tenant = named(&desk, &body.tenant)?;
    let kind: GrantKind = body.grant.parse()?;
    let now = Timestamp::now();
    let expires = body.expires.as_deref().map(lifetime::parse).transpose()?.map(|d| now + d);
    let accounts = &desk.accounts;
    let mut tx = accounts.inventory().begin().await?;
    let object = format!("{kind} to {}", tenant.name);
    let audit = accounts.audit().intent(&mut tx, &Entry::of(&who, "grant.add", object).by("administrator")).await?;
    let grant = accounts.tenants().add_grant(tx, tenant.id, kind, expires, &who.name).await?;
    accounts.audit().outcome(audit, &Ok(())).await;
    Ok((StatusCode::CREATED, Json(grant_view(&tenant, grant, now))))
}

pub(super) async fn remove_grant(State(desk): State<Desk>, Who(who): Who, Path(id): Path<i64>) -> Result<StatusCode, Refusal> {
    let accounts = &desk.accounts;
    let mut tx = accounts.inventory().begin().await?;
    let audit = accounts.audit().intent(&mut tx, &Entry::of(&who, "grant.remove", id.to_string()).by("administrator")).await?;
    accounts.tenants().remove_grant(tx, GrantId(id)).await?;
    accounts.audit().outcome(audit, &Ok(())).await;
    Ok(StatusCode::NO_CONTENT)
}
