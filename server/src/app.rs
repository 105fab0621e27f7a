//! What every handler can reach: the engine, the accounts, the configuration. Cheap to clone; axum's state.

use crate::auth::accounts::Accounts;
use crate::config::Config;
use crate::route::Routes;
use engine::Engine;
use std::sync::Arc;

/// The state of the server.
#[derive(Clone)]
pub struct App {
    /// The engine of the data root.
    pub engine: Engine,
    /// People, tokens, certificates, sessions.
    pub accounts: Accounts,
    /// What was configured.
    pub config: Arc<Config>,
    /// Long-running work.
    pub operations: crate::operations::Operations,
    /// Shells that were asked for and not opened yet.
    pub tickets: crate::pages::shell::Tickets,
}

/// All routes of all faces.
pub fn routes() -> Routes {
    crate::docker::routes().merge(crate::api::routes()).merge(crate::pages::routes())
}
