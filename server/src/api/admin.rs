//! The administrator's part of our API: users, credentials, tenants, grants, audit. The command line speaks it too, over the
//! socket of a running server, or against this table alone (`Desk`) when none runs.

use super::{admin_audit, admin_credentials, admin_tenants, admin_users};
use crate::App;
use crate::auth::accounts::Accounts;
use crate::ca::Ca;
use crate::config::Config;
use crate::route::{Permission, Routes};
use axum::extract::FromRef;
use engine::{Doing, Engine, Result};
use jiff::Timestamp;
use std::net::SocketAddr;
use std::sync::Arc;

/// What these handlers need: less than the whole server.
#[derive(Clone)]
pub struct Desk {
    /// People and what they prove themselves with.
    pub accounts: Accounts,
    /// Signs client certificates.
    pub ca: Arc<Ca>,
    /// What a client must trust to reach us: PEM.
    pub trust: Arc<str>,
    /// `tcp://host:port` of HTTPS, if there is one.
    pub endpoint: Option<Arc<str>>,
    /// `None` while no server runs.
    pub engine: Option<Engine>,
}

impl Desk {
    /// The desk of this data root.
    ///
    /// # Errors
    /// When the administrator's own certificate cannot be read.
    pub fn new(accounts: Accounts, ca: Ca, config: &Config, server: Option<(Engine, Option<SocketAddr>)>) -> Result<Self> {
        // With the administrator's own certificate, clients must trust who signed that; ours signs their certificates only.
        let trust = match &config.tls_files {
            None => ca.pem().to_owned(),
            Some((chain, _)) => std::fs::read_to_string(chain).doing(|| format!("reading {}", chain.display()))?,
        };
        let (engine, address) = server.unzip();
        // While no server runs its port can only be what is configured.
        let address = address.unwrap_or_else(|| config.listen.first().copied());
        let endpoint = address.map(|a| Arc::from(format!("tcp://{}", reachable(a))));
        Ok(Self { accounts, ca: Arc::new(ca), trust: trust.into(), endpoint, engine })
    }
}

/// The address as another machine would write it: an unspecified one is this host's name.
pub fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        let name = nix::unistd::gethostname().ok().and_then(|n| n.into_string().ok());
        return format!("{}:{}", name.as_deref().unwrap_or("localhost"), address.port());
    }
    address.to_string()
}

impl FromRef<Desk> for Accounts {
    fn from_ref(desk: &Desk) -> Self {
        desk.accounts.clone()
    }
}

impl FromRef<App> for Desk {
    fn from_ref(app: &App) -> Self {
        app.desk.clone()
    }
}

/// The routes, for the server (`App`) and for the command line alone (`Desk`).
pub fn routes<S: Clone + Send + Sync + 'static>() -> Routes<S>
where
    Desk: FromRef<S>,
{
    use Permission::{Admin, Read, Write};
    Routes::api()
        .get("/api/v1/users", Admin, admin_users::list)
        .post("/api/v1/users", Admin, admin_users::add)
        .delete("/api/v1/users/{name}", Admin, admin_users::remove)
        .put("/api/v1/users/{name}/password", Admin, admin_users::password)
        .put("/api/v1/users/{name}/disabled", Admin, admin_users::disabled)
        .get("/api/v1/tokens", Read, admin_credentials::tokens)
        .post("/api/v1/tokens", Write, admin_credentials::add_token)
        .delete("/api/v1/tokens/{id}", Write, admin_credentials::revoke_token)
        .get("/api/v1/certificates", Read, admin_credentials::certificates)
        .post("/api/v1/certificates", Write, admin_credentials::add_certificate)
        .delete("/api/v1/certificates/{id}", Write, admin_credentials::revoke_certificate)
        .get("/api/v1/tenants", Admin, admin_tenants::list)
        .post("/api/v1/tenants", Admin, admin_tenants::add)
        .delete("/api/v1/tenants/{name}", Admin, admin_tenants::remove)
        .put("/api/v1/tenants/{name}/members/{user}", Admin, admin_tenants::set_member)
        .delete("/api/v1/tenants/{name}/members/{user}", Admin, admin_tenants::remove_member)
        .put("/api/v1/tenants/{name}/quota", Admin, admin_tenants::set_quota)
        .get("/api/v1/grants", Admin, admin_tenants::grants)
        .post("/api/v1/grants", Admin, admin_tenants::add_grant)
        .delete("/api/v1/grants/{id}", Admin, admin_tenants::remove_grant)
        .get("/api/v1/audit", Admin, admin_audit::list)
        .get("/api/v1/audit/verify", Admin, admin_audit::verify)
        .get("/api/v1/doctor", Admin, admin_audit::doctor)
        .get("/api/v1/doctor/orphans", Admin, admin_audit::orphans)
}

/// A time as our API writes it: RFC 3339, UTC, milliseconds as the database has them.
pub(super) fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}
