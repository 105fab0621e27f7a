//! Docker's Engine API over the engine. Docker's wire quirks stop here.

use crate::route::Routes;

/// The routes of Docker's API, without the `/v1.NN` prefix, which is taken off before routing.
pub fn routes() -> Routes {
    Routes::docker()
}
