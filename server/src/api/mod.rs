//! Our own JSON API under `/api/v1`.

use crate::route::Routes;

/// The routes of our API.
pub fn routes() -> Routes {
    Routes::api()
}
