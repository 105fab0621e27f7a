//! Who one is.

use crate::{App, Who};
use axum::Json;
use axum::extract::State;
use engine::{Role, Scope};
use serde::Serialize;

/// Who asks, as the server sees it.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Me {
    /// User name.
    pub name: String,
    /// The tenant this credential speaks for now.
    pub tenant: String,
    /// Whether the person administers this host.
    pub admin: bool,
    /// read, write or admin.
    pub scope: &'static str,
    /// socket, tenant-socket, token, certificate or session.
    pub via: &'static str,
}

/// Who asks.
#[utoipa::path(get, path = "/api/v1/me", responses((status = 200, body = Me)))]
pub async fn me(Who(who): Who) -> Json<Me> {
    Json(Me {
        name: who.name.clone(),
        tenant: who.tenant_name.clone(),
        admin: who.role == Role::Admin,
        scope: match who.scope {
            Scope::Read => "read",
            Scope::Write => "write",
            Scope::Admin => "admin",
        },
        via: who.via.as_str(),
    })
}

/// What the tenant takes on disk, in bytes.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Disk {
    /// Unpacked layers of images, each once.
    pub layers: u64,
    /// The same as they were fetched, compressed.
    pub blobs: u64,
    /// Volumes.
    pub volumes: u64,
    /// Removed volumes that can still be restored.
    pub trash: u64,
    /// What containers wrote into their root file systems.
    pub containers: u64,
    /// Logs.
    pub logs: u64,
    /// Folders that builds keep.
    pub build_cache: u64,
    /// All of it.
    pub total: u64,
    /// The tenant's quota; absent: none.
    pub quota: Option<u64>,
}

/// What the tenant takes on disk.
#[utoipa::path(get, path = "/api/v1/disk", responses((status = 200, body = Disk)))]
pub async fn disk(State(app): State<App>, Who(who): Who) -> super::wire::Answer<Json<Disk>> {
    let used = app.engine.disk_use(&who).await?;
    let engine::disk::DiskUse { layers, blobs, volumes, trash, containers, logs, build_cache } = used;
    let quota = app.accounts.tenants().get(who.tenant).and_then(|t| t.quota.disk);
    Ok(Json(Disk { layers, blobs, volumes, trash, containers, logs, build_cache, total: used.total(), quota }))
}
