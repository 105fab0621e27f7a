//! Who one is.

use crate::Who;
use axum::Json;
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
