//! What every handler can reach: the engine, the accounts, the configuration. Cheap to clone; axum's state.

use crate::api::admin::Desk;
use crate::auth::accounts::Accounts;
use crate::ca::Ca;
use crate::config::Config;
use crate::route::Routes;
use engine::{Engine, Result};
use std::net::SocketAddr;
use std::sync::Arc;

/// The state of the server.
#[derive(Clone)]
pub struct App {
    /// The engine of the data root.
    pub engine: Engine,
    /// People, tokens, certificates, sessions.
    pub accounts: Accounts,
    /// What the administrator's API and the command line need.
    pub desk: Desk,
    /// What was configured.
    pub config: Arc<Config>,
    /// Long-running work.
    pub operations: crate::operations::Operations,
    /// Shells that were asked for and not opened yet.
    pub tickets: crate::pages::shell::Tickets,
    /// Sessions and builds of BuildKit's clients.
    pub buildkit: crate::docker::buildkit::Door,
}

impl App {
    /// The state, of parts that were opened before.
    ///
    /// # Errors
    /// When the administrator's own certificate cannot be read.
    pub fn new(engine: Engine, accounts: Accounts, ca: Ca, config: Config, address: Option<SocketAddr>) -> Result<Self> {
        let desk = Desk::new(accounts.clone(), ca, &config, Some((engine.clone(), address)))?;
        Ok(Self {
            engine,
            accounts,
            desk,
            config: Arc::new(config),
            operations: crate::operations::Operations::default(),
            tickets: crate::pages::shell::Tickets::default(),
            buildkit: crate::docker::buildkit::Door::default(),
        })
    }
}

/// The accounts in an engine's database.
///
/// # Errors
/// When they cannot be read.
pub async fn accounts(engine: &Engine, config: &Config) -> Result<Accounts> {
    let (inventory, tenants, audit) = (engine.inventory().clone(), engine.tenants().clone(), engine.audit().clone());
    Accounts::open(inventory, tenants, audit, config.auto_provision).await
}

/// All routes of all faces.
pub fn routes() -> Routes {
    crate::docker::routes().merge(crate::api::routes()).merge(crate::pages::routes())
}

impl axum::extract::FromRef<App> for Accounts {
    fn from_ref(app: &App) -> Self {
        app.accounts.clone()
    }
}
